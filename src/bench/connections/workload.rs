//! The messages that one thread sends: their schedule, and its share of the count.

use std::collections::VecDeque;

use super::slot::Stage;
use super::state::State;
use crate::bench::plan::Load;
use crate::bench::thread::schedule::Schedule;

/// The maximum number of due messages that are queued in one turn.
const TURN: usize = 1024;

/// The most messages that are queued or in flight. Further ones stay in the schedule,
/// with their due times, until there is room. It bounds the memory of a load far above
/// the server's capacity.
const BACKLOG: usize = 1 << 20;

/// One thread's part of the messages.
#[derive(Debug)]
pub(super) struct Workload {
    /// The due times of an open loop.
    schedule: Option<Schedule>,
    /// Messages that may still be sent in the measured part.
    budget: u64,
    /// Churn: due times of messages that wait for an idle slot.
    overdue: VecDeque<u64>,
    /// The slot that gets the open loop's next message.
    next_slot: usize,
}

impl Workload {
    /// Up to `budget` messages in the measured part.
    pub(super) const fn new(budget: u64) -> Self {
        Self {
            schedule: None,
            budget,
            overdue: VecDeque::new(),
            next_slot: 0,
        }
    }

    /// Begins an open loop with this schedule, or a closed loop.
    pub(super) fn start(&mut self, schedule: Option<Schedule>) {
        self.schedule = schedule;
    }

    /// Open loop: messages of the warm-up that were not sent yet count from now on, as far as
    /// the budget goes.
    pub(super) fn begin_measuring(&mut self, state: &mut State<'_>) {
        if self.schedule.is_none() {
            return;
        }
        state.recorder.begin_measuring(state.clock.now);
        // An exchange of a churn has begun when it has its slot.
        let is_churn = state.clock.shared.plan.load == Load::Churn;
        for slot in &mut state.slots {
            let flow = &mut slot.flow;
            let counted = flow.count_queued(self.budget, !is_churn, &mut state.recorder);
            slot.counts |= counted > 0;
            self.budget -= counted;
        }
        let room = usize::try_from(self.budget).unwrap_or(usize::MAX);
        self.overdue.truncate(room);
        self.budget -= self.overdue.len() as u64;
    }

    /// Whether every message of the count was queued.
    pub(super) fn is_spent(&self) -> bool {
        self.budget == 0 && self.overdue.is_empty()
    }

    /// When the open loop's next message is due, if there is room for it.
    pub(super) fn due(&self, state: &State<'_>) -> Option<u64> {
        let schedule = self.schedule.as_ref()?;
        (!state.clock.finishing && !self.is_backed_up(state)).then(|| schedule.due())
    }

    /// Closed loop: queues a new message for each one that came back.
    pub(super) fn top_up(&mut self, state: &mut State<'_>, key: usize) {
        let is_closed_loop = state.is(Load::Messages) && self.schedule.is_none();
        if !is_closed_loop || state.clock.finishing || !state.running {
            return;
        }
        while state.slots[key].flow.len() < state.clock.shared.plan.depth
            && self.spend(state, state.clock.now)
        {
            let size = state.message_size();
            state.slots[key]
                .flow
                .push(size, state.clock.now, &mut state.recorder);
        }
    }

    /// Churn: when the message of the next exchange was due, if there is one.
    pub(super) fn next_exchange(&mut self, state: &State<'_>) -> Option<u64> {
        match self.schedule {
            Some(_) => self.overdue.pop_front(),
            None => Some(state.clock.now).filter(|&now| self.spend(state, now)),
        }
    }

    /// Open loop: queues the messages that are due by now, whether or not earlier ones
    /// came back.
    pub(super) fn queue_due(&mut self, state: &mut State<'_>) {
        if self.schedule.is_none() || state.clock.finishing || self.is_backed_up(state) {
            return;
        }
        state.clock.look_at_clock();
        for _ in 0..TURN {
            let Some(due) = self.next_due(state, state.clock.now + 1) else {
                return;
            };
            state.recorder.record_lateness(due, state.clock.now);
            match state.clock.shared.plan.load {
                Load::Churn => self.overdue.push_back(due),
                _ => self.assign(state, due),
            }
        }
    }

    fn is_backed_up(&self, state: &State<'_>) -> bool {
        state.recorder.outstanding() + self.overdue.len() >= BACKLOG
    }

    /// The next message's due time, if it is before `limit` and the end.
    fn next_due(&mut self, state: &State<'_>, limit: u64) -> Option<u64> {
        let due = self.schedule.as_ref()?.due();
        if due >= limit.min(state.clock.times.end) || !self.spend(state, due) {
            return None;
        }
        self.schedule.as_mut()?.advance();
        Some(due)
    }

    /// Gives a message to the next slot in turn that is not lost.
    fn assign(&mut self, state: &mut State<'_>, due: u64) {
        let size = state.message_size();
        for _ in 0..state.slots.len() {
            let key = self.next_slot;
            self.next_slot = (key + 1) % state.slots.len();
            if state.slots[key].stage != Stage::Lost {
                state.slots[key].flow.push(size, due, &mut state.recorder);
                return state.want_to_send(key);
            }
        }
    }

    /// Whether a message that is due at `due` may be sent; if it counts, it uses up
    /// one of the budget.
    const fn spend(&mut self, state: &State<'_>, due: u64) -> bool {
        if state.recorder.will_count(due) {
            if self.budget == 0 {
                return false;
            }
            self.budget -= 1;
        }
        true
    }

    /// Counts the messages that still wait for an idle slot as not sent.
    pub(super) fn drop_overdue(&mut self, state: &mut State<'_>) {
        for due in std::mem::take(&mut self.overdue) {
            state.recorder.missed(due, state.clock.now);
        }
    }

    /// Counts the messages that were due and never queued. They may be many millions,
    /// so they are counted after the last echo, which the count would delay.
    pub(super) fn count_unqueued(&mut self, state: &mut State<'_>) {
        let end = state.clock.times.end;
        while let Some(due) = self.next_due(state, end) {
            state.recorder.record_lateness(due, end);
            state.recorder.missed(due, end);
        }
    }
}
