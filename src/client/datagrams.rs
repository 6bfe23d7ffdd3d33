//! The client over UDP: each datagram is sent once its predecessor's echo is back.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::base::error as base;
use crate::base::not_sent::not_sent;
use crate::base::sys;
use crate::base::units;
use crate::probe::datagram::choose::choose;
use crate::probe::datagram::conventions::{HELLO, wait_for_copies};
use crate::probe::datagram::payload::{Change, MOST_BYTES};
use crate::probe::datagram::socket::{Datagram, Incoming, Options, ProbeSocket};
use crate::probe::error::Error;
use crate::probe::exchange::first_difference;

/// More than any datagram has, in bytes.
const BLOCK: usize = 64 * 1024;

/// A copy of the last echo is waited for at the most.
const COPY_MOST: Duration = Duration::from_secs(1);

/// So many datagrams are recognised when their echo comes again, 24 bytes each.
const RECOGNISED: usize = 4096;

/// A datagram that is too long for the path is sent again for so many links, each narrower
/// than the one before.
const LINKS: usize = 8;

/// The least time between two datagrams: `echopool serve` answers a source 2,000 a second, and
/// what is beyond is lost. A path of more than this a round trip is not slowed down.
const LEAST_INTERVAL: Duration = Duration::from_millis(1);

/// How standard input is cut into datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A line each, without its newline.
    Lines,
    /// So many bytes each; the last one has what is left.
    Bytes(usize),
}

/// A datagram whose echo is back, to recognise it when it comes again: a tunnel that repeats
/// what it takes for lost sends it long after the next ones.
struct Echoed {
    number: u64,
    length: usize,
    hash: u64,
}

/// A server that is asked with datagrams, and what was sent before.
pub(super) struct Datagrams {
    socket: ProbeSocket,
    poll: Poll,
    timeout: Duration,
    /// Datagrams sent so far.
    number: u64,
    /// When the next one may be sent.
    next_at: Instant,
    /// The latest of those that were sent before, the last at the back.
    before: VecDeque<Echoed>,
    hasher: RandomState,
    received: Vec<u8>,
    longest: Duration,
}

impl Datagrams {
    /// Asks the first of the addresses that answers.
    pub(super) fn new(addresses: &[SocketAddr], timeout: Duration) -> Result<Self, Error> {
        let local = |source| Error::Receive {
            address: addresses[0].to_string(),
            source,
        };
        let address = choose(addresses, HELLO, timeout).map_err(local)?;
        let address = address.map_err(Error::Unanswered)?;
        let failed = |error| Error::Unanswered(vec![(address, error)]);
        let mut socket = ProbeSocket::new(address, Options::default()).map_err(failed)?;
        let poll = Poll::new().map_err(local)?;
        socket.register(poll.registry(), Token(0)).map_err(local)?;
        Ok(Self {
            socket,
            poll,
            timeout,
            number: 0,
            next_at: Instant::now(),
            before: VecDeque::new(),
            hasher: RandomState::new(),
            received: vec![0; BLOCK],
            longest: Duration::ZERO,
        })
    }

    /// Sends one datagram and returns its echo, which is equal.
    ///
    /// # Errors
    /// [`Error::NotSent`] with why this machine did not send it; [`Error::Unreachable`] with
    /// the ICMP error that came; [`Error::Echo`] with how the echo differs, or that none came.
    pub(super) fn echo(&mut self, bytes: &[u8]) -> Result<&[u8], Error> {
        self.number += 1;
        std::thread::sleep(self.next_at.saturating_duration_since(Instant::now()));
        let sent_at = Instant::now();
        self.next_at = sent_at + LEAST_INTERVAL;
        self.send(bytes)?;
        let until = sent_at + self.timeout;
        let Some(datagram) = self.await_echo(bytes, until)? else {
            return Err(self.bad(format!(
                "no echo of datagram {} ({}) within {}: it or its echo was lost, and UDP repeats \
                 nothing; or nobody serves UDP there",
                self.number,
                units::count(bytes.len() as u64, "byte", "bytes"),
                humantime::format_duration(self.timeout)
            )));
        };
        if let Some(fault) = self.fault(bytes, datagram) {
            return Err(self.bad(fault));
        }
        self.longest = self.longest.max(sent_at.elapsed());
        self.remember(bytes);
        Ok(&self.received[..datagram.length])
    }

    /// What comes first until then for a datagram that was sent. One that was too long for the
    /// path is sent again: the system knows how long packets may be then, and divides it.
    fn await_echo(&mut self, bytes: &[u8], until: Instant) -> Result<Option<Datagram>, Error> {
        let mut links = 0;
        loop {
            match self.receive(until)? {
                Some(Incoming::Datagram(datagram)) => return Ok(Some(datagram)),
                Some(Incoming::Error(error)) if error.mtu.is_some() && links < LINKS => {
                    links += 1;
                    self.send(bytes)?;
                }
                Some(Incoming::Error(error)) => {
                    return Err(Error::Unreachable {
                        address: self.socket.server.to_string(),
                        icmp: error.explained(),
                    });
                }
                None => return Ok(None),
            }
        }
    }

    /// Checks that nothing else comes.
    ///
    /// # Errors
    /// [`Error::Echo`] with what came; [`Error::Receive`] where the system could not tell.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let until = Instant::now() + wait_for_copies(self.longest).min(COPY_MOST);
        let datagram = loop {
            match self.receive(until)? {
                Some(Incoming::Datagram(datagram)) => break datagram,
                // All that was sent is back, so an ICMP error is of no datagram.
                Some(Incoming::Error(_)) => {}
                None => return Ok(()),
            }
        };
        let again = self.again(datagram);
        Err(self.bad(match (datagram.stranger, again) {
            (None, Some(number)) => format!("the echo of datagram {number} came twice"),
            (from, _) => {
                let from = from.map_or_else(String::new, |from| format!(" from {from}"));
                let length = units::count(datagram.length as u64, "byte", "bytes");
                format!("a datagram of {length} came{from} that was not sent")
            }
        }))
    }

    /// Sends standard input, cut into datagrams, and writes the echo to `sink`.
    pub(super) fn pipe(
        mut self,
        source: &mut dyn BufRead,
        sink: &mut dyn Write,
        cut: Cut,
    ) -> Result<(), Error> {
        let mut block = Vec::new();
        loop {
            block.clear();
            let end = match cut {
                Cut::Lines => self.read_line(source, &mut block)?,
                Cut::Bytes(size) => {
                    let read = source.take(size as u64).read_to_end(&mut block);
                    if read.map_err(Error::Input)? == 0 {
                        break;
                    }
                    Some(&b""[..])
                }
            };
            let Some(end) = end else { break };
            let echo = self.echo(&block)?;
            let written = sink.write_all(echo).and_then(|()| sink.write_all(end));
            let written = written.and_then(|()| sink.flush());
            written.map_err(base::Error::Output)?;
        }
        match self.number {
            0 => Ok(()),
            _ => self.finish(),
        }
    }

    /// Reads a line. Returns its end, a newline or nothing; `None` at the end of the input.
    fn read_line(
        &self,
        source: &mut dyn BufRead,
        line: &mut Vec<u8>,
    ) -> Result<Option<&'static [u8]>, Error> {
        let mut source = source.take(MOST_BYTES as u64 + 2);
        let length = source.read_until(b'\n', line).map_err(Error::Input)?;
        let end: &[u8] = match line.pop_if(|last| *last == b'\n') {
            Some(_) => b"\n",
            None => b"",
        };
        if line.len() > MOST_BYTES {
            let text = format!(
                "line {} has more than {MOST_BYTES} bytes, the most of a datagram: cut the input \
                 by --size",
                self.number + 1
            );
            return Err(Error::Input(io::Error::other(text)));
        }
        Ok((length > 0).then_some(end))
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let sent = self.socket.send(bytes);
        sent.map_err(|error| Error::NotSent {
            address: self.socket.server.to_string(),
            why: not_sent(&error),
        })
    }

    /// What comes next until then.
    fn receive(&mut self, until: Instant) -> Result<Option<Incoming>, Error> {
        let mut events = Events::with_capacity(4);
        loop {
            match self.socket.receive(&mut self.received) {
                Ok(Some(incoming)) => return Ok(Some(incoming)),
                Ok(None) => {}
                Err(source) => return Err(self.failed(source)),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let waited = sys::poll(&mut self.poll, &mut events, Some(left));
            waited.map_err(|source| self.failed(source))?;
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Receive {
            address: self.socket.server.to_string(),
            source,
        }
    }

    /// How what came is not the echo of `sent`.
    fn fault(&self, sent: &[u8], datagram: Datagram) -> Option<String> {
        let received = &self.received[..datagram.length];
        let number = self.number;
        if let Some(from) = datagram.stranger {
            return Some(match received == sent {
                true => format!(
                    "the echo of datagram {number} came from {from}, another address than the \
                     one asked: clients drop that. Usually the server has several addresses and \
                     its answers take the one of the route back"
                ),
                false => format!(
                    "{} came from {from}, which was not asked",
                    units::count(received.len() as u64, "byte", "bytes")
                ),
            });
        }
        if received == sent {
            return None;
        }
        if let Some(again) = self.again(datagram) {
            return Some(format!("the echo of datagram {again} came twice"));
        }
        let difference = first_difference(sent, received, 0).unwrap_or_else(|| {
            let length = Change::Length {
                expected: sent.len(),
                received: received.len(),
            };
            length.to_string()
        });
        Some(format!("datagram {number}: {difference}"))
    }

    /// The last datagram is back.
    fn remember(&mut self, bytes: &[u8]) {
        if self.before.len() == RECOGNISED {
            self.before.pop_front();
        }
        self.before.push_back(Echoed {
            number: self.number,
            length: bytes.len(),
            hash: self.hasher.hash_one(bytes),
        });
    }

    /// The number of the datagram before that it equals, of several the latest.
    fn again(&self, datagram: Datagram) -> Option<u64> {
        let received = &self.received[..datagram.length];
        let hash = self.hasher.hash_one(received);
        let mut before = self.before.iter().rev();
        let equal = before.find(|it| it.length == received.len() && it.hash == hash);
        equal.map(|it| it.number)
    }

    fn bad(&self, fault: String) -> Error {
        Error::Echo {
            address: self.socket.server.to_string(),
            fault,
        }
    }
}
