//! Datagrams of sockets that are closed: their echoes may come when nobody waits any more, to a
//! later socket on the same port.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Fewer bytes are not unlike those of any other datagram.
const LEAST: usize = 8;

/// Datagrams without an answer, and when each was sent first.
#[derive(Clone, Debug, Default)]
pub(super) struct Past(Arc<Mutex<HashMap<Vec<u8>, Instant>>>);

impl Past {
    pub(super) fn remember(&self, bytes: Vec<u8>, first_at: Instant) {
        if bytes.len() >= LEAST {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(bytes, first_at);
        }
    }

    /// How old the datagram is that this is the echo of; each is told once.
    pub(super) fn age(&self, bytes: &[u8]) -> Option<Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(bytes).map(|at| at.elapsed())
    }
}
