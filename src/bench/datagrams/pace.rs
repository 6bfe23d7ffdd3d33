//! When one thread's datagrams are due, and its share of the count.

use super::port::Port;
use crate::bench::recorder::Recorder;
use crate::bench::thread::run_clock::RunClock;
use crate::bench::thread::schedule::Schedule;

/// The most datagrams that wait for a place among those in flight. Further ones stay in the
/// schedule, with their due times.
const BACKLOG: u64 = 1 << 20;

/// One thread's part of the datagrams.
#[derive(Debug)]
pub(super) struct Pace {
    schedule: Option<Schedule>,
    /// Datagrams that may still be sent in the measured part.
    budget: u64,
    /// Datagrams that are due and wait for a place.
    pub(super) waiting: u64,
    next_port: usize,
}

impl Pace {
    /// Up to `budget` datagrams in the measured part.
    pub(super) const fn new(budget: u64) -> Self {
        Self {
            schedule: None,
            budget,
            waiting: 0,
            next_port: 0,
        }
    }

    pub(super) fn start(&mut self, schedule: Schedule) {
        self.schedule = Some(schedule);
    }

    /// Those of the warm-up that wait count from now on, as far as the budget goes.
    pub(super) fn begin_measuring(&mut self, ports: &mut [Port]) {
        for port in ports {
            let room = usize::try_from(self.budget).unwrap_or(usize::MAX);
            let before = port.waiting.len();
            port.waiting.truncate(room);
            self.waiting -= (before - port.waiting.len()) as u64;
            self.budget -= port.waiting.len() as u64;
        }
    }

    /// Whether every datagram of the count was sent.
    pub(super) const fn is_spent(&self) -> bool {
        self.budget == 0 && self.waiting == 0
    }

    /// When the next datagram is due, if there is room for it.
    pub(super) fn due(&self, clock: &RunClock<'_>) -> Option<u64> {
        let schedule = self.schedule.as_ref()?;
        (!clock.finishing && self.waiting < BACKLOG).then(|| schedule.due())
    }

    /// The due time of the next datagram, if it is up to now and before the end.
    pub(super) fn take_due(&mut self, clock: &RunClock<'_>, recorder: &Recorder) -> Option<u64> {
        let due = self.due(clock)?;
        let is_due = due <= clock.now && self.take(due, clock, recorder);
        is_due.then_some(due)
    }

    /// Takes the next one, which is due then, from the schedule, unless the end or the budget
    /// forbids it.
    fn take(&mut self, due: u64, clock: &RunClock<'_>, recorder: &Recorder) -> bool {
        if due >= clock.times.end {
            return false;
        }
        if recorder.will_count(due) {
            if self.budget == 0 {
                return false;
            }
            self.budget -= 1;
        }
        if let Some(schedule) = &mut self.schedule {
            schedule.advance();
        }
        true
    }

    /// The flow that the next datagram belongs to: all take turns.
    pub(super) const fn next_port(&mut self, ports: usize) -> usize {
        let next = self.next_port;
        self.next_port = (next + 1) % ports;
        next
    }

    /// Those that wait are not going to be sent.
    pub(super) fn drop_waiting(&mut self, ports: &mut [Port], now: u64, recorder: &mut Recorder) {
        for due in ports.iter_mut().flat_map(|port| port.waiting.drain(..)) {
            recorder.missed(due, now);
        }
        self.waiting = 0;
    }

    /// Counts the datagrams that were due before the end and never looked at. They may be many
    /// millions, so they are counted after the last echo, which the count would delay.
    pub(super) fn count_unsent(&mut self, clock: &RunClock<'_>, recorder: &mut Recorder) {
        let end = clock.times.end;
        while let Some(due) = self.schedule.as_ref().map(Schedule::due)
            && self.take(due, clock, recorder)
        {
            recorder.record_lateness(due, end);
            recorder.missed(due, end);
        }
    }
}
