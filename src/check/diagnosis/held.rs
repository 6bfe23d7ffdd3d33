//! What is sent is held back: for a line, for more, for the end, or for a while.

use std::time::Duration;

use crate::base::units::{count, duration, whole};
use crate::check::cause::Diagnosis;
use crate::check::facts::{Facts, Failure};
use crate::check::findings::{Findings, Held};
use crate::check::observation::End;

/// `line-buffered`: only whole lines are passed on.
pub(super) fn lines(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    if findings.held != Some(Held::Lines) {
        return None;
    }
    let text = "only whole lines are passed on: what has no line end yet is held back until one \
                comes";
    let advice = "have the program read and write what comes (no line buffering: stdbuf -o0, a raw \
                  terminal), and proxies pass bytes on, not lines";
    let explains = waiting(facts, Held::Lines);
    Some(Diagnosis::certain("line-buffered", text, advice, explains))
}

/// `stores-and-forwards`: what comes is collected, and passed on later.
pub(super) fn stored(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let advice = "switch off buffering of requests and answers in the proxy, or have the server \
                  write what it has read at once";
    if findings.is_open("held") && is_only_small_silent(facts) {
        let text = "few bytes fall silent where many come back: they seem to be held back until \
                    more come";
        let small = facts.clauses(Failure::is_silent);
        let guess = Diagnosis::certain("stores-and-forwards", text, advice, small);
        return Some(guess.likely());
    }
    let held = findings.held?;
    let explains = waiting(facts, held);
    let is = |text: String| Diagnosis::certain("stores-and-forwards", text, advice, explains);
    match held {
        Held::UntilEnd => Some(is(String::from(
            "nothing is passed on before our side is closed: then all comes at once",
        ))),
        Held::Blocks => Some(is(String::from(
            "few bytes are held back until more come: full buffers are passed on",
        ))),
        Held::Last(number) => {
            let last = match number {
                1 => String::from("the last byte"),
                number => format!("the last {}", count(number, "byte", "bytes")),
            };
            let text = format!("{last} of what was sent is held back until more comes");
            Some(is(text).with("bytes", number))
        }
        Held::Unread(number) => {
            let text = format!(
                "of many bytes that come at once {} are passed on, and some more each time that \
                 something more is sent: the server forgets that there is more to read (it is \
                 told once, and does not read all: edge-triggered)",
                whole(number)
            );
            let mut unread = is(text).with("bytes", number);
            unread.advice = "have the server read until there is no more (EAGAIN) each time that \
                             its poller tells it, or use a level-triggered one";
            Some(unread)
        }
        Held::Collected(delay) => {
            let text = format!(
                "what comes is collected for {} and then passed on together",
                duration(delay)
            );
            Some(is(text).with("delay_ms", milliseconds(delay)))
        }
        _ => None,
    }
}

/// `holds-small-writes`: Nagle's algorithm waits for our acknowledgement.
pub(super) fn small_writes(facts: &Facts, _: &Findings) -> Option<Diagnosis> {
    let failure = facts.failure("small-writes")?;
    let End::Late { by, .. } = failure.observed.end else {
        return None;
    };
    let text = format!(
        "small writes are held back for {} where we acknowledge late, and not where we do at once: \
         Nagle's algorithm",
        duration(by)
    );
    let advice = "set TCP_NODELAY in the server and in every proxy, or write each answer at once";
    let diagnosis = Diagnosis::certain("holds-small-writes", text, advice, vec!["small-writes"]);
    Some(diagnosis.with("delay_ms", milliseconds(by)))
}

/// `answers-late`: something takes time for each new connection.
pub(super) fn first_late(facts: &Facts, _: &Findings) -> Option<Diagnosis> {
    let first = |at: &Failure| match at.observed.end {
        End::LateFirst { by, next } => Some((by, next)),
        _ => None,
    };
    let (by, next) = facts.failures.iter().find_map(first)?;
    let text = format!(
        "the first answer on each connection comes {} after what it answers, and the next ones \
         after {}: something takes that long for each new connection",
        duration(by),
        duration(next)
    );
    let advice = "look what the server or a proxy does when a connection begins: a name that is \
                  looked up and not found (reverse DNS, ident), a server behind a proxy that is \
                  late or not tried first (its connect time-out), a process that is started, a \
                  delay on purpose (a tarpit, greet pause)";
    let explains = facts.clauses(|at| first(at).is_some());
    let diagnosis = Diagnosis::certain("answers-late", text, advice, explains);
    Some(diagnosis.with("delay_ms", milliseconds(by)))
}

/// Whether what has a few bytes on its way falls silent, and what has many does not.
fn is_only_small_silent(facts: &Facts) -> bool {
    let is_silent = |name| facts.failure(name).is_some_and(Failure::is_silent);
    is_silent("slow-writer") && facts.passed.contains(&"bytes")
}

/// What waited for bytes that were held so, or was late by as much. What waited for the end of
/// a stream alone, or through a silence, or for what is behind an urgent byte, did so for
/// another reason.
fn waiting(facts: &Facts, held: Held) -> Vec<&'static str> {
    facts.clauses(|at| {
        let seen = &at.observed;
        let is_late = match (&seen.end, held) {
            (End::Late { by, .. }, Held::Collected(delay)) => *by >= delay / 4,
            (End::Late { .. }, _) => true,
            _ => false,
        };
        if matches!(held, Held::Unread(_)) {
            return at.is_silent() && !seen.held_silent && seen.sent > 0;
        }
        let is_odd = seen.urgent || seen.held_silent;
        let misses = at.is_silent() && seen.expected > seen.received && !is_odd;
        // What is behind a half-close is not held for it.
        is_late || misses && !(held == Held::UntilEnd && seen.half_closed)
    })
}

/// To a tenth.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::facts::made::{facts, failure};

    #[test]
    fn what_passes_it_on_names_it() {
        let mut missing = failure("slow-writer", End::Silence);
        missing.observed.expected = 3;
        let failures = [
            missing,
            failure("urgent", End::Reset),
            // All came but the end.
            failure("half-close-late", End::Silence),
        ];
        let facts = facts(&failures, &[]);
        let causes = |held| {
            let findings = Findings {
                held: Some(held),
                ..Findings::default()
            };
            let both = [lines(&facts, &findings), stored(&facts, &findings)];
            let named = both.into_iter().flatten();
            named
                .inspect(|at| assert_eq!(at.explains, ["slow-writer"]))
                .collect::<Vec<_>>()
        };
        let name = |held| causes(held).first().map(|at| at.cause);
        assert_eq!(name(Held::Lines), Some("line-buffered"));
        assert_eq!(name(Held::UntilEnd), Some("stores-and-forwards"));
        assert_eq!(name(Held::Blocks), Some("stores-and-forwards"));
        assert_eq!(name(Held::Nothing), None);
        assert_eq!(name(Held::Never), None);
        let collected = causes(Held::Collected(Duration::from_micros(500_240)));
        assert_eq!(collected[0].evidence["delay_ms"], 500.2);
    }

    #[test]
    fn what_is_collected_explains_what_is_late_by_about_as_much() {
        let late = |by| End::Late {
            late: 12,
            of: 12,
            by: Duration::from_millis(by),
        };
        let facts = facts(
            &[
                failure("slow-writer", late(500)),
                failure("small-writes", late(40)),
            ],
            &[],
        );
        let findings = Findings {
            held: Some(Held::Collected(Duration::from_millis(500))),
            ..Findings::default()
        };
        assert_eq!(stored(&facts, &findings).unwrap().explains, ["slow-writer"]);
    }

    #[test]
    fn a_late_answer_to_small_writes_is_nagles() {
        let late = |name, by| {
            let end = End::Late {
                late: 20,
                of: 40,
                by: Duration::from_millis(by),
            };
            facts(&[failure(name, end)], &[])
        };
        let diagnosis = small_writes(&late("small-writes", 41), &Findings::default()).unwrap();
        assert_eq!(diagnosis.evidence["delay_ms"], 41.0);
        assert_eq!(
            small_writes(&late("connect-storm", 41), &Findings::default()),
            None
        );
    }

    #[test]
    fn a_late_first_answer_is_no_matter_of_small_writes() {
        let end = End::LateFirst {
            by: Duration::from_millis(2012),
            next: Duration::from_millis(3),
        };
        let late = facts(
            &[failure("slow-writer", end), failure("reset", End::Reset)],
            &["bytes"],
        );
        let diagnosis = first_late(&late, &Findings::default()).unwrap();
        assert_eq!(diagnosis.cause, "answers-late");
        assert_eq!(diagnosis.explains, ["slow-writer"]);
        assert_eq!(diagnosis.evidence["delay_ms"], 2012.0);
        assert_eq!(small_writes(&late, &Findings::default()), None);
        let other = facts(&[failure("slow-writer", End::Silence)], &["bytes"]);
        assert_eq!(first_late(&other, &Findings::default()), None);
    }

    #[test]
    fn without_experiments_few_bytes_that_fall_silent_beside_many_are_a_guess() {
        let untried = Findings {
            is_untried: true,
            ..Findings::default()
        };
        let silent = [failure("slow-writer", End::Silence)];
        let guess = stored(&facts(&silent, &["bytes"]), &untried).unwrap();
        assert_eq!(guess.confidence, Confidence::Likely);
        assert_eq!(stored(&facts(&silent, &[]), &untried), None);
        assert_eq!(
            stored(&facts(&silent, &["bytes"]), &Findings::default()),
            None
        );
    }
}
