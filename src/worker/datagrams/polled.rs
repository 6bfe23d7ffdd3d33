//! A socket of a worker that is waited for: batches are received from it, and answered.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use mio::{Registry, Token};
use socket2::SockRef;

use super::counters::DatagramCounters;
use super::drops::DropWatch;
use super::log::DatagramLog;
use super::protocol::DatagramProtocol;
use super::reflector::Reflector;
use super::rules::Rules;
use super::setup::{Endpoint, State};
use crate::base::datagram_sockets::receive_no_more;
use crate::base::sys;
use crate::base::sys::datagram::{self, Batch, Joins, Received};

/// Room for so many answers. They are sent when there is no more.
pub(super) const ANSWERS: usize = 128;

/// Room for the longest datagram, and to see that there is none longer.
pub(super) const SLOT: usize = 65_536;

/// After so many failures in a row to receive on a socket, it is left alone until the next
/// event: one that goes on would keep the worker busy for nothing.
const TRIES: u32 = 3;

/// What the kernel refused to join is tried again after so long: it forgets the MTU of a path
/// as soon (`mtu_expires` in ip-sysctl.rst), and what one peer's path lacks is to cost the others
/// no more.
pub(super) const JOINS_AGAIN: Duration = Duration::from_secs(600);

/// A socket that is waited for.
pub(super) struct Polled {
    pub(super) endpoint: Endpoint,
    /// The poller has it, by this token.
    pub(super) is_watched: bool,
    pub(super) token: Token,
    /// It may have datagrams: the poller reports edges only.
    pub(super) ready: bool,
    /// How many calls in a row have failed to receive.
    pub(super) failures: u32,
    /// The most bytes and the most datagrams that a slot of the last batch had, at least 1. So
    /// many are expected of each of the next.
    pub(super) longest: usize,
    pub(super) most_joined: usize,
    /// A stop has closed it to what comes later; what came before is still answered.
    pub(super) is_shut: bool,
    /// The kernel's count of drops when it was last read.
    pub(super) dropped: u32,
    pub(super) drops: DropWatch,
    /// The sessions of STAMP.
    pub(super) reflector: Reflector,
    /// Which answers are sent several in one message.
    pub(super) joins: Joins,
    /// When the kernel last refused to join some.
    pub(super) joins_refused: Option<Instant>,
    /// The answers of the last batch that were not sent.
    pub(super) unsent: Vec<usize>,
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Done {
    pub(super) came: usize,
    /// The bytes of those that came.
    pub(super) bytes: usize,
    pub(super) answered: usize,
}

/// What all sockets of a worker have in a turn.
pub(super) struct Turn<'a> {
    pub(super) rules: &'a Rules,
    pub(super) counters: &'a DatagramCounters,
    pub(super) log: &'a DatagramLog,
    pub(super) now: Instant,
}

impl Polled {
    /// One that the poller has, with what a worker before this one left of it.
    pub(super) fn new(endpoint: Endpoint, state: State, token: Token) -> Self {
        let joins = joins(&endpoint);
        // Where the system does not say, a look is due each time.
        let room = SockRef::from(&*endpoint.socket).recv_buffer_size();
        let room = room.unwrap_or(0);
        let dropped = state
            .dropped
            .or_else(|| datagram::dropped(&*endpoint.socket));
        Self {
            endpoint,
            is_watched: true,
            token,
            // A worker before this one may have left some.
            ready: true,
            failures: 0,
            longest: SLOT,
            most_joined: 1,
            is_shut: false,
            dropped: dropped.unwrap_or(0),
            drops: DropWatch::new(room),
            reflector: state.reflector,
            joins,
            joins_refused: None,
            unsent: Vec::with_capacity(ANSWERS),
        }
    }

    /// Whether it is left alone until the next event.
    pub(super) const fn has_failed_often(&self) -> bool {
        self.failures >= TRIES
    }

    /// Gives the socket to the poller, or takes it from it. What has come is found by the next wait
    /// either way.
    pub(super) fn watch(&mut self, is_watched: bool, registry: &Registry) {
        let socket = &*self.endpoint.socket;
        let changed = match is_watched {
            true => sys::watch(registry, socket, self.token),
            false => sys::unwatch(registry, socket),
        };
        match changed {
            Ok(()) => self.is_watched = is_watched,
            Err(error) => log::debug!("{} is waited for as before: {error}", self.endpoint),
        }
    }

    /// Has nothing more come, so that what has come is the last. Returns whether there may be
    /// some. One that the service manager has, too, stays open for the next start.
    pub(super) fn shut(&mut self) -> bool {
        if self.is_shut || !self.endpoint.is_ours {
            return false;
        }
        self.is_shut = true;
        self.ready = receive_no_more(&self.endpoint.socket).is_ok();
        self.ready
    }

    /// Answers one batch of at most `most` slots. Returns what became of it; `None` if
    /// none could be received.
    pub(super) fn answer_batch(
        &mut self,
        most: usize,
        batch: &mut Batch,
        turn: &Turn<'_>,
    ) -> Option<Done> {
        let slots = self.receive(most.min(batch.slots()), batch, turn)?;
        if self
            .joins_refused
            .is_some_and(|at| turn.now >= at + JOINS_AGAIN)
        {
            self.joins_refused = None;
            self.joins = joins(&self.endpoint);
        }
        let mut done = Done::default();
        (self.longest, self.most_joined) = (1, 1);
        for index in 0..slots {
            let received = batch.received(index);
            let count = received.count();
            turn.counters.received.add(count as u64);
            done.came += count;
            done.bytes += received.bytes;
            self.longest = self.longest.max(received.bytes);
            self.most_joined = self.most_joined.max(count);
            for (start, each) in received.each() {
                done.answered += self.answer((index, start), &each, batch, turn);
            }
        }
        done.answered += self.send(batch, turn);
        let came = (slots, done.bytes);
        if self.drops.is_due(came, !self.ready, turn.now) {
            self.count_drops(turn.counters);
        }
        Some(done)
    }

    /// Receives a batch. Returns how many slots are used; `None` if none could be received.
    fn receive(&mut self, most: usize, batch: &mut Batch, turn: &Turn<'_>) -> Option<usize> {
        match batch.receive(&*self.endpoint.socket, most) {
            Ok(came) => {
                self.failures = 0;
                self.ready = came == most;
                Some(came)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                (self.failures, self.ready) = (0, false);
                None
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.ready = self.failures < TRIES;
                turn.log.not_received(&self.endpoint, &error, turn.now);
                None
            }
        }
    }

    /// Has a datagram answered with the others of its batch, where the rules allow it; it begins
    /// in this slot, at this offset. Returns how many answers were sent already.
    fn answer(
        &mut self,
        (slot, start): (usize, usize),
        received: &Received,
        batch: &mut Batch,
        turn: &Turn<'_>,
    ) -> usize {
        let local = self.endpoint.address;
        let checked = turn.rules.check(received, local, turn.now);
        let answered = checked.and_then(|()| match self.endpoint.protocol {
            DatagramProtocol::Echo => Ok(()),
            DatagramProtocol::Stamp => {
                let packet = &mut batch.slot(slot)[start..][..received.bytes];
                self.reflector.reflect(packet, received, local, turn.now)
            }
        });
        if let Err(why) = answered {
            turn.counters.refused[why as usize].add(1);
            turn.log.refused(received, why, turn.now);
            return 0;
        }
        let marks = received.marks.unwrap_or(0);
        let from = received.to.filter(|_| self.endpoint.is_everywhere);
        let part = start..start + received.bytes;
        batch.answer(slot, part, from, marks, self.joins);
        // The send time of STAMP was read just now.
        let is_due = self.endpoint.protocol == DatagramProtocol::Stamp || !batch.has_room();
        if is_due { self.send(batch, turn) } else { 0 }
    }

    /// Sends the answers of a batch. Returns how many were sent.
    fn send(&mut self, batch: &mut Batch, turn: &Turn<'_>) -> usize {
        self.unsent.clear();
        let joins = self.joins;
        let sent = batch.send(
            &*self.endpoint.socket,
            &mut self.joins,
            |answer, to, error| {
                self.unsent.push(answer);
                turn.log.not_answered(to, &self.endpoint, error, turn.now);
            },
        );
        if joins != self.joins {
            log::debug!(
                "the kernel does not join all answers on {}: they are sent one by one",
                self.endpoint
            );
            self.joins_refused = Some(turn.now);
        }
        self.reflector.give_back(&self.unsent);
        self.reflector.begin();
        turn.counters.answered.add(sent.datagrams);
        turn.counters.bytes.add(sent.bytes);
        turn.counters.unsent.add(sent.failed);
        sent.datagrams as usize
    }

    pub(super) fn count_drops(&mut self, counters: &DatagramCounters) {
        if !self.endpoint.counts_drops {
            return;
        }
        if let Some(dropped) = datagram::dropped(&*self.endpoint.socket) {
            // The kernel's count wraps.
            let more = dropped.wrapping_sub(self.dropped);
            self.dropped = dropped;
            if more > 0 {
                counters.dropped.add(u64::from(more));
            }
        }
    }
}

/// Which answers on a socket are joined, as far as the kernel has not refused it.
fn joins(endpoint: &Endpoint) -> Joins {
    match endpoint.protocol {
        DatagramProtocol::Echo => Joins::on(&*endpoint.socket),
        // Its send times are read one by one.
        DatagramProtocol::Stamp => Joins::NONE,
    }
}
