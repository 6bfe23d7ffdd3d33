//! The places that clients have on one worker, whoever sits there.

use crate::worker::sync::{Arc, AtomicUsize, Ordering};
use crate::worker::waker::Bell;

/// How many places are taken; the bell tells of those that are given back.
pub(crate) struct Places {
    taken: AtomicUsize,
    bell: Arc<Bell>,
}

impl Places {
    pub(crate) const fn new(bell: Arc<Bell>) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            bell,
        }
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    pub(crate) fn take(&self) {
        self.taken.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::SeqCst);
        self.bell.room_made();
    }
}
