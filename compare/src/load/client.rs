//! One connection of the load generator.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send,
    socket_with, sockopt,
};

use crate::payload::Payload;

/// Connections from one address of 127.0.0.0/8, which is fewer than there are
/// ephemeral ports: those closed a moment ago keep theirs.
const PER_SOURCE: usize = 10_000;

/// The addresses used, from 127.0.0.1 on.
const SOURCES: usize = 200;

/// The streams of two connections begin this many bytes apart, so that an echo
/// that went to another client is seen.
const APART: u64 = 7_919;

/// A connection that sends its stream of the payload and compares the echo.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    first: u64,
    sent: u64,
    echoed: u64,
}

impl Client {
    /// Begins to connect; `number` is different for all connections of a run.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn connect(server: SocketAddrV4, number: usize) -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        let host = u8::try_from(number / PER_SOURCE % SOURCES).unwrap_or_default();
        if host > 0 {
            // Without the option a port is taken for this address alone, which is slow.
            nix::sys::socket::setsockopt(&socket, IpBindAddressNoPort, &true)?;
            let source = Ipv4Addr::new(127, 0, 0, 1 + host);
            bind(&socket, &SocketAddrV4::new(source, 0))?;
        }
        match connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            socket,
            first: number as u64 * APART,
            sent: 0,
            echoed: 0,
        })
    }

    /// Sends up to the offset `end`. Returns whether that is reached.
    ///
    /// # Errors
    /// The connection has failed.
    pub fn send(&mut self, payload: &Payload, end: u64) -> io::Result<bool> {
        while self.sent < end {
            let length = usize::try_from(end - self.sent).unwrap_or(usize::MAX);
            let bytes = payload.window(self.first + self.sent, length);
            match send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(length) => self.sent += length as u64,
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Receives once and compares. Returns the number of bytes, 0 where there
    /// are none yet.
    ///
    /// # Errors
    /// The connection has failed or ended, or a byte is wrong.
    pub fn receive(&mut self, payload: &Payload, scratch: &mut [u8]) -> io::Result<usize> {
        let length = match recv(&self.socket, &mut *scratch, RecvFlags::empty()) {
            Ok((0, _)) => return Err(io::Error::other("the server closed a connection")),
            Ok((length, _)) => length,
            Err(Errno::AGAIN) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        payload.check(self.first + self.echoed, &scratch[..length])?;
        self.echoed += length as u64;
        if self.echoed > self.sent {
            return Err(io::Error::other("more came back than was sent"));
        }
        Ok(length)
    }

    /// How many bytes the kernel has taken.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// How many bytes have come back.
    #[must_use]
    pub const fn echoed(&self) -> u64 {
        self.echoed
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
