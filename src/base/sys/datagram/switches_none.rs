//! What the kernel is asked to say of a socket's datagrams, where it is asked for nothing.

use std::io;

#[cfg(unix)]
use std::os::fd::AsFd as Handle;
#[cfg(windows)]
use std::os::windows::io::AsSocket as Handle;

use super::received::Wanted;

/// Nothing is asked for: every part of [`Received`](super::Received) that could be stays `None`.
///
/// # Errors
/// None.
pub(crate) fn request(_: &impl Handle, _: Wanted) -> io::Result<()> {
    Ok(())
}

/// Not available.
///
/// # Errors
/// [`Unsupported`](io::ErrorKind::Unsupported), always.
pub(crate) fn never_fragment(_: &impl Handle) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Unknown.
pub(crate) fn path_mtu(_: &impl Handle) -> Option<u32> {
    None
}

/// Unknown.
pub(crate) fn dropped(_: &impl Handle) -> Option<u32> {
    None
}

/// Not available.
///
/// # Errors
/// Always.
pub(crate) fn receive_joined(_: &impl Handle, _: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not available.
///
/// # Errors
/// Always.
pub(crate) fn receive_nothing(_: &impl Handle) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
