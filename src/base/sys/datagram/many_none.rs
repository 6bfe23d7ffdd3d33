//! The same, one datagram a call.

use std::io::{self, IoSlice};

#[cfg(unix)]
use std::os::fd::AsFd as Handle;
#[cfg(windows)]
use std::os::windows::io::AsSocket as Handle;

use socket2::SockRef;

/// Sends the first of these datagrams from a connected socket. Returns 1.
///
/// # Errors
/// The system's.
pub(crate) fn send_many(socket: &impl Handle, datagrams: &[IoSlice<'_>]) -> io::Result<usize> {
    let Some(first) = datagrams.first() else {
        return Ok(0);
    };
    SockRef::from(socket).send(first)?;
    Ok(1)
}
