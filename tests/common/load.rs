//! Runs of `echopool bench`, read back from their JSON.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    let numbers = |text: &String| {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        numbers.any(|number| number.parse() == Ok(offset))
    };
    results.examples.iter().any(numbers)
}

/// Measurements would disturb one another. Hold this for as long as one is made.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // The failure of one is not that of the next.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Measures alone, and up to three times: anything else that a machine does can
/// delay a message once, but figures that are wrong are wrong each time.
#[track_caller]
pub fn measured(measure: impl Fn()) {
    const TRIES: usize = 3;
    let _alone = alone();
    for _ in 1..TRIES {
        if catch_unwind(AssertUnwindSafe(&measure)).is_ok() {
            return;
        }
    }
    measure();
}
