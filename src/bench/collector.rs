//! Adds up the threads' parts: totals, latencies and the seconds of the run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cause::{self, Cause};
use super::clock::SECOND;
use super::counts::Counts;
use super::datagram_counts::DatagramCounts;
use super::outage::{Gap, after};
use super::plan::{Load, Plan};
use super::progress::Progress;
use super::recorder::{EXAMPLES, Part};
use super::results::Interval;
use super::times::Times;
use crate::probe::latency::Latency;

/// A second that some thread has not completed yet.
#[derive(Debug, Default)]
struct Second {
    interval: Interval,
    latency: Latency,
    /// The time of all threads, in nanoseconds.
    time: u64,
    /// The sum over all threads of that time multiplied by the open connections of the thread.
    /// Divided by `time` it is the average number of open connections.
    connection_time: u128,
}

/// The parts received so far, added up.
#[derive(Debug)]
pub(super) struct Collector {
    times: Times,
    open_loop: bool,
    is_datagrams: bool,
    pub(super) counts: Counts,
    pub(super) timeline: Vec<Interval>,
    pub(super) gaps: Vec<Gap>,
    examples: Vec<(Cause, String)>,
    /// By number; the first second of the measured part is number 0.
    seconds: BTreeMap<i64, Second>,
    /// Of each thread: the time up to which it has reported, and its open connections.
    threads: Vec<(u64, usize)>,
}

impl Collector {
    /// Before the first part of a run of this plan.
    pub(super) fn new(times: Times, plan: &Plan) -> Self {
        Self {
            times,
            open_loop: plan.rate_per_s.is_some(),
            is_datagrams: plan.load == Load::Datagrams,
            counts: Counts::default(),
            timeline: Vec::new(),
            gaps: Vec::new(),
            examples: Vec::new(),
            seconds: BTreeMap::new(),
            threads: vec![(times.start, 0); plan.threads],
        }
    }

    /// Adds a part.
    pub(super) fn add(&mut self, part: &mut Part) {
        self.counts.add(&part.counts);
        self.gaps.append(&mut part.gaps);
        for example in part.examples.drain(..) {
            cause::add(&mut self.examples, example, EXAMPLES);
        }
        self.threads[part.thread] = (part.until, part.connections);
        self.add_to_second(part);
        for (number, counts) in &part.seconds {
            self.add_datagrams(*number, counts);
        }
    }

    /// Adds what became of datagrams to their second, which may be complete but for that: a
    /// lost one is known to be lost after its time-out.
    fn add_datagrams(&mut self, number: i64, counts: &DatagramCounts) {
        let is_it = |at: &&mut Interval| at.start_ns.div_euclid(SECOND.cast_signed()) == number;
        let interval = match self.timeline.iter_mut().rfind(is_it) {
            Some(complete) => complete,
            None => &mut self.seconds.entry(number).or_default().interval,
        };
        *interval.datagrams.get_or_insert_default() += counts;
    }

    fn add_to_second(&mut self, part: &Part) {
        let number = after(self.times.measured_from, part.from).div_euclid(SECOND.cast_signed());
        let second = self.seconds.entry(number).or_default();
        second.latency.add(part.counts.round_trips(self.open_loop));
        second.latency.add(&part.uncounted);
        second.interval.echoed += part.echoed;
        second.interval.echoed_bytes += part.echoed_bytes;
        if let Some(tcp) = &part.tcp {
            second.interval.tcp.get_or_insert_default().add(tcp);
        }
        let counts = &part.counts;
        second.interval.errors += counts.totals.errors.total() + counts.warmup_errors.total();
        let length = part.until.saturating_sub(part.from);
        second.time += length;
        second.connection_time += u128::from(length) * part.connections as u128;
    }

    /// The examples of errors, in words.
    pub(super) fn examples(&self) -> Vec<String> {
        self.examples.iter().map(|(_, text)| text.clone()).collect()
    }

    /// A thread has ended: no second waits for it any more.
    pub(super) fn thread_ended(&mut self, thread: usize) {
        // Its connections were open until then.
        self.threads[thread].0 = u64::MAX;
    }

    /// Moves the first second that all threads have completed to the timeline.
    pub(super) fn complete_second(&mut self) -> Option<Interval> {
        let reached = self.threads.iter().map(|(until, _)| *until).min()?;
        let (number, _) = self.seconds.first_key_value()?;
        if self.end_of(*number) > reached {
            return None;
        }
        let (number, second) = self.seconds.pop_first()?;
        let interval = self.interval(number, &second, reached);
        self.timeline.push(interval.clone());
        Some(interval)
    }

    fn end_of(&self, number: i64) -> u64 {
        let end = (number + 1).saturating_mul(SECOND.cast_signed());
        self.times.measured_from.saturating_add_signed(end)
    }

    /// A second, up to `reached` or the end of the run.
    fn interval(&self, number: i64, second: &Second, reached: u64) -> Interval {
        let from = self
            .end_of(number)
            .saturating_sub(SECOND)
            .max(self.times.start);
        let until = self.end_of(number).min(reached).min(self.times.end);
        Interval {
            start_ns: after(self.times.measured_from, from),
            length_ns: until.saturating_sub(from),
            p50_ns: second.latency.percentile(50.0),
            p99_ns: second.latency.percentile(99.0),
            max_ns: second.latency.max(),
            connections: self.connections(second),
            ..second.interval.clone()
        }
    }

    /// The connections of all threads that were open in a second, on average.
    #[expect(clippy::cast_precision_loss, reason = "connections are below 2^53")]
    fn connections(&self, second: &Second) -> Option<f64> {
        let of_thread = second.connection_time as f64 / second.time as f64;
        (second.time > 0).then_some(of_thread * self.threads.len() as f64)
    }

    /// The run ended at `ended`: the seconds that are left are complete.
    pub(super) fn finish(&mut self, ended: u64) {
        self.times.end = ended;
        for (until, _) in &mut self.threads {
            *until = u64::MAX;
        }
    }

    /// The progress of the run at `now`.
    pub(super) fn progress<'a>(
        &'a self,
        now: u64,
        left: Option<Duration>,
        recent: &'a Interval,
        finished: Option<&'a Interval>,
    ) -> Progress<'a> {
        let elapsed = now
            .min(self.times.end)
            .saturating_sub(self.times.measured_from);
        Progress {
            elapsed: Duration::from_nanos(elapsed),
            warming_up: now < self.times.measured_from,
            left,
            totals: &self.counts.totals,
            latency: self.counts.round_trips(self.open_loop),
            recent,
            connections: self
                .threads
                .iter()
                .map(|(_, connections)| connections)
                .sum(),
            datagrams: self.is_datagrams.then_some(&self.counts.datagrams),
            finished,
        }
    }

    /// The last complete second, or the first one as far as it was reported.
    pub(super) fn recent(&self) -> Interval {
        if let Some(last) = self.timeline.last() {
            return last.clone();
        }
        let reached = self.threads.iter().map(|(until, _)| *until).min();
        match (self.seconds.first_key_value(), reached) {
            (Some((number, second)), Some(reached)) => self.interval(*number, second, reached),
            _ => Interval::default(),
        }
    }
}
