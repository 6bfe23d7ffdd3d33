//! A counter with a single writer.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread at a time adds to while others read it: a load and
/// a store, which cost less than an atomic addition.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.get() + more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
