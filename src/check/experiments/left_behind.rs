//! When a connection was last reset on which something was under way: what counts connections
//! may not have seen the end of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When a connection was last left behind. Its copies are one.
#[derive(Clone, Debug, Default)]
pub(super) struct LeftBehind(Arc<Mutex<Option<Instant>>>);

impl LeftBehind {
    /// One was, just now.
    pub(super) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long ago the last one was, if any.
    pub(super) fn since(&self) -> Option<Duration> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|last| last.elapsed())
    }
}
