//! Datagrams that go through the kernel several as one: udp(7), `UDP_SEGMENT` and `UDP_GRO`.
#![allow(unsafe_code)]

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Has each message of a socket go out as datagrams of so many bytes, the last with what is left.
pub fn send_segmented(socket: &UdpSocket, bytes: i32) {
    // SAFETY: the call reads one int, whose size it is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const bytes).cast(),
            size_of_val(&bytes) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Whether a socket receives several datagrams as one.
pub fn receives_joined(socket: &UdpSocket) -> bool {
    let mut value: libc::c_int = -1;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the call writes one int, whose size it is given.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    value != 0
}
