//! Waiting for a poller and some sockets together, which is not done here.

use std::io;
use std::time::Duration;

/// No descriptors.
#[derive(Debug, Default)]
pub(crate) struct PollSet;

impl PollSet {
    pub(crate) const fn clear(&mut self) {}

    pub(crate) const fn add<T>(&mut self, _: &T) {}

    /// Not available.
    ///
    /// # Errors
    /// [`Unsupported`](io::ErrorKind::Unsupported), always.
    pub(crate) fn wait(&mut self, _: Option<Duration>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) const fn is_ready(&self, _: usize) -> bool {
        false
    }
}
