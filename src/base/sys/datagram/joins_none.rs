//! Which answers go out several in one message: none.

#[cfg(unix)]
use std::os::fd::AsFd as Handle;
#[cfg(windows)]
use std::os::windows::io::AsSocket as Handle;

/// Nothing is to be known of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Joins;

impl Joins {
    /// Each datagram is a message.
    pub(crate) const NONE: Self = Self;

    /// The same, here.
    pub(crate) fn on(_: &impl Handle) -> Self {
        Self
    }
}
