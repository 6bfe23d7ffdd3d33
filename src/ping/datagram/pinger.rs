//! A ping over UDP: one thread waits for the sockets, the next datagram's time and a stop.
//!
//! Datagrams are sent when they are due, whether or not the ones before have come back. A
//! round trip lasts from just before a datagram is sent until the kernel has received its
//! echo, so how long this thread took to wake up is not in it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::content::Content;
use super::event::Event;
use super::flow::Flow;
use super::plan::{Carries, Plan, clock_of, content, hello};
use super::seen::{Seen, awaited, counts};
use super::summary::DatagramSummary;
use crate::base::error as base;
use crate::base::open_files::with_advice;
use crate::base::sys;
use crate::base::units::nanoseconds;
use crate::ping::error::Error;
use crate::ping::stop::Stop;
use crate::probe::datagram::checksums::Checksums;
use crate::probe::datagram::choose::choose;
use crate::probe::datagram::conventions::wait_at_end;
use crate::probe::datagram::marks::Marks;
use crate::probe::datagram::socket::{Incoming, Options, ProbeSocket};
use crate::probe::datagram::stamp::tracker::StampTracker;

const STOP: Token = Token(usize::MAX);

/// With an interval of zero, a datagram is sent after this time at the latest, though none
/// came back: the rate of a flood of ping(8).
const FLOOD: Duration = Duration::from_millis(10);

/// A schedule that is so far behind goes on from now: the machine was suspended.
const BEHIND: Duration = Duration::from_millis(100);

/// So many datagrams at the most are sent in a turn, and received on each port. It receives
/// more than it sends, so that a flood of copies is seen and not dropped here.
const SENT_A_TURN: usize = 64;
const RECEIVED_A_TURN: usize = 256;

/// Sending waits while so many are remembered, since the oldest one is awaited: it bounds the
/// memory, of 24 bytes each, of a long time-out.
const REMEMBERED: u64 = 1 << 22;

/// Why sending waits.
const WAITS: &str = "no more datagrams can be remembered, or told apart where they are short, \
                     behind one that is awaited: choose a longer --interval, a shorter --timeout, \
                     or a larger --size";

/// The poller waits whole milliseconds, rounded up; the rest is slept.
const TICK: Duration = Duration::from_millis(1);

/// The longest single wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// By STAMP: so often it is asked, at the end, in which direction the last ones were lost.
const TRIES: u32 = 3;

/// The state of the clock is read once in this time.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// More than any datagram has, in bytes.
const BLOCK: usize = 64 * 1024;

/// The receive buffer asked for, in bytes.
const RECEIVE_BUFFER: usize = 1 << 20;

/// A ping over UDP: all of its datagrams and its summary.
pub struct DatagramPing {
    plan: Plan,
    address: SocketAddr,
    poll: Poll,
    stop: Arc<Stop>,
    flows: Vec<Flow>,
    started: Instant,
    /// When the next datagram is due.
    due: Instant,
    /// Datagrams that were due so far.
    number: u64,
    /// The last one that was due and had to wait, and how many had to.
    last_held_back: Option<u64>,
    held_back: u64,
    /// Whether the last one that was sent has come back.
    is_back: bool,
    /// Where more may have come than was received in this turn: after this time, in nanoseconds
    /// from the start. The poller tells of what is there once.
    unread: Option<u64>,
    /// Until when copies and late echoes are waited for, once no datagram is awaited.
    copies_until: Option<Instant>,
    /// How often it was asked, at the end, in which direction the last ones were lost, and
    /// until when an answer to that is waited for.
    asked_for_the_last: u32,
    asked_until: Option<Instant>,
    /// When the state of the clock was read.
    clock_at: Instant,
    seen: Seen,
    checksums: Checksums,
}

impl DatagramPing {
    /// Chooses the address and opens the sockets; but for that, nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::SetUp`] when the system provides no poller or socket, as without a route.
    pub fn new(plan: Plan) -> Result<Self, Error> {
        let set_up = |operation| move |source| Error::SetUp { operation, source };
        let poll = Poll::new().map_err(set_up("make a poller"))?;
        let stop = Stop::new(poll.registry(), STOP).map_err(set_up("make a poller"))?;
        let clock = clock_of(plan.carries);
        let chosen = choose(&plan.addresses, &hello(clock), plan.timeout);
        // Where all are refused now, each message tells.
        let chosen = chosen.map_err(set_up("ask the addresses"))?;
        let address = chosen.unwrap_or(plan.addresses[0]);
        let options = Options {
            tos: (plan.marks != Marks::default()).then_some(plan.marks.byte()),
            receive_buffer: Some(RECEIVE_BUFFER),
            ..Options::default()
        };
        let ports = plan.ports as u64;
        let open = |place: u64| {
            let socket = ProbeSocket::new(address, options)?;
            let content = content(&plan, clock, place);
            let mut flow = Flow::new(socket, content, (place, ports), plan.timeout);
            flow.register(poll.registry(), Token(place as usize))?;
            Ok(flow)
        };
        let flows: io::Result<Vec<_>> = (0..ports).map(open).collect();
        let now = Instant::now();
        Ok(Self {
            flows: flows
                .map_err(|error| with_advice(error, "each source port has two", "--ports"))
                .map_err(set_up("open a socket to the server"))?,
            plan,
            address,
            poll,
            stop: Arc::new(stop),
            started: now,
            due: now,
            number: 0,
            last_held_back: None,
            held_back: 0,
            is_back: false,
            unread: None,
            copies_until: None,
            asked_for_the_last: 0,
            asked_until: None,
            clock_at: now,
            seen: Seen::default(),
            checksums: Checksums::new(address),
        })
    }

    /// The address that is asked.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The handle that stops it early.
    pub fn stop(&self) -> Arc<Stop> {
        Arc::clone(&self.stop)
    }

    /// Sends all datagrams and calls `report` with each event as it happens.
    ///
    /// # Errors
    /// [`base::Error::Output`] with the error of `report`; [`Error::SetUp`] when the poller or
    /// a socket fails.
    pub fn run(
        mut self,
        report: &mut dyn FnMut(&Event) -> io::Result<()>,
    ) -> Result<DatagramSummary, Error> {
        self.started = Instant::now();
        self.due = self.started;
        let mut events = Events::with_capacity(64);
        let mut block = vec![0; BLOCK];
        while !self.stop.is_requested() && !self.is_over() {
            self.wait(&mut events).map_err(|source| Error::SetUp {
                operation: "wait for the server",
                source,
            })?;
            let happened = self.step(&mut block).map_err(|source| Error::SetUp {
                operation: "receive from the server",
                source,
            })?;
            for event in happened {
                self.count(&event);
                report(&event).map_err(base::Error::Output)?;
            }
        }
        let checksums = &self.checksums;
        let dropped = self.flows.iter_mut();
        let dropped: Vec<_> = dropped.filter_map(|it| it.dropped(checksums)).collect();
        for event in dropped {
            self.count(&event);
            report(&event).map_err(base::Error::Output)?;
        }
        Ok(self.summary())
    }

    /// Receives what has come, gives up what is overdue, and sends what is due.
    fn step(&mut self, block: &mut [u8]) -> io::Result<Vec<Event>> {
        // What comes from here on was not overdue when it is looked for.
        let now = nanoseconds(self.started.elapsed());
        let mut happened = Vec::new();
        self.unread = None;
        for flow in &mut self.flows {
            let until = receive(flow, self.started, block, &mut happened)?;
            self.unread = self.unread.into_iter().chain(until).min();
            let expired = flow.expired(until.unwrap_or(now).min(now));
            // Where something is missing, it may have been dropped here.
            let dropped = match expired.is_empty() {
                true => None,
                false => flow.dropped(&self.checksums),
            };
            happened.extend(expired);
            happened.extend(dropped);
        }
        self.look_at_clock();
        self.send_due(&mut block[..self.plan.size], &mut happened);
        let is_done = self.is_complete() && awaited(&self.flows) == 0;
        if is_done && self.copies_until.is_none() && !self.ask_for_the_last(block) {
            let longest = Duration::from_nanos(self.seen.longest);
            let counts = counts(&self.flows);
            let time = wait_at_end(longest, counts.lost > counts.refused, self.plan.timeout);
            self.copies_until = Some(Instant::now() + time);
        }
        Ok(happened)
    }

    /// Sends the datagrams that are due by now, as many as a turn has.
    fn send_due(&mut self, block: &mut [u8], happened: &mut Vec<Event>) {
        for _ in 0..SENT_A_TURN {
            let now = Instant::now();
            let Some(due) = self.due().filter(|due| *due <= now) else {
                return;
            };
            if !self.has_room() {
                happened.extend(self.hold_back());
                return;
            }
            let place = self.next_flow();
            self.number += 1;
            self.is_back = false;
            let at = nanoseconds(now - self.started);
            happened.extend(self.flows[place].send(block, at));
            self.due = match self.plan.interval {
                Duration::ZERO => now + FLOOD,
                interval if now - due > BEHIND.max(interval) => now + interval,
                interval => due + interval,
            };
        }
    }

    /// By STAMP, asks in which direction the last ones were lost. Returns whether an answer to
    /// that is waited for.
    fn ask_for_the_last(&mut self, block: &mut [u8]) -> bool {
        let is_lacking = |flow: &Flow| {
            let stamp = flow.content.stamp();
            stamp.is_some_and(StampTracker::has_lost_the_last)
        };
        let now = Instant::now();
        let is_lacking = self.flows.iter().any(is_lacking);
        if is_lacking && self.asked_until.is_some_and(|until| now < until) {
            return true;
        }
        self.asked_until = None;
        if !is_lacking || self.asked_for_the_last == TRIES {
            return false;
        }
        self.asked_for_the_last += 1;
        self.asked_until = Some(now + self.plan.timeout);
        let block = &mut block[..self.plan.size];
        let asked = self.flows.iter_mut().map(|it| it.ask_for_the_last(block));
        asked.filter(|&asked| asked).count() > 0
    }

    /// Reads the state of the clock, for STAMP.
    fn look_at_clock(&mut self) {
        if let Carries::Stamp(_) = self.plan.carries
            && self.clock_at.elapsed() >= CLOCK_EVERY
        {
            self.clock_at = Instant::now();
            let clock = clock_of(self.plan.carries);
            for flow in &mut self.flows {
                if let (Content::Stamp(tracker), Some(clock)) = (&mut flow.content, clock) {
                    tracker.set_clock(clock);
                }
            }
        }
    }

    /// The next datagram is due and has to wait. Reports the first.
    fn hold_back(&mut self) -> Option<Event> {
        if self.last_held_back.replace(self.number) == Some(self.number) {
            return None;
        }
        self.held_back += 1;
        (self.held_back == 1).then(|| Event::SendingWaits {
            seq: self.number + 1,
            reason: String::from(WAITS),
        })
    }

    /// The place of the port whose turn it is.
    const fn next_flow(&self) -> usize {
        (self.number % self.flows.len() as u64) as usize
    }

    /// Whether one more can be remembered until it is over, and told from those before it.
    fn has_room(&self) -> bool {
        let spans = self.flows.iter().map(|it| it.content.reply_log().span());
        let next = &self.flows[self.next_flow()].content;
        spans.sum::<u64>() < REMEMBERED && next.is_told_apart()
    }

    /// When the next datagram is to be sent, or counted as held back; `None` if none is left, or
    /// it has to wait for an earlier one.
    fn next_due(&self) -> Option<Instant> {
        let is_counted = self.last_held_back == Some(self.number);
        self.due().filter(|_| !is_counted || self.has_room())
    }

    /// When the next datagram is due; `None` if none is left.
    fn due(&self) -> Option<Instant> {
        if self.is_complete() {
            return None;
        }
        let is_flood = self.plan.interval.is_zero() && self.is_back;
        Some(match is_flood && awaited(&self.flows) == 0 {
            true => self.started,
            false => self.due,
        })
    }

    fn is_complete(&self) -> bool {
        self.plan.count.is_some_and(|count| self.number >= count)
    }

    fn is_over(&self) -> bool {
        self.copies_until.is_some_and(|until| {
            let end = nanoseconds(until.saturating_duration_since(self.started));
            // What came before is read first.
            Instant::now() >= until && self.unread.is_none_or(|since| since >= end)
        })
    }

    /// Waits for the sockets until a timer is due.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let deadlines = self
            .flows
            .iter()
            .map(|it| it.content.reply_log().deadline());
        let deadline = deadlines.flatten().min();
        let deadline = deadline.map(|at| self.started + Duration::from_nanos(at));
        let next = [
            self.next_due(),
            deadline,
            self.asked_until,
            self.copies_until,
        ];
        let next = next.into_iter().flatten().min();
        let left = |at: Instant| at.saturating_duration_since(Instant::now());
        let wait = match self.unread {
            Some(_) => Duration::ZERO,
            None => next.map_or(LONGEST_WAIT, |at| left(at).min(LONGEST_WAIT)),
        };
        let whole = Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        sys::poll(&mut self.poll, events, Some(whole))?;
        // What comes now is stamped by the kernel.
        let rest = next.map_or(Duration::ZERO, left);
        let is_idle = events.is_empty() && self.unread.is_none() && !self.stop.is_requested();
        if is_idle && rest < TICK {
            thread::sleep(rest);
        }
        Ok(())
    }

    fn count(&mut self, event: &Event) {
        self.is_back |= matches!(event, Event::Reply(_));
        self.seen.count(event);
    }

    fn summary(&self) -> DatagramSummary {
        let elapsed = self.started.elapsed();
        self.seen
            .summary(&self.plan, &self.flows, elapsed, self.held_back)
    }
}

/// Receives what has come to a port, as much as a turn has. Returns when the last was received
/// by the kernel, in nanoseconds from the start, if there may be more, which came after it.
fn receive(
    flow: &mut Flow,
    started: Instant,
    block: &mut [u8],
    happened: &mut Vec<Event>,
) -> io::Result<Option<u64>> {
    let mut until = 0;
    for _ in 0..RECEIVED_A_TURN {
        match flow.socket.receive(block)? {
            None => return Ok(None),
            Some(Incoming::Datagram(datagram)) => {
                let waited = datagram.waited.unwrap_or(Duration::ZERO);
                until = nanoseconds(started.elapsed().saturating_sub(waited));
                let bytes = &block[..datagram.length];
                happened.extend(flow.arrived(bytes, datagram, until));
            }
            Some(Incoming::Error(error)) => {
                happened.extend(flow.refused(&block[..error.quoted], &error));
            }
        }
    }
    Ok(Some(until))
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests;
