//! Like ping(8), over TCP echo: a message now and then, and how long each took.
//!
//! One thread waits for the socket, the next turn and a stop at once. Messages
//! go out when their turn comes, whether or not the ones before are back.
//!
//! **A message that is not back within the time-out** is lost, and the connection
//! stays: TCP delivers in order, so what comes late comes before the rest, and is
//! told as late. A connection that stays silent for three time-outs is given up.
//!
//! **A connection that ends** takes the messages on their way with it: they are
//! lost, none is sent twice. The next message's turn makes another connection.
//! So does an echo that is out of step with what was sent; changed bytes alone
//! don't end a connection.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use super::error::Error;
use super::event::Event;
use super::link::{Arrival, Flight, Link, PATIENCE};
use super::summary::Summary;
use super::tally::Tally;
use crate::base::error::{self as base, cause};
use crate::base::sys;
use crate::probe::connect::refuse_self;
use crate::probe::error::Error as ProbeError;
use crate::probe::pattern::{Damage, Pattern};

const SOCKET: Token = Token(0);
const STOP: Token = Token(1);

/// After a failure the next message waits so long at the least: a server that is
/// gone is asked a hundred times a second, as ping(8) does when it floods.
const PAUSE: Duration = Duration::from_millis(10);

/// The poller counts milliseconds in 32 bits; whoever waits longer looks up now and then.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What to send, and how often.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server's addresses; the first one that answers is taken.
    pub addresses: Vec<SocketAddr>,
    /// How many messages; without, until it is stopped.
    pub count: Option<u64>,
    /// From one message to the next; zero: the next when the one before is back.
    pub interval: Duration,
    /// Bytes a message.
    pub size: usize,
    /// How long an echo is awaited, and how long each address has to answer.
    pub timeout: Duration,
    /// What the bytes are drawn from.
    pub seed: u64,
}

/// Stops a ping from another thread.
#[derive(Debug)]
pub struct Stop {
    requested: AtomicBool,
    waker: Waker,
}

impl Stop {
    /// Ends the ping at once. Returns whether this was the first request.
    pub fn request(&self) -> bool {
        let first = !self.requested.swap(true, Ordering::SeqCst);
        // Should it fail, the ping sees the flag at its next turn.
        let _ = self.waker.wake();
        first
    }
}

/// The way to the server.
enum Way {
    Down,
    Connecting(Attempt),
    Up(Box<Link>),
}

/// A connection on its way to be made.
struct Attempt {
    /// The message that waits for it.
    seq: u64,
    address: SocketAddr,
    stream: TcpStream,
    started: Instant,
    /// The addresses before this one, and why they were of no use.
    failed: Vec<(SocketAddr, io::Error)>,
}

impl Attempt {
    /// Whether it has succeeded or failed; `None` while neither.
    fn outcome(&self) -> Option<io::Result<()>> {
        if let Ok(Some(error)) = self.stream.take_error() {
            return Some(Err(error));
        }
        let peer = self.stream.peer_addr().ok()?;
        let local = self.stream.local_addr();
        Some(local.and_then(|local| refuse_self(local, peer)))
    }
}

/// A ping, from its first message to its summary.
pub struct Ping {
    plan: Plan,
    poll: Poll,
    stop: Arc<Stop>,
    pattern: Pattern,
    way: Way,
    /// Connections made so far.
    connections: u64,
    /// When the next message is sent, if the way allows.
    due: Instant,
    tally: Tally,
}

impl Ping {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::SetUp`] when the system has no poller for it.
    pub fn new(plan: Plan) -> Result<Self, Error> {
        let failed = |source| Error::SetUp {
            operation: "make a poller",
            source,
        };
        let poll = Poll::new().map_err(failed)?;
        let waker = Waker::new(poll.registry(), STOP).map_err(failed)?;
        let requested = AtomicBool::new(false);
        Ok(Self {
            pattern: Pattern::new(plan.seed),
            plan,
            poll,
            stop: Arc::new(Stop { requested, waker }),
            way: Way::Down,
            connections: 0,
            due: Instant::now(),
            tally: Tally::default(),
        })
    }

    /// What ends it early.
    pub fn stop(&self) -> Arc<Stop> {
        Arc::clone(&self.stop)
    }

    /// Sends all messages and tells what happens, as it happens.
    ///
    /// # Errors
    /// [`base::Error::Output`] with what `tell` failed with; [`Error::SetUp`] when the
    /// poller fails.
    pub fn run(mut self, tell: &mut dyn FnMut(&Event) -> io::Result<()>) -> Result<Summary, Error> {
        let started = Instant::now();
        self.due = started;
        let mut run = Run { ping: self, tell };
        run.serve()?;
        let under_way = run.ping.under_way();
        Ok(run.ping.tally.summary(started.elapsed(), under_way))
    }

    fn is_complete(&self) -> bool {
        self.plan
            .count
            .is_some_and(|count| self.tally.sent >= count)
    }

    /// Messages that may still come back in time.
    fn under_way(&self) -> u64 {
        match &self.way {
            Way::Down => 0,
            Way::Connecting(_) => 1,
            Way::Up(link) => link.awaited().count() as u64,
        }
    }

    /// When the next message is to be sent, if that does not wait for something else.
    fn next_turn(&self) -> Option<Instant> {
        let waits = match &self.way {
            Way::Down => false,
            Way::Connecting(_) => true,
            Way::Up(link) => self.plan.interval.is_zero() && link.awaited().next().is_some(),
        };
        (!waits && !self.is_complete()).then_some(self.due)
    }

    /// How long there is nothing to do unless something comes.
    fn wait(&self) -> Duration {
        let time_out = match &self.way {
            Way::Down => None,
            Way::Connecting(attempt) => Some(attempt.started + self.plan.timeout),
            Way::Up(link) => link.deadline(self.plan.timeout),
        };
        let next = self.next_turn().into_iter().chain(time_out).min();
        next.map_or(LONGEST_WAIT, |next| {
            let wait = next.saturating_duration_since(Instant::now());
            wait.min(LONGEST_WAIT)
        })
    }
}

/// A ping while it runs, and whom it tells.
struct Run<'a> {
    ping: Ping,
    tell: &'a mut dyn FnMut(&Event) -> io::Result<()>,
}

impl Run<'_> {
    fn serve(&mut self) -> Result<(), Error> {
        let mut events = Events::with_capacity(8);
        while !self.ping.stop.requested.load(Ordering::SeqCst) {
            let wait = self.ping.wait();
            sys::poll(&mut self.ping.poll, &mut events, Some(wait)).map_err(|source| {
                let operation = "wait for the server";
                Error::SetUp { operation, source }
            })?;
            self.move_on()?;
            self.keep_time(Instant::now())?;
            if self.ping.is_complete() && self.ping.under_way() == 0 {
                break;
            }
        }
        Ok(())
    }

    fn tell(&mut self, event: Event) -> Result<(), Error> {
        self.ping.tally.count(&event);
        (self.tell)(&event).map_err(|error| base::Error::Output(error).into())
    }

    /// Takes up what the socket has for us.
    fn move_on(&mut self) -> Result<(), Error> {
        match std::mem::replace(&mut self.ping.way, Way::Down) {
            Way::Down => Ok(()),
            Way::Connecting(attempt) => match attempt.outcome() {
                None => {
                    self.ping.way = Way::Connecting(attempt);
                    Ok(())
                }
                Some(Ok(())) => self.connected(attempt),
                Some(Err(error)) => self.not_connected(attempt, error),
            },
            Way::Up(link) => self.exchange(link),
        }
    }

    /// What has run out of time, and whose turn has come.
    fn keep_time(&mut self, now: Instant) -> Result<(), Error> {
        let timeout = self.ping.plan.timeout;
        match std::mem::replace(&mut self.ping.way, Way::Down) {
            Way::Connecting(attempt) if now >= attempt.started + timeout => {
                self.not_connected(attempt, ErrorKind::TimedOut.into())?;
            }
            Way::Up(mut link) => {
                self.give_up(&mut link, now)?;
                if link.is_dead(now, timeout) {
                    let silence = timeout * PATIENCE;
                    self.disconnect(link, format!("nothing came for {}", shown(silence)))?;
                } else {
                    self.ping.way = Way::Up(link);
                }
            }
            way => self.ping.way = way,
        }
        match self.ping.next_turn() {
            Some(turn) if turn <= now => self.send(now),
            _ => Ok(()),
        }
    }

    fn give_up(&mut self, link: &mut Link, now: Instant) -> Result<(), Error> {
        let timeout = self.ping.plan.timeout;
        for seq in link.give_up(now, timeout) {
            self.lost(seq, no_reply(timeout))?;
        }
        Ok(())
    }

    /// The next message. Turns that were missed are not made up for.
    fn send(&mut self, now: Instant) -> Result<(), Error> {
        self.ping.tally.sent += 1;
        let seq = self.ping.tally.sent;
        self.ping.due = (self.ping.due + self.ping.plan.interval).max(now);
        match std::mem::replace(&mut self.ping.way, Way::Down) {
            Way::Up(link) => self.send_over(link, seq),
            _ => self.connect(seq, Vec::new()),
        }
    }

    fn send_over(&mut self, mut link: Box<Link>, seq: u64) -> Result<(), Error> {
        match link.send(seq) {
            Ok(()) => {
                self.ping.way = Way::Up(link);
                Ok(())
            }
            Err(error) => self.disconnect(link, cause(&error)),
        }
    }

    /// Goes on to the first address that is not among those that `failed`.
    fn connect(&mut self, seq: u64, mut failed: Vec<(SocketAddr, io::Error)>) -> Result<(), Error> {
        while let Some(&address) = self.ping.plan.addresses.get(failed.len()) {
            let started = Instant::now();
            match begin(address, self.ping.poll.registry()) {
                Ok(stream) => {
                    self.ping.way = Way::Connecting(Attempt {
                        seq,
                        address,
                        stream,
                        started,
                        failed,
                    });
                    return Ok(());
                }
                Err(error) => failed.push((address, error)),
            }
        }
        self.pause();
        self.lost(seq, ProbeError::Connect(failed).to_string())
    }

    fn connected(&mut self, attempt: Attempt) -> Result<(), Error> {
        // Without it a message may wait for the ACK of the one before.
        if let Err(error) = attempt.stream.set_nodelay(true) {
            return self.not_connected(attempt, error);
        }
        let time_ns = nanoseconds(attempt.started.elapsed());
        let Attempt {
            seq,
            address,
            stream,
            ..
        } = attempt;
        let stream_of = (self.ping.pattern, self.ping.connections);
        let again = self.ping.connections > 0;
        self.ping.connections += 1;
        self.tell(Event::Connected {
            address,
            time_ns,
            again,
        })?;
        let link = Box::new(Link::new(stream, address, stream_of, self.ping.plan.size));
        self.send_over(link, seq)
    }

    fn not_connected(&mut self, attempt: Attempt, error: io::Error) -> Result<(), Error> {
        let mut failed = attempt.failed;
        failed.push((attempt.address, error));
        self.connect(attempt.seq, failed)
    }

    fn disconnect(&mut self, link: Box<Link>, reason: String) -> Result<(), Error> {
        self.pause();
        let address = link.address;
        self.tell(Event::Disconnected { address, reason })?;
        for flight in link.awaited() {
            self.lost(flight.seq, String::from("its connection was lost"))?;
        }
        Ok(())
    }

    fn pause(&mut self) {
        self.ping.due = self.ping.due.max(Instant::now() + PAUSE);
    }

    /// Sends and receives until the socket has no more for now.
    fn exchange(&mut self, mut link: Box<Link>) -> Result<(), Error> {
        // What came before a send fails is heard first.
        let flushed = link.flush();
        loop {
            match link.receive() {
                Ok(Some(arrival)) => {
                    if !self.arrived(link.address, arrival)? {
                        return self.disconnect(link, String::from("its bytes are out of step"));
                    }
                }
                Ok(None) => break,
                Err(error) => return self.disconnect(link, cause(&error)),
            }
        }
        if let Err(error) = flushed {
            return self.disconnect(link, cause(&error));
        }
        self.ping.way = Way::Up(link);
        Ok(())
    }

    /// Returns whether the connection is still in step.
    fn arrived(&mut self, address: SocketAddr, arrival: Arrival) -> Result<bool, Error> {
        match arrival {
            Arrival::Echo {
                flight,
                time,
                fault: None,
            } => {
                self.returned(address, flight, time)?;
                Ok(true)
            }
            Arrival::Echo {
                flight,
                fault: Some(fault),
                ..
            } => {
                self.tell(Event::Corrupted {
                    address,
                    seq: flight.seq,
                    offset_bytes: fault.offset,
                    damage: fault.damage.to_string(),
                })?;
                Ok(fault.damage == Damage::Changed)
            }
            Arrival::Unasked { bytes, damage } => {
                self.tell(Event::Unasked {
                    address,
                    size_bytes: bytes,
                    damage: damage.to_string(),
                })?;
                Ok(false)
            }
        }
    }

    fn returned(
        &mut self,
        address: SocketAddr,
        flight: Flight,
        time: Duration,
    ) -> Result<(), Error> {
        let seq = flight.seq;
        let size_bytes = self.ping.plan.size;
        let time_ns = nanoseconds(time);
        let timeout = self.ping.plan.timeout;
        if !flight.lost && time <= timeout {
            return self.tell(Event::Reply {
                address,
                seq,
                size_bytes,
                time_ns,
            });
        }
        if !flight.lost {
            self.lost(seq, no_reply(timeout))?;
        }
        self.tell(Event::Late {
            address,
            seq,
            size_bytes,
            time_ns,
        })
    }

    fn lost(&mut self, seq: u64, reason: String) -> Result<(), Error> {
        self.tell(Event::Lost { seq, reason })
    }
}

fn begin(address: SocketAddr, registry: &Registry) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    let interest = Interest::READABLE | Interest::WRITABLE;
    registry.register(&mut stream, SOCKET, interest)?;
    Ok(stream)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn no_reply(timeout: Duration) -> String {
    format!("no reply within {}", shown(timeout))
}

fn shown(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn a_connection_to_itself_is_no_connection() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any_port.into()).unwrap();
        let address = socket.local_addr().unwrap();
        socket.connect(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let attempt = Attempt {
            seq: 1,
            address: address.as_socket().unwrap(),
            stream: TcpStream::from_std(socket.into()),
            started: Instant::now(),
            failed: Vec::new(),
        };
        let error = attempt.outcome().unwrap().unwrap_err();
        assert!(error.to_string().contains("reached itself"), "{error}");
    }
}
