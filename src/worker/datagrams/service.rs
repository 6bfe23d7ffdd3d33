//! One worker's datagrams: received in batches, checked, and sent back.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry, Token};
use socket2::SockRef;

use super::counters::DatagramCounters;
use super::drops::DropWatch;
use super::log::DatagramLog;
use super::polling::Polling;
use super::protocol::DatagramProtocol;
use super::reflector::Reflector;
use super::rules::Rules;
use super::setup::{Endpoint, Setup, State};
use crate::base::datagram_sockets::receive_no_more;
use crate::base::sys;
use crate::base::sys::datagram::{self, Batch, Joins, Received};
use crate::base::sys::poll_set::PollSet;

/// How many slots a system call receives into, and the least in a turn. Sizes from 8
/// to 256 cost the same; a batch of this size takes about as long as 20 messages of TCP.
const SLOTS: usize = 32;

/// After so many bytes of datagrams, to and fro alike, messages of TCP have their turn: about
/// as long as a slice of a stream beside them. One batch can pass it, by all its slots at the
/// most; the bytes above are taken from the turns that follow, so that the share is the same.
const TURN_BYTES: usize = 256 * 1024;

/// Room for so many answers. They are sent when there is no more.
const ANSWERS: usize = 128;

/// Room for the longest datagram, and to see that there is none longer.
const SLOT: usize = 65_536;

/// The poller's token of the first socket; the next ones go down. Connections have tokens from
/// 0 up.
const FIRST: usize = usize::MAX - 1;

/// After so many failures in a row to receive on a socket, it is left alone until the next
/// event: one that goes on would keep the worker busy for nothing.
const TRIES: u32 = 3;

/// What the kernel refused to join is tried again after so long: it forgets the MTU of a path
/// as soon (`mtu_expires` in ip-sysctl.rst), and what one peer's path lacks is to cost the others
/// no more.
const JOINS_AGAIN: Duration = Duration::from_secs(600);

/// How long at most a stop answers what arrives, where it never ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// A socket that is waited for.
struct Polled {
    endpoint: Endpoint,
    /// The poller has it, by this token.
    is_watched: bool,
    token: Token,
    /// It may have datagrams: the poller reports edges only.
    ready: bool,
    /// How many calls in a row have failed to receive.
    failures: u32,
    /// The most bytes and the most datagrams that a slot of the last batch had, at least 1. So
    /// many are expected of each of the next.
    longest: usize,
    most_joined: usize,
    /// A stop has closed it to what comes later; what came before is still answered.
    is_shut: bool,
    /// The kernel's count of drops when it was last read.
    dropped: u32,
    drops: DropWatch,
    /// The sessions of STAMP.
    reflector: Reflector,
    /// Which answers are sent several in one message.
    joins: Joins,
    /// When the kernel last refused to join some.
    joins_refused: Option<Instant>,
    /// The answers of the last batch that were not sent.
    unsent: Vec<usize>,
}

/// What became of a batch.
#[derive(Default)]
struct Done {
    came: usize,
    /// The bytes of those that came.
    bytes: usize,
    answered: usize,
}

/// What all sockets of a worker have in a turn.
struct Turn<'a> {
    rules: &'a Rules,
    counters: &'a DatagramCounters,
    log: &'a DatagramLog,
    now: Instant,
}

/// The datagrams of one worker.
pub(in crate::worker) struct Datagrams {
    worker: usize,
    setup: Arc<Setup>,
    sockets: Vec<Polled>,
    /// The place of the socket that has the next turn first.
    turn: usize,
    /// By how many bytes the turns so far have passed [`TURN_BYTES`].
    debt: usize,
    /// `None` where there are no sockets.
    batch: Option<Batch>,
    polling: Polling,
    set: PollSet,
    /// How many have come, and how many were answered, since the last wait.
    came: usize,
    answered: usize,
    /// What is answered after a stop is answered until then.
    until: Option<Instant>,
}

impl Datagrams {
    /// Takes the sockets of a worker over, and has them polled.
    ///
    /// # Errors
    /// One can't be polled.
    pub(in crate::worker) fn new(
        worker: usize,
        setup: &Arc<Setup>,
        registry: &Registry,
    ) -> io::Result<Self> {
        let mut sockets = Vec::new();
        for (index, (endpoint, state)) in setup.take(worker).into_iter().enumerate() {
            let token = Token(FIRST - index);
            match endpoint.is_shared {
                true => sys::watch_shared(registry, &*endpoint.socket, token)?,
                false => sys::watch(registry, &*endpoint.socket, token)?,
            }
            let joins = joins(&endpoint);
            // Where the system does not say, a look is due each time.
            let room = SockRef::from(&*endpoint.socket).recv_buffer_size();
            let room = room.unwrap_or(0);
            let dropped = state
                .dropped
                .or_else(|| datagram::dropped(&*endpoint.socket));
            sockets.push(Polled {
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
            });
        }
        Ok(Self {
            worker,
            setup: Arc::clone(setup),
            batch: (!sockets.is_empty()).then(|| Batch::new(SLOTS, SLOT, ANSWERS)),
            sockets,
            turn: 0,
            debt: 0,
            polling: Polling::new(),
            set: PollSet::default(),
            came: 0,
            answered: 0,
            until: None,
        })
    }

    /// Waits for an event of the poller, and for datagrams, for this time at the most.
    ///
    /// # Errors
    /// The poller's.
    pub(in crate::worker) fn wait(
        &mut self,
        poller: &mut Poll,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        self.came = 0;
        for polled in beside(&mut self.sockets) {
            if polled.failures >= TRIES {
                // It would be found ready for ever. The poller reports what is new.
                polled.watch(true, poller.registry());
            }
        }
        let is_any_beside = beside(&mut self.sockets).next().is_some();
        let result = match is_any_beside {
            true => self.wait_beside(poller, events, timeout),
            false => sys::poll(poller, events, timeout),
        };
        if !self.sockets.is_empty() {
            let answered = std::mem::take(&mut self.answered);
            self.polling.turn(answered, !events.is_empty());
            if self.polling.choose() {
                self.change_polling(poller.registry());
            }
        }
        result
    }

    /// The same where the poller does not have all sockets.
    fn wait_beside(
        &mut self,
        poller: &mut Poll,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        if timeout == Some(Duration::ZERO) {
            // To receive takes no longer than to ask whether there is something.
            beside(&mut self.sockets).for_each(|polled| polled.ready = true);
            return sys::poll(poller, events, timeout);
        }
        self.set.clear();
        self.set.add(poller);
        beside(&mut self.sockets).for_each(|polled| self.set.add(&*polled.endpoint.socket));
        self.set.wait(timeout)?;
        for (place, polled) in (1..).zip(beside(&mut self.sockets)) {
            polled.ready |= self.set.is_ready(place);
            self.came += usize::from(polled.ready);
        }
        if self.set.is_ready(0) {
            return sys::poll(poller, events, Some(Duration::ZERO));
        }
        events.clear();
        Ok(())
    }

    /// As where many datagrams are answered in a turn.
    #[cfg(test)]
    pub(in crate::worker) fn take_from_poller(&mut self, registry: &Registry) {
        let sockets = self.sockets.iter_mut();
        sockets.for_each(|polled| polled.watch(false, registry));
    }

    #[cfg(test)]
    pub(in crate::worker) fn is_beside_poller(&mut self) -> bool {
        beside(&mut self.sockets).next().is_some()
    }

    /// Gives the sockets to the poller, or takes them from it. Of the workers that wait for a shared
    /// one by poll(2) all would be woken.
    fn change_polling(&mut self, registry: &Registry) {
        let is_beside = self.polling.is_beside();
        let own = self.sockets.iter_mut();
        for polled in own.filter(|polled| !polled.endpoint.is_shared) {
            if polled.is_watched == is_beside {
                polled.watch(!is_beside, registry);
            }
        }
    }

    /// Whether datagrams have come since the last wait began.
    pub(in crate::worker) fn has_come(&self) -> bool {
        self.came > 0
    }

    /// Records an event. Returns whether it is of a socket for datagrams.
    pub(in crate::worker) fn is_event(&mut self, token: Token) -> bool {
        let mut sockets = self.sockets.iter_mut();
        match sockets.find(|polled| polled.token == token) {
            Some(polled) => {
                polled.ready = true;
                true
            }
            None => false,
        }
    }

    /// Whether datagrams may wait.
    pub(in crate::worker) fn is_ready(&self) -> bool {
        self.sockets.iter().any(|polled| polled.ready)
    }

    /// Whether a stop has closed all sockets, or there were none.
    pub(in crate::worker) fn is_closed(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Answers what waits: up to as many datagrams as `messages` of TCP were served before, but
    /// at least a batch, and none after [`TURN_BYTES`]. How long the next ones are, or how many
    /// come as one, is not known before: a batch can pass these bounds, and the turns after it
    /// have so many bytes less. The sockets come first in turn. Returns how many were answered.
    pub(in crate::worker) fn take_turn(
        &mut self,
        messages: usize,
        counters: &DatagramCounters,
        now: Instant,
    ) -> usize {
        let Some(batch) = &mut self.batch else {
            return 0;
        };
        let (mut answered, mut left) = (0, messages.max(SLOTS));
        let mut bytes = TURN_BYTES.saturating_sub(self.debt);
        self.debt -= TURN_BYTES - bytes;
        let turn = Turn {
            rules: &self.setup.rules,
            counters,
            log: &self.setup.log,
            now,
        };
        let count = self.sockets.len();
        for place in 0..count {
            let polled = &mut self.sockets[(self.turn + place) % count];
            while polled.ready && left > 0 && bytes > 0 {
                let most = left.div_ceil(polled.most_joined);
                let most = most.min(bytes.div_ceil(polled.longest));
                let Some(done) = polled.answer_batch(most, batch, &turn) else {
                    break;
                };
                left = left.saturating_sub(done.came);
                self.debt += done.bytes.saturating_sub(bytes);
                bytes = bytes.saturating_sub(done.bytes);
                answered += done.answered;
                self.came += done.came;
            }
        }
        self.answered += answered;
        self.turn = (self.turn + 1) % count.max(1);
        answered
    }

    /// Adds what the kernel has dropped since the last time.
    pub(in crate::worker) fn count_drops(&mut self, counters: &DatagramCounters) {
        self.sockets
            .iter_mut()
            .for_each(|polled| polled.count_drops(counters));
    }

    /// Once a stop was ordered: closes each socket that has nothing left to be answered. What
    /// lies in the queue of a socket that is closed is lost, so it is answered before, and so
    /// that nothing comes in between, the socket is closed to what is sent later first.
    /// That is at the `deadline` of the stop at the latest, also where what arrives never ends.
    pub(in crate::worker) fn close_quiet(
        &mut self,
        registry: &Registry,
        counters: &DatagramCounters,
        (now, deadline): (Instant, Instant),
    ) {
        let Some(until) = self.until else {
            // The first call: what has arrived by now may not have been reported.
            self.until = Some(deadline.min(now + LAST_ANSWERS));
            self.sockets.iter_mut().for_each(|each| each.ready = true);
            return;
        };
        let (worker, setup) = (self.worker, &self.setup);
        self.sockets.retain_mut(|polled| {
            if polled.ready && (now < until || polled.is_shut) || polled.shut() {
                return true;
            }
            polled.count_drops(counters);
            // One that the service manager keeps open would go on to be reported.
            if polled.is_watched {
                let _ = sys::unwatch(registry, &*polled.endpoint.socket);
            }
            setup.give_up(worker, &polled.endpoint);
            false
        });
    }
}

/// A worker that dies leaves its sessions and counts to its successor.
impl Drop for Datagrams {
    fn drop(&mut self) {
        for polled in self.sockets.drain(..) {
            let state = State {
                dropped: Some(polled.dropped),
                reflector: polled.reflector,
            };
            self.setup.give(self.worker, &polled.endpoint, state);
        }
    }
}

/// The sockets that the poller does not have.
fn beside(sockets: &mut [Polled]) -> impl Iterator<Item = &mut Polled> {
    sockets.iter_mut().filter(|polled| !polled.is_watched)
}

impl Polled {
    /// Gives the socket to the poller, or takes it from it. What has come is found by the next wait
    /// either way.
    fn watch(&mut self, is_watched: bool, registry: &Registry) {
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
    fn shut(&mut self) -> bool {
        if self.is_shut || !self.endpoint.is_ours {
            return false;
        }
        self.is_shut = true;
        self.ready = receive_no_more(&self.endpoint.socket).is_ok();
        self.ready
    }

    /// Answers one batch of at most `most` slots. Returns what became of it; `None` if
    /// none could be received.
    fn answer_batch(&mut self, most: usize, batch: &mut Batch, turn: &Turn<'_>) -> Option<Done> {
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

    fn count_drops(&mut self, counters: &DatagramCounters) {
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

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests;
