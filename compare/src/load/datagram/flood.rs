//! Datagrams that are sent whether or not any come back, and are only counted.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::socket::connected_to;

/// How many are sent in a turn, before those beside the flood have theirs: about 40 us.
const BURST: usize = 16;

/// Flows that send without waiting.
pub struct Flood {
    sockets: Vec<OwnedFd>,
    datagram: Vec<u8>,
    next: usize,
    echoed: u64,
}

impl Flood {
    /// So many flows of datagrams of `size` bytes.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn open(server: SocketAddrV4, flows: usize, size: usize) -> io::Result<Self> {
        let sockets = (0..flows).map(|_| connected_to(server));
        Ok(Self {
            sockets: sockets.collect::<io::Result<_>>()?,
            datagram: vec![0; size],
            next: 0,
            echoed: 0,
        })
    }

    /// Sends a burst on the next flow, and discards what came back to it. Returns whether
    /// anything moved.
    ///
    /// # Errors
    /// The system's.
    pub fn turn(&mut self) -> io::Result<bool> {
        let mut has_moved = false;
        let socket = &self.sockets[self.next];
        self.next = (self.next + 1) % self.sockets.len();
        for _ in 0..BURST {
            match send(socket, &self.datagram, SendFlags::NOSIGNAL) {
                Ok(_) => has_moved = true,
                Err(Errno::AGAIN | Errno::NOBUFS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for _ in 0..2 * BURST {
            match recv(socket, &mut [0; 1], RecvFlags::TRUNC) {
                Ok(_) => (self.echoed, has_moved) = (self.echoed + 1, true),
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(has_moved)
    }

    /// How many came back since the last call.
    pub fn take_echoed(&mut self) -> u64 {
        std::mem::take(&mut self.echoed)
    }
}
