//! One worker's read/echo loop.
//!
//! A turn waits for readiness and takes new clients from the channel. Then the
//! connections that exchange messages are served in two phases. The *receive phase*
//! reads them into one scratch block, one behind another; the *send phase* writes the
//! bytes back. Phases keep the kernel's receive path and its send path each in the
//! processor's caches: a round trip takes 7.0 µs of CPU time, and took 8.1 with one
//! connection at a time.
//!
//! After each phase one of the connections that stream moves a slice of its bytes, or
//! several of them do, together no more than a slice. The next turn begins with a look at
//! the poller that does not wait while there are bytes to move. So a message waits
//! for one slice at the most behind each phase, also where messages never cease. Streams
//! take turns of several slices each.
//!
//! The poller is edge-triggered. A connection that may have more input than its slice
//! goes to the end of the ready list of its class, so that it is served again without a
//! further event, after the others.

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

use super::block::{Block, MESSAGE, NARROW_SLICE, SLICE};
use super::client::Client;
use super::conn::{Conn, Received};
use super::connections::{CloseReason, Connections};
use super::context::{Context, HandOver};
use super::datagrams::Datagrams;
use super::eviction::Reason;
use super::pipe::Pipes;
use super::proxy_header::Header;
use super::ready::Class;
use super::slices::{EXPECT_MORE, LEAST_CHARGE, PHASE, Slices};
use super::stalls::Watch;
use super::transport::Readiness;
use crate::base::address::canonical;
use crate::base::error::cause;
use crate::base::throttle::Throttle;
use crate::base::units;

/// The most events that one wait returns.
const EVENTS: usize = 1024;

const WAKE: Token = Token(usize::MAX);

/// The port of the client whose next bytes make its worker panic.
#[cfg(test)]
pub(crate) static PANIC_FOR: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);

/// One worker of the pool.
pub(crate) struct Worker {
    connections: Connections,
    poller: Poll,
    block: Block,
    /// The result of the receive phase: keys of connections, and where in the block the
    /// bytes to be echoed are.
    batch: Vec<(usize, Range<usize>)>,
    failure_throttle: Throttle,
    /// How many bytes it has echoed since the main thread was last told of much.
    echoed: u64,
    /// What the present receive phase or slice has cost so far, in bytes: pending output
    /// that was sent, and input, whatever becomes of it.
    moved: usize,
    pipes: Pipes,
    /// Before this time the worker polls without sleeping.
    busy_until: Instant,
    slices: Slices,
    datagrams: Datagrams,
}

impl Worker {
    /// A worker without clients, and its waker.
    ///
    /// # Errors
    /// The system could not create the poller or the waker.
    pub(crate) fn new(context: Context) -> io::Result<(Self, Arc<Waker>)> {
        let poller = Poll::new()?;
        let waker = Arc::new(Waker::new(poller.registry(), WAKE)?);
        let now = Instant::now();
        // A worker that died has left its counts behind; its clients are closed.
        context.metrics.publish_held(0);
        let pipes = Pipes::new(context.settings.pipes);
        let datagrams = &context.settings.datagrams;
        let datagrams = Datagrams::new(context.id, datagrams, poller.registry())?;
        let worker = Self {
            connections: Connections::new(context, now),
            poller,
            block: Block::new(),
            batch: Vec::new(),
            failure_throttle: Throttle::new(Duration::from_secs(1)),
            echoed: 0,
            moved: 0,
            pipes,
            busy_until: now,
            slices: Slices::new(now),
            datagrams,
        };
        Ok((worker, waker))
    }

    /// Serves until the pool is stopped and the last connection has ended. Sends to
    /// `ready` after the first poll.
    ///
    /// # Errors
    /// The poller has failed; every connection is closed.
    pub(crate) fn run(mut self, mut ready: Option<Sender<()>>) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.is_done() {
            self.turn(&mut events)?;
            if let Some(ready) = ready.take() {
                let _ = ready.try_send(());
            }
        }
        Ok(())
    }

    /// Takes one turn: the events, then all messages, with a slice of the streams after each
    /// phase.
    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        self.wait(events)?;
        self.slices.begin_turn();
        self.dispatch(events);
        self.serve_ready();
        self.drain_datagrams();
        self.connections.run_checks();
        Ok(())
    }

    /// Serves the connections that exchange messages, each once, and after each phase as
    /// many datagrams as messages and a slice of the streams.
    fn serve_ready(&mut self) {
        let mut turns = self.connections.ready.len(Class::Message);
        loop {
            let served = self.receive_phase(self.phase(turns));
            self.send_phase();
            self.serve_datagrams(served);
            turns -= served;
            // The others have their turns after what the main thread may order now.
            let is_told = self.notifies_of_echo();
            self.serve_streams(served);
            if is_told || turns == 0 {
                break;
            }
        }
    }

    /// How many of `turns` messages the next phase serves at the most. A long phase costs
    /// less for each, but streams and datagrams would wait for it.
    fn phase(&self, turns: usize) -> usize {
        let is_awaited = self.connections.ready.len(Class::Stream) > 0 || self.datagrams.is_ready();
        match is_awaited {
            true => turns.min(PHASE),
            false => turns,
        }
    }

    /// Answers datagrams: as many as `messages`, but at least a batch.
    fn serve_datagrams(&mut self, messages: usize) {
        if !self.datagrams.is_ready() {
            return;
        }
        let now = self.connections.now;
        let counters = &self.connections.context.metrics.counters.datagrams;
        // What is not answered takes next to no time, and nobody waits for it.
        let answered = self.datagrams.take_turn(messages, counters, now);
        if answered > 0 {
            self.slices.count_messages(answered, now);
        }
    }

    /// While draining: closes the sockets for datagrams once all that came is answered.
    fn drain_datagrams(&mut self) {
        if let Some(drain) = self.connections.drain
            && !self.datagrams.is_closed()
        {
            let counters = &self.connections.context.metrics.counters.datagrams;
            let times = (self.connections.now, drain.deadline);
            let registry = self.poller.registry();
            self.datagrams.close_quiet(registry, counters, times);
        }
    }

    /// Serves the stream whose turn it is, for one slice, and further ones
    /// while their slices fit into the share of streams in a phase of so many messages.
    fn serve_streams(&mut self, messages: usize) {
        let mut left = Slices::share(messages);
        for _ in 0..self.connections.ready.len(Class::Stream) {
            left = left.saturating_sub(self.serve_stream().max(LEAST_CHARGE));
            if left < self.next_slice() {
                break;
            }
        }
    }

    /// The most that the next stream moves, in bytes: a slice, or its pending output, which
    /// is sent as a whole.
    fn next_slice(&self) -> usize {
        let connections = &self.connections;
        let next = connections.ready.first_stream();
        let pending = next.map_or(0, |key| connections.clients[key].conn.pending_bytes());
        self.slices.longest(connections.now).max(pending)
    }

    /// Serves the stream whose turn it is, for a slice. Returns how many bytes it moved.
    fn serve_stream(&mut self) -> usize {
        let Some(key) = self.connections.ready.pop(Class::Stream) else {
            return 0;
        };
        let opened = self.connections.clients[key].opened;
        self.slices.begin_slice((key, opened));
        self.moved = 0;
        self.receive_into_batch(key, Class::Stream, 0);
        self.send_phase();
        if self
            .slices
            .end_slice(self.moved, self.connections.ready.len(Class::Stream))
        {
            self.connections.ready.keep_turn(key);
        }
        self.notifies_of_echo();
        self.moved
    }

    /// Tells the main thread after every so many bytes: what is echoed may stay in memory.
    /// Returns whether it did.
    fn notifies_of_echo(&mut self) -> bool {
        let is_much = self.echoed >= self.connections.context.settings.check_after as u64;
        if is_much {
            self.echoed = 0;
            self.connections.context.metrics.tell_echoed_much();
        }
        is_much
    }

    fn is_done(&self) -> bool {
        self.connections.drain.is_some()
            && self.connections.clients.is_empty()
            && self.connections.context.receiver.is_empty()
            && self.datagrams.is_closed()
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let connections = &self.connections;
        // What is left of the turns before is found without an event.
        let has_work = !connections.ready.is_empty() || self.datagrams.is_ready();
        let is_busy = has_work || connections.now < self.busy_until;
        let timeout = match connections.soonest() {
            _ if is_busy => Some(Duration::ZERO),
            Some(at) => Some(at.saturating_duration_since(Instant::now())),
            None => None,
        };
        let has_come = self.datagrams.has_come();
        self.datagrams.wait(&mut self.poller, events, timeout)?;
        self.connections.now = Instant::now();
        let is_active = has_come || self.datagrams.has_come() || !events.is_empty();
        if has_work || is_active {
            self.busy_until = self.connections.now + self.connections.context.settings.busy_poll;
        }
        Ok(())
    }

    fn dispatch(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                WAKE => self.handle_wake_up(),
                token if self.datagrams.is_event(token) => {}
                Token(key) => self.update_readiness(key, event),
            }
        }
    }

    /// Takes the clients from the channel and follows the orders of the main thread: to
    /// drain, to check what connections hold, and to shed.
    fn handle_wake_up(&mut self) {
        self.connections
            .context
            .turn_awaited
            .store(false, Ordering::Release);
        if self.connections.drain.is_none()
            && let Some(&drain) = self.connections.context.drain.get()
        {
            self.connections.drain = Some(drain);
        }
        while let Some(hand_over) = self.connections.context.receiver.pop() {
            self.admit(hand_over);
        }
        let counters = &self.connections.context.metrics.counters.datagrams;
        self.datagrams.count_drops(counters);
        if self.connections.context.metrics.take_check_order() {
            self.connections.check_held();
        }
        let order = self.connections.context.metrics.take_order();
        if order != (0, 0) {
            self.connections.shed(order);
        }
        let bytes = self.connections.context.metrics.take_soon();
        if bytes > 0 {
            self.connections.shed_soon(bytes);
        }
        let bytes = self.connections.context.metrics.take_largest();
        if bytes > 0 {
            self.connections.shed_largest(bytes);
        }
    }

    fn admit(&mut self, hand_over: HandOver) {
        let HandOver { accepted, guard } = hand_over;
        let (peer, protocol) = (accepted.peer, accepted.protocol);
        log::debug!(
            "client {peer} connected to {protocol}, worker {}",
            self.connections.context.id
        );
        let mut stream = TcpStream::from_std(accepted.stream);
        let entry = self.connections.clients.vacant_entry();
        let registry = self.poller.registry();
        if let Err(error) = registry.register(&mut stream, Token(entry.key()), interest()) {
            if let Some(suppressed) = self.failure_throttle.admit(self.connections.now) {
                log::error!(
                    "client {peer} closed: could not watch its socket: {} \
                     ({} since the last such line)",
                    cause(&error),
                    units::plain_count(suppressed, "failure", "failures")
                );
            }
            return;
        }
        let key = entry.key();
        let conn = match accepted.behind_proxy {
            true => Conn::behind_proxy(stream, protocol, self.connections.now),
            false => Conn::new(stream, protocol, self.connections.now),
        };
        entry.insert(Client {
            conn,
            peer,
            opened: accepted.at,
            until: None,
            deadline: None,
            watch: Watch::None,
            queued: None,
            streams_until: 0,
            source_guard: accepted.source_guard,
            _guard: guard,
        });
        match accepted.behind_proxy {
            true => self
                .connections
                .allow(key, self.connections.context.settings.limits.header),
            false => self.start(key, peer),
        }
    }

    /// Begins to serve a client, whose address is `peer`.
    fn start(&mut self, key: usize, peer: SocketAddr) {
        self.connections.context.metrics.counters.connections.add(1);
        let tells_tcp = self.connections.context.settings.whoami_tcp;
        let client = &mut self.connections.clients[key];
        client.peer = peer;
        client.conn.start(peer, tells_tcp);
        if client.conn.has_pending() {
            self.connections.enqueue(key);
        }
        self.connections.arm(key);
    }

    /// Applies the PROXY header that a load balancer sent ahead of the client's bytes.
    fn apply_header(&mut self, key: usize, header: Header) {
        let proxy = self.connections.clients[key].peer;
        let (peer, sources) = match header {
            Header::Client(peer) => (
                canonical(peer),
                self.connections.context.settings.sources.as_ref(),
            ),
            // All such connections share the load balancer's address, so the limit on
            // clients a source does not apply.
            Header::Unnamed => (proxy, None),
            Header::Malformed(fault) => {
                return self.connections.refuse(
                    key,
                    Reason::Header,
                    format_args!("refused: {fault}"),
                );
            }
        };
        match sources.map(|sources| sources.admit(peer)).transpose() {
            Ok(source_guard) => self.connections.clients[key].source_guard = source_guard,
            Err(refused) => {
                self.connections.clients[key].peer = peer;
                return self
                    .connections
                    .refuse(key, Reason::Source, format_args!("{refused}"));
            }
        }
        log::debug!("client {peer} came through {proxy}");
        self.connections.clients[key].until = None;
        self.start(key, peer);
    }

    fn update_readiness(&mut self, key: usize, event: &Event) {
        if let Some(client) = self.connections.clients.get_mut(key)
            && client.conn.update_readiness(Readiness::from(event))
        {
            self.connections.enqueue(key);
        }
    }

    /// Reads up to `turns` connections that exchange messages, while the block has room
    /// for a whole slice. Pending output that is sent, and input that is discarded, count as
    /// though they took room: they take as long. Returns how many it took from the ready list.
    fn receive_phase(&mut self, turns: usize) -> usize {
        let mut used = 0;
        let mut taken = 0;
        self.moved = 0;
        while taken < turns && self.block.has_room(used.max(self.moved)) {
            taken += 1;
            let Some(key) = self.connections.ready.pop(Class::Message) else {
                break;
            };
            used = self.receive_into_batch(key, Class::Message, used);
        }
        taken
    }

    /// Serves the receive phase of a connection, which was ready in this class, with the block
    /// from `used` on. Returns where the block is free afterwards.
    fn receive_into_batch(&mut self, key: usize, class: Class, used: usize) -> usize {
        match self.receive(key, class, used) {
            Ok(Received { bytes, echo }) => {
                let range = used..used + if echo { bytes } else { 0 };
                let free = Block::behind(range.end);
                self.batch.push((key, range));
                if let Some(header) = self.connections.clients[key].conn.header() {
                    self.apply_header(key, header);
                }
                free
            }
            Err(error) => {
                self.connections.close(key, &CloseReason::Failed(error));
                used
            }
        }
    }

    /// Sends a connection's pending output, then reads its slice into the block from
    /// `used` on, or moves it through a pipe.
    fn receive(&mut self, key: usize, class: Class, used: usize) -> io::Result<Received> {
        let client = &mut self.connections.clients[key];
        client.queued = None;
        let before = client.conn.sent();
        let received = self.move_bytes(key, class, used);
        self.count(key, before);
        received
    }

    fn move_bytes(&mut self, key: usize, class: Class, used: usize) -> io::Result<Received> {
        let clock = self.connections.clock();
        let client = &mut self.connections.clients[key];
        let before = client.conn.sent();
        client.conn.flush(&mut self.pipes, self.connections.now)?;
        let flushed = usize::try_from(client.conn.sent() - before).unwrap_or(usize::MAX);
        self.moved = self.moved.saturating_add(flushed);
        // What a stream may still move in its slice.
        let longest = self.slices.longest(self.connections.now);
        let left = longest.saturating_sub(flushed);
        let relays = class == Class::Stream && client.conn.is_bulk() && self.pipes.can_lend();
        let received = if class == Class::Stream && left == 0 {
            Received::default()
        } else if relays {
            // What the socket does not accept stays in the pipe.
            let most = client.conn.room().unwrap_or(SLICE).max(SLICE).min(left);
            let is_alone = self.connections.ready.len(Class::Stream) == 0;
            let at_once = self.slices.at_once(is_alone);
            client
                .conn
                .relay(&mut self.pipes, most, at_once, self.connections.now)?
        } else {
            let slice = match class {
                Class::Stream => client.conn.room().unwrap_or(SLICE).min(left),
                Class::Message => NARROW_SLICE,
            };
            let slice = slice.clamp(NARROW_SLICE.min(left), SLICE);
            let free = self.block.free(used, slice);
            client.conn.receive(free, self.connections.now)?
        };
        self.moved = self.moved.saturating_add(received.bytes);
        // A stream that is read as fast as it arrives also yields short reads at times.
        if received.bytes.max(flushed) > 2 * MESSAGE
            || received.bytes > MESSAGE && client.conn.sends_on(MESSAGE, relays)?
        {
            client.streams_until = clock + EXPECT_MORE.as_nanos() as u64;
        } else if received.bytes > 0 && class == Class::Message {
            self.slices.count_messages(1, self.connections.now);
        }
        #[cfg(test)]
        assert_ne!(
            PANIC_FOR.load(Ordering::SeqCst),
            client.peer.port(),
            "on demand"
        );
        if received.bytes > 0 {
            // The count is a text of its own: as an argument it is made for a line that is
            // logged, not for every read.
            log::trace!(
                "client {}: {} read",
                client.peer,
                units::plain_count(received.bytes as u64, "byte", "bytes")
            );
        }
        Ok(received)
    }

    /// Writes back what the receive phase read, and does what each of its connections
    /// waits for next.
    fn send_phase(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        for (key, range) in batch.drain(..) {
            let Some(client) = self.connections.clients.get_mut(key) else {
                continue;
            };
            let before = client.conn.sent();
            let sent = if range.is_empty() {
                client.conn.flush(&mut self.pipes, self.connections.now)
            } else {
                client
                    .conn
                    .send(self.block.filled(range), self.connections.now)
            };
            self.count(key, before);
            let client = &mut self.connections.clients[key];
            let draining = self.connections.drain.is_some();
            let next = sent.and_then(|()| client.conn.next(draining));
            let next = match client.wants_watch() {
                true => self.connections.watch(key).and(next),
                false => next,
            };
            self.connections.act(key, next, &CloseReason::Finished);
        }
        self.batch = batch;
    }

    /// Counts the bytes sent to a connection beyond the first `before`.
    fn count(&mut self, key: usize, before: u64) {
        let client = &self.connections.clients[key];
        let sent = client.conn.sent();
        if sent == before {
            return;
        }
        self.echoed += sent - before;
        let counters = &self.connections.context.metrics.counters;
        counters.bytes.add(sent - before);
        counters.echoes.add(1);
        if before == 0 {
            // Not `now`, the turn's start: the connection has waited for others since.
            counters.first_echo.add(client.opened.elapsed());
        }
    }
}

/// Both directions from the start: an edge-triggered interest costs nothing while the
/// readiness does not change. Urgent data is included because reads stop at its mark.
fn interest() -> Interest {
    let both = Interest::READABLE | Interest::WRITABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let both = both | Interest::PRIORITY;
    both
}

#[cfg(test)]
mod tests;
