//! The sockets of datagrams, as all loads of this program have them.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use nix::sys::socket::{setsockopt, sockopt as trains};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::rival::QUEUE;

/// A socket that sends to `server` alone and hears nobody else, and never waits.
///
/// # Errors
/// Those of the system calls.
pub fn connected_to(server: SocketAddrV4) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_recv_buffer_size(&socket, QUEUE)?;
    connect(&socket, &server)?;
    Ok(socket)
}

/// Has the kernel cut what is sent into datagrams of so many bytes, and join those that come.
///
/// # Errors
/// The kernel can't.
pub fn join_trains(socket: &OwnedFd, size: usize) -> io::Result<()> {
    let size = i32::try_from(size).map_err(io::Error::other)?;
    setsockopt(socket, trains::UdpGsoSegment, &size)?;
    setsockopt(socket, trains::UdpGroSegment, &true)?;
    Ok(())
}
