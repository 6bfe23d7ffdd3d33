//! One datagram at a time, where nothing but its sender is asked of the system.

use std::io;
use std::mem::MaybeUninit;

use socket2::{MaybeUninitSlice, SockRef};

use super::received::{NetworkError, Received};
#[cfg(unix)]
use std::os::fd::AsFd as Handle;
#[cfg(windows)]
use std::os::windows::io::AsSocket as Handle;

/// Receives the next datagram into `buffer`, without anything that can be requested.
///
/// # Errors
/// `WouldBlock` where none has come to a non-blocking socket.
pub(crate) fn receive(socket: &impl Handle, buffer: &mut [u8]) -> io::Result<Received> {
    // SAFETY: a byte that is initialised is also one that may not be, and socket2 writes
    // only initialised ones.
    let uninit = unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) };
    let mut slices = [MaybeUninitSlice::new(uninit)];
    let (bytes, flags, source) = SockRef::from(socket).recv_from_vectored(&mut slices)?;
    let nameless = || io::Error::other("a datagram has no sender's address");
    let source = source.as_socket().ok_or_else(nameless)?;
    Ok(Received::plain(
        bytes.min(buffer.len()),
        flags.is_truncated(),
        source,
    ))
}

/// Not available.
///
/// # Errors
/// `WouldBlock`, always.
pub(crate) fn receive_error(_: &impl Handle, _: &mut [u8]) -> io::Result<NetworkError> {
    Err(io::ErrorKind::WouldBlock.into())
}
