//! One worker's datagrams: its sockets are waited for, and take turns with connections.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry, Token};

use super::counters::DatagramCounters;
use super::polled::{ANSWERS, Polled, SLOT, Turn};
use super::polling::Polling;
use super::setup::{Setup, State};
use crate::base::sys;
use crate::base::sys::datagram::Batch;
use crate::base::sys::poll_set::PollSet;

/// How many slots a system call receives into, and the least in a turn. Sizes from 8
/// to 256 cost the same; a batch of this size takes about as long as 20 messages of TCP.
const SLOTS: usize = 32;

/// After so many bytes of datagrams, to and fro alike, messages of TCP have their turn: about
/// as long as a slice of a stream beside them. One batch can pass it, by all its slots at the
/// most; the bytes above are taken from the turns that follow, so that the share is the same.
const TURN_BYTES: usize = 256 * 1024;

/// The poller's token of the first socket; the next ones go down. Connections have tokens from
/// 0 up.
const FIRST: usize = usize::MAX - 1;

/// How long at most a stop answers what arrives, where it never ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

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
            sockets.push(Polled::new(endpoint, state, token));
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
            if polled.has_failed_often() {
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

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests;
