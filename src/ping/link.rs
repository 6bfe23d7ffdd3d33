//! One connection, and the messages on their way over it.
//!
//! The messages lie one behind another in the connection's stream of the
//! [`Pattern`], so what comes back tells by its place which of them it is: the
//! echo of one that was given up is never taken for the next one's.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use crate::probe::pattern::{Damage, Pattern, WINDOW};

/// How much of a message is made and sent at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// A connection on which nothing has come for so many time-outs, while something
/// was awaited, is given up. A peer that lost its power or its route never says
/// so, and TCP alone goes on for a quarter of an hour.
pub(super) const PATIENCE: u32 = 3;

/// A message on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) seq: u64,
    sent_at: Instant,
    /// It was told as lost. Its echo may come all the same, and is late then.
    pub(super) lost: bool,
}

/// Something came.
#[derive(Debug)]
pub(super) enum Arrival {
    /// As many bytes as the oldest message has.
    Echo {
        flight: Flight,
        time: Duration,
        fault: Option<Fault>,
    },
    /// Bytes while nothing was on its way.
    Unasked { bytes: usize, damage: Damage },
}

/// How an echo differs from its message.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) damage: Damage,
}

pub(super) struct Link {
    pub(super) address: SocketAddr,
    stream: TcpStream,
    pattern: Pattern,
    /// The connection's number among those of the run.
    number: u64,
    /// On their way, the oldest first.
    flights: VecDeque<Flight>,
    /// Bytes of all messages up to now; so many are to be sent.
    due: u64,
    /// Bytes that the socket took.
    sent: u64,
    /// The bytes that go out next.
    chunk: Vec<u8>,
    /// Bytes of the messages whose echo has come.
    returned: u64,
    /// The oldest message's echo, as far as it has come.
    echo: Vec<u8>,
    came: usize,
    /// Since when something is awaited and nothing has come.
    still_since: Instant,
}

impl Link {
    /// For messages of `size` bytes.
    pub(super) fn new(
        stream: TcpStream,
        address: SocketAddr,
        (pattern, number): (Pattern, u64),
        size: usize,
    ) -> Self {
        Self {
            address,
            stream,
            pattern,
            number,
            flights: VecDeque::new(),
            due: 0,
            sent: 0,
            chunk: vec![0; size.min(CHUNK)],
            returned: 0,
            echo: vec![0; size],
            came: 0,
            still_since: Instant::now(),
        }
    }

    /// Sends a message, as far as the socket takes it; the rest follows by [`Self::flush`].
    pub(super) fn send(&mut self, seq: u64) -> io::Result<()> {
        self.due += self.echo.len() as u64;
        let sent_at = Instant::now();
        if self.flights.is_empty() {
            self.still_since = sent_at;
        }
        self.flights.push_back(Flight {
            seq,
            sent_at,
            lost: false,
        });
        self.flush()
    }

    /// Sends what is due until the socket takes no more.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.due {
            let length = (self.due - self.sent).min(self.chunk.len() as u64);
            let chunk = &mut self.chunk[..length as usize];
            self.pattern.fill(self.number, self.sent, chunk);
            match self.stream.write(chunk) {
                Ok(n) => self.sent += n as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What came next; `None` when the socket has no more for now.
    ///
    /// # Errors
    /// The connection's end, whichever way.
    pub(super) fn receive(&mut self) -> io::Result<Option<Arrival>> {
        loop {
            match self.stream.read(&mut self.echo[self.came..]) {
                Ok(0) => return Err(io::Error::other("the server closed it")),
                Ok(n) => {
                    let now = Instant::now();
                    self.came += n;
                    self.still_since = now;
                    if self.flights.is_empty() {
                        return Ok(Some(self.unasked()));
                    }
                    if self.came == self.echo.len() {
                        return Ok(self.land(now));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn land(&mut self, now: Instant) -> Option<Arrival> {
        let flight = self.flights.pop_front()?;
        let fault = self.fault();
        self.came = 0;
        self.returned += self.echo.len() as u64;
        Some(Arrival::Echo {
            flight,
            time: now.saturating_duration_since(flight.sent_at),
            fault,
        })
    }

    fn fault(&self) -> Option<Fault> {
        let (number, start) = (self.number, self.returned);
        let offset = self.pattern.first_difference(number, start, &self.echo)?;
        // So near the end that too little is left to tell from, what is before
        // it helps to.
        let from = offset.min(self.echo.len().saturating_sub(WINDOW));
        let strange = &self.echo[from..];
        let damage = self.pattern.explain(number, start + from as u64, strange);
        Some(Fault { offset, damage })
    }

    fn unasked(&mut self) -> Arrival {
        let bytes = std::mem::take(&mut self.came);
        let strange = &self.echo[..bytes];
        let damage = self.pattern.explain(self.number, self.returned, strange);
        Arrival::Unasked { bytes, damage }
    }

    /// The messages that are not given up yet.
    pub(super) fn awaited(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter().filter(|flight| !flight.lost)
    }

    /// Gives up the messages that were sent `timeout` ago or earlier. Returns their numbers.
    pub(super) fn give_up(&mut self, now: Instant, timeout: Duration) -> Vec<u64> {
        let overdue = self.flights.iter_mut().filter(|flight| {
            !flight.lost && now.saturating_duration_since(flight.sent_at) >= timeout
        });
        let lost = overdue.map(|flight| {
            flight.lost = true;
            flight.seq
        });
        lost.collect()
    }

    /// When the next message is to be given up, or else the connection.
    pub(super) fn deadline(&self, timeout: Duration) -> Option<Instant> {
        let message = self.awaited().next();
        let message = message.map(|flight| flight.sent_at + timeout);
        let connection = self.still_since + timeout * PATIENCE;
        let connection = (!self.flights.is_empty()).then_some(connection);
        message.into_iter().chain(connection).min()
    }

    /// Whether it is to be given up itself.
    pub(super) fn is_dead(&self, now: Instant, timeout: Duration) -> bool {
        !self.flights.is_empty() && now >= self.still_since + timeout * PATIENCE
    }
}
