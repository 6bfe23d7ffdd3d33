//! A socket of the check: sends datagrams, and keeps what became of each.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::content::{Reading, read};
use super::not_passed::NotPassed;
use super::past::Past;
use super::trouble::Refused;
use crate::base::not_sent::not_sent;
use crate::base::sys;
use crate::base::units::count;
use crate::probe::datagram::checksums::Checksums;
use crate::probe::datagram::path_error::PathError;
use crate::probe::datagram::payload::Change;
use crate::probe::datagram::refusal::icmp;
use crate::probe::datagram::socket::{Datagram, Incoming, Options, ProbeSocket};

/// More than any datagram has, in bytes.
const BLOCK: usize = 66_000;

/// The receive buffer that is asked for, in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;

/// What came that was not sent: so many are kept, and so many bytes of each.
const STRANGE: usize = 16;
const STRANGE_BYTES: usize = 64;

/// An error that quotes fewer bytes than a datagram has names none of several: all may begin
/// with them.
const NAMING: usize = 8;

/// What came is compared with so many of the last datagrams, where it is none as it was sent.
const COMPARED: usize = 64;

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// From the last time that it was sent.
    pub(super) round_trip: Duration,
    /// From the first time that it was sent: which time the answer is of is not known.
    pub(super) since_first: Duration,
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
    first_at: Instant,
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
    /// The kernel's count of drops at the begin, and what it says of their reasons.
    dropped: Option<u32>,
    checksums: Checksums,
    poll: Poll,
    events: Events,
    block: Vec<u8>,
    pub(super) sent: Vec<Sent>,
    known: HashMap<Vec<u8>, usize>,
    /// The numbers of the datagrams, in the order in which they came back first.
    pub(super) order: Vec<usize>,
    /// What came and was not sent from here.
    pub(super) strange: Vec<Vec<u8>>,
    past: Past,
    /// How old each datagram of a socket before was whose echo came to this one.
    pub(super) late: Vec<Duration>,
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
            dropped: socket.dropped(),
            checksums: Checksums::new(server),
            socket,
            poll,
            events: Events::with_capacity(8),
            block: vec![0; BLOCK],
            sent: Vec::new(),
            known: HashMap::new(),
            order: Vec::new(),
            strange: Vec::new(),
            past: Past::default(),
            late: Vec::new(),
        })
    }

    /// The same, which knows what was sent from sockets before.
    pub(super) fn with_past(mut self, past: &Past) -> Self {
        self.past = past.clone();
        self
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
        let now = Instant::now();
        self.sent.push(Sent {
            bytes,
            first_at: now,
            at: now,
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

    /// Where some of these have no answer and this machine is, or may be, the reason: that it
    /// is no fault of the path. The kernel did not take them, or dropped what came.
    pub(super) fn own_fault(&mut self, all: impl Iterator<Item = usize>) -> Option<NotPassed> {
        let open: Vec<_> = all.filter(|at| !self.sent[*at].is_answered()).collect();
        let mut not_sent = open
            .iter()
            .filter_map(|at| self.sent[*at].not_sent.as_ref());
        if let Some(why) = not_sent.next() {
            let number = count(1 + not_sent.count() as u64, "datagram", "datagrams");
            let text = format!("this machine did not send {number}: {why}");
            return Some(NotPassed::Skipped(text));
        }
        let dropped = match open.is_empty() {
            true => 0,
            false => self.had_no_room(),
        };
        (dropped > 0).then(|| {
            NotPassed::Skipped(format!(
                "this machine's own socket had no room for {} that came back: raise \
                 net.core.rmem_max",
                count(dropped, "datagram", "datagrams")
            ))
        })
    }

    /// How many of those that came to the socket the kernel dropped since the last look, but
    /// for those that may have had a wrong checksum.
    fn had_no_room(&mut self) -> u64 {
        let now = self.socket.dropped();
        let before = std::mem::replace(&mut self.dropped, now);
        let dropped = now
            .zip(before)
            .map(|(now, before)| now.wrapping_sub(before));
        let dropped = dropped.map_or(0, u64::from);
        match dropped {
            0 => 0,
            _ => dropped - self.checksums.among(dropped).unwrap_or(0),
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
            if let Some(age) = self.past.age(bytes) {
                self.late.push(age);
                return;
            }
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
            since_first: sent.first_at.elapsed().saturating_sub(waited),
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

    /// Which datagram an error is of: the last without an answer that it quotes enough of, or
    /// the only one that is awaited.
    fn refused_one(&self, quoted: &[u8]) -> Option<usize> {
        let is_named = |sent: &Sent| {
            let is_enough = quoted.len() >= NAMING || quoted.len() == sent.bytes.len();
            is_enough && sent.bytes.starts_with(quoted) && !sent.is_answered()
        };
        let mut open = self.sent.iter().enumerate();
        let named = open.rposition(|(_, sent)| is_named(sent));
        let mut awaited = self.sent.iter().enumerate().filter(|(_, it)| !it.is_over());
        let sole = awaited.next().filter(|_| awaited.next().is_none());
        named.or_else(|| sole.map(|(at, _)| at))
    }

    fn refused(&mut self, error: &PathError) {
        let quoted = &self.block[..error.quoted.min(BLOCK)];
        let Some(at) = self.refused_one(quoted) else {
            return;
        };
        let sent = &mut self.sent[at];
        match error.mtu {
            Some(mtu) => sent.too_long = Some(mtu),
            None => {
                sent.refused = Some(Refused {
                    is_port: error.error.kind() == io::ErrorKind::ConnectionRefused,
                    icmp: icmp(&error.error, error.origin),
                    from: error.from,
                    words: error.explained(),
                });
            }
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let open = self.sent.drain(..).filter(|sent| !sent.is_answered());
        open.for_each(|sent| self.past.remember(sent.bytes, sent.first_at));
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::base::testing::wait_until;

    fn server() -> (UdpSocket, Port) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = Port::new(server.local_addr().unwrap(), Options::default()).unwrap();
        (server, port)
    }

    #[test]
    fn an_error_that_quotes_too_little_is_of_the_only_one_that_is_awaited() {
        let (_server, mut port) = server();
        for text in ["one is long", "two is long"] {
            port.send(text.as_bytes().to_vec());
        }
        assert_eq!(port.refused_one(b"one is l"), Some(0));
        assert_eq!(port.refused_one(b"two is long"), Some(1));
        for few in [&b""[..], b"t", b"two is "] {
            assert_eq!(port.refused_one(few), None, "{few:?}");
        }
        port.sent[1].not_sent = Some(String::new());
        assert_eq!(port.refused_one(b""), Some(0));
    }

    #[test]
    fn what_this_machine_did_not_send_is_no_fault_of_the_path() {
        let (_server, mut port) = server();
        let [one, two] = [b"one", b"two"].map(|text| port.send(text.to_vec()));
        assert!(port.own_fault([one, two].into_iter()).is_none());
        port.sent[one].not_sent = Some(String::from("the reason"));
        let Some(NotPassed::Skipped(why)) = port.own_fault([one, two].into_iter()) else {
            panic!("it is held against the path");
        };
        assert_eq!(why, "this machine did not send 1 datagram: the reason");
    }

    #[test]
    fn what_our_own_socket_had_no_room_for_is_no_fault_of_the_path() {
        let (server, mut port) = server();
        let at = port.send(b"asked".to_vec());
        let (_, from) = server.recv_from(&mut [0; 9]).unwrap();
        let flood = [7; 1400];
        wait_until(|| {
            for _ in 0..1000 {
                server.send_to(&flood, from).unwrap();
            }
            port.socket.dropped() > Some(0)
        });
        let Some(NotPassed::Skipped(why)) = port.own_fault(at..=at) else {
            panic!("it is held against the path");
        };
        assert!(why.contains("net.core.rmem_max"), "{why}");
        // It is told once, and not where all was answered.
        assert!(port.own_fault(at..=at).is_none());
        assert!(port.own_fault(std::iter::empty()).is_none());
    }
}
