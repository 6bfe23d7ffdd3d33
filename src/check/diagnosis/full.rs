//! A connection on which nothing is received until every buffer on the way is full.

use std::time::Duration;

use crate::base::units::duration;
use crate::check::cause::Diagnosis;
use crate::check::facts::{Facts, Failure};
use crate::check::findings::{Findings, Sizes, Streams};
use crate::check::observation::End;

/// Clauses that fill the path, or may.
const FILLING: [&str; 5] = [
    "message-16m",
    "full-duplex",
    "half-close-early",
    "slow-reader",
    "reset",
];

/// What stands still when every buffer is full does so in most of these.
const PASSED: usize = 2;

/// No time-out for what can't be sent is shorter: a client may be as late by chance.
const LEAST: Duration = Duration::from_millis(50);

/// Whether streams of which the echo is received live on, beyond the bytes and the age at which
/// those ended: that is what the experiment has tried.
fn lives_read(findings: &Findings) -> bool {
    let is_hole = matches!(findings.sizes, Some(Sizes::UpTo { .. }));
    findings.streams == Some(Streams::Endless) && !is_hole
}

/// `unread-limit`: a connection ends whose client does not receive for a while.
pub(super) fn unread(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let is_ended = |at: &Failure| matches!(at.observed.end, End::Close | End::Reset);
    let failure = facts.failure("slow-reader").filter(|at| is_ended(at))?;
    let age = failure.observed.age;
    // What ends connections whose echo is received is no time-out for what can't be sent.
    let is_read = |at: &Failure| {
        let is_odd = at.observed.half_closed || at.observed.urgent || at.observed.held_silent;
        !FILLING.contains(&at.clause) && is_ended(at) && at.observed.received > 0 && !is_odd
    };
    if !lives_read(findings) || age < LEAST || facts.failures.iter().any(is_read) {
        return None;
    }
    let text = format!(
        "a connection whose client does not receive is ended (this one was {} old), and one whose \
         client does lives on: a time-out for what can't be sent",
        duration(age)
    );
    let advice = "have the client receive in time, or raise the time-out for writes of the server, \
                  the proxy or the balancer (nginx: send_timeout, HAProxy: timeout client)";
    let explains = facts.clauses(|at| FILLING.contains(&at.clause) && is_ended(at));
    let diagnosis = Diagnosis::certain("unread-limit", text, advice, explains).likely();
    let seconds = (age.as_secs_f64() * 1000.0).round() / 1000.0;
    Some(diagnosis.with("seconds", seconds))
}

/// `stalls-when-full`: nothing moves any more once both directions were full.
pub(super) fn stalls(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let is_filling = |at: &Failure| FILLING.contains(&at.clause);
    let mut silent = facts.failures.iter().filter(|at| at.is_silent());
    let passed = facts.passed.iter().filter(|name| FILLING.contains(name));
    let is_it = lives_read(findings)
        && facts.carries_small()
        && silent.all(is_filling)
        && passed.count() < PASSED;
    let explains = facts.clauses(|at| is_filling(at) && at.observed.end == End::Silence);
    (is_it && !explains.is_empty()).then(|| {
        let text = "once every buffer on the way is full, nothing moves any more, though the echo \
                    is received then: something waits for itself, as one program that must write \
                    before it reads on, through a pipe";
        let advice = "have the server and each proxy read on while they can't write, or stop \
                      reading until they can, but in each direction by itself";
        Diagnosis::certain("stalls-when-full", text, advice, explains).likely()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::made::{facts, failure};

    fn streams(streams: Streams) -> Findings {
        Findings {
            streams: Some(streams),
            ..Findings::default()
        }
    }

    #[test]
    fn who_does_not_receive_is_ended_only_if_who_does_is_not() {
        let mut unread_for = failure("slow-reader", End::Reset);
        unread_for.observed.age = Duration::from_millis(400);
        let ended = facts(std::slice::from_ref(&unread_for), &["bytes"]);
        let named = unread(&ended, &streams(Streams::Endless)).unwrap();
        assert_eq!(named.explains, ["slow-reader"]);
        assert_eq!(unread(&ended, &Findings::default()), None);
        let mut read = failure("message-64k", End::Reset);
        read.observed.received = 30_000;
        let both = facts(&[unread_for.clone(), read], &["bytes"]);
        assert_eq!(unread(&both, &streams(Streams::Endless)), None);
        unread_for.observed.age = Duration::from_micros(541);
        let at_once = facts(&[unread_for], &["bytes"]);
        assert_eq!(unread(&at_once, &streams(Streams::Endless)), None);
        let silent = facts(&[failure("slow-reader", End::Silence)], &["bytes"]);
        assert_eq!(unread(&silent, &streams(Streams::Endless)), None);
    }

    #[test]
    fn what_stalls_full_stalls_in_no_other_clause() {
        let full = failure("full-duplex", End::Silence);
        let passed = ["bytes", "small-writes"];
        let others = ["bytes", "small-writes", "full-duplex", "slow-reader"];
        let once = facts(&[failure("message-16m", End::Silence)], &others);
        assert_eq!(stalls(&once, &streams(Streams::Endless)), None);
        let of = |failures: &[Failure]| {
            let facts = facts(failures, &passed);
            stalls(&facts, &streams(Streams::Endless)).map(|at| at.explains)
        };
        assert_eq!(of(std::slice::from_ref(&full)), Some(vec!["full-duplex"]));
        assert_eq!(of(&[full, failure("urgent", End::Silence)]), None);
        assert_eq!(of(&[failure("slow-reader", End::Reset)]), None);
    }
}
