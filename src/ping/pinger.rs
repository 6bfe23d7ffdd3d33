//! A ping over TCP echo: sends messages at an interval and measures each round trip.
//!
//! One thread waits for the socket, the next message's time and a stop. Messages are sent
//! when they are due, whether or not the ones before have come back.
//!
//! **A message that is not back within the time-out** is lost, and the connection stays:
//! TCP delivers in order, so a late echo arrives before the later ones, and is reported as
//! late. Bytes are compared as they come: a message is corrupted as soon as its first wrong
//! bytes can be explained, or at its time-out. A connection that receives nothing for three time-outs is given up.
//!
//! **When a connection is lost** the messages in flight on it are lost too; none is sent
//! twice. The next message makes a new connection. An echo that is out of step with what
//! was sent also ends the connection; changed bytes alone do not.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

use super::connection::{Connection, InFlight, Received, SILENT_TIMEOUTS};
use super::counts::Counts;
use super::error::Error;
use super::event::Event;
use super::stop::Stop;
use super::summary::Summary;
use crate::base::error::{self as base, cause};
use crate::base::units::nanoseconds;
use crate::base::{connecting, sys};
use crate::probe::addresses::Addresses;
use crate::probe::connect::refuse_reached_itself;
use crate::probe::error::Error as ProbeError;
use crate::probe::pattern::{Damage, Pattern};
use crate::probe::race::{Race, Winner};

const SOCKET: Token = Token(0);
const STOP: Token = Token(1);

/// The shortest time from a failure to the next message: a server that is gone is tried at
/// most a hundred times a second, the rate of a flood of ping(8).
const PAUSE: Duration = Duration::from_millis(10);

/// The longest single wait: the poller counts milliseconds in 32 bits.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The parameters of a ping.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server's addresses. Each connection goes to the first one that answers (RFC 8305);
    /// after a failure they are resolved again.
    pub addresses: Addresses,
    /// How many messages are sent; `None`: until it is stopped.
    pub count: Option<u64>,
    /// The time from one message to the next; zero: a message is sent when the one before is
    /// back.
    pub interval: Duration,
    /// The size of a message, in bytes.
    pub size: usize,
    /// The limit on a round trip, and on connecting to each address.
    pub timeout: Duration,
    /// The seed of the bytes sent.
    pub seed: u64,
}

/// The state of the connection to the server.
enum State {
    Disconnected,
    Connecting(Attempt),
    Connected(Box<Connection>),
}

/// A connection that is being established.
struct Attempt {
    /// The number of the message that waits for it.
    seq: u64,
    race: Race,
}

/// A ping: all of its messages and its summary.
pub struct Ping {
    plan: Plan,
    poll: Poll,
    stop: Arc<Stop>,
    pattern: Pattern,
    state: State,
    /// Connections made so far.
    connections: u64,
    /// When the next message is due.
    due: Instant,
    counts: Counts,
}

impl Ping {
    /// Prepares a ping; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::SetUp`] when the system provides no poller.
    pub fn new(plan: Plan) -> Result<Self, Error> {
        let failed = |source| Error::SetUp {
            operation: "make a poller",
            source,
        };
        let poll = Poll::new().map_err(failed)?;
        let stop = Stop::new(poll.registry(), STOP).map_err(failed)?;
        Ok(Self {
            pattern: Pattern::new(plan.seed),
            plan,
            poll,
            stop: Arc::new(stop),
            state: State::Disconnected,
            connections: 0,
            due: Instant::now(),
            counts: Counts::default(),
        })
    }

    /// The handle that stops it early.
    pub fn stop(&self) -> Arc<Stop> {
        Arc::clone(&self.stop)
    }

    /// Sends all messages and calls `report` with each event as it happens.
    ///
    /// # Errors
    /// [`base::Error::Output`] with the error of `report`; [`Error::SetUp`] when the
    /// poller fails.
    pub fn run(
        mut self,
        report: &mut dyn FnMut(&Event) -> io::Result<()>,
    ) -> Result<Summary, Error> {
        let started = Instant::now();
        self.due = started;
        let mut run = Run { ping: self, report };
        run.serve()?;
        let under_way = run.ping.under_way();
        if let State::Connected(connection) = &run.ping.state {
            run.ping.counts.add_view(connection.view());
        }
        Ok(run.ping.counts.summary(started.elapsed(), under_way))
    }

    fn is_complete(&self) -> bool {
        self.plan
            .count
            .is_some_and(|count| self.counts.sent >= count)
    }

    /// Messages in flight that may still come back in time.
    fn under_way(&self) -> u64 {
        match &self.state {
            State::Disconnected => 0,
            State::Connecting(_) => 1,
            State::Connected(connection) => connection.awaited().count() as u64,
        }
    }

    /// When the next message is due; `None` if it waits for something else, or none is left.
    fn next_send(&self) -> Option<Instant> {
        let is_blocked = match &self.state {
            State::Disconnected => false,
            State::Connecting(_) => true,
            State::Connected(connection) => {
                self.plan.interval.is_zero() && connection.awaited().next().is_some()
            }
        };
        (!is_blocked && !self.is_complete()).then_some(self.due)
    }

    /// How long to wait for the socket before a timer is due.
    fn wait(&self) -> Duration {
        let time_out = match &self.state {
            State::Disconnected => None,
            State::Connecting(attempt) => attempt.race.deadline(),
            State::Connected(connection) => connection.deadline(self.plan.timeout),
        };
        let next = self.next_send().into_iter().chain(time_out).min();
        next.map_or(LONGEST_WAIT, |next| {
            let wait = next.saturating_duration_since(Instant::now());
            wait.min(LONGEST_WAIT)
        })
    }
}

/// A running ping, and the callback for its events.
struct Run<'a> {
    ping: Ping,
    report: &'a mut dyn FnMut(&Event) -> io::Result<()>,
}

impl Run<'_> {
    /// The event loop.
    fn serve(&mut self) -> Result<(), Error> {
        let mut events = Events::with_capacity(8);
        while !self.ping.stop.is_requested() {
            let wait = self.ping.wait();
            sys::poll(&mut self.ping.poll, &mut events, Some(wait)).map_err(|source| {
                let operation = "wait for the server";
                Error::SetUp { operation, source }
            })?;
            self.handle_socket()?;
            self.handle_timers(Instant::now())?;
            if self.ping.is_complete() && self.ping.under_way() == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Counts an event and calls the callback.
    fn report(&mut self, event: Event) -> Result<(), Error> {
        self.ping.counts.count(&event);
        (self.report)(&event).map_err(|error| base::Error::Output(error).into())
    }

    /// Handles what the socket is ready for.
    fn handle_socket(&mut self) -> Result<(), Error> {
        match std::mem::replace(&mut self.ping.state, State::Disconnected) {
            State::Disconnected => Ok(()),
            State::Connecting(attempt) => self.go_on_connecting(attempt),
            State::Connected(connection) => self.exchange(connection),
        }
    }

    /// Handles what has timed out, and sends the message that is due.
    fn handle_timers(&mut self, now: Instant) -> Result<(), Error> {
        let timeout = self.ping.plan.timeout;
        match std::mem::replace(&mut self.ping.state, State::Disconnected) {
            State::Connected(mut connection) => {
                if let Some(received) = connection.resolve_overdue(now, timeout) {
                    self.handle_received(connection.address, received)?;
                    self.out_of_step(connection)?;
                    return self.send_due(now);
                }
                self.expire(&mut connection, now)?;
                if connection.is_silent(now, timeout) {
                    let silence = timeout * SILENT_TIMEOUTS;
                    self.disconnect(
                        connection,
                        format!("nothing came for {}", duration_text(silence)),
                    )?;
                } else {
                    self.ping.state = State::Connected(connection);
                }
            }
            state => self.ping.state = state,
        }
        self.send_due(now)
    }

    /// Sends the next message if it is due.
    fn send_due(&mut self, now: Instant) -> Result<(), Error> {
        match self.ping.next_send() {
            Some(due) if due <= now => self.send(now),
            _ => Ok(()),
        }
    }

    /// Reports the messages that have timed out.
    fn expire(&mut self, connection: &mut Connection, now: Instant) -> Result<(), Error> {
        let timeout = self.ping.plan.timeout;
        for seq in connection.expire(now, timeout) {
            self.lost(seq, no_reply(timeout))?;
        }
        Ok(())
    }

    /// Sends the next message. Intervals that were missed are skipped.
    fn send(&mut self, now: Instant) -> Result<(), Error> {
        self.ping.counts.sent += 1;
        let seq = self.ping.counts.sent;
        self.ping.due = (self.ping.due + self.ping.plan.interval).max(now);
        match std::mem::replace(&mut self.ping.state, State::Disconnected) {
            State::Connected(connection) => self.send_on(connection, seq),
            _ => self.connect(seq),
        }
    }

    fn send_on(&mut self, mut connection: Box<Connection>, seq: u64) -> Result<(), Error> {
        match connection.send(seq) {
            Ok(()) => {
                self.ping.state = State::Connected(connection);
                Ok(())
            }
            failed => self.receive(connection, failed),
        }
    }

    /// Connects to the addresses that are known by now.
    fn connect(&mut self, seq: u64) -> Result<(), Error> {
        let Plan {
            addresses, timeout, ..
        } = &self.ping.plan;
        let race = Race::new(&addresses.known(), *timeout);
        self.go_on_connecting(Attempt { seq, race })
    }

    fn go_on_connecting(&mut self, mut attempt: Attempt) -> Result<(), Error> {
        let registry = self.ping.poll.registry();
        let begin = &mut |address| start_connect(address, registry);
        match attempt.race.advance(Instant::now(), begin, &prepare) {
            None => {
                self.ping.state = State::Connecting(attempt);
                Ok(())
            }
            Some(Ok(winner)) => self.connected(attempt.seq, winner),
            Some(Err(failed)) => {
                self.pause();
                self.lost(attempt.seq, ProbeError::Connect(failed).to_string())
            }
        }
    }

    fn connected(&mut self, seq: u64, winner: Winner) -> Result<(), Error> {
        let address = winner.address;
        let stream_of = (self.ping.pattern, self.ping.connections);
        let again = self.ping.connections > 0;
        self.ping.connections += 1;
        self.report(Event::Connected {
            address,
            time_ns: nanoseconds(winner.took),
            again,
        })?;
        let connection = Box::new(Connection::new(
            winner.stream,
            address,
            stream_of,
            self.ping.plan.size,
        ));
        self.send_on(connection, seq)
    }

    fn disconnect(&mut self, connection: Box<Connection>, reason: String) -> Result<(), Error> {
        self.pause();
        self.ping.counts.add_view(connection.view());
        let address = connection.address;
        self.report(Event::Disconnected { address, reason })?;
        for message in connection.awaited() {
            self.lost(message.seq, String::from("its connection was lost"))?;
        }
        Ok(())
    }

    /// Delays the next message after a failure, and asks for the addresses again: the name
    /// may have moved.
    fn pause(&mut self) {
        self.ping.plan.addresses.resolve_again();
        self.ping.due = self.ping.due.max(Instant::now() + PAUSE);
    }

    /// Sends and receives until the socket would block.
    fn exchange(&mut self, mut connection: Box<Connection>) -> Result<(), Error> {
        // What was received before the send failed is handled first.
        let sent = connection.flush();
        self.receive(connection, sent)
    }

    /// Receives until the socket would block. The connection is lost if that or sending fails.
    fn receive(
        &mut self,
        mut connection: Box<Connection>,
        sent: io::Result<()>,
    ) -> Result<(), Error> {
        let address = connection.address;
        let failed = loop {
            match connection.receive() {
                Ok(Some(received)) => {
                    if !self.handle_received(address, received)? {
                        return self.out_of_step(connection);
                    }
                }
                Ok(None) => break sent.err(),
                Err(error) => break Some(error),
            }
        };
        let Some(error) = failed else {
            self.ping.state = State::Connected(connection);
            return Ok(());
        };
        if let Some(received) = connection.resolve() {
            self.handle_received(address, received)?;
        }
        self.disconnect(connection, cause(&error))
    }

    fn out_of_step(&mut self, connection: Box<Connection>) -> Result<(), Error> {
        self.disconnect(connection, String::from("its bytes are out of step"))
    }

    /// Reports what was received. Returns whether the connection is still in step.
    fn handle_received(&mut self, address: SocketAddr, received: Received) -> Result<bool, Error> {
        match received {
            Received::Echo { message, time } => {
                self.echoed(address, message, time)?;
                Ok(true)
            }
            Received::Corrupted { seq, fault } => {
                self.report(Event::Corrupted {
                    address,
                    seq,
                    offset_bytes: fault.offset,
                    expected: fault.expected,
                    received: fault.received,
                    damage: fault.damage.to_string(),
                    looks_like: fault.service,
                })?;
                Ok(fault.damage == Damage::Changed)
            }
            Received::Unsolicited {
                bytes,
                damage,
                service,
            } => {
                self.report(Event::Unasked {
                    address,
                    size_bytes: bytes,
                    damage: damage.to_string(),
                    looks_like: service,
                })?;
                Ok(false)
            }
        }
    }

    /// Reports an unchanged echo: a reply, or a late one.
    fn echoed(
        &mut self,
        address: SocketAddr,
        message: InFlight,
        time: Duration,
    ) -> Result<(), Error> {
        let seq = message.seq;
        let size_bytes = self.ping.plan.size;
        let time_ns = nanoseconds(time);
        let timeout = self.ping.plan.timeout;
        if !message.lost && time <= timeout {
            return self.report(Event::Reply {
                address,
                seq,
                size_bytes,
                time_ns,
            });
        }
        if !message.lost {
            self.lost(seq, no_reply(timeout))?;
        }
        self.report(Event::Late {
            address,
            seq,
            size_bytes,
            time_ns,
        })
    }

    fn lost(&mut self, seq: u64, reason: String) -> Result<(), Error> {
        self.report(Event::Lost { seq, reason })
    }
}

fn start_connect(address: SocketAddr, registry: &Registry) -> io::Result<TcpStream> {
    let mut stream = connecting::begin(address)?;
    let interest = Interest::READABLE | Interest::WRITABLE;
    registry.register(&mut stream, SOCKET, interest)?;
    Ok(stream)
}

/// Refuses a connection to itself, and has Nagle's algorithm hold no message until the one
/// before is acknowledged.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    refuse_reached_itself(stream)?;
    stream.set_nodelay(true)
}

fn no_reply(timeout: Duration) -> String {
    format!("no reply within {}", duration_text(timeout))
}

fn duration_text(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}
