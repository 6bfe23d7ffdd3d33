//! The bell that the workers ring for the main thread.

use crate::worker::sync::{AtomicBool, Ordering, Waker};

/// Rings for the main thread: something happened that it must look at.
pub(crate) struct Bell {
    waker: Waker,
    wants_room: AtomicBool,
}

impl Bell {
    pub(crate) const fn new(waker: Waker) -> Self {
        Self {
            waker,
            wants_room: AtomicBool::new(false),
        }
    }

    pub(crate) fn ring(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!(
                "could not wake the main thread: {}",
                crate::base::error::cause(&error)
            );
        }
    }

    /// Whether there is no room, as `full` tells. If so the bell rings once
    /// [some was made](Self::room_made).
    pub(crate) fn is_full(&self, full: impl Fn() -> bool) -> bool {
        full() && {
            self.wants_room.store(true, Ordering::SeqCst);
            // It may have been made just before, when nobody wanted it.
            full()
        }
    }

    /// A connection ended or a channel was emptied.
    pub(crate) fn room_made(&self) {
        if self.wants_room.load(Ordering::SeqCst) && self.wants_room.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }
}
