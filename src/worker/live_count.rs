//! The count of one worker's live connections, kept also while a worker is replaced.

use super::sync::{Arc, AtomicUsize, Ordering};
use super::waker::MainWaker;

/// How many connections are live. A connection that ends may wake the main thread,
/// which waits for room.
pub(crate) struct LiveCount {
    count: AtomicUsize,
    main_waker: Arc<MainWaker>,
}

impl LiveCount {
    pub(crate) const fn new(main_waker: Arc<MainWaker>) -> Self {
        Self {
            count: AtomicUsize::new(0),
            main_waker,
        }
    }

    pub(crate) fn get(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub(crate) fn add(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn remove(&self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
        self.main_waker.notify_room();
    }
}
