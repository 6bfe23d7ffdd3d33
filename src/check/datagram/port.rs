//! A socket of the check: sends datagrams, and keeps what became of each.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::content::{Reading, read};
use super::trouble::Refused;
use crate::base::sys;
use crate::base::sys::datagram::Origin;
use crate::check::icmp;
use crate::probe::datagram::payload::Change;
use crate::probe::datagram::refusal::not_sent;
use crate::probe::datagram::socket::{Datagram, Incoming, Options, PathError, ProbeSocket};

/// More than any datagram has, in bytes.
const BLOCK: usize = 66_000;

/// The receive buffer that is asked for, in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;

/// What came that was not sent: so many are kept, and so many bytes of each.
const STRANGE: usize = 16;
const STRANGE_BYTES: usize = 64;

/// What came is compared with so many of the last datagrams, where it is none as it was sent.
const COMPARED: usize = 64;

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// From the last time that it was sent.
    pub(super) round_trip: Duration,
    pub(super) change: Option<Change>,
    /// The begin of what came, if that is not what was sent.
    pub(super) came: Vec<u8>,
    /// Another address than the one asked, which it came from.
    pub(super) from: Option<SocketAddr>,
    /// DSCP and ECN.
    pub(super) tos: Option<u8>,
}

/// A datagram, and what became of it.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) bytes: Vec<u8>,
    at: Instant,
    /// How often it was sent.
    pub(super) times: usize,
    pub(super) answers: Vec<Answer>,
    pub(super) refused: Option<Refused>,
    /// Too long for the path, which takes packets of so many bytes: ICMP, or this system's own
    /// interface, said so.
    pub(super) too_long: Option<u32>,
    /// Why the system did not take it.
    pub(super) not_sent: Option<String>,
}

impl Sent {
    pub(super) fn is_answered(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Whether it came back as it was.
    pub(super) fn is_whole(&self) -> bool {
        self.answers.iter().any(|answer| answer.change.is_none())
    }

    /// Whether nothing more is awaited of it.
    fn is_over(&self) -> bool {
        self.is_answered() || self.refused.is_some() || self.not_sent.is_some()
    }
}

/// A socket of the check, and all that was sent from it.
pub(super) struct Port {
    socket: ProbeSocket,
    poll: Poll,
    events: Events,
    block: Vec<u8>,
    pub(super) sent: Vec<Sent>,
    known: HashMap<Vec<u8>, usize>,
    /// The numbers of the datagrams, in the order in which they came back first.
    pub(super) order: Vec<usize>,
    /// What came and was not sent from here.
    pub(super) strange: Vec<Vec<u8>>,
}

impl Port {
    pub(super) fn new(server: SocketAddr, options: Options) -> io::Result<Self> {
        let options = Options {
            receive_buffer: Some(RECEIVE_BUFFER),
            ..options
        };
        let mut socket = ProbeSocket::new(server, options)?;
        let poll = Poll::new()?;
        socket.register(poll.registry(), Token(0))?;
        Ok(Self {
            socket,
            poll,
            events: Events::with_capacity(8),
            block: vec![0; BLOCK],
            sent: Vec::new(),
            known: HashMap::new(),
            order: Vec::new(),
            strange: Vec::new(),
        })
    }

    /// The source port.
    pub(super) fn number(&self) -> u16 {
        self.socket.port
    }

    /// The MTU that the system knows of the path.
    pub(super) fn path_mtu(&self) -> Option<u32> {
        self.socket.path_mtu()
    }

    /// Sends a datagram. Returns its number.
    pub(super) fn send(&mut self, bytes: Vec<u8>) -> usize {
        let at = self.sent.len();
        self.known.insert(bytes.clone(), at);
        self.sent.push(Sent {
            bytes,
            at: Instant::now(),
            times: 0,
            answers: Vec::new(),
            refused: None,
            too_long: None,
            not_sent: None,
        });
        self.send_again(at);
        at
    }

    pub(super) fn send_again(&mut self, at: usize) {
        let Self { socket, sent, .. } = self;
        let one = &mut sent[at];
        one.at = Instant::now();
        one.times += 1;
        // Of each time the last word counts.
        one.refused = None;
        one.not_sent = match socket.send(&one.bytes) {
            Ok(()) => None,
            Err(error) => Some(not_sent(&error)),
        };
    }

    /// Whether something is still awaited of a datagram.
    pub(super) fn awaits(&self) -> bool {
        self.sent.iter().any(|sent| !sent.is_over())
    }

    /// Receives what has come, and waits for it for this time at the most.
    pub(super) fn receive(&mut self, time: Duration) {
        if self.drain() || time.is_zero() {
            return;
        }
        let polled = sys::poll(&mut self.poll, &mut self.events, Some(time));
        if polled.is_ok() {
            self.drain();
        }
    }

    /// Whether anything had come.
    fn drain(&mut self) -> bool {
        let mut has_come = false;
        // An error here is no one of the path: what is awaited then does not come.
        while let Ok(Some(incoming)) = self.socket.receive(&mut self.block) {
            has_come = true;
            match incoming {
                Incoming::Datagram(datagram) => self.came(datagram),
                Incoming::Error(error) => self.refused(&error),
            }
        }
        has_come
    }

    fn came(&mut self, datagram: Datagram) {
        let bytes = &self.block[..datagram.length.min(BLOCK)];
        let found = match self.known.get(bytes) {
            Some(at) => Some((*at, None)),
            None => self.changed(bytes),
        };
        let kept = || bytes[..bytes.len().min(STRANGE_BYTES)].to_vec();
        let Some((at, change)) = found else {
            if self.strange.len() < STRANGE {
                self.strange.push(kept());
            }
            return;
        };
        let came = change.as_ref().map_or_else(Vec::new, |_| kept());
        let waited = datagram.waited.unwrap_or_default();
        let sent = &mut self.sent[at];
        if !sent.is_answered() {
            self.order.push(at);
        }
        sent.answers.push(Answer {
            round_trip: sent.at.elapsed().saturating_sub(waited),
            change,
            came,
            from: datagram.stranger,
            tos: datagram.tos,
        });
    }

    /// Which of the last datagrams this once was. Those without an answer come first.
    fn changed(&self, bytes: &[u8]) -> Option<(usize, Option<Change>)> {
        let last = self.sent.iter().enumerate().rev().take(COMPARED);
        let (open, answered): (Vec<_>, Vec<_>) = last.partition(|(_, sent)| !sent.is_answered());
        let mut all = open.into_iter().chain(answered);
        all.find_map(|(at, sent)| match read(&sent.bytes, bytes) {
            Reading::Changed(change) => Some((at, Some(change))),
            Reading::Same => Some((at, None)),
            Reading::Other => None,
        })
    }

    fn refused(&mut self, error: &PathError) {
        let quoted = &self.block[..error.quoted.min(BLOCK)];
        let is_it = |sent: &Sent| sent.bytes.starts_with(quoted) && !sent.is_answered();
        let Some(sent) = self.sent.iter_mut().rev().find(|sent| is_it(sent)) else {
            return;
        };
        match error.mtu {
            Some(mtu) => sent.too_long = Some(mtu),
            None => {
                sent.refused = Some(Refused {
                    is_port: error.error.kind() == io::ErrorKind::ConnectionRefused,
                    icmp: icmp(error),
                    words: error.explained(),
                });
            }
        }
    }
}

/// The name of an ICMP message, or of the error that one had.
fn icmp(error: &PathError) -> &'static str {
    match error.origin {
        Some(Origin::Local) => "no route from this machine",
        origin => origin
            .and_then(icmp::name)
            .unwrap_or_else(|| match error.error.kind() {
                io::ErrorKind::ConnectionRefused => "port unreachable",
                io::ErrorKind::HostUnreachable => "host unreachable",
                io::ErrorKind::NetworkUnreachable => "network unreachable",
                _ => "unknown",
            }),
    }
}
