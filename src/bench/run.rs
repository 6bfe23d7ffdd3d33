//! One run: its threads, their common clock and the results.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never, select, unbounded};

use super::clock::{Clock, SECOND, nanoseconds};
use super::collector::Collector;
use super::connections;
use super::datagram_counts::{Datagrams, FlowCounts};
use super::datagrams;
use super::error::{Error, failed};
use super::machine::{host, system};
use super::outage;
use super::plan::{Load, Plan};
use super::progress::Watch;
use super::recorder::{Part, PartsChannel};
use super::results::{self, AddressCounts, FORMAT, Interval, Results};
use super::targets::Targets;
use super::thread::shared::{Shared, StartSignal, ThreadSummary, Work};
use super::times::Times;
use super::validity::{self, Evidence};
use crate::base::cpus;
use crate::base::logging::time_stamp;
use crate::base::open_files::{raise_open_files, with_advice};
use crate::base::units;
use crate::probe::addresses::Addresses;
use crate::probe::pattern::Pattern;

/// How often progress is reported.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// Makes the load of `plan` against the first of `addresses` that accepts a
/// connection (RFC 8305), until the plan's end or until `stop` is set.
///
/// # Errors
/// [`Error::Probe`] if none of the addresses accepts a connection, or `stop` is set before
/// one does;
/// [`Error::SetUp`] if an operation of the generator itself fails.
pub fn run(
    addresses: impl Into<Addresses>,
    plan: &Plan,
    stop: &Arc<AtomicBool>,
    watch: &mut dyn Watch,
) -> Result<Results, Error> {
    connected(&addresses.into(), plan, stop, watch, |mut run, watch| {
        run.make_load(watch);
        run.finish(watch)
    })
}

/// As [`run()`], for a caller that measures the server itself: calls
/// `when_quiescent` before the measured part and after it. Each time the
/// connections are open and nothing is in flight; the run waits for that up to the
/// plan's time-out. So the totals count what the server did between the two calls.
/// Echoes after the end are in the totals and not in the rates.
///
/// # Errors
/// As [`run()`].
pub fn run_quiesced(
    addresses: impl Into<Addresses>,
    plan: &Plan,
    stop: &Arc<AtomicBool>,
    watch: &mut dyn Watch,
    when_quiescent: &mut dyn FnMut(),
) -> Result<Results, Error> {
    connected(&addresses.into(), plan, stop, watch, |mut run, watch| {
        run.make_load_quiesced(watch, when_quiescent);
        run.finish(watch)
    })
}

/// Connects, and passes the run, which is ready to begin, to `go`.
fn connected(
    addresses: &Addresses,
    plan: &Plan,
    stop: &Arc<AtomicBool>,
    watch: &mut dyn Watch,
    go: impl FnOnce(Run<'_, '_>, &mut dyn Watch) -> Result<Results, Error>,
) -> Result<Results, Error> {
    raise_open_files();
    let plan = &Plan {
        threads: plan.threads.clamp(1, plan.connections.max(1)),
        ..plan.clone()
    };
    let clock = Clock::start();
    let shared = |targets, patience| Shared {
        plan,
        pattern: Pattern::new(plan.seed),
        targets,
        patience: nanoseconds(patience),
        clock,
        numbers: AtomicU64::new(0),
        stop,
        may_poll: may_poll(plan),
    };
    let known = addresses.known();
    if plan.load == Load::Datagrams {
        let to = datagrams::address(&known, plan).map_err(failed("ask the addresses"))?;
        let shared = shared(Targets::one(to), Duration::ZERO);
        let works = |channel| {
            let works = datagrams::works(&shared, channel);
            works
                .map_err(|error| with_advice(error, "each flow has two", "--connections"))
                .map_err(failed("open a socket to the server"))
        };
        return std::thread::scope(|scope| go(Run::start(scope, &shared, works, watch)?, watch));
    }
    let first = connections::first(&known, plan, stop, watch)?;
    let (targets, patience) = connections::targets(addresses, &first, plan, stop);
    let shared = shared(targets, patience);
    let works = |channel| connections::works(&shared, first, channel);
    std::thread::scope(|scope| go(Run::start(scope, &shared, works, watch)?, watch))
}

/// Whether threads may poll for a while before they sleep. In a closed loop a
/// processor for each is enough, even one that the server has, too, since they
/// yield it: a single connection made 37,000 round trips a second instead of
/// 15,000. In an open loop a thread that yields to a server comes back late: there
/// it took 22 ms instead of 2 for one message in a hundred.
fn may_poll(plan: &Plan) -> bool {
    let spare = cpus::count().checked_sub(plan.threads);
    spare.is_some_and(|spare| spare > 0 || plan.rate_per_s.is_none())
}

/// Threads that make load.
struct Run<'scope, 'a> {
    shared: &'a Shared<'a>,
    threads: Vec<ScopedJoinHandle<'scope, std::io::Result<ThreadSummary>>>,
    /// The channels of their start signals.
    starts: Vec<Sender<StartSignal>>,
    collector: Collector,
    times: Times,
    started_at: SystemTime,
    parts: Receiver<Box<Part>>,
    spares: Sender<Box<Part>>,
}

impl<'scope, 'a: 'scope> Run<'scope, 'a> {
    /// Starts the threads and waits until all have connected.
    fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        shared: &'a Shared<'a>,
        works: impl FnOnce(PartsChannel) -> Result<Vec<Work<'a>>, Error>,
        watch: &mut dyn Watch,
    ) -> Result<Self, Error> {
        let plan = shared.plan;
        let (parts, collected) = unbounded();
        let (emptied, spares) = unbounded();
        let channel = PartsChannel { parts, spares };
        let works = works(channel)?;
        let (ready, all_ready) = bounded(0);
        let mut threads = Vec::new();
        let mut starts = Vec::new();
        for (thread, work) in works.into_iter().enumerate() {
            let (start, started) = bounded(1);
            let ready = ready.clone();
            let spawned = std::thread::Builder::new()
                .name(format!("bench-{thread}"))
                .spawn_scoped(scope, move || work(ready, &started));
            threads.push(spawned.map_err(failed("start a thread"))?);
            starts.push(start);
        }
        drop(ready);
        wait_until_connected(&all_ready, shared, watch);
        let times = times(plan, shared.clock.now());
        Ok(Self {
            shared,
            threads,
            starts,
            collector: Collector::new(times, plan),
            times,
            started_at: SystemTime::now(),
            parts: collected,
            spares: emptied,
        })
    }
}

impl Run<'_, '_> {
    /// Makes the load of the warm-up and the measured part without a pause.
    fn make_load(&mut self, watch: &mut dyn Watch) {
        let times = times(self.shared.plan, self.shared.clock.now());
        self.start_counting(times);
        self.signal_start(times, None);
        self.collect(watch, &never());
    }

    /// Makes the load of the warm-up and of the measured part, and waits after each
    /// until everything is back.
    fn make_load_quiesced(&mut self, watch: &mut dyn Watch, when_quiescent: &mut dyn FnMut()) {
        let mut plan = self.shared.plan.clone();
        let start = self.shared.clock.now();
        if !plan.warmup.is_zero() {
            let (quiescent, all_quiescent) = bounded(0);
            let warm_up = Times {
                start,
                measured_from: u64::MAX,
                end: start.saturating_add(nanoseconds(plan.warmup)),
            };
            self.signal_start(warm_up, Some(quiescent));
            wait_for_all(&all_quiescent);
            plan.warmup = Duration::ZERO;
        }
        when_quiescent();
        let (quiescent, all_quiescent) = bounded(0);
        let times = times(&plan, self.shared.clock.now());
        self.start_counting(Times { start, ..times });
        self.signal_start(times, Some(quiescent));
        self.collect(watch, &all_quiescent);
        when_quiescent();
    }

    /// Counts the parts that come from now on by these times.
    fn start_counting(&mut self, times: Times) {
        let plan = self.shared.plan;
        self.collector = Collector::new(times, plan);
        self.times = times;
        let ahead = times.measured_from.saturating_sub(self.shared.clock.now());
        self.started_at = SystemTime::now() + Duration::from_nanos(ahead);
    }

    /// Sends all threads the start signal; they drop `quiescent` once nothing is in flight.
    fn signal_start(&self, times: Times, quiescent: Option<Sender<()>>) {
        for start in &self.starts {
            let quiescent = quiescent.clone();
            // The error of a thread that failed is returned when it is joined.
            let _ = start.send(StartSignal { times, quiescent });
        }
    }

    /// Ends the threads, and adds up their results.
    fn finish(mut self, watch: &mut dyn Watch) -> Result<Results, Error> {
        self.starts.clear();
        self.collect(watch, &never());
        let mut endings = Vec::new();
        for thread in self.threads.drain(..) {
            let ending = thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            endings.push(ending.map_err(failed("wait for events"))?);
        }
        let ended = endings.iter().map(|ending| ending.ended).max().unwrap_or(0);
        self.collector.finish(ended);
        while let Some(interval) = self.collector.complete_second() {
            let progress =
                self.collector
                    .progress(ended, Some(Duration::ZERO), &interval, Some(&interval));
            watch.progress(&progress);
        }
        Ok(self.results(&endings, ended))
    }

    /// Collects parts until the threads have ended, or are all quiescent.
    fn collect(&mut self, watch: &mut dyn Watch, all_quiescent: &Receiver<()>) {
        let mut report_at = Instant::now();
        loop {
            select! {
                recv(self.parts) -> part => match part {
                    Ok(part) => self.add(part),
                    Err(_) => return,
                },
                recv(all_quiescent) -> _ => return,
                default(report_at.saturating_duration_since(Instant::now())) => {
                    report_at = Instant::now() + REPORT_EVERY;
                    self.report_progress(watch);
                }
            }
        }
    }

    fn add(&mut self, mut part: Box<Part>) {
        self.collector.add(&mut part);
        part.clear();
        let _ = self.spares.send(part);
    }

    fn report_progress(&mut self, watch: &mut dyn Watch) {
        for (thread, handle) in self.threads.iter().enumerate() {
            if handle.is_finished() {
                self.collector.thread_ended(thread);
            }
        }
        let now = self.shared.clock.now();
        let left = self.left(now);
        let mut reported = false;
        while let Some(interval) = self.collector.complete_second() {
            reported = true;
            watch.progress(
                &self
                    .collector
                    .progress(now, left, &interval, Some(&interval)),
            );
        }
        if !reported {
            let recent = self.collector.recent();
            watch.progress(&self.collector.progress(now, left, &recent, None));
        }
    }

    /// The time until the end, if it can be known.
    fn left(&self, now: u64) -> Option<Duration> {
        let plan = self.shared.plan;
        let by_time = plan
            .duration
            .map(|_| Duration::from_nanos(self.times.end.saturating_sub(now)));
        let elapsed = now.saturating_sub(self.times.measured_from);
        let by_count = plan.count.and_then(|count| {
            let echoed = self.collector.counts.totals.echoed;
            let missing = u128::from(count.saturating_sub(echoed));
            let left = (missing * u128::from(elapsed)).checked_div(u128::from(echoed))?;
            Some(Duration::from_nanos(u64::try_from(left).ok()?))
        });
        by_time.into_iter().chain(by_count).min()
    }

    fn results(self, endings: &[ThreadSummary], ended: u64) -> Results {
        let plan = self.shared.plan;
        let collector = self.collector;
        let elapsed_ns = ended.saturating_sub(self.times.measured_from);
        let open_loop = plan.rate_per_s.is_some();
        let churn = plan.load == Load::Churn;
        let is_datagrams = plan.load == Load::Datagrams;
        let mut examples = collector.examples();
        let counts = collector.counts;
        let most = |part: fn(&ThreadSummary) -> f64| endings.iter().map(part).fold(0.0, f64::max);
        if !is_datagrams && endings.iter().all(|ending| ending.out_of_connections) {
            let after = humantime::format_duration(Duration::from_millis(elapsed_ns / 1_000_000));
            examples.push(format!(
                "the last connection was lost after {after}, and the run ended"
            ));
        }
        let mut results = Results {
            format: String::from(FORMAT),
            generators: vec![results::Generator {
                version: String::from(env!("CARGO_PKG_VERSION")),
                host: host(),
                system: system(),
                cpus: cpus::count(),
                address: self.shared.targets.first().to_string(),
                addresses: self.shared.targets.counts(),
                started_at: time_stamp(self.started_at).to_string(),
                elapsed_ns: Some(elapsed_ns),
                busy_fraction: most(|ending| ending.busy),
            }],
            plan: plan.clone(),
            interrupted: endings.iter().any(|ending| ending.interrupted),
            elapsed_ns,
            rate_per_s: per_second(counts.in_time, elapsed_ns),
            throughput_bytes_per_s: per_second(counts.in_time_bytes, elapsed_ns),
            totals: counts.totals,
            warmup_errors: counts.warmup_errors,
            service: counts.service,
            response: open_loop.then_some(counts.response),
            lateness: open_loop.then_some(counts.lateness),
            connect: counts.connect,
            first_byte: churn.then_some(counts.first_byte),
            exchange: churn.then_some(counts.exchange),
            tcp: (counts.tcp.connections > 0).then_some(counts.tcp),
            datagrams: is_datagrams.then(|| Datagrams::new(counts.datagrams, flows(endings))),
            timeline: seconds(collector.timeline),
            outages: outage::join(collector.gaps, self.times.measured_from),
            examples,
            suspicions: Vec::new(),
            expectations: Vec::new(),
            search: Vec::new(),
            search_end: None,
        };
        results.suspicions = validity::suspicions(&Evidence {
            results: &results,
            starved_fraction: most(|ending| ending.starved),
            without_port: counts.without_port,
            without_descriptor: counts.without_descriptor,
            without_echo: endings.iter().map(|ending| ending.without_echo).sum(),
        });
        results
    }
}

/// Those of the run: with a count the wait for the last datagram that is lost is none.
fn seconds(mut timeline: Vec<Interval>) -> Vec<Interval> {
    timeline.retain(|interval| interval.length_ns > 0 || interval.echoed_bytes > 0);
    timeline
}

fn flows(endings: &[ThreadSummary]) -> Vec<FlowCounts> {
    let flows = endings.iter().flat_map(|ending| &ending.flows);
    flows.cloned().collect()
}

/// Returns when every thread has connected, or has failed.
fn wait_until_connected(all_ready: &Receiver<()>, shared: &Shared<'_>, watch: &mut dyn Watch) {
    while all_ready.recv_timeout(REPORT_EVERY) == Err(RecvTimeoutError::Timeout) {
        let counts = shared.targets.counts();
        let sum = |of: fn(&AddressCounts) -> u64| counts.iter().map(of).sum();
        let (made, failed) = (sum(|at| at.connected), sum(|at| at.failed));
        let all = shared.plan.connections as u64;
        let connections = units::count(all, "connection", "connections");
        let failed = match failed {
            0 => String::new(),
            failed => format!(
                ", {}",
                units::count(failed, "attempt failed", "attempts failed")
            ),
        };
        watch.connecting(&format!("{} of {connections}{failed}", units::whole(made)));
    }
}

/// Returns when every thread has dropped its sender, or has failed and so dropped it.
fn wait_for_all(threads: &Receiver<()>) {
    while threads.recv().is_ok() {}
}

fn times(plan: &Plan, start: u64) -> Times {
    let measured_from = start.saturating_add(nanoseconds(plan.warmup));
    Times {
        start,
        measured_from,
        end: plan.duration.map_or(u64::MAX, |time| {
            measured_from.saturating_add(nanoseconds(time))
        }),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn per_second(count: u64, elapsed_ns: u64) -> f64 {
    match elapsed_ns {
        0 => 0.0,
        elapsed => count as f64 * SECOND as f64 / elapsed as f64,
    }
}
