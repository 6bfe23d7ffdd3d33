//! Stops a ping from another thread.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Registry, Token, Waker};

/// Stops a ping from another thread.
#[derive(Debug)]
pub struct Stop {
    requested: AtomicBool,
    waker: Waker,
}

impl Stop {
    /// One that wakes the poller of this registry with `token`.
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let waker = Waker::new(registry, token)?;
        let requested = AtomicBool::new(false);
        Ok(Self { requested, waker })
    }

    /// Ends the ping at once. Returns whether this was the first request.
    pub fn request(&self) -> bool {
        let first = !self.requested.swap(true, Ordering::SeqCst);
        // If it fails, the ping sees the flag when it next wakes up.
        let _ = self.waker.wake();
        first
    }

    pub(super) fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }
}
