//! The loop of one thread that makes load.
//!
//! One turn waits for readiness, then receives from all slots that are readable,
//! then sends for all slots that are writable. The clock is read right after each
//! read and right before each write. Between the two calls of a message there are
//! two reads of the clock, the comparison of its bytes and a few counters: no lock,
//! no allocation, no look-up.

use std::io::{self, ErrorKind};

use crossbeam_channel::{Receiver, Sender};
use mio::Events;
use mio::event::Event;
use mio::net::TcpStream;

use super::connector::Connector;
use super::loss::Loss;
use super::slot::Stage;
use super::state::State;
use super::transfer::{Input, Transfer};
use super::workload::Workload;
use crate::bench::clock::SECOND;
use crate::bench::plan::Load;
use crate::bench::recorder::{PartsChannel, Recorder};
use crate::bench::thread::schedule::Schedule;
use crate::bench::thread::shared::{Shared, StartSignal, ThreadSummary};
use crate::bench::thread::timer::TIMER;
use crate::bench::thread::waiter::{Deadline, Waiter};
use crate::bench::times::Times;

/// The most events that one wait returns, and so the most connections that one turn
/// serves. It bounds how long a message that came meanwhile waits.
const EVENTS: usize = 64;

/// How often time-outs and the stop flag are checked.
const TICK: u64 = SECOND / 20;

/// How long replies are awaited after the last message was sent.
const DRAIN_TIME: u64 = SECOND;

/// How long more bytes are awaited to explain a fault.
const EXPLAIN_TIME: u64 = SECOND / 10;

/// How long the server has to close its side after a half-close.
const CLOSE_TIME: u64 = SECOND;

/// One thread of the load generator.
#[derive(Debug)]
pub(crate) struct Generator<'a> {
    thread: usize,
    state: State<'a>,
    connector: Connector,
    workload: Workload,
    transfer: Transfer,
    waiter: Waiter,
    tick_at: u64,
    out_of_connections: bool,
    interrupted: bool,
    without_echo: u64,
}

impl<'a> Generator<'a> {
    /// Thread number `thread`, with `connections` connections and up to `budget`
    /// messages in the measured part.
    ///
    /// # Errors
    /// Those of the poller and of the timer.
    pub(crate) fn new(
        shared: &'a Shared<'a>,
        thread: usize,
        connections: usize,
        budget: u64,
        channel: PartsChannel,
    ) -> io::Result<Self> {
        let plan = shared.plan;
        let is_stream = plan.load == Load::Stream;
        let recorder = Recorder::new(thread, plan.rate_per_s.is_some(), is_stream, channel);
        Ok(Self {
            thread,
            waiter: Waiter::new()?,
            connector: Connector::new(plan.load, connections),
            workload: Workload::new(budget),
            transfer: Transfer::new(),
            state: State::new(shared, thread, connections, recorder),
            tick_at: 0,
            out_of_connections: false,
            interrupted: false,
            without_echo: 0,
        })
    }

    /// Gives it a connection that is made already, which took `took` ns.
    pub(crate) fn set_first(&mut self, stream: TcpStream, took: u64) {
        self.connector.set_first(stream, took);
    }

    /// Connects, drops `ready`, waits for the start signal and makes load until its
    /// end. If the signal had `quiescent` set, it waits for the next one.
    ///
    /// # Errors
    /// The poller's.
    pub(crate) fn run(
        mut self,
        ready: Sender<()>,
        starts: &Receiver<StartSignal>,
    ) -> io::Result<ThreadSummary> {
        let mut events = Events::with_capacity(EVENTS);
        while !(self.connector.is_settled() || self.state.is_stopped()) {
            self.turn(&mut events)?;
        }
        drop(ready);
        while let Ok(StartSignal { times, quiescent }) = starts.recv() {
            self.state.quiesces = quiescent.is_some();
            self.begin(times);
            while !self.is_over() {
                self.turn(&mut events)?;
            }
            if !self.state.quiesces {
                break;
            }
            self.publish();
        }
        Ok(self.summarize())
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        let before = self.state.clock.now;
        self.start_exchanges();
        let registry = self.waiter.registry();
        self.connector.connect_queued(registry, &mut self.state);
        self.wait(events)?;
        self.keep_time();
        for event in &*events {
            if event.token() != TIMER {
                self.handle_event(event.token().0, event);
            }
        }
        for _ in 0..self.state.readers.len() {
            if let Some(key) = self.state.readers.pop_front() {
                self.receive(key);
            }
        }
        self.workload.queue_due(&mut self.state);
        for _ in 0..self.state.writers.len() {
            if let Some(key) = self.state.writers.pop_front() {
                self.send(key);
            }
        }
        if self.state.clock.now == before {
            self.state.clock.look_at_clock();
        }
        Ok(())
    }

    /// Churn: gives each message that is due an idle slot, as long as there are any.
    fn start_exchanges(&mut self) {
        if !self.state.running || self.state.clock.finishing {
            return;
        }
        while self.connector.has_idle() {
            let Some(due) = self.workload.next_exchange(&self.state) else {
                return;
            };
            self.connector.start_exchange(&mut self.state, due);
        }
    }

    /// Waits for an event, the next message's due time or the next tick.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let has_work = !(self.state.readers.is_empty() && self.state.writers.is_empty());
        if self.waiter.poll_once(events, has_work)? {
            return Ok(());
        }
        self.state.clock.look_at_clock();
        let deadline = self.deadline();
        self.waiter.wait(events, deadline, &mut self.state.clock)
    }

    fn deadline(&self) -> Deadline {
        let state = &self.state;
        let imprecise = |at| Deadline { at, precise: false };
        if state.running && !state.clock.finishing && self.is_exhausted() {
            return imprecise(state.clock.now);
        }
        let end = match state.clock.finishing {
            true => self.drained_by(),
            false => state.clock.times.end,
        };
        let mut until = self.tick_at.min(end);
        if let Some(at) = self.connector.next_retry() {
            until = until.min(at);
        }
        match self.workload.due(state) {
            Some(due) if due < until => Deadline {
                at: due,
                precise: true,
            },
            _ => imprecise(until),
        }
    }

    fn handle_event(&mut self, key: usize, event: &Event) {
        if self.state.slots[key].stage == Stage::Connecting {
            self.connector.check(&mut self.state, key);
        }
        let slot = &mut self.state.slots[key];
        if !matches!(slot.stage, Stage::Open | Stage::Closing) {
            return;
        }
        slot.fin_seen |= event.is_read_closed();
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.state.want_to_receive(key);
        }
        if event.is_writable() {
            self.state.slots[key].writable = true;
            self.state.want_to_send(key);
        }
    }

    /// Reads once.
    fn receive(&mut self, key: usize) {
        let state = &mut self.state;
        match self.transfer.receive(state, key) {
            Ok(Input::None) => {}
            Ok(Input::Bytes) => {
                if state.is(Load::Churn) {
                    self.connector.end_exchange(state, key);
                }
                state.want_to_send(key);
            }
            Ok(Input::End) => self.connector.end(state, key),
            Err(loss) => self.connector.lose(state, key, &loss),
        }
    }

    /// Writes once, as far as the socket takes it.
    fn send(&mut self, key: usize) {
        let state = &mut self.state;
        state.slots[key].to_send = false;
        if state.slots[key].stage != Stage::Open {
            return;
        }
        self.workload.top_up(state, key);
        if let Err(loss) = self.transfer.send(state, key) {
            self.connector.lose(state, key, &loss);
        }
    }

    /// Does what is due by the clock.
    fn keep_time(&mut self) {
        if self.state.running {
            if !self.state.clock.measuring
                && self.state.clock.now >= self.state.clock.times.measured_from
            {
                self.begin_measuring();
            }
            let is_at_end =
                self.state.clock.now >= self.state.clock.times.end || self.is_exhausted();
            if !self.state.clock.finishing && is_at_end {
                self.finish();
            }
            if self.state.recorder.is_due(self.state.clock.now) {
                self.publish();
            }
        }
        self.connector.resume_due(&mut self.state);
        if self.state.clock.now >= self.tick_at {
            self.tick();
        }
    }

    /// Checks the time-outs and the stop flag.
    fn tick(&mut self) {
        self.tick_at = self.state.clock.now + TICK;
        if self.state.running && !self.state.clock.finishing && self.state.is_stopped() {
            self.interrupted = true;
            self.finish();
        }
        if self.state.running {
            self.state.sample();
        }
        for key in 0..self.state.slots.len() {
            self.check_timeouts(key);
        }
    }

    fn check_timeouts(&mut self, key: usize) {
        let state = &mut self.state;
        let (now, timeout) = (state.clock.now, state.timeout());
        let slot = &state.slots[key];
        let since = match slot.stage {
            Stage::Connecting => slot.since,
            Stage::Open if state.is(Load::Stream) => slot.since,
            Stage::Open => slot.flow.oldest().map_or(u64::MAX, |message| message.sent),
            Stage::Closing if now >= slot.since.saturating_add(CLOSE_TIME) => {
                return self.connector.release(state, key);
            }
            _ => return,
        };
        let timeout = match slot.stage {
            Stage::Connecting => state.connect_timeout(key),
            _ => timeout,
        };
        if now >= since.saturating_add(timeout) {
            match slot.stage {
                Stage::Connecting => {
                    self.connector.fail(state, key, &ErrorKind::TimedOut.into());
                }
                _ => self.connector.lose(state, key, &Loss::TimedOut),
            }
        } else if let Some(since) = slot.flow.unexplained_since()
            && now >= since + EXPLAIN_TIME
            && !state.slots[key].resolve(&state.clock.shared.pattern, &mut state.recorder)
        {
            self.connector.lose(state, key, &Loss::Damaged);
        }
    }

    fn begin(&mut self, times: Times) {
        let plan = self.state.clock.shared.plan;
        self.state.start(times);
        self.out_of_connections = false;
        self.waiter.time.reset();
        self.workload.start(plan.rate_per_s.map(|rate| {
            let place = (self.thread, plan.threads);
            let seed = plan.seed.rotate_left(32) ^ (self.thread as u64 + 1);
            Schedule::new(plan.arrivals, rate, place, times.start, seed)
        }));
        for key in 0..self.state.slots.len() {
            if self.state.slots[key].stage == Stage::Open {
                self.state.start_stream(key);
                self.state.want_to_send(key);
            }
        }
    }

    fn begin_measuring(&mut self) {
        self.state.clock.measuring = true;
        self.waiter.time.begin_measuring();
        self.workload.begin_measuring(&mut self.state);
        if self.state.is(Load::Stream) {
            for slot in &mut self.state.slots {
                slot.flow.count_from_here();
            }
        }
    }

    /// Connections on which nothing came back while load was measured, though it was awaited
    /// for half of that time or more. A stream sends from its start on. In a churn each message has a connection of its own,
    /// and its errors are counted.
    fn count_without_echo(&self) -> u64 {
        let state = &self.state;
        if !state.clock.measuring || state.is(Load::Churn) {
            return 0;
        }
        let half = state
            .clock
            .times
            .measured_from
            .midpoint(state.clock.times.end);
        let without = state.slots.iter().filter(|slot| {
            let awaited = match slot.stage {
                Stage::Open if state.is(Load::Stream) => true,
                Stage::Open => slot.flow.oldest().is_some_and(|first| first.sent <= half),
                _ => true,
            };
            awaited && !slot.flow.has_echo()
        });
        without.count() as u64
    }

    /// Whether there is nothing left to send and no echo to wait for.
    fn is_exhausted(&self) -> bool {
        let all_back = self.state.clock.measuring && self.state.recorder.outstanding() == 0;
        self.connector.usable() == 0 || self.workload.is_spent() && all_back
    }

    /// Sends nothing new from now on.
    fn finish(&mut self) {
        self.out_of_connections = self.connector.usable() == 0;
        self.state.clock.times.end = self.state.clock.times.end.min(self.state.clock.now);
        self.without_echo = self.count_without_echo();
        let state = &mut self.state;
        state.clock.finishing = true;
        self.workload.drop_overdue(state);
        state.recorder.set_end(state.clock.times.end);
        let endless = state.is(Load::Stream);
        if state.quiesces && !endless {
            // What is queued is completed.
            return;
        }
        for slot in &mut state.slots {
            slot.flow
                .drop_unsent(endless, state.clock.now, &mut state.recorder);
            if matches!(slot.stage, Stage::Idle | Stage::Queued | Stage::Paused) {
                slot.stage = Stage::Lost;
            }
        }
        self.connector.stop();
    }

    fn is_over(&self) -> bool {
        self.state.clock.finishing
            && (self.is_quiescent() || self.state.clock.now >= self.drained_by())
    }

    /// Whether nothing is in flight; churn that quiesces has no connection left either.
    fn is_quiescent(&self) -> bool {
        let must_close = self.state.quiesces && self.state.is(Load::Churn);
        let all_closed = self.connector.open() == 0 && self.connector.is_settled();
        self.state.recorder.outstanding() == 0 && (all_closed || !must_close)
    }

    /// Until when replies are awaited at the end.
    fn drained_by(&self) -> u64 {
        let time = match self.state.quiesces {
            true => self.state.timeout(),
            false => DRAIN_TIME,
        };
        self.state.clock.times.end.saturating_add(time)
    }

    fn publish(&mut self) {
        let now = self.state.clock.now;
        self.state.recorder.publish(now, self.connector.open());
    }

    /// Counts what is still in flight, and sums up the thread's use of its processor.
    fn summarize(mut self) -> ThreadSummary {
        let state = &mut self.state;
        state.sample_all();
        for slot in &mut state.slots {
            slot.flow.end_run(state.clock.now, &mut state.recorder);
            if let Some(gap) = slot.gap.take() {
                state.recorder.add_gap(*gap);
            }
        }
        self.workload.count_unqueued(state);
        self.publish();
        let Times {
            measured_from, end, ..
        } = self.state.clock.times;
        let measured = end.saturating_sub(measured_from);
        ThreadSummary {
            ended: end,
            busy: self.waiter.time.busy(measured),
            starved: match self.state.clock.measuring {
                true => self.waiter.time.starved(measured),
                false => 0.0,
            },
            out_of_connections: self.out_of_connections,
            interrupted: self.interrupted,
            without_echo: self.without_echo,
            ..ThreadSummary::default()
        }
    }
}
