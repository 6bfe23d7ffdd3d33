//! One datagram at a time, for a probe.
#![allow(
    clippy::unnecessary_cast,
    reason = "the types of these fields differ between C libraries"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::control::{self, Control};
use super::name::{self, Name, part};
use super::received::{NetworkError, Origin, Received, UNKNOWN};
use super::retry::retry;

/// Receives the next datagram into `buffer`.
///
/// # Errors
/// `WouldBlock` where none has come to a non-blocking socket; the error of an earlier
/// datagram where errors are requested or the socket is connected.
pub(crate) fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let (mut name, mut control) = (Name::EMPTY, Control::EMPTY);
    let got = receive_into(socket, buffer, &mut name, &mut control, 0)?;
    let truncated = got.flags & libc::MSG_TRUNC != 0;
    let source = name.address().unwrap_or(UNKNOWN);
    let mut received = Received::plain(got.bytes, truncated, source);
    control::read(&control.0[..got.control], &mut received);
    Ok(received)
}

/// Takes the next error that the network reported about a datagram of this socket's, if
/// that is requested, and as much of that datagram as it quotes. The same error is also that
/// of one call on the socket; taking it here first prevents that.
///
/// # Errors
/// `WouldBlock` where there is none.
pub(crate) fn receive_error(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<NetworkError> {
    let (mut name, mut control) = (Name::EMPTY, Control::EMPTY);
    let flags = libc::MSG_ERRQUEUE;
    let got = receive_into(socket, buffer, &mut name, &mut control, flags)?;
    let mut error = NetworkError {
        bytes: got.bytes,
        error: io::Error::other("the kernel names no cause"),
        origin: Origin::Other(0),
        info: 0,
        offender: None,
        at: None,
    };
    for (level, kind, data) in control::messages(&control.0[..got.control]) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                read_extended(data, &mut error);
            }
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS) => error.at = control::time(data),
            _ => {}
        }
    }
    Ok(error)
}

/// `sock_extended_err` of linux/errqueue.h, and the address of the offender behind it.
fn read_extended(data: &[u8], error: &mut NetworkError) {
    const SIZE: usize = size_of::<libc::sock_extended_err>();

    let (Some(number), Some([origin, kind, code, _]), Some(info)) = (
        part(data, 0).map(i32::from_ne_bytes),
        part(data, 4),
        part(data, 8).map(u32::from_ne_bytes),
    ) else {
        return;
    };
    error.error = io::Error::from_raw_os_error(number);
    error.info = info;
    error.origin = match origin {
        libc::SO_EE_ORIGIN_LOCAL => Origin::Local,
        libc::SO_EE_ORIGIN_ICMP => Origin::Icmp { kind, code },
        libc::SO_EE_ORIGIN_ICMP6 => Origin::Icmp6 { kind, code },
        other => Origin::Other(other),
    };
    error.offender = data.get(SIZE..).and_then(name::address);
}

/// How much one call of recvmsg(2) has written, and the flags that it returned.
struct Got {
    bytes: usize,
    control: usize,
    flags: libc::c_int,
}

fn receive_into(
    socket: &impl AsFd,
    buffer: &mut [u8],
    name: &mut Name,
    control: &mut Control,
    flags: libc::c_int,
) -> io::Result<Got> {
    let mut vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: a header of zeros is a valid one, with null pointers and lengths of 0.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.0.as_mut_ptr().cast();
    header.msg_namelen = name::SIZE as libc::socklen_t;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control::SIZE as _;
    let bytes = retry(|| {
        // SAFETY: each pointer of the header is to memory of the length beside it, which is
        // borrowed for the whole call; any bytes are valid there.
        unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags) }
    })?;
    Ok(Got {
        bytes: bytes.min(buffer.len()),
        control: (header.msg_controllen as usize).min(control::SIZE),
        flags: header.msg_flags,
    })
}
