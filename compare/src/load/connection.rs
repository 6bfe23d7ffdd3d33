//! One connection that sends its own stream of bytes and compares the echo.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use echopool::probe::pattern::Pattern;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::socket::begin_to_connect;

/// The bytes of all connections.
const PATTERN: Pattern = Pattern::new(0);

/// A connection and how far it has come.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    number: u64,
    sent: u64,
    echoed: u64,
}

impl Connection {
    /// Begins to connect; `number` is different for all connections.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn connect(server: SocketAddrV4, number: u64) -> io::Result<Self> {
        Ok(Self {
            socket: begin_to_connect(server)?,
            number,
            sent: 0,
            echoed: 0,
        })
    }

    /// Sends up to the offset `end`, in parts that fit `block`. Returns whether
    /// that is reached.
    ///
    /// # Errors
    /// The connection has failed.
    pub fn send(&mut self, end: u64, block: &mut [u8]) -> io::Result<bool> {
        while self.sent < end {
            let left = usize::try_from(end - self.sent).unwrap_or(usize::MAX);
            let length = left.min(block.len());
            let bytes = &mut block[..length];
            PATTERN.fill(self.number, self.sent, bytes);
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
    pub fn receive(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let length = match recv(&self.socket, &mut *block, RecvFlags::empty()) {
            Ok((0, _)) => return Err(io::Error::other("the server closed a connection")),
            Ok((length, _)) => length,
            Err(Errno::AGAIN) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let bytes = &block[..length];
        if let Some(place) = PATTERN.first_difference(self.number, self.echoed, bytes) {
            let offset = self.echoed + place as u64;
            return Err(io::Error::other(format!("wrong byte at offset {offset}")));
        }
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

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
