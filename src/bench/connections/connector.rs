//! Makes connections, ends them, and makes them again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::sync::atomic::Ordering;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::loss::Loss;
use super::slot::Stage;
use super::state::State;
use crate::base::error::cause;
use crate::base::sys;
use crate::bench::cause::Cause;
use crate::bench::clock::SECOND;
use crate::bench::plan::Load;
use crate::bench::recorder::record_time;
use crate::bench::source;

/// The most connections under way at once, of all threads together: far below
/// any server's backlog.
const CONNECTING: usize = 256;

/// The first pause between two attempts to connect; each is twice the one before.
const FIRST_PAUSE: u64 = SECOND / 100;

/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: u64 = SECOND;

/// The slots of one thread by the state of their connections.
#[derive(Debug)]
pub(super) struct Connector {
    /// A connection that was made before, and how long it took.
    first: Option<(TcpStream, u64)>,
    /// Slots that are to connect.
    queue: VecDeque<usize>,
    /// Slots that pause before they connect again, and until when.
    paused: BinaryHeap<Reverse<(u64, usize)>>,
    /// Churn: slots without a connection.
    idle: Vec<usize>,
    /// Slots that are not lost for good.
    usable: usize,
    connecting: usize,
    open: usize,
}

impl Connector {
    /// For slots `0..slots`, which connect at once unless the load is churn.
    pub(super) fn new(load: Load, slots: usize) -> Self {
        let (queue, idle) = match load {
            Load::Churn => (VecDeque::new(), (0..slots).collect()),
            Load::Messages | Load::Stream | Load::Datagrams => ((0..slots).collect(), Vec::new()),
        };
        Self {
            first: None,
            queue,
            paused: BinaryHeap::new(),
            idle,
            usable: slots,
            connecting: 0,
            open: 0,
        }
    }

    /// Gives the first slot a connection that was made before, in `took` ns.
    pub(super) fn set_first(&mut self, stream: TcpStream, took: u64) {
        self.first = Some((stream, took));
    }

    /// Whether no slot connects or is about to.
    pub(super) fn is_settled(&self) -> bool {
        self.queue.is_empty() && self.connecting == 0
    }

    /// Connections that are open.
    pub(super) const fn open(&self) -> usize {
        self.open
    }

    /// Slots that are not lost for good.
    pub(super) const fn usable(&self) -> usize {
        self.usable
    }

    /// When the next pause ends.
    pub(super) fn next_retry(&self) -> Option<u64> {
        self.paused.peek().map(|&Reverse((at, _))| at)
    }

    /// Begins no further connection.
    pub(super) fn stop(&mut self) {
        self.queue.clear();
        self.paused.clear();
    }

    /// Begins connections for queued slots, up to the limit of those under way.
    pub(super) fn connect_queued(&mut self, registry: &Registry, state: &mut State<'_>) {
        let most = match state.clock.shared.plan.load {
            // With churn, the number of connections at once is the user's choice.
            Load::Churn => usize::MAX,
            _ => (CONNECTING / state.clock.shared.plan.threads).max(1),
        };
        // A connection over loopback is complete at once and never counts as under
        // way; the server's backlog has to hold it all the same.
        for _ in 0..most {
            if self.connecting >= most {
                return;
            }
            let Some(key) = self.queue.pop_front() else {
                return;
            };
            let now = state.clock.shared.clock.now();
            let shared = state.clock.shared;
            match self.first.take() {
                None => {
                    let address = state.slots[key].aim(&shared.targets);
                    self.connect(registry, state, key, now, |number| {
                        source::begin(&shared.plan.sources, number, address)
                    });
                }
                Some((stream, took)) => {
                    let since = now.saturating_sub(took);
                    state.slots[key].target = Some(shared.targets.choose(0, 0));
                    self.connect(registry, state, key, since, |_| Ok(stream));
                }
            }
        }
    }

    /// Gives the slot a new connection with a number of its own, made by
    /// `connect`, which began at `since`. Over loopback it is complete at once.
    fn connect(
        &mut self,
        registry: &Registry,
        state: &mut State<'_>,
        key: usize,
        since: u64,
        connect: impl FnOnce(u64) -> io::Result<TcpStream>,
    ) {
        let number = state.clock.shared.numbers.fetch_add(1, Ordering::Relaxed);
        state.slots[key].flow.restart(number, &state.recorder);
        let both = Interest::READABLE | Interest::WRITABLE;
        let made = connect(number).and_then(|mut stream| {
            registry.register(&mut stream, Token(key), both)?;
            Ok(stream)
        });
        self.connecting += 1;
        state.slots[key].attempts += 1;
        match made {
            Ok(stream) => {
                state.slots[key].start_connecting(stream, since);
                self.check(state, key);
            }
            Err(error) => self.fail(state, key, &error),
        }
    }

    /// Checks whether the slot's connection is complete, and opens it if so.
    pub(super) fn check(&mut self, state: &mut State<'_>, key: usize) {
        match state.slots[key].is_connected() {
            Ok(false) => {}
            Err(error) => self.fail(state, key, &error),
            Ok(true) => {
                self.connecting -= 1;
                self.open += 1;
                state.clock.look_at_clock();
                let slot = &mut state.slots[key];
                slot.stage = Stage::Open;
                slot.writable = true;
                if let Some(target) = &slot.target {
                    target.connected.fetch_add(1, Ordering::Relaxed);
                    state.clock.shared.targets.answered(target);
                }
                if !state.is_warming_up() {
                    let took = state.clock.now.saturating_sub(state.slots[key].since);
                    let counts = state.recorder.measured();
                    counts.totals.connected += 1;
                    record_time(&mut counts.connect, took);
                }
                if state.running {
                    state.start_stream(key);
                    state.want_to_send(key);
                }
            }
        }
    }

    /// The slot's connection could not be made.
    pub(super) fn fail(&mut self, state: &mut State<'_>, key: usize, error: &io::Error) {
        self.connecting -= 1;
        let slot = &mut state.slots[key];
        slot.stream = None;
        let number = slot.flow.connection();
        let address = slot.target.as_ref().map(|target| {
            target.failed.fetch_add(1, Ordering::Relaxed);
            target.address
        });
        state.clock.shared.targets.resolve_again();
        let refused = error.kind() == ErrorKind::ConnectionRefused;
        if refused && state.clock.shared.plan.reconnect {
            state.gap(key).refused += 1;
        }
        let counts = state.recorder.measured();
        counts.without_port += u64::from(error.kind() == ErrorKind::AddrNotAvailable);
        counts.without_descriptor += u64::from(sys::is_out_of_descriptors(error));
        match refused {
            true => counts.totals.errors.refused += 1,
            false => counts.totals.errors.not_connected += 1,
        }
        let kind = Cause::NotConnected(error.kind());
        state.recorder.add_example(kind, || {
            let address = address.map_or_else(String::new, |address| format!(" to {address}"));
            let cause = cause(error);
            format!("connection {number}: could not connect{address}: {cause}")
        });
        self.retry_or_give_up(state, key);
    }

    /// The server closed its side.
    pub(super) fn end(&mut self, state: &mut State<'_>, key: usize) {
        match state.slots[key].stage {
            Stage::Closing => self.release(state, key),
            _ => self.lose(state, key, &Loss::Closed),
        }
    }

    /// A connection has ended too early.
    pub(super) fn lose(&mut self, state: &mut State<'_>, key: usize, loss: &Loss) {
        let slot = &mut state.slots[key];
        if slot.stage == Stage::Closing {
            return self.release(state, key);
        }
        let position_known = slot.resolve(&state.clock.shared.pattern, &mut state.recorder);
        let loss = if position_known { loss } else { &Loss::Damaged };
        loss.report(state, key);
        state.sample_ending(key);
        let slot = &mut state.slots[key];
        let timed_out = matches!(loss, Loss::TimedOut);
        let (bytes, counted) = slot
            .flow
            .lose(timed_out, state.clock.now, &mut state.recorder);
        slot.stream = None;
        if let Some(target) = &slot.target {
            target.lost.fetch_add(1, Ordering::Relaxed);
        }
        state.clock.shared.targets.resolve_again();
        self.open -= 1;
        state.recorder.measured().totals.lost_bytes += counted;
        if state.clock.shared.plan.reconnect {
            let gap = state.gap(key);
            gap.lost_bytes += bytes;
            gap.reset += u64::from(matches!(loss, Loss::Reset));
            gap.closed += u64::from(matches!(loss, Loss::Closed));
        }
        self.retry_or_give_up(state, key);
    }

    fn retry_or_give_up(&mut self, state: &mut State<'_>, key: usize) {
        let retries = state.clock.shared.plan.reconnect || state.is(Load::Churn);
        if retries && !state.clock.finishing {
            return self.pause(state, key);
        }
        state.slots[key].stage = Stage::Lost;
        state.slots[key]
            .flow
            .drop_unsent(false, state.clock.now, &mut state.recorder);
        self.usable -= 1;
    }

    /// Connects again: at once where the last connection had an echo, or another
    /// address is left to try; else after a pause that grows. Its length is random, so
    /// that not all slots connect at once.
    fn pause(&mut self, state: &mut State<'_>, key: usize) {
        let (attempts, addresses) = (
            state.slots[key].attempts,
            state.clock.shared.targets.count(),
        );
        let pause = match (attempts / addresses).checked_sub(1) {
            None => 0,
            Some(_) if attempts % addresses != 0 => 0,
            Some(failed) => FIRST_PAUSE
                .saturating_mul(1 << failed.min(10))
                .min(LONGEST_PAUSE),
        };
        state.slots[key].stage = Stage::Paused;
        if state.is(Load::Churn) {
            // A message has one attempt.
            state.slots[key]
                .flow
                .drop_unsent(false, state.clock.now, &mut state.recorder);
        }
        match pause {
            0 => self.resume(state, key),
            pause => {
                let until = state.clock.now + state.random.u64(pause / 2..=pause);
                self.paused.push(Reverse((until, key)));
            }
        }
    }

    /// Resumes the slots whose pause is over.
    pub(super) fn resume_due(&mut self, state: &mut State<'_>) {
        while let Some(&Reverse((at, key))) = self.paused.peek()
            && at <= state.clock.now
        {
            self.paused.pop();
            self.resume(state, key);
        }
    }

    fn resume(&mut self, state: &mut State<'_>, key: usize) {
        if state.slots[key].stage != Stage::Paused {
            return;
        }
        match state.clock.shared.plan.load {
            Load::Churn => {
                state.slots[key].stage = Stage::Idle;
                self.idle.push(key);
            }
            _ => self.enqueue(state, key),
        }
    }

    fn enqueue(&mut self, state: &mut State<'_>, key: usize) {
        state.slots[key].stage = Stage::Queued;
        self.queue.push_back(key);
    }

    /// Churn: whether a slot is free for another exchange.
    pub(super) const fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Churn: gives a message that was due at `due` to an idle slot, which connects for it.
    pub(super) fn start_exchange(&mut self, state: &mut State<'_>, due: u64) {
        let Some(key) = self.idle.pop() else {
            return;
        };
        let size = state.message_size();
        let slot = &mut state.slots[key];
        slot.counts = state.recorder.will_count(due);
        slot.flow.push(size, due, &mut state.recorder);
        self.enqueue(state, key);
    }

    /// Churn: half-closes the connection once the message is back.
    pub(super) fn end_exchange(&mut self, state: &mut State<'_>, key: usize) {
        let slot = &mut state.slots[key];
        if slot.stage != Stage::Open || slot.flow.len() > 0 {
            return;
        }
        let (counts, took) = (slot.counts, state.clock.now - slot.since);
        slot.stage = Stage::Closing;
        slot.since = state.clock.now;
        // If that fails, there is no FIN of the server to wait for.
        let closed = slot
            .stream
            .as_ref()
            .map(|stream| stream.shutdown(Shutdown::Write));
        if counts {
            record_time(&mut state.recorder.measured().exchange, took);
        }
        if !matches!(closed, Some(Ok(()))) {
            self.release(state, key);
        }
    }

    /// Churn: the exchange is over, and the slot is free for the next.
    pub(super) fn release(&mut self, state: &mut State<'_>, key: usize) {
        state.sample_ending(key);
        let slot = &mut state.slots[key];
        slot.stream = None;
        slot.stage = Stage::Idle;
        self.open -= 1;
        self.idle.push(key);
    }
}
