//! Runs a check: tests one clause after another.
//!
//! The path under check is everything between this program and the server: the server
//! alone, or a load balancer, a proxy, a tunnel or a firewall before it. Each [`Clause`]
//! makes connections of its own, with a byte [`pattern`](crate::probe::pattern) of their
//! own. Those of a failed clause are reset, so that none of their bytes reach the next one.
//!
//! Sockets block for a short time only. In between, a connection looks whether the check
//! was stopped and whether bytes moved within the time-out.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::clause::Clause;
use super::idle;
use super::not_passed::NotPassed;
use super::plan::Plan;
use super::report::{Outcome, Report, Verdict, nanoseconds};
use super::target::Target;

/// How often the clause under test is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// The clause under test.
#[derive(Clone, Copy, Debug)]
pub struct Doing {
    /// Its name.
    pub name: &'static str,
    /// Its place among the clauses, from 1.
    pub number: usize,
    /// How many clauses there are.
    pub of: usize,
    /// How long it has lasted.
    pub elapsed: Duration,
    /// How long it lasts, if that is known.
    pub lasts: Option<Duration>,
}

/// Tests the clauses in order and calls `report` with each outcome as it is known, and
/// `watch` about ten times a second with the clause under test, from another thread. Once
/// `stop` is set, returns the outcomes so far; the clause under test has none.
///
/// # Errors
/// What `report` returned. A clause that fails is no error but an outcome.
pub fn run(
    plan: &Plan,
    clauses: &[&'static Clause],
    stop: &AtomicBool,
    watch: &mut (dyn FnMut(Doing) + Send),
    report: &mut dyn FnMut(&Outcome) -> io::Result<()>,
) -> io::Result<Report> {
    let started = Instant::now();
    let target = Target::new(plan, stop);
    let mut outcomes = Vec::with_capacity(clauses.len());
    for (at, clause) in clauses.iter().enumerate() {
        let doing = Doing {
            name: clause.name,
            number: at + 1,
            of: clauses.len(),
            elapsed: Duration::ZERO,
            lasts: idle::lasts(clause, plan),
        };
        let Some(outcome) = watched(doing, watch, || test(clause, &target)) else {
            break;
        };
        report(&outcome)?;
        outcomes.push(outcome);
    }
    let interrupted = stop.load(Ordering::SeqCst) && outcomes.len() < clauses.len();
    Ok(Report::new(plan, outcomes, started.elapsed(), interrupted))
}

/// Calls `test`, and `watch` as long as that lasts.
fn watched<T>(doing: Doing, watch: &mut (dyn FnMut(Doing) + Send), test: impl FnOnce() -> T) -> T {
    let (ended, end) = bounded::<()>(0);
    let begun = Instant::now();
    let tell = move || {
        while end.recv_timeout(TELL_EVERY) == Err(RecvTimeoutError::Timeout) {
            let elapsed = begun.elapsed();
            watch(Doing { elapsed, ..doing });
        }
    };
    thread::scope(|scope| {
        // Where the system starts no thread, nothing is told.
        let _told = thread::Builder::new().spawn_scoped(scope, tell);
        let tested = test();
        drop(ended);
        tested
    })
}

/// Tests one clause; `None` if the check was stopped before its end.
fn test(clause: &'static Clause, target: &Target<'_>) -> Option<Outcome> {
    if target.context.is_stopped() {
        return None;
    }
    let started = Instant::now();
    let (verdict, seen, failure) = match (clause.run)(target) {
        Ok(seen) => (Verdict::Pass, seen, None),
        Err(NotPassed::Failed {
            seen,
            usually,
            observed,
        }) => {
            let usually = usually.unwrap_or(clause.usually);
            (Verdict::Fail, seen, Some((usually, observed)))
        }
        Err(NotPassed::Skipped(why)) => (Verdict::Skip, why, None),
        Err(NotPassed::Stopped) => return None,
    };
    let (usually, observed) = failure.unzip();
    Some(Outcome {
        name: clause.name,
        verdict,
        seen,
        usually,
        rfc: clause.rfc,
        elapsed_ns: nanoseconds(started.elapsed()),
        observed,
    })
}
