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
use std::time::Instant;

use super::clause::Clause;
use super::not_passed::NotPassed;
use super::plan::Plan;
use super::report::{Outcome, Report, Verdict, nanoseconds};
use super::target::Target;

/// Tests the clauses in order and calls `report` with each outcome as it is known. Once
/// `stop` is set, returns the outcomes so far; the clause under test has none.
///
/// # Errors
/// What `report` returned. A clause that fails is no error but an outcome.
pub fn run(
    plan: &Plan,
    clauses: &[&'static Clause],
    stop: &AtomicBool,
    report: &mut dyn FnMut(&Outcome) -> io::Result<()>,
) -> io::Result<Report> {
    let started = Instant::now();
    let target = Target::new(plan, stop);
    let mut outcomes = Vec::with_capacity(clauses.len());
    for clause in clauses {
        let Some(outcome) = test(clause, &target) else {
            break;
        };
        report(&outcome)?;
        outcomes.push(outcome);
    }
    let interrupted = stop.load(Ordering::SeqCst) && outcomes.len() < clauses.len();
    Ok(Report::new(plan, outcomes, started.elapsed(), interrupted))
}

/// Tests one clause; `None` if the check was stopped before its end.
fn test(clause: &'static Clause, target: &Target<'_>) -> Option<Outcome> {
    if target.context.is_stopped() {
        return None;
    }
    let started = Instant::now();
    let (verdict, seen, usually) = match (clause.run)(target) {
        Ok(seen) => (Verdict::Pass, seen, None),
        Err(NotPassed::Failed { seen, usually }) => {
            (Verdict::Fail, seen, Some(usually.unwrap_or(clause.usually)))
        }
        Err(NotPassed::Skipped(why)) => (Verdict::Skip, why, None),
        Err(NotPassed::Stopped) => return None,
    };
    Some(Outcome {
        name: clause.name,
        verdict,
        seen,
        usually,
        rfc: clause.rfc,
        elapsed_ns: nanoseconds(started.elapsed()),
    })
}
