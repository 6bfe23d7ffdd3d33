//! A connection that is begun without waiting for it, as one of many.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// A connection that was begun.
pub(super) struct Newcomer {
    socket: Socket,
    pub(super) begun: Instant,
    pub(super) made: Option<Instant>,
    pub(super) served: Option<Instant>,
    pub(super) is_over: bool,
}

impl Newcomer {
    pub(super) fn begin(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        let begun = Instant::now();
        match socket.connect(&address.into()) {
            // This machine's shortage. Any other error is that it is under way, or the path's.
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => Err(error),
            _ => Ok(Self {
                socket,
                begun,
                made: None,
                served: None,
                is_over: false,
            }),
        }
    }

    /// Sees whether it is made, and once it is sends a few bytes and sees whether any came.
    pub(super) fn look(&mut self) {
        if self.is_over || self.served.is_some() {
            return;
        }
        if self.made.is_none() {
            self.is_over = !matches!(self.socket.take_error(), Ok(None));
            if self.is_over || self.socket.peer_addr().is_err() {
                return;
            }
            self.made = Some(Instant::now());
            // A few bytes fit.
            let _ = self.socket.write(b"hello\n");
        }
        match self.socket.read(&mut [0; 16]) {
            Ok(1..) => self.served = Some(Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => self.is_over = true,
        }
    }

    /// How long it waited for the first byte once it was made.
    pub(super) fn wait(&self) -> Option<Duration> {
        Some(self.served?.duration_since(self.made?))
    }

    /// Whether no more is to be expected of it: it is given up that is not made so soon, or not
    /// served so soon once it is.
    pub(super) fn is_done(&self, to_make: Duration, to_serve: Duration) -> bool {
        let is_late = match self.made {
            Some(made) => made.elapsed() > to_serve,
            None => self.begun.elapsed() > to_make,
        };
        self.is_over || self.served.is_some() || is_late
    }
}
