//! Connects to the addresses of a server at the same time, the first to answer wins: RFC 8305,
//! "happy eyeballs".
//!
//! The families of the addresses take turns. The next attempt starts [`ATTEMPT_DELAY`] after
//! the last one, or as soon as one fails, so that an address whose packets vanish costs a
//! quarter of a second and not a time-out. The race itself never waits: its caller does, for
//! the sockets and for [`Race::deadline`].

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use crate::base::error::cause;
use crate::base::units;

/// The time from one attempt to the next: RFC 8305, section 8, the recommended value.
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The addresses with their families in turn, beginning with the first one's: RFC 8305,
/// section 4. Within a family the order stays.
pub(crate) fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first = |address: &SocketAddr| address.is_ipv4() == addresses[0].is_ipv4();
    let (first, second): (VecDeque<_>, VecDeque<_>) = addresses.iter().copied().partition(is_first);
    let mut queues = [first, second];
    let mut all = Vec::with_capacity(addresses.len());
    while all.len() < addresses.len() {
        for queue in &mut queues {
            all.extend(queue.pop_front());
        }
    }
    all
}

/// An address that was tried in vain, and why.
pub(crate) type Failed = (SocketAddr, io::Error);

/// A connection that is being established.
struct Attempt {
    address: SocketAddr,
    stream: TcpStream,
    started: Instant,
}

/// The connection that was established first.
#[derive(Debug)]
pub(crate) struct Winner {
    pub(crate) address: SocketAddr,
    pub(crate) stream: TcpStream,
    /// How long this attempt took.
    pub(crate) took: Duration,
    /// What became of the other addresses, in words.
    pub(crate) others: Vec<(SocketAddr, String)>,
}

/// A race between the addresses of a server.
pub(crate) struct Race {
    /// Addresses that were not tried yet.
    waiting: VecDeque<SocketAddr>,
    pending: Vec<Attempt>,
    failed: Vec<Failed>,
    /// When the next address is tried.
    next_at: Instant,
    /// The limit on each attempt.
    timeout: Duration,
}

impl Race {
    /// A race between `addresses`, in which each attempt may take up to `timeout`.
    pub(crate) fn new(addresses: &[SocketAddr], timeout: Duration) -> Self {
        Self {
            waiting: interleaved(addresses).into(),
            pending: Vec::new(),
            failed: Vec::new(),
            next_at: Instant::now(),
            timeout,
        }
    }

    /// Looks at the attempts and starts those that are due with `begin`, which returns a
    /// socket that is connecting. `accept` may refuse an established connection. Returns
    /// the winner, or every failure once all have failed; `None` while it goes on.
    pub(crate) fn advance(
        &mut self,
        now: Instant,
        begin: &mut dyn FnMut(SocketAddr) -> io::Result<TcpStream>,
        accept: &dyn Fn(&TcpStream) -> io::Result<()>,
    ) -> Option<Result<Winner, Vec<Failed>>> {
        loop {
            if let Some(winner) = self.look(now, accept) {
                return Some(Ok(self.close(winner)));
            }
            let Some(address) = self.next_due(now) else {
                break;
            };
            self.next_at = now + ATTEMPT_DELAY;
            match begin(address) {
                Ok(stream) => self.pending.push(Attempt {
                    address,
                    stream,
                    started: Instant::now(),
                }),
                Err(error) => self.fail(address, error, now),
            }
        }
        let is_over = self.pending.is_empty() && self.waiting.is_empty();
        is_over.then(|| Err(std::mem::take(&mut self.failed)))
    }

    /// When it must be advanced at the latest, if no socket is ready before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let next = (!self.waiting.is_empty()).then_some(self.next_at);
        let ends = self.pending.iter().map(|at| at.started + self.timeout);
        ends.chain(next).min()
    }

    fn next_due(&mut self, now: Instant) -> Option<SocketAddr> {
        let is_due = now >= self.next_at || self.pending.is_empty();
        is_due.then(|| self.waiting.pop_front()).flatten()
    }

    fn fail(&mut self, address: SocketAddr, error: io::Error, now: Instant) {
        self.failed.push((address, error));
        self.next_at = now;
    }

    /// The first attempt that has succeeded. Those that have failed are removed.
    fn look(
        &mut self,
        now: Instant,
        accept: &dyn Fn(&TcpStream) -> io::Result<()>,
    ) -> Option<Attempt> {
        let mut place = 0;
        while let Some(attempt) = self.pending.get(place) {
            let is_late = now.saturating_duration_since(attempt.started) >= self.timeout;
            match outcome(&attempt.stream) {
                None if is_late => {
                    let attempt = self.pending.remove(place);
                    self.fail(attempt.address, ErrorKind::TimedOut.into(), now);
                }
                None => place += 1,
                Some(result) => {
                    let attempt = self.pending.remove(place);
                    match result.and_then(|()| accept(&attempt.stream)) {
                        Ok(()) => return Some(attempt),
                        Err(error) => self.fail(attempt.address, error, now),
                    }
                }
            }
        }
        None
    }

    /// Closes all attempts but the winner's, and tells what became of them.
    fn close(&mut self, winner: Attempt) -> Winner {
        let failed = self.failed.drain(..);
        let mut others: Vec<_> = failed.map(|(at, why)| (at, cause(&why))).collect();
        for attempt in self.pending.drain(..) {
            let time = units::duration(attempt.started.elapsed());
            others.push((attempt.address, format!("no answer in {time}")));
        }
        let untried = self.waiting.drain(..);
        others.extend(untried.map(|address| (address, String::from("not tried"))));
        Winner {
            address: winner.address,
            stream: winner.stream,
            took: winner.started.elapsed(),
            others,
        }
    }
}

/// Whether a connection is established or has failed; `None` while it is in progress.
fn outcome(stream: &TcpStream) -> Option<io::Result<()>> {
    match stream.take_error() {
        Ok(Some(error)) | Err(error) => return Some(Err(error)),
        Ok(None) => {}
    }
    match stream.peer_addr() {
        Err(error) if error.kind() == ErrorKind::NotConnected => None,
        connected => Some(connected.map(drop)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// A listener whose backlog is full, so that every further SYN is dropped.
    struct Swallowing {
        address: SocketAddr,
        _open: (Socket, Vec<TcpStream>),
    }

    impl Swallowing {
        fn start() -> Self {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
            socket.bind(&any_port.into()).unwrap();
            socket.listen(0).unwrap();
            let address = socket.local_addr().unwrap().as_socket().unwrap();
            let fill = (0..4).map(|_| TcpStream::connect(address).unwrap());
            let open = (fill.collect(), socket);
            Self {
                address,
                _open: (open.1, open.0),
            }
        }
    }

    fn refusing() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any_port.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    /// Runs a race by a clock of its own: no time passes but what the race waits for. Returns
    /// its end, and when that was.
    fn run(race: &mut Race) -> (Result<Winner, Vec<Failed>>, Duration) {
        let begun = race.next_at;
        let mut now = begun;
        loop {
            let begin = &mut |address| TcpStream::connect(address);
            if let Some(end) = race.advance(now, begin, &|_| Ok(())) {
                return (end, now - begun);
            }
            now = now.max(race.deadline().unwrap());
        }
    }

    #[test]
    fn families_take_turns_and_keep_their_order() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        for (given, want) in [
            (
                &["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"][..],
                &["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"][..],
            ),
            (
                &["1.1.1.1:1", "[::1]:1", "[::2]:1"],
                &["1.1.1.1:1", "[::1]:1", "[::2]:1"],
            ),
            (&["1.1.1.1:1", "1.1.1.2:1"], &["1.1.1.1:1", "1.1.1.2:1"]),
            (&[], &[]),
        ] {
            assert_eq!(interleaved(&parse(given)), parse(want));
        }
    }

    #[test]
    fn an_address_that_swallows_packets_costs_a_quarter_of_a_second() {
        let (first, second) = (Swallowing::start(), Swallowing::start());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for (addresses, waited) in [
            (&[address, first.address][..], Duration::ZERO),
            (&[first.address, address], ATTEMPT_DELAY),
            (&[first.address, second.address, address], 2 * ATTEMPT_DELAY),
        ] {
            let mut race = Race::new(addresses, Duration::from_secs(10));
            let (winner, time) = run(&mut race);
            let winner = winner.unwrap();
            assert_eq!((winner.address, time), (address, waited));
            assert_eq!(winner.stream.peer_addr().unwrap(), address);
            let words = match waited {
                Duration::ZERO => "not tried",
                _ => "no answer in ",
            };
            assert!(winner.others.iter().all(|(_, why)| why.starts_with(words)));
            let others = addresses.iter().filter(|at| **at != address);
            assert!(winner.others.iter().map(|(at, _)| at).eq(others));
            assert!(race.pending.is_empty(), "a loser stays open");
        }
    }

    #[test]
    fn an_address_that_refuses_costs_no_time() {
        let (_reserved, refusing) = refusing();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut race = Race::new(&[refusing, address], Duration::from_secs(10));
        let (winner, time) = run(&mut race);
        let winner = winner.unwrap();
        assert_eq!((winner.address, time), (address, Duration::ZERO));
        assert_eq!(
            winner.others,
            [(refusing, String::from("connection refused"))]
        );
    }

    #[test]
    fn each_address_has_the_whole_time_out_and_every_failure_is_reported() {
        let (_reserved, refusing) = refusing();
        let silent = Swallowing::start();
        let timeout = Duration::from_secs(7);
        let mut race = Race::new(&[silent.address, refusing], timeout);
        let (failed, time) = run(&mut race);
        let failed = failed.unwrap_err();
        assert!(time >= timeout, "{time:?}");
        let kinds: Vec<_> = failed.iter().map(|(at, why)| (*at, why.kind())).collect();
        let want = [
            (refusing, ErrorKind::ConnectionRefused),
            (silent.address, ErrorKind::TimedOut),
        ];
        assert_eq!(kinds, want);
    }

    #[test]
    fn a_connection_that_is_not_accepted_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut race = Race::new(&[address], Duration::from_secs(10));
        let begin = &mut |address| TcpStream::connect(address);
        let refuse = |_: &TcpStream| Err(io::Error::other("not this one"));
        let failed = loop {
            if let Some(end) = race.advance(Instant::now(), begin, &refuse) {
                break end.unwrap_err();
            }
        };
        assert_eq!(failed[0].1.to_string(), "not this one");
    }
}
