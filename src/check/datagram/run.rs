//! Runs a check with datagrams: one clause after another, since a limit on the rate is one on
//! all of them.

use std::io;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::age;
use super::clause::Clause;
use super::diagnosis::infer;
use super::experiments::investigate;
use super::facts::{Facts, Failure};
use super::findings::Findings;
use super::not_passed::NotPassed;
use super::plan::Plan;
use super::target::Target;
use super::usually::usually;
use crate::check::cause::Diagnosis;
use crate::check::report::{Outcome, Report, Verdict, nanoseconds};
use crate::check::watch::{Doing, experimenting, watched};
use crate::probe::datagram::choose::choose;
use crate::probe::datagram::conventions::HELLO;

/// How long an experiment usually lasts at the most.
const EXPERIMENT: Duration = Duration::from_secs(10);

/// Tests the clauses and calls `report` with each outcome once it is known, and `watch` about
/// ten times a second with the clause under test. Once `stop` is set, returns the outcomes so
/// far; a clause under test has none.
///
/// # Errors
/// What `report` returned, or the system where it gives no socket. A clause that fails is no
/// error but an outcome.
pub fn run(
    plan: &Plan,
    clauses: &[&'static Clause],
    stop: &AtomicBool,
    watch: &mut dyn FnMut(Doing),
    report: &mut dyn FnMut(&Outcome) -> io::Result<()>,
) -> io::Result<Report> {
    let started = Instant::now();
    // Where all are refused, the first clause tells.
    let chosen = choose(&plan.addresses, HELLO, plan.timeout)?;
    let address = chosen.unwrap_or(plan.addresses[0]);
    let mut target = Target::new(plan, address, stop);
    let (mut outcomes, mut failures) = (Vec::new(), Vec::new());
    for (at, clause) in clauses.iter().enumerate() {
        let lasts = age::lasts(clause, plan);
        let left = target.left();
        let doing = |elapsed: Duration| Doing {
            names: vec![clause.name],
            number: at + 1,
            of: clauses.len(),
            elapsed,
            lasts,
            at_most: left.max(elapsed),
        };
        let mut outcome = None;
        watched(&doing, watch, &mut || outcome = test(clause, &mut target));
        let Some((outcome, failure)) = outcome else {
            break;
        };
        failures.extend(failure);
        report(&outcome)?;
        outcomes.push(outcome);
    }
    let interrupted = target.is_interrupted() && outcomes.len() < clauses.len();
    let passed = passed(&outcomes);
    let facts = Facts { failures, passed };
    let causes = diagnose(&mut target, &facts, watch);
    let about = (&plan.addresses[..], String::from("udp"));
    let elapsed = started.elapsed();
    Ok(Report::new(about, outcomes, causes, elapsed, interrupted))
}

fn passed(outcomes: &[Outcome]) -> Vec<&'static str> {
    let passed = outcomes.iter().filter(|at| at.verdict == Verdict::Pass);
    passed.map(|outcome| outcome.name).collect()
}

/// The causes of what failed. What is suspected is tried by experiments first.
fn diagnose(
    target: &mut Target<'_>,
    facts: &Facts,
    watch: &mut dyn FnMut(Doing),
) -> Vec<Diagnosis> {
    let mut show = |name, experiment: &mut (dyn FnMut() + Send)| {
        let doing = |elapsed: Duration| experimenting(name, elapsed, elapsed.max(EXPERIMENT));
        watched(&doing, watch, experiment);
    };
    let findings = match target.plan.experiments && !target.is_interrupted() {
        true => investigate(target, facts, &mut show),
        false => Findings::default(),
    };
    infer(facts, &findings)
}

/// Tests one clause; `None` if the check was stopped before its end.
fn test(clause: &'static Clause, target: &mut Target<'_>) -> Option<(Outcome, Option<Failure>)> {
    let started = Instant::now();
    let tested = match (target.is_stopped(), target.is_unreachable) {
        (true, _) => Err(NotPassed::Stopped),
        (_, true) => Err(NotPassed::Skipped(String::from("nothing comes back"))),
        _ => (clause.run)(target),
    };
    let (mut failure, mut means) = (None, None);
    let (verdict, seen) = match tested {
        Ok(seen) => (Verdict::Pass, seen),
        Err(NotPassed::Failed { seen, trouble }) => {
            target.failed.push(clause.name);
            let failed = Failure {
                clause: clause.name,
                trouble,
            };
            means = Some(usually(clause, &failed));
            failure = Some(failed);
            (Verdict::Fail, seen)
        }
        Err(NotPassed::Skipped(why)) => (Verdict::Skip, why),
        Err(NotPassed::Stopped) if !target.is_interrupted() => {
            let whole = humantime::format_duration(target.plan.whole);
            let seen = format!("not at its end when the {whole} of the whole check were over");
            (Verdict::Skip, seen)
        }
        Err(NotPassed::Stopped) => return None,
    };
    let outcome = Outcome {
        name: clause.name,
        verdict,
        seen,
        usually: means,
        follows_from: None,
        rfc: clause.rfc,
        elapsed_ns: nanoseconds(started.elapsed()),
        tcp: None,
        observed: None,
    };
    Some((outcome, failure))
}
