//! The state of one thread that all its parts work on: slots, counters and times.

use std::collections::VecDeque;

use fastrand::Rng;

use super::sampler::Sampler;
use super::slot::{Slot, Stage};
use crate::base::kernel::KernelView;
use crate::bench::clock::nanoseconds;
use crate::bench::message::Message;
use crate::bench::outage::Gap;
use crate::bench::plan::Load;
use crate::bench::recorder::{Recorder, record_time};
use crate::bench::thread::run_clock::RunClock;
use crate::bench::thread::shared::Shared;
use crate::bench::times::Times;

/// A stream is one message of this size, which it never reaches.
const ENDLESS: u64 = u64::MAX / 2;

/// The state of one thread.
#[derive(Debug)]
pub(super) struct State<'a> {
    pub(super) clock: RunClock<'a>,
    pub(super) slots: Vec<Slot>,
    /// Slots that may have something to receive.
    pub(super) readers: VecDeque<usize>,
    /// Slots that may have something to send.
    pub(super) writers: VecDeque<usize>,
    pub(super) recorder: Recorder,
    sampler: Sampler,
    /// Draws the sizes of messages and the pauses before a retry.
    pub(super) random: Rng,
    /// A start signal has come.
    pub(super) running: bool,
    /// At the end everything in flight is awaited, and the connections stay.
    pub(super) quiesces: bool,
}

impl<'a> State<'a> {
    /// Thread number `thread`, with `connections` slots.
    pub(super) fn new(
        shared: &'a Shared<'a>,
        thread: usize,
        connections: usize,
        recorder: Recorder,
    ) -> Self {
        let stage = match shared.plan.load {
            Load::Churn => Stage::Idle,
            Load::Messages | Load::Stream | Load::Datagrams => Stage::Queued,
        };
        Self {
            clock: RunClock::new(shared),
            slots: (0..connections).map(|_| Slot::new(stage)).collect(),
            readers: VecDeque::new(),
            writers: VecDeque::new(),
            recorder,
            sampler: Sampler::new(connections),
            random: Rng::with_seed(shared.plan.seed ^ (thread as u64 + 1)),
            running: false,
            quiesces: false,
        }
    }
}

impl State<'_> {
    /// Begins a part of the run with these times.
    pub(super) fn start(&mut self, times: Times) {
        self.clock.begin(times);
        self.running = true;
        self.recorder.begin(times.start, times.measured_from);
    }

    /// Reads what TCP knows of the connections whose turn it is.
    pub(super) fn sample(&mut self) {
        for key in self
            .sampler
            .due(self.clock.now, self.clock.times.measured_from)
        {
            self.read_tcp(key);
        }
    }

    /// Reads all connections that are read at all, once more at the end.
    pub(super) fn sample_all(&mut self) {
        for key in self.sampler.all() {
            self.read_tcp(key);
        }
    }

    /// A slot's connection ends.
    pub(super) fn sample_ending(&mut self, key: usize) {
        if self.running && self.sampler.reads_ending(key) {
            self.read_tcp(key);
        }
    }

    fn read_tcp(&mut self, key: usize) {
        let slot = &self.slots[key];
        if let (Stage::Open | Stage::Closing, Some(stream)) = (slot.stage, &slot.stream)
            && let Some(view) = KernelView::read(stream)
        {
            let connection = slot.flow.connection();
            let recorder = &mut self.recorder;
            self.sampler
                .record(key, connection, view, recorder, self.clock.now);
        }
    }

    /// Whether the plan's load is of this kind.
    pub(super) fn is(&self, load: Load) -> bool {
        self.clock.shared.plan.load == load
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.clock.shared.is_stopped()
    }

    pub(super) const fn is_warming_up(&self) -> bool {
        self.running && self.clock.now < self.clock.times.measured_from
    }

    /// The plan's time-out, in the unit of the clock.
    pub(super) fn timeout(&self) -> u64 {
        nanoseconds(self.clock.shared.plan.timeout)
    }

    /// How long the slot's connection may take to be made. Where the server has several
    /// addresses, it is given up early for the next one, and has twice the time when its
    /// turn comes again.
    pub(super) fn connect_timeout(&self, key: usize) -> u64 {
        let addresses = self.clock.shared.targets.count();
        if addresses == 1 {
            return self.timeout();
        }
        let rounds = self.slots[key].attempts.saturating_sub(1) / addresses;
        let patience = self
            .clock
            .shared
            .patience
            .saturating_mul(1 << rounds.min(20));
        patience.min(self.timeout())
    }

    pub(super) fn want_to_receive(&mut self, key: usize) {
        if !std::mem::replace(&mut self.slots[key].to_receive, true) {
            self.readers.push_back(key);
        }
    }

    pub(super) fn want_to_send(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        if slot.writable && !std::mem::replace(&mut slot.to_send, true) {
            self.writers.push_back(key);
        }
    }

    /// Stream: queues the one message that the connection sends.
    pub(super) fn start_stream(&mut self, key: usize) {
        if self.is(Load::Stream) && !self.clock.finishing {
            let slot = &mut self.slots[key];
            slot.since = self.clock.now;
            slot.flow.push(ENDLESS, self.clock.now, &mut self.recorder);
        }
    }

    /// The first bytes of a connection are back: its gap ends.
    pub(super) fn first_echo(&mut self, key: usize, message: &Message) {
        let now = self.clock.now;
        let slot = &mut self.slots[key];
        slot.attempts = 0;
        if let Some(mut gap) = slot.gap.take() {
            gap.end = Some(now);
            self.recorder.add_gap(*gap);
        }
        if self.is(Load::Churn) && self.slots[key].counts {
            record_time(&mut self.recorder.measured().first_byte, now - message.sent);
        }
    }

    /// The slot's time without a server, which begins now unless it has begun.
    pub(super) fn gap(&mut self, key: usize) -> &mut Gap {
        let start = self.clock.now;
        let begin = || {
            Box::new(Gap {
                start,
                ..Gap::default()
            })
        };
        self.slots[key].gap.get_or_insert_with(begin)
    }

    /// A size for the next message; all sizes are equally likely.
    pub(super) fn message_size(&mut self) -> u64 {
        let sizes = &self.clock.shared.plan.size_bytes;
        match sizes.start() == sizes.end() {
            true => *sizes.start() as u64,
            false => self.random.usize(sizes.clone()) as u64,
        }
    }
}
