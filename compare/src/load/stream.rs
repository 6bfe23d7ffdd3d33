//! A connection that streams beside others.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd};

use super::connection::Connection;

/// Bytes of one write.
const WRITE: usize = 64 * 1024;

/// The block that a step needs: as long as its read.
pub const BLOCK: usize = 256 * 1024;

/// Writes of a step: together as long as a read, and more than a server should
/// move for one connection before it turns to the others.
const STEP_WRITES: usize = BLOCK / WRITE;

/// A connection that sends and receives as fast as it can.
#[derive(Debug)]
pub struct Stream {
    connection: Connection,
    /// The offset at which the present write ends.
    end: u64,
    /// Bytes that came back.
    bytes: u64,
}

impl Stream {
    /// Begins to connect.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn connect(server: SocketAddrV4, number: u64) -> io::Result<Self> {
        Ok(Self {
            connection: Connection::connect(server, number)?,
            end: WRITE as u64,
            bytes: 0,
        })
    }

    /// Sends for a step and reads as much, as far as it goes. Returns whether
    /// anything moved.
    ///
    /// # Errors
    /// The connection failed, or a byte was wrong.
    pub fn step(&mut self, block: &mut [u8]) -> io::Result<bool> {
        let before = self.connection.sent();
        for _ in 0..STEP_WRITES {
            if !self.connection.send(self.end, &mut block[..WRITE])? {
                break;
            }
            self.end += WRITE as u64;
        }
        let received = self.connection.receive(block)?;
        self.bytes += received as u64;
        Ok(received > 0 || self.connection.sent() > before)
    }

    /// The bytes that came back since the last call.
    pub const fn take_bytes(&mut self) -> u64 {
        std::mem::replace(&mut self.bytes, 0)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
