//! One worker's read/echo loop.
//!
//! A turn: wait for readiness; take the new clients from the channel; then, for
//! the connections that have something to do, a *receive phase* that reads them
//! into one scratch block, packed one behind another, and a *send phase* that
//! writes it all back. Working in phases keeps the kernel's receive path and its
//! send path each in the processor's caches: 7.0 µs of CPU time a round trip,
//! where one connection at a time took 8.1.
//!
//! The poller is edge-triggered, so a connection that may have more than its
//! slice goes to the end of the ready list: its neighbours come first, and it
//! is not forgotten.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use super::deadlines::Deadlines;
use super::stalls::{Stalls, Watch};

use crate::base::address::canonical;
use crate::base::error::cause;
use crate::base::sys;
use crate::base::throttle::Throttle;
use crate::pool::{Desk, Drain, Handoff, Lease};
use crate::worker::conn::{Conn, Next, Readiness, Received};
use crate::worker::eviction::Reason;
use crate::worker::pipe::Pipes;
use crate::worker::proxy_header::Header;
use crate::worker::source::Place;

/// The scratch block, in bytes: what one receive phase may bring. It fits the
/// second-level cache of current processors.
const BLOCK: usize = 256 * 1024;

/// The most one connection may bring in a turn, in bytes. It bounds what a
/// firehose takes from its neighbours.
const SLICE: usize = 64 * 1024;

/// The same, in bytes, of one that was not seen to stream, or whose peer has no
/// room for more: what a peer that stops reading costs. A message is no more, and
/// does not fill it, so that no second read is needed to see its end.
const NARROW_SLICE: usize = MESSAGE + ALIGN;

/// The most a streaming connection moves in a turn, in bytes, while nobody
/// waits for it but others that stream: long enough for the pipe to pay.
const BULK_SLICE: usize = 256 * 1024;

/// The same beside clients that send messages: it takes about as long as one of
/// those. With 64 KiB the 99th percentile of 50 pingers grew by 1.8 beside a
/// firehose, with this by 1.5. It is more than a message, so as not to be taken for one.
const BULK_SLICE_BESIDE: usize = NARROW_SLICE;

/// What brings no more, in bytes, is a message, unless its client streams.
const MESSAGE: usize = 16 * 1024;

/// For so long after a message or a slice of a stream, more of the kind is
/// reckoned with. It is longer than a turn with many streams takes: with 1 ms,
/// 16 of them made a pinger wait 5 ms at the 99th percentile, with this 1 ms.
const HABIT: Duration = Duration::from_millis(50);

/// Received bytes start at multiples of this: a cache line.
const ALIGN: usize = 64;

/// How many events one wait brings at the most.
const EVENTS: usize = 1024;

/// How long after its answer a client has to close its side.
const LINGER_TIME: Duration = Duration::from_secs(5);

/// While stopping, every connection is looked at this often.
const SETTLE_EVERY: Duration = Duration::from_millis(10);

const WAKE: Token = Token(usize::MAX);

/// The port of the client whose next bytes make its worker panic.
#[cfg(test)]
pub(crate) static PANIC_FOR: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);

/// Why a connection ended, for the log.
pub(super) enum Why {
    Finished,
    Evicted(Reason),
    Stopped,
    Cut,
    Failed(io::Error),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("finished"),
            Self::Evicted(reason) => write!(f, "evicted, {reason}"),
            Self::Stopped => f.write_str("the server stops"),
            Self::Cut => f.write_str("cut, the grace period is over"),
            Self::Failed(error) => f.write_str(&cause(error)),
        }
    }
}

/// A connection and what the worker keeps of it.
pub(super) struct Client {
    pub(super) conn: Conn<TcpStream>,
    pub(super) peer: SocketAddr,
    pub(super) opened: Instant,
    /// When its header or message must be complete or, after our end, its own be here.
    pub(super) until: Option<Instant>,
    /// When it comes up next; entries of other times do not count.
    pub(super) deadline: Option<Instant>,
    pub(super) watch: Watch,
    pub(super) queued: bool,
    /// Until then, by the worker's [clock](Worker::clock), it is thought to stream, even
    /// if it sends little.
    pub(super) streams_until: u64,
    /// Given back after the socket is closed, as is the lease.
    pub(super) place: Option<Place>,
    pub(super) _lease: Lease,
}

/// One worker of the pool.
pub(crate) struct Worker {
    pub(super) desk: Desk,
    pub(super) poller: Poll,
    pub(super) clients: Slab<Client>,
    /// Connections that have something to do without a further event.
    pub(super) ready: VecDeque<usize>,
    pub(super) block: Box<[u8]>,
    /// Where the block's first cache line begins.
    pub(super) front: usize,
    /// What the receive phase brought: whose, and where in the block.
    pub(super) batch: Vec<(usize, Range<usize>)>,
    pub(super) deadlines: Deadlines,
    pub(super) stalls: Stalls,
    pub(super) drain: Option<Drain>,
    pub(super) settle_at: Instant,
    pub(super) told_failure: Throttle,
    pub(super) pipes: Pipes,
    /// Until then it polls rather than sleeps.
    pub(super) busy_until: Instant,
    /// Until then some client is thought to send messages.
    pub(super) messages_until: Instant,
    pub(super) started: Instant,
    pub(super) now: Instant,
}

impl Worker {
    pub(crate) fn new(desk: Desk) -> io::Result<(Self, Arc<Waker>)> {
        let poller = Poll::new()?;
        let waker = Arc::new(Waker::new(poller.registry(), WAKE)?);
        let now = Instant::now();
        // What the clients of a worker that died before held is gone with them.
        desk.tally.tell_held(0);
        desk.tally.tell_touched(false);
        let pipes = Pipes::new(desk.settings.pipes);
        let stalls = Stalls::new(&desk.settings.limits, now);
        let block = vec![0; BLOCK + ALIGN].into_boxed_slice();
        let worker = Self {
            desk,
            poller,
            clients: Slab::new(),
            ready: VecDeque::new(),
            front: block.as_ptr().align_offset(ALIGN).min(ALIGN),
            block,
            batch: Vec::new(),
            deadlines: Deadlines::default(),
            stalls,
            drain: None,
            settle_at: now,
            told_failure: Throttle::new(Duration::from_secs(1)),
            pipes,
            busy_until: now,
            messages_until: now,
            started: now,
            now,
        };
        Ok((worker, waker))
    }

    /// Serves until the pool is stopped and the last connection has ended. Tells
    /// `ready` once it has polled.
    ///
    /// # Errors
    /// The poller's; every connection is closed then.
    pub(crate) fn run(mut self, mut ready: Option<Sender<()>>) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.is_done() {
            self.wait(&mut events)?;
            if let Some(ready) = ready.take() {
                let _ = ready.try_send(());
            }
            self.dispatch(&events);
            let mut turns = self.ready.len();
            while turns > 0 {
                turns -= self.receive_phase(turns);
                self.send_phase();
            }
            self.expire();
            self.look();
            self.settle();
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.drain.is_some() && self.clients.is_empty() && self.desk.inbox.is_empty()
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        // Either some are looked at or, while stopping, all are.
        let until = match self.drain {
            Some(_) => Some(self.settle_at),
            None => {
                let deadline = self.deadlines.soonest().into_iter();
                deadline.chain(self.stalls.soonest()).min()
            }
        };
        let timeout = match until {
            _ if !self.ready.is_empty() || self.now < self.busy_until => Some(Duration::ZERO),
            Some(at) => Some(at.saturating_duration_since(Instant::now())),
            None => None,
        };
        sys::poll(&mut self.poller, events, timeout)?;
        self.now = Instant::now();
        if !events.is_empty() {
            self.busy_until = self.now + self.desk.settings.busy_poll;
        }
        Ok(())
    }

    fn dispatch(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                WAKE => self.take_new(),
                Token(key) => self.note(key, event),
            }
        }
    }

    /// Takes what waits in the channel, and the order to stop.
    fn take_new(&mut self) {
        self.desk.asked.store(false, Ordering::Release);
        if self.drain.is_none()
            && let Some(&drain) = self.desk.drain.get()
        {
            self.drain = Some(drain);
        }
        while let Some(handoff) = self.desk.inbox.pop() {
            self.admit(handoff);
        }
        if self.desk.tally.take_look() {
            self.look_sooner();
        }
        let order = self.desk.tally.take_order();
        if order != (0, 0) {
            self.shed(order);
        }
        let bytes = self.desk.tally.take_largest();
        if bytes > 0 {
            self.shed_largest(bytes);
        }
    }

    fn admit(&mut self, handoff: Handoff) {
        let Handoff { accepted, lease } = handoff;
        let (peer, protocol) = (accepted.peer, accepted.protocol);
        log::debug!(
            "client {peer} connected to {protocol}, worker {}",
            self.desk.id
        );
        let mut stream = TcpStream::from_std(accepted.stream);
        let entry = self.clients.vacant_entry();
        let registry = self.poller.registry();
        if let Err(error) = registry.register(&mut stream, Token(entry.key()), interest()) {
            if let Some(suppressed) = self.told_failure.admit(self.now) {
                log::error!(
                    "client {peer} closed: could not watch its socket: {} \
                     ({suppressed} failures since the last such line)",
                    cause(&error)
                );
            }
            return;
        }
        let key = entry.key();
        let conn = match accepted.announced {
            true => Conn::announced(stream, protocol, self.now),
            false => Conn::new(stream, protocol, self.now),
        };
        entry.insert(Client {
            conn,
            peer,
            opened: accepted.at,
            until: None,
            deadline: None,
            watch: Watch::No,
            queued: false,
            streams_until: 0,
            place: accepted.place,
            _lease: lease,
        });
        match accepted.announced {
            true => self.allow(key, self.desk.settings.limits.header),
            false => self.greet(key, peer),
        }
    }

    /// Serves a client from now on, who is known as `peer`.
    fn greet(&mut self, key: usize, peer: SocketAddr) {
        self.desk.tally.work.connections.add(1);
        let client = &mut self.clients[key];
        client.peer = peer;
        client.conn.greet(peer);
        if client.conn.owes() {
            self.enqueue(key);
        }
        self.arm(key);
    }

    /// Acts on the PROXY header that a load balancer has sent before its client's bytes.
    fn heed(&mut self, key: usize, header: Header) {
        let proxy = self.clients[key].peer;
        let (peer, sources) = match header {
            Header::Client(peer) => (canonical(peer), self.desk.settings.sources.as_ref()),
            // Its address would be the same for all of these.
            Header::Unnamed => (proxy, None),
            Header::Malformed(fault) => {
                return self.refuse(key, Reason::Header, format_args!("refused: {fault}"));
            }
        };
        match sources.map(|sources| sources.admit(peer.ip())).transpose() {
            Ok(place) => self.clients[key].place = place,
            Err(crowded) => {
                self.clients[key].peer = peer;
                return self.refuse(key, Reason::Source, format_args!("{crowded}"));
            }
        }
        log::debug!("client {peer} came through {proxy}");
        self.clients[key].until = None;
        self.greet(key, peer);
    }

    fn note(&mut self, key: usize, event: &Event) {
        if let Some(client) = self.clients.get_mut(key)
            && client.conn.note(Readiness::from(event))
        {
            self.enqueue(key);
        }
    }

    fn enqueue(&mut self, key: usize) {
        if let Some(client) = self.clients.get_mut(key)
            && !std::mem::replace(&mut client.queued, true)
        {
            self.ready.push_back(key);
        }
    }

    /// Reads up to `turns` ready connections, as far as the block has room for
    /// a slice each. Returns how many it took from the ready list.
    fn receive_phase(&mut self, turns: usize) -> usize {
        let mut used = self.front;
        let mut taken = 0;
        while taken < turns && used + SLICE <= self.block.len() {
            taken += 1;
            let Some(key) = self.ready.pop_front() else {
                break;
            };
            match self.receive(key, used) {
                Ok(Received { bytes, echo }) => {
                    let range = used..used + if echo { bytes } else { 0 };
                    used = range.end.next_multiple_of(ALIGN);
                    self.batch.push((key, range));
                    if let Some(header) = self.clients[key].conn.header() {
                        self.heed(key, header);
                    }
                }
                Err(error) => self.close(key, &Why::Failed(error)),
            }
        }
        taken
    }

    /// Sends a connection what it is still owed and reads its slice into the
    /// block from `used` on, or through a pipe.
    fn receive(&mut self, key: usize, used: usize) -> io::Result<Received> {
        let client = &mut self.clients[key];
        client.queued = false;
        let before = client.conn.sent();
        let received = self.move_bytes(key, used);
        self.count(key, before);
        received
    }

    /// What time it is in nanoseconds of its own: half of what an `Instant` takes of every
    /// idle client's memory, and enough for centuries.
    fn clock(&self) -> u64 {
        let time = self.now.saturating_duration_since(self.started);
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }

    fn move_bytes(&mut self, key: usize, used: usize) -> io::Result<Received> {
        let clock = self.clock();
        let client = &mut self.clients[key];
        client.conn.flush(&mut self.pipes, self.now)?;
        let received = if client.conn.is_bulk() && self.pipes.can_lend() {
            let most = match self.now < self.messages_until {
                true => BULK_SLICE_BESIDE,
                false => BULK_SLICE,
            };
            client.conn.relay(&mut self.pipes, most, self.now)?
        } else {
            let slice = match clock < client.streams_until {
                true => client.conn.room().unwrap_or(SLICE),
                false => NARROW_SLICE,
            };
            let slice = slice.clamp(NARROW_SLICE, SLICE);
            let room = &mut self.block[used..used + slice];
            client.conn.receive(room, self.now)?
        };
        // A stream that is drained as fast as it comes also brings little at times.
        if received.bytes > MESSAGE {
            client.streams_until = clock + HABIT.as_nanos() as u64;
        } else if received.bytes > 0 && client.streams_until <= clock {
            self.messages_until = self.now + HABIT;
        }
        #[cfg(test)]
        assert_ne!(
            PANIC_FOR.load(Ordering::SeqCst),
            client.peer.port(),
            "on demand"
        );
        if received.bytes > 0 {
            log::trace!("client {}: {} bytes read", client.peer, received.bytes);
        }
        Ok(received)
    }

    /// Writes back what the receive phase brought, and asks each connection of
    /// it what it waits for next.
    fn send_phase(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        for (key, range) in batch.drain(..) {
            let Some(client) = self.clients.get_mut(key) else {
                continue;
            };
            let before = client.conn.sent();
            let sent = if range.is_empty() {
                client.conn.flush(&mut self.pipes, self.now)
            } else {
                client.conn.send(&self.block[range], self.now)
            };
            self.count(key, before);
            let client = &mut self.clients[key];
            let draining = self.drain.is_some();
            let next = sent.and_then(|()| client.conn.next(draining));
            let next = match client.wants_watch() {
                true => self.watch(key).and(next),
                false => next,
            };
            self.act(key, next, &Why::Finished);
        }
        self.batch = batch;
    }

    /// Counts what a connection was sent since it had been sent `before` bytes.
    fn count(&self, key: usize, before: u64) {
        let client = &self.clients[key];
        let sent = client.conn.sent();
        if sent == before {
            return;
        }
        let work = &self.desk.tally.work;
        work.bytes.add(sent - before);
        work.echoes.add(1);
        if before == 0 {
            // Not the turn's own time, which was before it waited for its neighbours.
            work.first_echo.add(client.opened.elapsed());
        }
    }

    pub(super) fn act(&mut self, key: usize, next: io::Result<Next>, why: &Why) {
        match next {
            Ok(Next::Again) => self.enqueue(key),
            Ok(Next::Close) => self.close(key, why),
            Ok(Next::Linger) => {
                // For the peer's end there is a time; for its acknowledgement there is
                // none, and while draining `settle` looks after both.
                let timed = self.drain.is_none() && self.clients[key].conn.awaits_end();
                self.clients[key].until = None;
                if timed {
                    self.allow(key, LINGER_TIME);
                }
                // The end of the peer may be there already.
                self.enqueue(key);
            }
            Ok(Next::Wait) => self.watch_message(key),
            Err(error) => self.close(key, &Why::Failed(error)),
        }
    }

    /// A message that has begun must end within the time for one.
    fn watch_message(&mut self, key: usize) {
        let client = &self.clients[key];
        if client.until.is_none() && client.conn.is_mid_message() {
            self.allow(key, self.desk.settings.limits.message);
        }
    }

    /// Ends a connection that came up against a limit, and tells of it.
    pub(super) fn evict(&mut self, key: usize, reason: Reason, what: fmt::Arguments<'_>) {
        self.refuse(key, reason, format_args!("evicted: {what}"));
    }

    /// The same in other words.
    pub(super) fn refuse(&mut self, key: usize, reason: Reason, what: fmt::Arguments<'_>) {
        // One whose time is over has been counted as that, whatever else is the matter.
        let reason = match self.clients[key].conn.is_cut_short() {
            true => Reason::Lifetime,
            false => {
                self.count_eviction(key, reason, what);
                reason
            }
        };
        let client = &self.clients[key];
        if client.has_bytes_to_take() {
            client.conn.reset_on_close();
        }
        self.close(key, &Why::Evicted(reason));
    }

    pub(super) fn count_eviction(&self, key: usize, reason: Reason, what: fmt::Arguments<'_>) {
        self.desk.tally.work.evicted.add(reason);
        let peer = self.clients[key].peer;
        self.desk.notices.tell(reason, peer, what, self.now);
    }

    /// While stopping: lets go of the connections that are quiet, and cuts
    /// those that remain when the grace period is over.
    fn settle(&mut self) {
        let Some(drain) = self.drain else { return };
        let over = self.now >= drain.deadline;
        if !over && self.now < self.settle_at {
            return;
        }
        self.settle_at = self.now + SETTLE_EVERY;
        let keys: Vec<usize> = self.clients.iter().map(|(key, _)| key).collect();
        for key in keys {
            let next = self.clients[key]
                .conn
                .settle(self.now, drain.since, drain.quiet);
            match next {
                Ok(Next::Again) if !over => self.enqueue(key),
                Ok(Next::Wait | Next::Linger) if !over => {}
                // One that becomes quiet at the last moment has got all it was owed.
                Ok(Next::Close | Next::Linger) => self.close(key, &Why::Stopped),
                Ok(_) => {
                    self.desk.tally.work.cut.add(1);
                    self.close(key, &Why::Cut);
                }
                Err(error) => self.close(key, &Why::Failed(error)),
            }
        }
    }

    pub(super) fn close(&mut self, key: usize, why: &Why) {
        let client = self.clients.remove(key);
        if client.queued {
            // Its key may soon be another's, which must not be queued twice.
            self.ready.retain(|&queued| queued != key);
        }
        log::debug!(
            "client {} closed: {} bytes echoed in {:.3?}, {why}",
            client.peer,
            client.conn.sent(),
            self.now - client.opened,
        );
    }
}

/// Both ways from the start: with edges, an interest costs nothing while it
/// has nothing to tell. Urgent data is asked for because reads stop at its mark.
fn interest() -> Interest {
    let both = Interest::READABLE | Interest::WRITABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let both = both | Interest::PRIORITY;
    both
}

#[cfg(test)]
mod tests;
