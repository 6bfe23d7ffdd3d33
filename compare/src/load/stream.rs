//! A connection that streams and counts its bytes without looking at them.
//!
//! What comes back is discarded in the kernel (`MSG_TRUNC`), so the load costs less
//! CPU time a byte than a server that moves it. That the bytes are right is checked
//! beforehand, by the engine, in a run of its own.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::socket::begin_to_connect;

/// Bytes of one write.
const WRITE: usize = 64 * 1024;

/// The block that a step needs: as long as its read. It is longer than the writes of a step:
/// a load that read no more than it wrote would keep for ever what once waited in its receive
/// buffer, and read bytes that have left the caches.
pub const BLOCK: usize = 4 * STEP_WRITES * WRITE;

/// Writes of a step: together more than a server should move for one client before it turns
/// to the others.
const STEP_WRITES: usize = 4;

/// A connection that sends and receives as fast as it can.
#[derive(Debug)]
pub struct Stream {
    socket: OwnedFd,
    /// Bytes that the kernel has taken.
    sent: u64,
    /// Bytes that came back.
    echoed: u64,
    /// How many of them were reported by [`Stream::take_bytes`].
    reported: u64,
}

impl Stream {
    /// Begins to connect.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn connect(server: SocketAddrV4) -> io::Result<Self> {
        Ok(Self {
            socket: begin_to_connect(server)?,
            sent: 0,
            echoed: 0,
            reported: 0,
        })
    }

    /// Sends for a step, where `sends` says so, and discards up to four times as much, as far
    /// as it goes. Returns whether anything moved; if not, both directions have to wait.
    ///
    /// # Errors
    /// The connection failed, or more came back than was sent.
    pub fn step(&mut self, block: &mut [u8], sends: bool) -> io::Result<bool> {
        let before = self.sent;
        for _ in 0..if sends { STEP_WRITES } else { 0 } {
            match send(&self.socket, &block[..WRITE], SendFlags::NOSIGNAL) {
                Ok(length) => self.sent += length as u64,
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let received = match recv(&self.socket, block, RecvFlags::TRUNC) {
            Ok((_, 0)) => return Err(io::Error::other("the server closed a connection")),
            Ok((_, length)) => length,
            Err(Errno::AGAIN) => 0,
            Err(error) => return Err(error.into()),
        };
        self.echoed += received as u64;
        if self.echoed > self.sent {
            return Err(io::Error::other("more came back than was sent"));
        }
        Ok(received > 0 || self.sent > before)
    }

    /// The bytes that have not come back yet.
    #[must_use]
    pub const fn in_flight(&self) -> u64 {
        self.sent - self.echoed
    }

    /// All bytes that ever came back.
    #[must_use]
    pub const fn echoed(&self) -> u64 {
        self.echoed
    }

    /// The bytes that came back since the last call.
    pub const fn take_bytes(&mut self) -> u64 {
        let bytes = self.echoed - self.reported;
        self.reported = self.echoed;
        bytes
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    use super::*;

    #[test]
    fn what_comes_back_is_counted_without_being_copied() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!("it was bound to an address of IPv4");
        };
        let mut stream = Stream::connect(address).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let mut block = vec![7; BLOCK];
        while !stream.step(&mut block, true).unwrap() {}
        peer.read_exact(&mut [0; 10]).unwrap();
        peer.write_all(&[1; 10]).unwrap();
        while stream.echoed() < 10 {
            stream.step(&mut block, false).unwrap();
        }
        assert_eq!((stream.take_bytes(), stream.take_bytes()), (10, 0));
        assert!(stream.in_flight() > 0);
        assert!(block.iter().all(|byte| *byte == 7), "it was copied");
    }
}
