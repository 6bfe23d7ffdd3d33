//! One connection of a ping, and the messages in flight on it.
//!
//! The messages follow one another in the connection's stream of the [`Pattern`], so an
//! echo is matched to its message by its position in the stream: the echo of a lost
//! message is never taken for that of the next one.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use crate::base::kernel::KernelView;
use crate::probe::pattern::{Damage, Pattern, WINDOW};
use crate::probe::service::looks_like;

/// How much of a message is generated and sent at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// A connection with messages in flight that receives nothing for this many time-outs is
/// given up. A peer that lost its power or its route sends no sign of that, and TCP alone
/// retransmits for a quarter of an hour.
pub(super) const SILENT_TIMEOUTS: u32 = 3;

/// This many bytes from the first wrong one on are enough to explain it, whatever follows.
const SAMPLE: usize = 64;

/// A message in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) seq: u64,
    sent_at: Instant,
    /// It was reported lost. If its echo still arrives, it is late.
    pub(super) lost: bool,
    /// It was reported corrupted. The rest of its echo is not looked at.
    corrupted: bool,
}

impl InFlight {
    const fn is_awaited(&self) -> bool {
        !self.lost && !self.corrupted
    }
}

/// What was received.
#[derive(Debug)]
pub(super) enum Received {
    /// The whole echo of the oldest message in flight, unchanged.
    Echo { message: InFlight, time: Duration },
    /// Bytes that differ from the oldest message in flight; its echo may not be complete.
    Corrupted { seq: u64, fault: Fault },
    /// Bytes while no message was in flight.
    Unsolicited {
        bytes: usize,
        damage: Damage,
        service: Option<&'static str>,
    },
}

/// The first difference between an echo and its message.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) expected: u8,
    pub(super) received: u8,
    pub(super) damage: Damage,
    /// Which service the bytes look like.
    pub(super) service: Option<&'static str>,
}

/// A connection, with the messages in flight on it.
pub(super) struct Connection {
    pub(super) address: SocketAddr,
    stream: TcpStream,
    pattern: Pattern,
    /// Its number within the ping, which selects its byte stream.
    number: u64,
    /// Messages whose echo is not complete, the oldest first.
    in_flight: VecDeque<InFlight>,
    /// Bytes of all messages so far: the stream is to be sent up to here.
    due: u64,
    /// Bytes that the socket accepted.
    sent: u64,
    /// The buffer for the bytes that are sent next.
    chunk: Vec<u8>,
    /// Bytes of the messages whose echo is complete.
    echoed: u64,
    /// The oldest message's echo, of which `echo_length` bytes have arrived.
    echo: Vec<u8>,
    echo_length: usize,
    /// How many of them equal the message, from the first on.
    equal: usize,
    /// Since when messages are in flight and nothing has arrived.
    silent_since: Instant,
}

impl Connection {
    /// A connection for messages of `size` bytes.
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
            in_flight: VecDeque::new(),
            due: 0,
            sent: 0,
            chunk: vec![0; size.min(CHUNK)],
            echoed: 0,
            echo: vec![0; size],
            echo_length: 0,
            equal: 0,
            silent_since: Instant::now(),
        }
    }

    /// What this machine's TCP knows of it, where the system reports that.
    pub(super) fn view(&self) -> Option<KernelView> {
        KernelView::read(&self.stream)
    }

    /// Sends a message as far as the socket accepts it; [`Self::flush`] sends the rest.
    pub(super) fn send(&mut self, seq: u64) -> io::Result<()> {
        self.due += self.echo.len() as u64;
        let sent_at = Instant::now();
        if self.in_flight.is_empty() {
            self.silent_since = sent_at;
        }
        self.in_flight.push_back(InFlight {
            seq,
            sent_at,
            lost: false,
            corrupted: false,
        });
        self.flush()
    }

    /// Sends what is due until the socket would block.
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

    /// Receives until there is something to report; `None` when the socket would block.
    ///
    /// # Errors
    /// The connection failed, or the peer closed it.
    pub(super) fn receive(&mut self) -> io::Result<Option<Received>> {
        loop {
            match self.stream.read(&mut self.echo[self.echo_length..]) {
                Ok(0) => return Err(io::Error::other("the server closed it")),
                Ok(n) => {
                    let now = Instant::now();
                    self.echo_length += n;
                    self.silent_since = now;
                    if let Some(received) = self.received(now) {
                        return Ok(Some(received));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// More bytes have arrived.
    fn received(&mut self, now: Instant) -> Option<Received> {
        let Some(oldest) = self.in_flight.front().copied() else {
            return Some(self.unsolicited());
        };
        let is_complete = self.echo_length == self.echo.len();
        let fault = match oldest.corrupted {
            true => None,
            false => self.fault(is_complete),
        };
        if fault.is_some() {
            self.mark_corrupted();
        }
        if is_complete {
            self.in_flight.pop_front();
            self.echoed += self.echo.len() as u64;
            (self.echo_length, self.equal) = (0, 0);
        }
        let InFlight { seq, sent_at, .. } = oldest;
        match fault {
            Some(fault) => Some(Received::Corrupted { seq, fault }),
            None if oldest.corrupted || !is_complete => None,
            None => Some(Received::Echo {
                message: oldest,
                time: now.saturating_duration_since(sent_at),
            }),
        }
    }

    fn mark_corrupted(&mut self) {
        if let Some(oldest) = self.in_flight.front_mut() {
            oldest.corrupted = true;
        }
    }

    /// Explains wrong bytes that waited for more, as no more are awaited.
    pub(super) fn resolve(&mut self) -> Option<Received> {
        let oldest = self.in_flight.front().copied();
        let InFlight { seq, .. } = oldest.filter(|message| !message.corrupted)?;
        let fault = self.fault(true)?;
        self.mark_corrupted();
        Some(Received::Corrupted { seq, fault })
    }

    /// As [`resolve`](Self::resolve), where the message is overdue.
    pub(super) fn resolve_overdue(&mut self, now: Instant, timeout: Duration) -> Option<Received> {
        let oldest = self.in_flight.front()?;
        match now.saturating_duration_since(oldest.sent_at) >= timeout {
            true => self.resolve(),
            false => None,
        }
    }

    /// The first wrong byte of what has arrived, once it can be explained; with `no_more`, no
    /// further bytes are awaited.
    fn fault(&mut self, no_more: bool) -> Option<Fault> {
        let received = &self.echo[..self.echo_length];
        let new = &received[self.equal..];
        let start = self.echoed + self.equal as u64;
        let Some(right) = self.pattern.first_difference(self.number, start, new) else {
            self.equal = self.echo_length;
            return None;
        };
        self.equal += right;
        let offset = self.equal;
        // Near the end, bytes before the difference complete the window that is needed to
        // identify where the echo belongs.
        let from = offset.min(self.echo.len().saturating_sub(WINDOW));
        let sample = &received[from..received.len().min(from + SAMPLE)];
        let damage = self
            .pattern
            .explain(self.number, self.echoed + from as u64, sample);
        let service = match damage {
            Damage::Unknown => looks_like(b"", received),
            _ => None,
        };
        let is_clear = match damage {
            Damage::Unknown => service.is_some() || sample.len() == SAMPLE,
            // A few bytes may be right by chance.
            _ => sample.len() >= WINDOW,
        };
        let mut expected = [0];
        let position = self.echoed + offset as u64;
        self.pattern.fill(self.number, position, &mut expected);
        (is_clear || no_more).then_some(Fault {
            offset,
            expected: expected[0],
            received: received[offset],
            damage,
            service,
        })
    }

    fn unsolicited(&mut self) -> Received {
        let bytes = std::mem::take(&mut self.echo_length);
        let unexpected = &self.echo[..bytes];
        let damage = self.pattern.explain(self.number, self.echoed, unexpected);
        Received::Unsolicited {
            bytes,
            damage,
            service: match damage {
                Damage::Unknown => looks_like(b"", unexpected),
                _ => None,
            },
        }
    }

    /// The messages in flight that are not reported lost or corrupted.
    pub(super) fn awaited(&self) -> impl Iterator<Item = &InFlight> {
        self.in_flight.iter().filter(|message| message.is_awaited())
    }

    /// Marks the messages that were sent `timeout` ago or earlier as lost. Returns their
    /// numbers.
    pub(super) fn expire(&mut self, now: Instant, timeout: Duration) -> Vec<u64> {
        let overdue = self.in_flight.iter_mut().filter(|message| {
            message.is_awaited() && now.saturating_duration_since(message.sent_at) >= timeout
        });
        let lost = overdue.map(|message| {
            message.lost = true;
            message.seq
        });
        lost.collect()
    }

    /// When the next message is lost, or else the connection is given up.
    pub(super) fn deadline(&self, timeout: Duration) -> Option<Instant> {
        let message = self.awaited().next();
        let message = message.map(|message| message.sent_at + timeout);
        let connection = self.silent_since + timeout * SILENT_TIMEOUTS;
        let connection = (!self.in_flight.is_empty()).then_some(connection);
        message.into_iter().chain(connection).min()
    }

    /// Whether nothing has arrived for so long that the connection is given up.
    pub(super) fn is_silent(&self, now: Instant, timeout: Duration) -> bool {
        !self.in_flight.is_empty() && now >= self.silent_since + timeout * SILENT_TIMEOUTS
    }
}
