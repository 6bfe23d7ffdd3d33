//! The main thread's waker, which the workers and the order to stop share.

use super::sync::{AtomicBool, Ordering, Waker};

/// Wakes the main thread: something happened that it must look at.
pub(crate) struct MainWaker {
    waker: Waker,
    wants_room: AtomicBool,
}

impl MainWaker {
    pub(crate) const fn new(waker: Waker) -> Self {
        Self {
            waker,
            wants_room: AtomicBool::new(false),
        }
    }

    pub(crate) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!(
                "could not wake the main thread: {}",
                crate::base::error::cause(&error)
            );
        }
    }

    /// Whether there is no room, as `full` tells. If so the main thread is woken once
    /// [some was made](Self::notify_room).
    pub(crate) fn is_full(&self, full: impl Fn() -> bool) -> bool {
        full() && {
            self.wants_room.store(true, Ordering::SeqCst);
            // Room may have been made just before, when nothing waited for it.
            full()
        }
    }

    /// A connection ended or a channel was emptied.
    pub(crate) fn notify_room(&self) {
        if self.wants_room.load(Ordering::SeqCst) && self.wants_room.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }
}
