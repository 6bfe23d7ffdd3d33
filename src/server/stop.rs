//! The order to stop, from any thread to the main one.

use crate::worker::sync::{Arc, AtomicBool, OnceLock, Ordering};
use crate::worker::waker::Bell;

/// Stops a server from another thread. Clones stop the same one.
#[derive(Clone, Default)]
pub struct Stop(Arc<State>);

#[derive(Default)]
struct State {
    requested: AtomicBool,
    bell: OnceLock<Arc<Bell>>,
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
        if let Some(bell) = self.0.bell.get() {
            bell.ring();
        }
        first
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst)
    }

    /// From now on a request rings; one that came before is seen in the flag.
    pub(crate) fn attach(&self, bell: &Arc<Bell>) {
        let _ = self.0.bell.set(Arc::clone(bell));
    }
}
