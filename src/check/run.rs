//! Runs a check: clauses that wait beside each other, then one after another those that load
//! the path.
//!
//! The path under check is everything between this program and the server: the server
//! alone, or a load balancer, a proxy, a tunnel or a firewall before it. Each [`Clause`]
//! makes connections of its own, with a byte [`pattern`](crate::probe::pattern) of their
//! own. Those of a failed clause are reset, so that none of their bytes reach the next one.
//!
//! Sockets block for a short time only. In between, a connection looks whether the check
//! was stopped and whether bytes moved within the time-out.

use std::io;
use std::sync::atomic::AtomicBool;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::beside;
use super::cause::Diagnosis;
use super::clause::Clause;
use super::diagnosis::infer;
use super::experiments::investigate;
use super::facts::{Borne, Facts};
use super::findings::Findings;
use super::idle;
use super::not_passed::NotPassed;
use super::observation::End as Seen;
use super::plan::Plan;
use super::report::{Outcome, Report, Verdict, nanoseconds};
use super::room;
use super::schedule::{Path, Schedule};
use super::shared::Shared;
use super::target::Target;
use super::watch::{Doing, TELL_EVERY, experimenting, watched};
use crate::base::units::duration;

/// Tests the clauses and calls `report` with each outcome once it and all before it are
/// known, and `watch` about ten times a second with the clauses under test. Once `stop` is
/// set, returns the outcomes so far; a clause under test has none.
///
/// # Errors
/// What `report` returned. A clause that fails is no error but an outcome.
pub fn run(
    plan: &Plan,
    clauses: &[&'static Clause],
    stop: &AtomicBool,
    watch: &mut dyn FnMut(Doing),
    report: &mut dyn FnMut(&Outcome) -> io::Result<()>,
) -> io::Result<Report> {
    let started = Instant::now();
    let shared = Shared::new(plan, stop);
    let targets: Vec<_> = clauses.iter().map(|_| Target::new(&shared)).collect();
    let (ended, end) = unbounded();
    let outcomes = thread::scope(|scope| {
        let mut running = Running {
            clauses,
            targets: &targets,
            shared: &shared,
            schedule: Schedule::new(clauses.iter().map(|clause| clause.load)),
            is_room_known: false,
            is_width_known: false,
            begun: vec![None; clauses.len()],
            ended,
            end,
        };
        let outcomes = running.all(scope, watch, report);
        if outcomes.is_err() {
            shared.abandon();
        }
        outcomes
    })?;
    let interrupted = shared.is_interrupted() && outcomes.len() < clauses.len();
    let causes = diagnose(&Target::new(&shared), &outcomes, watch);
    let elapsed = started.elapsed();
    let about = (&plan.addresses[..], plan.protocol.to_string());
    Ok(Report::new(about, outcomes, causes, elapsed, interrupted))
}

/// The causes of what failed. What is suspected is tried by experiments first.
fn diagnose(
    target: &Target<'_>,
    outcomes: &[Outcome],
    watch: &mut dyn FnMut(Doing),
) -> Vec<Diagnosis> {
    let borne = Borne {
        width: target.shared.width(),
        echoed: target.shared.has_seen_echo(),
        ..target.shared.borne()
    };
    let facts = Facts::new(outcomes, target.shared.made(), borne);
    let mut show = |name, experiment: &mut (dyn FnMut() + Send)| {
        let doing = |elapsed| {
            let at_most = elapsed + target.shared.left_in_all();
            experimenting(name, elapsed, at_most)
        };
        watched(&doing, watch, experiment);
    };
    let findings = match target.plan().experiments {
        true => investigate(target, &facts, &mut show),
        false => Findings {
            is_untried: true,
            ..Findings::default()
        },
    };
    infer(&facts, &findings)
}

/// A clause that has ended, by its place, and its outcome unless the check was stopped.
type Ended = (usize, Option<Outcome>);

/// The clauses of a check, some of them under test.
struct Running<'a, 'b> {
    clauses: &'a [&'static Clause],
    targets: &'a [Target<'b>],
    shared: &'b Shared<'b>,
    schedule: Schedule,
    /// Whether it was seen how much may be under way, and how many may run beside each other.
    is_room_known: bool,
    is_width_known: bool,
    /// When each was begun.
    begun: Vec<Option<Instant>>,
    ended: Sender<Ended>,
    end: Receiver<Ended>,
}

impl<'a> Running<'a, '_> {
    /// Tests all clauses. Returns the outcomes, in the order of the clauses.
    fn all<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        watch: &mut dyn FnMut(Doing),
        report: &mut dyn FnMut(&Outcome) -> io::Result<()>,
    ) -> io::Result<Vec<Outcome>>
    where
        'a: 'scope,
    {
        let mut outcomes = vec![None; self.clauses.len()];
        let mut told = 0;
        loop {
            self.begin(scope);
            self.note_running();
            if self.schedule.running().next().is_none() {
                break;
            }
            match self.end.recv_timeout(TELL_EVERY) {
                Ok((at, outcome)) => {
                    self.schedule.end(at);
                    outcomes[at] = outcome;
                }
                // This one holds a sender itself.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    watch(self.doing());
                }
            }
            while let Some(Some(outcome)) = outcomes.get(told) {
                report(outcome)?;
                told += 1;
            }
        }
        // Those that came to their end beside one that was stopped.
        for outcome in outcomes.iter().skip(told).flatten() {
            report(outcome)?;
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// Begins all clauses that may.
    fn begin<'scope>(&mut self, scope: &'scope Scope<'scope, '_>)
    where
        'a: 'scope,
    {
        loop {
            if !self.is_room_known && self.schedule.is_rest_next() {
                self.shared.set_room(room::room(&self.targets[0]));
                self.is_room_known = true;
            }
            if !self.is_width_known && self.schedule.is_wide_next() {
                self.shared.set_width(beside::width(&self.targets[0]));
                self.is_width_known = true;
            }
            let is_stalled = |at: usize| self.targets[at].context.is_stalled();
            let next = self.schedule.next(self.path(), is_stalled);
            let Some(at) = next else { break };
            self.schedule.begin(at);
            self.begun[at] = Some(Instant::now());
            self.note_running();
            let (clause, target) = (self.clauses[at], &self.targets[at]);
            let ended = self.ended.clone();
            let test = move |ended: &Sender<Ended>| {
                let outcome = None;
                let mut end = End { ended, at, outcome };
                end.outcome = test(clause, target);
            };
            let spawned = thread::Builder::new().spawn_scoped(scope, {
                let ended = ended.clone();
                move || test(&ended)
            });
            if spawned.is_err() {
                // Where the system starts no thread, they are tested one after another.
                test(&ended);
            }
        }
    }

    /// What is known of the path by now.
    fn path(&self) -> Path {
        Path {
            width: self.shared.width(),
            is_far: self.targets.first().is_some_and(Target::is_far),
            room: self.shared.room(),
            seems_lossy: self.shared.seems_lossy(),
        }
    }

    /// Lets those under test know of the others.
    fn note_running(&self) {
        let (schedule, path) = (&self.schedule, self.path());
        let beside = schedule.beside(path);
        let running = schedule.running().count() - beside;
        self.shared.set_running(running, beside);
        self.shared.set_loaded(schedule.is_loaded(path));
        if schedule.is_rest_over(path) {
            self.shared.mark_rest_over();
        }
    }

    /// The clauses under test.
    fn doing(&self) -> Doing {
        let running: Vec<_> = self.schedule.running().collect();
        let first = running.first().copied().unwrap_or_default();
        let begun = self.begun[first].unwrap_or_else(Instant::now);
        let elapsed = begun.elapsed();
        Doing {
            names: running.iter().map(|at| self.clauses[*at].name).collect(),
            number: first + 1,
            of: self.clauses.len(),
            elapsed,
            lasts: idle::lasts(self.clauses[first], self.shared.plan),
            at_most: elapsed + self.shared.left(),
        }
    }
}

/// Tells when dropped that a clause has ended; one that panics has no outcome.
struct End<'a> {
    ended: &'a Sender<Ended>,
    at: usize,
    outcome: Option<Outcome>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let _ = self.ended.send((self.at, self.outcome.take()));
    }
}

/// Tests one clause; `None` if the check was stopped before its end.
fn test(clause: &'static Clause, target: &Target<'_>) -> Option<Outcome> {
    let started = Instant::now();
    let tested = match target.context.is_stopped() {
        true => Err(NotPassed::Stopped),
        false => (clause.run)(target),
    };
    let (verdict, seen, failure) = match tested {
        Ok(seen) => (Verdict::Pass, seen, None),
        Err(NotPassed::Failed {
            seen,
            usually,
            observed,
        }) => {
            target.shared.saw_failure();
            let usually = usually.unwrap_or_else(|| reason(clause, &observed.end));
            (Verdict::Fail, seen, Some((usually, observed)))
        }
        Err(NotPassed::Skipped(why)) => (Verdict::Skip, why, None),
        Err(NotPassed::Stopped) if target.shared.left().is_zero() => (
            Verdict::Skip,
            out_of_time(target.shared, started.elapsed()),
            None,
        ),
        Err(NotPassed::Stopped) => return None,
    };
    let (usually, observed) = failure.unzip();
    Some(Outcome {
        name: clause.name,
        verdict,
        seen,
        usually,
        follows_from: None,
        rfc: clause.rfc,
        elapsed_ns: nanoseconds(started.elapsed()),
        tcp: target.context.view(),
        observed,
    })
}

/// What a clause that ended so usually means. The end tells more than the clause does, but
/// for what came too late.
const fn reason(clause: &Clause, end: &Seen) -> &'static str {
    match end {
        Seen::Silence => {
            "something holds back or drops what was sent, and tells nobody: packets of that size, \
             a connection that it has forgotten, or bytes that it keeps"
        }
        Seen::Slow => "the path carries less than any path should, or loses many packets",
        Seen::Reset => {
            "a firewall, a proxy or the server ends the connection by a reset: at a limit, or on an \
             error"
        }
        Seen::Close => "a proxy or the server closes the connection before all was sent back",
        Seen::Wrong(_) => {
            "a proxy or the server changes the stream, adds to it or leaves out of it"
        }
        Seen::LateFirst { .. } => {
            "the server or a proxy does something for each new connection that takes time: it looks \
             up a name, connects to a server behind it, or starts a process"
        }
        Seen::NotMade(_)
        | Seen::Late { .. }
        | Seen::Lost(_)
        | Seen::Begun(_)
        | Seen::Address { .. }
        | Seen::NoAddress
        | Seen::Other => clause.usually,
    }
}

/// Why a clause has no verdict when the time of the whole is over.
fn out_of_time(shared: &Shared<'_>, elapsed: Duration) -> String {
    let time = shared.time();
    let whole = match time.as_secs() {
        0 => time,
        seconds => Duration::from_secs(seconds),
    };
    let whole = humantime::format_duration(whole);
    let how_far = match elapsed < Duration::from_millis(1) {
        true => String::from("not begun"),
        false => format!("not at its end after {}", duration(elapsed)),
    };
    let of = match time < shared.plan.whole {
        true => "that the clauses have where one has failed",
        false => "of the whole check",
    };
    format!("{how_far} when the {whole} {of} were over: --only tests it alone")
}
