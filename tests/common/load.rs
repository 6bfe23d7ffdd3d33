//! Runs of `echopool bench`, read back from their JSON.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, available_parallelism, sleep, spawn};
use std::time::{Duration, Instant};

use echopool::bench::results::{Doubt, Errors, FORMAT, Results};
use echopool::probe::latency::Latency;

use super::{Ended, Program, finish};

/// One run that came to its end and reported.
#[derive(Debug)]
pub struct Run {
    pub results: Results,
    pub code: Option<i32>,
    pub stderr: String,
}

/// Runs it against `server`, without a warm-up unless `options` ask for one.
#[track_caller]
pub fn bench(server: SocketAddr, options: &str) -> Run {
    read(finish(arguments(server, options), ""))
}

/// The same, of which nothing may have gone wrong.
#[track_caller]
pub fn clean(server: SocketAddr, options: &str) -> Results {
    let run = bench(server, options);
    assert_eq!(run.code, Some(0), "{options}: {run:?}");
    assert_eq!(run.results.totals.errors, Errors::default(), "{options}");
    assert_accounts(&run.results);
    run.results
}

/// Starts it, with a pipe for its standard output.
pub fn start(server: SocketAddr, options: &str) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
    command.args(arguments(server, options));
    command.env_remove("RUST_LOG").stdout(Stdio::piped());
    Program::spawn(command)
}

/// Waits for the end of what was started, and reads its report.
#[track_caller]
pub fn end(program: Program) -> Run {
    read(super::end(program))
}

fn arguments(server: SocketAddr, options: &str) -> Vec<String> {
    let warmup = match options.contains("--warmup") {
        true => "",
        false => "--warmup 0s",
    };
    let all = format!("bench {server} --json - --quiet {warmup} {options}");
    all.split_whitespace().map(String::from).collect()
}

/// The report on standard output, on which nothing else may be.
#[track_caller]
pub fn read(ended: Ended) -> Run {
    let results = serde_json::from_slice(&ended.stdout);
    let results: Results = results.unwrap_or_else(|error| panic!("no report: {error}: {ended:?}"));
    assert_eq!(results.format, FORMAT);
    Run {
        results,
        code: ended.code,
        stderr: ended.stderr,
    }
}

/// Checks what holds for every run without damage and without lost messages.
#[track_caller]
pub fn assert_accounts(results: &Results) {
    let totals = &results.totals;
    let accounted = totals.echoed + totals.lost + totals.in_flight;
    assert_eq!(totals.sent, accounted, "{totals:?}");
    if totals.lost == 0 {
        assert_eq!(results.service.histogram.len(), totals.sent, "{totals:?}");
    }
    if results.plan.warmup.is_zero() {
        let echoed: u64 = results.timeline.iter().map(|at| at.echoed).sum();
        assert_eq!(echoed, totals.echoed, "{:?}", results.timeline);
    }
    let open = results.plan.rate_per_s.is_some();
    assert_eq!(results.response.is_some(), open);
    assert_eq!(results.lateness.is_some(), open);
}

/// The duration that so large a part of all did not exceed.
pub fn quantile(latency: &Latency, part: f64) -> Duration {
    Duration::from_nanos(latency.histogram.value_at_quantile(part))
}

/// The same of durations that a server measured.
pub fn quantile_of(times: &[Duration], part: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    let rank = (part * times.len() as f64).ceil() as usize;
    times[rank.clamp(1, times.len()) - 1]
}

/// Whether the run doubts itself for that reason.
pub fn doubts(results: &Results, doubt: Doubt) -> bool {
    results.suspicions.iter().any(|at| at.kind == doubt)
}

/// Whether an example names that offset, as a number of its own.
pub fn names_offset(results: &Results, offset: u64) -> bool {
    let named = ["byte", "offset"].map(|word| format!(" {word} {offset}"));
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_digit());
    let names = |text: &String, words: &String| {
        let mut found = text.match_indices(words);
        found.any(|(at, _)| ends(&text[at + words.len()..]))
    };
    let mut examples = results.examples.iter();
    examples.any(|text| named.iter().any(|words| names(text, words)))
}

/// Measurements would disturb one another. Hold this for as long as one is made.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // The failure of one is not that of the next.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How late this machine lets threads run that have slept, watched while something else is
/// measured: one on each processor sleeps again and again. Where others have the processors
/// nobody is on time, and durations are longer than on a quiet machine.
pub struct Machine {
    shared: Arc<Watched>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Watched {
    over: AtomicBool,
    /// In nanoseconds.
    latest: AtomicU64,
}

impl Watched {
    fn watch(&self) {
        const NAP: Duration = Duration::from_millis(1);
        while !self.over.load(Ordering::SeqCst) {
            let due = Instant::now() + NAP;
            sleep(NAP);
            let late = u64::try_from(due.elapsed().as_nanos()).unwrap();
            self.latest.fetch_max(late, Ordering::SeqCst);
        }
    }
}

impl Machine {
    /// Watches it from now on.
    pub fn watch() -> Self {
        let shared = Arc::new(Watched::default());
        let count = available_parallelism().map_or(1, usize::from);
        let thread = |_| {
            let shared = Arc::clone(&shared);
            spawn(move || shared.watch())
        };
        let threads = (0..count).map(thread).collect();
        Self { shared, threads }
    }

    /// By how much a duration may be longer here than on a quiet machine, as seen so far: the
    /// client, the server, and who looks at the clock may all have been late.
    pub fn delay(&self) -> Duration {
        3 * Duration::from_nanos(self.shared.latest.load(Ordering::SeqCst))
    }

    /// Whether nobody was late by so much that a measurement can have suffered from it.
    pub fn is_quiet(&self) -> bool {
        self.delay() < Duration::from_millis(3)
    }

    /// The delay in milliseconds.
    pub fn delay_ms(&self) -> f64 {
        self.delay().as_secs_f64() * 1e3
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Measures alone, on a machine that is watched meanwhile.
#[track_caller]
pub fn measured(measure: impl FnOnce(&Machine)) {
    let _alone = alone();
    measure(&Machine::watch());
}
