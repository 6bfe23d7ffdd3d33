//! Whether a path carries TCP faithfully: a list of clauses, each tried by itself.
//!
//! The path is whatever lies between this program and what echoes: a server
//! alone, or a load balancer, a proxy, a tunnel or a firewall before it. A
//! [`Clause`] makes connections of its own, with a [`pattern`](crate::probe::pattern) of
//! their own, and ends those of a failure by RST, so that none of its bytes meet
//! the next clause.
//!
//! Sockets block, for a moment at a time: in between, a connection looks whether
//! the check was stopped and whether anything has moved within the time-out.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::clause::Clause;
use super::ended::Ended;
use super::plan::Plan;
use super::probe::Probe;
use super::report::{self, Outcome, Report, Verdict};

/// Tries the clauses one after another, and tells `each` outcome as it comes. Once
/// `stop` is set it ends with what it has: what was under way is no outcome.
///
/// # Errors
/// What `each` returned. A clause that fails is no error but an outcome.
pub fn run(
    plan: &Plan,
    clauses: &[&'static Clause],
    stop: &AtomicBool,
    each: &mut dyn FnMut(&Outcome) -> io::Result<()>,
) -> io::Result<Report> {
    let started = Instant::now();
    let probe = Probe::new(plan, stop);
    let mut outcomes = Vec::with_capacity(clauses.len());
    for clause in clauses {
        let Some(outcome) = outcome(clause, &probe) else {
            break;
        };
        each(&outcome)?;
        outcomes.push(outcome);
    }
    let interrupted = stop.load(Ordering::SeqCst) && outcomes.len() < clauses.len();
    Ok(Report::new(plan, outcomes, started.elapsed(), interrupted))
}

/// What came of one clause; nothing if the check was stopped before or meanwhile.
fn outcome(clause: &'static Clause, probe: &Probe<'_>) -> Option<Outcome> {
    if probe.context.is_stopped() {
        return None;
    }
    let started = Instant::now();
    let (verdict, seen, usually) = match (clause.run)(probe) {
        Ok(seen) => (Verdict::Pass, seen, None),
        Err(Ended::Failed { seen, usually }) => {
            (Verdict::Fail, seen, Some(usually.unwrap_or(clause.usually)))
        }
        Err(Ended::Skipped(why)) => (Verdict::Skip, why, None),
        Err(Ended::Stopped) => return None,
    };
    Some(Outcome {
        name: clause.name,
        verdict,
        seen,
        usually,
        rfc: clause.rfc,
        elapsed_ns: report::nanoseconds(started.elapsed()),
    })
}
