//! The order to stop, from any thread to the main one.

use crate::worker::sync::{Arc, AtomicBool, OnceLock, Ordering};
use crate::worker::waker::MainWaker;

/// Stops a server from another thread. Clones stop the same one.
#[derive(Clone, Default)]
pub struct Stop(Arc<State>);

#[derive(Default)]
struct State {
    requested: AtomicBool,
    main_waker: OnceLock<Arc<MainWaker>>,
}

impl Stop {
    /// A handle for one server.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the server to stop, or not to start if it has not yet. Returns
    /// whether this was the first request.
    pub fn request(&self) -> bool {
        let first = !self.0.requested.swap(true, Ordering::SeqCst);
        if let Some(main_waker) = self.0.main_waker.get() {
            main_waker.wake();
        }
        first
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst)
    }

    /// From now on a request wakes the main thread; one that came before is seen in the flag.
    pub(crate) fn attach(&self, main_waker: &Arc<MainWaker>) {
        let _ = self.0.main_waker.set(Arc::clone(main_waker));
    }
}
