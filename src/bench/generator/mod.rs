//! One thread's load: its connections, and the loop that sends and receives for them.
//!
//! A turn, like that of a worker of the server: wait for readiness; receive from
//! all that have something, each time looking at the clock right after the read
//! that ends a message; then send for all that may, looking at the clock right
//! before the write. Between the two calls of a message there are two looks at
//! the clock, the comparison of its bytes and a few counters: no lock, no
//! allocation, no look-up.
//!
//! What is sent is made in one block from its place in the stream, so a write
//! that the socket takes in part leaves nothing to keep but the place.

mod connect;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use fastrand::Rng;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Poll};

use super::clock::{Clock, SECOND, nanoseconds};
use super::plan::{Load, Plan};
use super::recorder::{PartsChannel, Recorder};
use super::schedule::Schedule;
use super::slot::{Slot, Stage};
use super::timer::{TIMER, Timer};
use crate::base::sys;
use crate::probe::pattern::Pattern;
use connect::Loss;

/// The block that is received into, in bytes: it fits the second-level cache of
/// current processors.
const BLOCK: usize = 256 * 1024;

/// The block that is sent from, in bytes. What it holds is made for each write,
/// and is still near when the kernel copies it.
const OUTGOING: usize = 64 * 1024;

/// How many events one wait brings at the most, and so how many connections one
/// phase serves: a message that came meanwhile waits for no more than these.
const EVENTS: usize = 64;

/// How often time-outs and the order to stop are looked for.
const TICK: u64 = SECOND / 20;

/// How long it polls before it sleeps, where a processor is free for that: to
/// be woken takes about as long, and is not the server's time.
const POLL_TIME: u64 = 50_000;

/// A wait that was shorter found its event there already.
const BRIEF: u64 = 2_000;

/// How many messages that are due are dealt out before others are received and
/// sent again.
const DEALT: usize = 1024;

/// So many messages that were due and are not back are kept; those that are due
/// meanwhile stay in the schedule, with their time, until there is room. It
/// bounds the memory of a load that is far beyond what the server can take.
const BACKLOG: usize = 1 << 20;

/// How long replies are awaited after the last message was sent.
const DRAIN_TIME: u64 = SECOND;

/// How long more bytes are awaited to explain strange ones.
const STRANGE_TIME: u64 = SECOND / 10;

/// How long the server has to close its side of a connection that is done.
const CLOSE_TIME: u64 = SECOND;

/// What all threads of a run share.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub(super) plan: &'a Plan,
    pub(super) pattern: Pattern,
    pub(super) address: SocketAddr,
    pub(super) clock: Clock,
    /// The number of the next connection.
    pub(super) numbers: AtomicU64,
    pub(super) stop: &'a Arc<AtomicBool>,
    /// Whether there are processors that a thread may keep busy in vain.
    pub(super) may_poll: bool,
}

/// The times of a run, the same for all its threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Load is made from then on.
    pub(super) start: u64,
    /// It counts from then on.
    pub(super) measured_from: u64,
    /// Nothing is sent any more.
    pub(super) end: u64,
}

/// The word to make load.
#[derive(Debug)]
pub(super) struct Go {
    pub(super) times: Times,
    /// Whoever has it completes what has begun, however long that takes within
    /// the time-out, then drops it, and keeps the connections for the next word.
    pub(super) rest: Option<Sender<()>>,
}

/// How a thread did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ending {
    /// When it stopped sending, or had the last of a number of messages back.
    pub(super) ended: u64,
    /// The part of the measured time in which it was working.
    pub(super) busy: f64,
    /// The part of the measured time in which it could work and had no processor.
    pub(super) starved: f64,
    /// It ended because there was no connection left.
    pub(super) deserted: bool,
}

/// One thread of the load generator.
#[derive(Debug)]
pub(super) struct Generator<'a> {
    shared: &'a Shared<'a>,
    thread: usize,
    poller: Poll,
    timer: Timer,
    slots: Vec<Slot>,
    /// Slots that may have something to receive.
    readers: VecDeque<usize>,
    /// Slots that may have something to send.
    writers: VecDeque<usize>,
    /// A connection that is made already, and how long it took.
    adopted: Option<(TcpStream, u64)>,
    /// Slots that are to connect.
    wanting: VecDeque<usize>,
    /// Slots that pause before they connect again, and until when.
    resting: BinaryHeap<Reverse<(u64, usize)>>,
    /// Churn: slots without a connection, and messages without a slot.
    idle: Vec<usize>,
    overdue: VecDeque<u64>,
    received: Box<[u8]>,
    outgoing: Box<[u8]>,
    record: Recorder,
    schedule: Option<Schedule>,
    random: Rng,
    times: Times,
    /// Messages that may still be sent in the measured part.
    budget: u64,
    /// The slot that has the open loop's next message.
    turn: usize,
    /// Slots that are not lost for good, are connecting, and are open.
    alive: usize,
    connecting: usize,
    open: usize,
    running: bool,
    /// All is awaited at the end, for the connections to rest.
    rests: bool,
    measuring: bool,
    finishing: bool,
    deserted: bool,
    /// The last wait was for something that was not there yet.
    sleepy: bool,
    now: u64,
    tick_at: u64,
    /// How long it has waited within the measured part.
    waited: u64,
    /// How long it left its processor to others meanwhile.
    yielded: u64,
    /// What schedstat said when the measured part began.
    delay_before: u64,
}

impl<'a> Generator<'a> {
    /// Thread number `thread`, with so many connections and, where the run has
    /// a number of messages, so many of them.
    pub(super) fn new(
        shared: &'a Shared<'a>,
        thread: usize,
        connections: usize,
        budget: u64,
        channel: PartsChannel,
    ) -> io::Result<Self> {
        let poller = Poll::new()?;
        let timer = Timer::new(poller.registry())?;
        let plan = shared.plan;
        let churn = plan.load == Load::Churn;
        let stage = if churn { Stage::Idle } else { Stage::Wanting };
        let record = Recorder::new(
            thread,
            plan.rate_per_s.is_some(),
            plan.load == Load::Stream,
            channel,
        );
        let all = 0..connections;
        Ok(Self {
            shared,
            thread,
            poller,
            timer,
            slots: all.clone().map(|_| Slot::new(stage)).collect(),
            readers: VecDeque::new(),
            writers: VecDeque::new(),
            wanting: if churn {
                VecDeque::new()
            } else {
                all.clone().collect()
            },
            adopted: None,
            resting: BinaryHeap::new(),
            idle: if churn { all.collect() } else { Vec::new() },
            overdue: VecDeque::new(),
            received: vec![0; BLOCK].into_boxed_slice(),
            outgoing: vec![0; OUTGOING].into_boxed_slice(),
            record,
            schedule: None,
            random: Rng::with_seed(plan.seed ^ (thread as u64 + 1)),
            times: Times {
                start: u64::MAX,
                measured_from: u64::MAX,
                end: u64::MAX,
            },
            budget,
            turn: 0,
            alive: connections,
            connecting: 0,
            open: 0,
            running: false,
            rests: false,
            measuring: false,
            finishing: false,
            deserted: false,
            sleepy: false,
            now: shared.clock.now(),
            tick_at: 0,
            waited: 0,
            yielded: 0,
            delay_before: 0,
        })
    }

    /// Takes a connection that is made already, which took so long.
    pub(super) fn adopt(&mut self, stream: TcpStream, took: u64) {
        self.adopted = Some((stream, took));
    }

    /// Connects, drops `ready`, waits for the word and makes load until its end;
    /// then for the next word, if it was to rest.
    ///
    /// # Errors
    /// The poller's.
    pub(super) fn run(mut self, ready: Sender<()>, words: &Receiver<Go>) -> io::Result<Ending> {
        let mut events = Events::with_capacity(EVENTS);
        while !(self.wanting.is_empty() && self.connecting == 0 || self.is_stopped()) {
            self.turn(&mut events)?;
        }
        drop(ready);
        while let Ok(Go { times, rest }) = words.recv() {
            self.rests = rest.is_some();
            self.begin(times);
            while !self.is_over() {
                self.turn(&mut events)?;
            }
            if !self.rests {
                break;
            }
            self.record.publish(self.now, self.open);
        }
        Ok(self.leave())
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        let before = self.now;
        self.start_connecting();
        self.wait(events)?;
        self.keep_time();
        for event in &*events {
            if event.token() != TIMER {
                self.note(event.token().0, event);
            }
        }
        for _ in 0..self.readers.len() {
            if let Some(key) = self.readers.pop_front() {
                self.receive(key);
            }
        }
        self.deal();
        for _ in 0..self.writers.len() {
            if let Some(key) = self.writers.pop_front() {
                self.send(key);
            }
        }
        if self.now == before {
            self.now = self.shared.clock.now();
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.finishing && (self.is_quiet() || self.now >= self.drained_by())
    }

    /// Whether nothing is on its way; of a churn that rests, no connection either.
    fn is_quiet(&self) -> bool {
        let connections = self.open + self.connecting + self.wanting.len();
        let all_closed = !(self.rests && self.is(Load::Churn)) || connections == 0;
        self.record.outstanding() == 0 && all_closed
    }

    /// Until when replies are awaited at the end.
    fn drained_by(&self) -> u64 {
        let time = match self.rests {
            true => nanoseconds(self.shared.plan.timeout),
            false => DRAIN_TIME,
        };
        self.times.end.saturating_add(time)
    }

    /// The way of sending that the plan names.
    fn is(&self, load: Load) -> bool {
        self.shared.plan.load == load
    }

    /// Waits for an event, the next message's time or the next tick. The time
    /// without any is idle.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let has_work = !(self.readers.is_empty() && self.writers.is_empty());
        // Under load what is there already costs no look at the clock. Where the
        // last wait was one, this first call would most likely be in vain.
        if has_work || !self.sleepy {
            self.poll(events, Some(Duration::ZERO))?;
            if has_work || !events.is_empty() {
                return Ok(());
            }
        }
        let since = self.shared.clock.now();
        self.now = since;
        let (until, precise) = self.wake_time();
        events.clear();
        while events.is_empty() && self.now < until {
            let left = until - self.now;
            let polls = self.shared.may_poll
                && (self.now - since < POLL_TIME || precise && left < POLL_TIME);
            let timeout = match left {
                _ if polls => Some(Duration::ZERO),
                left if !precise => Some(Duration::from_nanos(left)),
                left if self.shared.may_poll => self.arm(left - POLL_TIME)?,
                left => self.arm(left)?,
            };
            self.poll(events, timeout)?;
            self.now = self.shared.clock.now();
            if polls && events.is_empty() {
                self.make_way();
            }
        }
        self.sleepy = self.now - since > BRIEF;
        let (from, to) = (self.times.measured_from, self.times.end);
        self.waited += self.now.min(to).saturating_sub(since.max(from));
        Ok(())
    }

    /// Whoever else needs this processor, the server perhaps, comes first.
    fn make_way(&mut self) {
        let since = self.now;
        std::thread::yield_now();
        self.now = self.shared.clock.now();
        if self.measuring {
            self.yielded += self.now - since;
        }
    }

    fn arm(&self, after: u64) -> io::Result<Option<Duration>> {
        self.timer.arm(Duration::from_nanos(after))
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        sys::poll(&mut self.poller, events, timeout)
    }

    /// Until when it may wait, and whether it shall be back then to the microsecond.
    fn wake_time(&self) -> (u64, bool) {
        if self.running && !self.finishing && self.is_exhausted() {
            return (self.now, false);
        }
        let end = match self.finishing {
            true => self.drained_by(),
            false => self.times.end,
        };
        let mut until = self.tick_at.min(end);
        if let Some(&Reverse((at, _))) = self.resting.peek() {
            until = until.min(at);
        }
        match &self.schedule {
            Some(schedule) if !self.finishing && !self.is_backed_up() && schedule.due() < until => {
                (schedule.due(), true)
            }
            _ => (until, false),
        }
    }

    /// Does what the time has come for.
    fn keep_time(&mut self) {
        if self.running {
            if !self.measuring && self.now >= self.times.measured_from {
                self.begin_measuring();
            }
            if !self.finishing && (self.now >= self.times.end || self.is_exhausted()) {
                self.finish();
            }
            if self.record.is_due(self.now) {
                self.record.publish(self.now, self.open);
            }
        }
        while let Some(&Reverse((at, key))) = self.resting.peek()
            && at <= self.now
        {
            self.resting.pop();
            self.wake(key);
        }
        if self.now >= self.tick_at {
            self.tick();
        }
    }

    /// Whether there is nothing left to send, and nothing to come.
    fn is_exhausted(&self) -> bool {
        let all_sent = self.budget == 0 && self.overdue.is_empty();
        self.alive == 0 || all_sent && self.measuring && self.record.outstanding() == 0
    }

    fn begin(&mut self, times: Times) {
        let plan = self.shared.plan;
        self.times = times;
        self.now = self.shared.clock.now();
        self.running = true;
        (self.measuring, self.finishing, self.deserted) = (false, false, false);
        (self.waited, self.yielded) = (0, 0);
        self.record.begin(times.start, times.measured_from);
        self.schedule = plan.rate_per_s.map(|rate| {
            let place = (self.thread, plan.threads);
            let seed = plan.seed.rotate_left(32) ^ (self.thread as u64 + 1);
            Schedule::new(plan.arrivals, rate, place, times.start, seed)
        });
        for key in 0..self.slots.len() {
            if self.slots[key].stage == Stage::Open {
                self.offer_stream(key);
                self.want_to_send(key);
            }
        }
    }

    fn begin_measuring(&mut self) {
        self.measuring = true;
        self.delay_before = run_queue_delay();
        if self.is(Load::Stream) {
            for slot in &mut self.slots {
                slot.flow.count_from_here();
            }
        }
    }

    /// Looks after what no event tells of.
    fn tick(&mut self) {
        self.tick_at = self.now + TICK;
        if self.running && !self.finishing && self.is_stopped() {
            self.finish();
        }
        let timeout = nanoseconds(self.shared.plan.timeout);
        for key in 0..self.slots.len() {
            let slot = &self.slots[key];
            let since = match slot.stage {
                Stage::Connecting => slot.since,
                Stage::Open if self.is(Load::Stream) => slot.since,
                Stage::Open => slot.flow.oldest().map_or(u64::MAX, |message| message.sent),
                Stage::Closing if self.now >= slot.since.saturating_add(CLOSE_TIME) => {
                    self.hang_up(key);
                    continue;
                }
                _ => continue,
            };
            if self.now >= since.saturating_add(timeout) {
                match slot.stage {
                    Stage::Connecting => self.fail_to_connect(key, &ErrorKind::TimedOut.into()),
                    _ => self.lose(key, &Loss::TimedOut),
                }
            } else if let Some(since) = slot.flow.strange_since()
                && self.now >= since + STRANGE_TIME
                && !self.slots[key].judge(&self.shared.pattern, &mut self.record)
            {
                self.lose(key, &Loss::Damaged);
            }
        }
    }

    /// Takes the poller's word.
    fn note(&mut self, key: usize, event: &Event) {
        if self.slots[key].stage == Stage::Connecting {
            self.finish_connecting(key);
        }
        let slot = &mut self.slots[key];
        if !matches!(slot.stage, Stage::Open | Stage::Closing) {
            return;
        }
        slot.fin_seen |= event.is_read_closed();
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.want_to_receive(key);
        }
        if event.is_writable() {
            self.slots[key].writable = true;
            self.want_to_send(key);
        }
    }

    fn want_to_receive(&mut self, key: usize) {
        if !std::mem::replace(&mut self.slots[key].to_receive, true) {
            self.readers.push_back(key);
        }
    }

    fn want_to_send(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        if slot.writable && !std::mem::replace(&mut slot.to_send, true) {
            self.writers.push_back(key);
        }
    }

    /// Reads once.
    fn receive(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        slot.to_receive = false;
        let has_connection = matches!(slot.stage, Stage::Open | Stage::Closing);
        let Some(stream) = slot.stream.as_mut().filter(|_| has_connection) else {
            return;
        };
        match stream.read(&mut self.received) {
            Ok(0) => self.end(key),
            Ok(bytes) => {
                self.now = self.shared.clock.now();
                let drained = bytes < BLOCK && sys::SHORT_READ_DRAINS && !slot.fin_seen;
                self.take(key, bytes);
                if !drained {
                    self.want_to_receive(key);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => self.want_to_receive(key),
            Err(error) => self.lose(key, &error.into()),
        }
    }

    /// Compares and counts what was read.
    fn take(&mut self, key: usize, bytes: usize) {
        let slot = &mut self.slots[key];
        let first = match slot.flow.received() {
            0 => slot.flow.oldest().copied(),
            _ => None,
        };
        let bytes = &self.received[..bytes];
        if !slot.take(&self.shared.pattern, bytes, self.now, &mut self.record) {
            return self.lose(key, &Loss::Damaged);
        }
        if let Some(message) = first {
            self.recover(key, &message);
        }
        match self.shared.plan.load {
            Load::Messages => {}
            Load::Stream => self.slots[key].since = self.now,
            Load::Churn => self.settle(key),
        }
        self.want_to_send(key);
    }

    /// Sends once, as far as the socket takes it.
    fn send(&mut self, key: usize) {
        self.slots[key].to_send = false;
        if self.slots[key].stage != Stage::Open {
            return;
        }
        self.top_up(key);
        let slot = &mut self.slots[key];
        let depth = self.shared.plan.depth;
        let Some(stream) = &mut slot.stream else {
            return;
        };
        let length = slot.flow.sendable(depth).min(OUTGOING as u64);
        let outgoing = &mut self.outgoing[..usize::try_from(length).unwrap_or(OUTGOING)];
        if outgoing.is_empty() {
            return;
        }
        let (connection, position) = (slot.flow.connection(), slot.flow.sent());
        self.shared.pattern.fill(connection, position, outgoing);
        self.now = self.shared.clock.now();
        match stream.write(outgoing) {
            Ok(bytes) => {
                slot.flow.wrote(bytes as u64, self.now, &mut self.record);
                slot.writable = bytes == outgoing.len();
                if slot.flow.sendable(depth) > 0 {
                    self.want_to_send(key);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => slot.writable = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => self.want_to_send(key),
            Err(error) => self.lose(key, &error.into()),
        }
    }

    /// Closed loop: a new message for each one that came back.
    fn top_up(&mut self, key: usize) {
        if !self.is(Load::Messages) || self.schedule.is_some() || self.finishing || !self.running {
            return;
        }
        while self.slots[key].flow.len() < self.shared.plan.depth && self.spend(self.now) {
            let size = self.size();
            self.slots[key].flow.push(size, self.now, &mut self.record);
        }
    }

    /// Open loop: hands out the messages that are due by now, whatever became
    /// of those before.
    fn deal(&mut self) {
        if self.schedule.is_none() || self.finishing || self.is_backed_up() {
            return;
        }
        self.now = self.shared.clock.now();
        for _ in 0..DEALT {
            let Some(due) = self.next_due(self.now + 1) else {
                return;
            };
            self.record.seen(due, self.now);
            match self.shared.plan.load {
                Load::Churn => self.overdue.push_back(due),
                _ => self.assign(due),
            }
        }
    }

    fn is_backed_up(&self) -> bool {
        self.record.outstanding() + self.overdue.len() >= BACKLOG
    }

    /// The next message's time, if it is before `limit` and the end.
    fn next_due(&mut self, limit: u64) -> Option<u64> {
        let due = self.schedule.as_ref()?.due();
        if due >= limit.min(self.times.end) || !self.spend(due) {
            return None;
        }
        self.schedule.as_mut()?.advance();
        Some(due)
    }

    /// Gives a message to the connection whose turn it is.
    fn assign(&mut self, due: u64) {
        let size = self.size();
        for _ in 0..self.slots.len() {
            let key = self.turn;
            self.turn = (key + 1) % self.slots.len();
            if self.slots[key].stage != Stage::Gone {
                self.slots[key].flow.push(size, due, &mut self.record);
                return self.want_to_send(key);
            }
        }
    }

    /// Whether a message of that time may be sent; if it counts, there is one fewer.
    const fn spend(&mut self, due: u64) -> bool {
        if self.record.counts(due) {
            if self.budget == 0 {
                return false;
            }
            self.budget -= 1;
        }
        true
    }

    /// A size for the next message; each is as likely.
    fn size(&mut self) -> u64 {
        let sizes = &self.shared.plan.size_bytes;
        match sizes.start() == sizes.end() {
            true => *sizes.start() as u64,
            false => self.random.usize(sizes.clone()) as u64,
        }
    }

    /// Sends nothing new from now on.
    fn finish(&mut self) {
        let plan = self.shared.plan;
        self.deserted = self.alive == 0;
        self.times.end = self.times.end.min(self.now);
        self.finishing = true;
        for due in std::mem::take(&mut self.overdue) {
            self.record.missed(due, self.now);
        }
        self.record.freeze(self.times.end);
        let endless = plan.load == Load::Stream;
        if self.rests && !endless {
            // What is queued is completed.
            return;
        }
        for slot in &mut self.slots {
            slot.flow.cut(endless, self.now, &mut self.record);
            if matches!(slot.stage, Stage::Idle | Stage::Wanting | Stage::Resting) {
                slot.stage = Stage::Gone;
            }
        }
        self.wanting.clear();
        self.resting.clear();
    }

    /// Counts what became due and was never dealt out. They may be many millions;
    /// so they are counted when no echo is awaited any more, whose time it would be.
    fn count_undealt(&mut self) {
        let end = self.times.end;
        while let Some(due) = self.next_due(end) {
            self.record.seen(due, end);
            self.record.missed(due, end);
        }
    }

    /// Counts what is still on its way, and how the time was spent.
    fn leave(mut self) -> Ending {
        for slot in &mut self.slots {
            slot.flow.leave(self.now, &mut self.record);
            if let Some(gap) = slot.gap.take() {
                self.record.gap(*gap);
            }
        }
        self.count_undealt();
        self.record.publish(self.now, self.open);
        let measured = self.times.end.saturating_sub(self.times.measured_from);
        let left = self.delay_before + self.yielded;
        let delay = run_queue_delay().saturating_sub(left);
        Ending {
            ended: self.times.end,
            busy: fraction(measured.saturating_sub(self.waited), measured),
            starved: fraction(if self.measuring { delay } else { 0 }, measured),
            deserted: self.deserted,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "times below 2^53 ns")]
fn fraction(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => (part as f64 / whole as f64).min(1.0),
    }
}

/// How long this thread could have run and had no processor, so far: the second
/// number of schedstat, on Linux; elsewhere not known.
fn run_queue_delay() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let delay = text.split_ascii_whitespace().nth(1);
    delay.and_then(|delay| delay.parse().ok()).unwrap_or(0)
}
