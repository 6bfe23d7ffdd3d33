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
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use mio::{Events, Poll, Token, Waker};

use super::block::Block;
use super::connections::Connections;
use super::context::Context;
use super::datagrams::Datagrams;
use super::pipe::Pipes;
use super::ready::Class;
use super::slices::{PHASE, Slices};
use super::transport::Readiness;
use crate::base::throttle::Throttle;

mod arrivals;
mod phases;
mod streams;

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
                Token(key) => self.connections.report(key, Readiness::from(event)),
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
}

#[cfg(test)]
mod tests;
