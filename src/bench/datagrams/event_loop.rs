//! The loop of one thread that makes a load of datagrams.
//!
//! One turn waits for readiness or the next due time, receives all that has come, and sends
//! what is due. When a datagram came is the kernel's time, so that how long this thread took
//! to look is not in it.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use mio::Events;

use super::flow::Flow;
use super::pace::Pace;
use super::port::{Lateness, Memory, Port};
use crate::bench::cause::Cause;
use crate::bench::clock::{SECOND, nanoseconds};
use crate::bench::recorder::Recorder;
use crate::bench::thread::run_clock::RunClock;
use crate::bench::thread::schedule::Schedule;
use crate::bench::thread::shared::{Shared, StartSignal, ThreadSummary};
use crate::bench::thread::timer::TIMER;
use crate::bench::thread::waiter::{Deadline, Waiter};
use crate::bench::times::Times;
use crate::probe::datagram::conventions::wait_at_end;

/// The most flows that one turn receives from.
const EVENTS: usize = 64;

/// The most datagrams that are sent in one turn, before what came meanwhile is received: so
/// many that several flows have more than one to send or to receive by a call.
const TURN: usize = 256;

/// How often time-outs, drops and the stop flag are looked at.
const TICK: u64 = SECOND / 20;

/// The drops of a flow are looked at once in so many ticks.
const TICKS_A_LOOK: usize = 20;

/// How long echoes are awaited at the most after an interrupt.
const PATIENCE: u64 = SECOND;

/// What is said where a flow has to wait until it can remember more.
const WAITED: &str = "sending waited: no more datagrams can be remembered, or told apart where they are \
                      short, behind one that is awaited; choose a shorter --timeout, a lower \
                      --rate, or a larger --size";

/// One thread that makes a load of datagrams.
pub(super) struct Generator<'a> {
    thread: usize,
    clock: RunClock<'a>,
    ports: Vec<Port>,
    pace: Pace,
    /// Flows that have a datagram waiting, and may have a place for it.
    ready: VecDeque<usize>,
    /// Flows that send in this turn.
    senders: Vec<usize>,
    recorder: Recorder,
    waiter: Waiter,
    memory: Memory,
    /// Datagrams that are awaited, of all flows.
    awaited: u64,
    /// When a datagram was sent or came last.
    active_at: u64,
    tick_at: u64,
    ticks: usize,
    /// Until when echoes are awaited, once nothing is sent any more.
    patient_until: u64,
    /// Until when copies and late echoes are awaited, once all is back or given up.
    copies_until: Option<u64>,
    /// Until when anything is awaited after an interrupt.
    interrupted_until: Option<u64>,
    /// When nothing was sent any more.
    finished_at: u64,
    /// Whether it was told that no more can be remembered.
    is_full: bool,
}

impl<'a> Generator<'a> {
    /// Thread number `thread`, with these flows and up to `budget` datagrams in the measured
    /// part.
    pub(super) fn new(
        shared: &'a Shared<'a>,
        (thread, budget): (usize, u64),
        (ports, memory): (Vec<Port>, Memory),
        waiter: Waiter,
        recorder: Recorder,
    ) -> Self {
        Self {
            thread,
            clock: RunClock::new(shared),
            ports,
            pace: Pace::new(budget),
            ready: VecDeque::new(),
            senders: Vec::new(),
            recorder,
            waiter,
            memory,
            awaited: 0,
            active_at: 0,
            tick_at: 0,
            ticks: 0,
            patient_until: u64::MAX,
            copies_until: None,
            interrupted_until: None,
            finished_at: 0,
            is_full: false,
        }
    }

    /// Drops `ready`, waits for the start signal and makes load until its end. If the signal
    /// had `quiescent` set, it waits for the next one.
    ///
    /// # Errors
    /// The poller's, and those of a socket that are no errors of the path.
    pub(super) fn run(
        mut self,
        ready: Sender<()>,
        starts: &Receiver<StartSignal>,
    ) -> io::Result<ThreadSummary> {
        let mut events = Events::with_capacity(EVENTS);
        drop(ready);
        while let Ok(StartSignal { times, quiescent }) = starts.recv() {
            self.begin(times);
            while !self.is_over() {
                self.turn(&mut events)?;
            }
            if quiescent.is_none() {
                break;
            }
            self.publish();
        }
        Ok(self.summarize())
    }

    fn begin(&mut self, times: Times) {
        let plan = self.clock.shared.plan;
        self.clock.begin(times);
        self.recorder.begin(times.start, times.measured_from);
        self.copies_until = None;
        self.waiter.time.reset();
        if let Some(rate) = plan.rate_per_s {
            let place = (self.thread, plan.threads);
            let seed = plan.seed.rotate_left(32) ^ (self.thread as u64 + 1);
            let schedule = Schedule::new(plan.arrivals, rate, place, times.start, seed);
            self.pace.start(schedule);
        }
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        let before = self.clock.now;
        self.wait(events)?;
        self.keep_time();
        for event in &*events {
            if event.token() != TIMER {
                self.receive(event.token().0, event.is_error())?;
            }
        }
        self.send_ready();
        self.send_due();
        if self.clock.now == before {
            self.clock.look_at_clock();
        }
        Ok(())
    }

    /// Waits for an event, the next datagram's due time or the next tick.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let due = self.pace.due(&self.clock);
        let is_behind = due.is_some_and(|due| due <= self.clock.now);
        if self
            .waiter
            .poll_once(events, is_behind || !self.ready.is_empty())?
        {
            return Ok(());
        }
        self.clock.look_at_clock();
        let end = match self.clock.finishing {
            true => self.over_at(),
            false => self.clock.times.end,
        };
        let until = self.tick_at.min(end);
        let deadline = match due {
            Some(due) if due < until => Deadline {
                at: due,
                precise: true,
            },
            _ => Deadline {
                at: until,
                precise: false,
            },
        };
        self.waiter.wait(events, deadline, &mut self.clock)
    }

    /// Receives what has come to a flow's socket, or to the one that hears others.
    fn receive(&mut self, token: usize, is_error: bool) -> io::Result<()> {
        let (key, is_other) = (token / 2, token % 2 == 1);
        let clock = self.clock.shared.clock;
        let port = &mut self.ports[key];
        let before = port.flow.awaited();
        match is_other {
            true => port.receive_others(clock, &mut self.memory, &mut self.recorder)?,
            false => port.receive(is_error, clock, &mut self.memory, &mut self.recorder)?,
        }
        self.active_at = self.active_at.max(self.clock.now);
        self.settled(key, before);
        Ok(())
    }

    /// A flow, which awaited `before` datagrams, may await fewer now.
    fn settled(&mut self, key: usize, before: u64) {
        let port = &self.ports[key];
        let over = before - port.flow.awaited();
        self.awaited -= over;
        if over > 0 && !port.waiting.is_empty() {
            self.ready.push_back(key);
        }
    }

    /// Sends what waited for a place among those in flight.
    fn send_ready(&mut self) {
        while let Some(key) = self.ready.pop_front() {
            while self.has_place(key)
                && let Some(due) = self.ports[key].waiting.pop_front()
            {
                self.pace.waiting -= 1;
                self.will_send(key, due);
            }
        }
        self.send(Lateness::Known);
    }

    /// Sends the datagrams that are due by now, whether or not earlier ones came back.
    fn send_due(&mut self) {
        self.clock.look_at_clock();
        for _ in 0..TURN {
            let Some(due) = self.pace.take_due(&self.clock, &self.recorder) else {
                break;
            };
            let key = self.pace.next_port(self.ports.len());
            if self.has_place(key) && self.ports[key].waiting.is_empty() {
                self.will_send(key, due);
            } else {
                self.recorder.record_lateness(due, self.clock.now);
                self.ports[key].waiting.push_back(due);
                self.pace.waiting += 1;
            }
        }
        self.send(Lateness::New);
    }

    fn has_place(&mut self, key: usize) -> bool {
        let port = &self.ports[key];
        let chosen = port.sending.len() as u64;
        let has_room = port.flow.has_room(chosen);
        if !has_room && !std::mem::replace(&mut self.is_full, true) {
            let waited = || String::from(WAITED);
            self.recorder.add_example(Cause::Waited, waited);
        }
        let places = self.clock.shared.plan.depth as u64;
        has_room && self.ports[key].flow.awaited() + chosen < places
    }

    fn will_send(&mut self, key: usize, due: u64) {
        let sending = &mut self.ports[key].sending;
        if sending.is_empty() {
            self.senders.push(key);
        }
        sending.push_back(due);
    }

    /// Sends what was chosen, flow by flow.
    fn send(&mut self, lateness: Lateness) {
        if self.senders.is_empty() {
            return;
        }
        let clock = self.clock.shared.clock;
        let mut now = clock.now();
        for key in self.senders.drain(..) {
            let port = &mut self.ports[key];
            let (before, chosen) = (port.flow.awaited(), port.sending.len() as u64);
            now = port.send(lateness, (now, clock), &mut self.memory, &mut self.recorder);
            let sent = port.flow.awaited() - before;
            self.awaited += sent;
            // One that the kernel did not take holds no place, and no echo will free it.
            if sent < chosen && !port.waiting.is_empty() {
                self.ready.push_back(key);
            }
        }
        self.active_at = now;
    }

    /// Does what is due by the clock.
    fn keep_time(&mut self) {
        let RunClock { now, times, .. } = self.clock;
        if !self.clock.measuring && now >= times.measured_from {
            self.begin_measuring();
        }
        if !self.clock.finishing {
            if self.clock.measuring && self.pace.is_spent() && self.awaited == 0 {
                // The time-out of the last one that is lost is not a part of the run.
                self.finish(self.active_at.max(times.measured_from) + 1);
            } else if now >= times.end {
                self.finish(now);
            }
        }
        if self.recorder.is_due(now) {
            self.publish();
        }
        if now >= self.tick_at {
            self.tick();
        }
    }

    fn begin_measuring(&mut self) {
        self.look_for_drops(0..self.ports.len());
        self.clock.measuring = true;
        self.waiter.time.begin_measuring();
        self.recorder.begin_measuring(self.clock.now);
        self.pace.begin_measuring(&mut self.ports);
    }

    /// Looks at the time-outs, the drops and the stop flag.
    fn tick(&mut self) {
        self.tick_at = self.clock.now + TICK;
        if self.interrupted_until.is_none() && self.clock.shared.is_stopped() {
            if !self.clock.finishing {
                self.finish(self.clock.now);
            }
            // In the last wait that time may be over: what is awaited still is in flight.
            self.interrupted_until = Some(self.finished_at.saturating_add(PATIENCE));
        }
        self.expire();
        let phase = self.ticks % TICKS_A_LOOK;
        self.ticks += 1;
        let place = |phase: usize| phase * self.ports.len() / TICKS_A_LOOK;
        self.look_for_drops(place(phase)..place(phase + 1));
    }

    fn expire(&mut self) {
        for key in 0..self.ports.len() {
            let flow = &mut self.ports[key].flow;
            let before = flow.awaited();
            flow.expire(self.clock.now, &mut self.recorder);
            self.settled(key, before);
        }
    }

    fn look_for_drops(&mut self, ports: std::ops::Range<usize>) {
        let (measuring, now) = (self.clock.measuring, self.clock.now);
        for port in &mut self.ports[ports] {
            port.look_for_drops(measuring, now, &mut self.memory, &mut self.recorder);
        }
    }

    /// Sends nothing new from now on; the run ends at `end`.
    fn finish(&mut self, end: u64) {
        let times = &mut self.clock.times;
        times.end = times.end.min(end);
        let end = times.end;
        let timeout = nanoseconds(self.clock.shared.plan.timeout);
        self.finished_at = self.clock.now;
        self.patient_until = self.clock.now.saturating_add(timeout);
        self.clock.finishing = true;
        self.pace
            .drop_waiting(&mut self.ports, self.clock.now, &mut self.recorder);
        self.recorder.set_end(end);
    }

    fn is_over(&mut self) -> bool {
        if !self.clock.finishing {
            return false;
        }
        if self.awaited == 0 && self.copies_until.is_none() {
            let flows = self.ports.iter().map(|port| &port.flow);
            let longest = flows.clone().map(Flow::longest).max().unwrap_or(0);
            let is_silent = flows.clone().any(Flow::has_given_up);
            let timeout = self.clock.shared.plan.timeout;
            let time = wait_at_end(Duration::from_nanos(longest), is_silent, timeout);
            self.copies_until = Some(self.clock.now + nanoseconds(time));
        }
        self.clock.now >= self.over_at()
    }

    /// When the wait at the end is over.
    fn over_at(&self) -> u64 {
        let until = self.copies_until.unwrap_or(self.patient_until);
        until.min(self.interrupted_until.unwrap_or(u64::MAX))
    }

    fn publish(&mut self) {
        self.recorder.publish(self.clock.now, self.ports.len());
    }

    /// Counts what is still in flight, and sums up the thread's use of its processor.
    fn summarize(mut self) -> ThreadSummary {
        self.expire();
        self.look_for_drops(0..self.ports.len());
        for port in &self.ports {
            port.flow.end_run(self.clock.now, &mut self.recorder);
        }
        self.pace.count_unsent(&self.clock, &mut self.recorder);
        self.publish();
        let Times {
            measured_from, end, ..
        } = self.clock.times;
        let measured = end.saturating_sub(measured_from);
        ThreadSummary {
            ended: end,
            busy: self.waiter.time.busy(measured),
            starved: match self.clock.measuring {
                true => self.waiter.time.starved(measured),
                false => 0.0,
            },
            interrupted: self.interrupted_until.is_some(),
            flows: self.ports.iter().map(Port::counts).collect(),
            ..ThreadSummary::default()
        }
    }
}
