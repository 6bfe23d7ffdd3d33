//! Many datagrams a system call from one socket to its peer: sendmmsg(2).

use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

/// Sends these datagrams in this order from a connected socket, and never waits. Returns how
/// many the system took: the error of the next one, if there is any, is that of the next call.
///
/// # Errors
/// That of the first one.
pub(crate) fn send_many(socket: &impl AsFd, datagrams: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut controls = Vec::new();
    controls.resize_with(datagrams.len(), SendAncillaryBuffer::default);
    let pairs = datagrams.iter().zip(&mut controls);
    let headers = pairs.map(|(bytes, control)| MMsgHdr::new(std::slice::from_ref(bytes), control));
    let mut headers: Vec<_> = headers.collect();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match sendmmsg(socket, &mut headers, flags) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}
