//! Too many connections: at once, or in a short time.

use crate::base::units::{duration, whole};
use crate::check::cause::Diagnosis;
use crate::check::facts::{Facts, Failure};
use crate::check::findings::{Denied, Ending, Findings, Limited, Rate, Steps};
use crate::check::observation::{End, NotMade};
use crate::check::parallel::CONNECT_THREADS;

/// So many that wait at a time stand in a queue, and so few don't: one that is full has one at
/// the least, and what a firewall lets through is served at once. Between the two nothing is
/// proved.
const QUEUED: f64 = 1.5;
const UNQUEUED: f64 = 0.5;

/// `connection-limit`: so many are served at once.
pub(super) fn limit(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let (connections, by, is_certain) = match findings.steps {
        Some(Steps::UpTo {
            connections,
            by,
            is_proved,
        }) => (connections, by, is_proved),
        None if findings.is_open("steps") => {
            let (connections, by) = guess_limit(facts)?;
            (connections, by, false)
        }
        _ => return None,
    };
    // One that stayed without an answer may have had to wait for others.
    let explains = facts.clauses(|at| match by {
        Denied::Waits | Denied::Ended(Ending::Silence) => is_unanswered(at),
        Denied::Ended(Ending::Close | Ending::Reset) | Denied::Prohibited => is_denied(at),
    });
    let number = whole(connections as u64);
    let next = match by {
        Denied::Waits => {
            "the next one waits until one of them ends: each of a pool of workers serves a \
             connection to its end, or a balancer has those wait that are too many"
        }
        Denied::Prohibited => "the next one is rejected by an ICMP message",
        Denied::Ended(by) => match by.word() {
            "silence" => "the next one gets no answer",
            "close" => "the next one is closed",
            _ => "the next one is reset",
        },
    };
    let text = match connections {
        1 => format!("one connection is served at a time, and {next}"),
        _ => format!("{number} connections are served at once, and {next}"),
    };
    let is_kept = findings.steps.is_some() && !is_certain;
    let text = match is_kept {
        true => format!(
            "{text}; or more: something \
             keeps connections that are reset with much on their way, and this check has reset some"
        ),
        false => text,
    };
    let advice = match by {
        Denied::Waits => {
            "have the server serve several connections with each worker, give it more of them, or \
             end idle connections sooner; or raise the balancer's limit (maxconn)"
        }
        Denied::Ended(_) | Denied::Prohibited => {
            "raise the limit on connections, all or of one source: of the firewall \
                             (nft ct count), the balancer (maxconn) or the server"
        }
    };
    // It holds as many open as were tried here.
    let all = facts.clauses(|at| at.clause == "connections");
    let diagnosis = Diagnosis::certain("connection-limit", text, advice, explains).hiding(all);
    let diagnosis = diagnosis.with("connections", connections);
    let diagnosis = diagnosis.with("ends_by", by.word());
    Some(match is_certain {
        true => diagnosis,
        false => diagnosis.likely(),
    })
}

/// How many connections were open when the next one failed, where single ones carry bytes: the
/// clause begins another one once one of those is served that it begins together.
fn guess_limit(facts: &Facts) -> Option<(usize, Denied)> {
    let observed = &facts.failure("connections")?.observed;
    let (at, _) = observed.place?;
    let by = match &observed.end {
        End::NotMade(how) if how.is_by_icmp() => Denied::Prohibited,
        End::NotMade(NotMade::Refused | NotMade::Reset) | End::Reset => {
            Denied::Ended(Ending::Reset)
        }
        End::NotMade(NotMade::Unanswered) | End::Silence => Denied::Ended(Ending::Silence),
        End::Close => Denied::Ended(Ending::Close),
        _ => return None,
    };
    let is_it = at > 1 && (facts.passed.contains(&"bytes") || at > CONNECT_THREADS);
    // Fewer than were served at once before are no limit.
    let is_it = is_it && at > facts.borne.width;
    match observed.crowd {
        // Some of those beyond were served as well.
        Some(crowd) if crowd.more > 0 => None,
        Some(crowd) => (is_it && crowd.served > 0).then_some((crowd.served, by)),
        None => is_it.then_some((at - 1, by)),
    }
}

/// `connect-rate-limit`: so many connections may be begun in a second.
pub(super) fn rate(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Some(rate) = findings.rate else {
        return guess_rate(facts).filter(|_| findings.is_open("rate"));
    };
    let Limited::PerSecond { is_proved } = rate.limited() else {
        return None;
    };
    let waiting = rate.fast.waiting();
    if waiting >= f64::midpoint(QUEUED, UNQUEUED) {
        return None;
    }
    let text = format!(
        "{} can be begun, and the others are denied before the server takes them{}",
        a_second(rate.fast.per_s),
        match rate.slow {
            Some(_) => {
                ": those that get through are served at once, and at half the pace all are"
            }
            // At half of hardly any it would take too long to see.
            None => "",
        }
    );
    let explains = facts.clauses(|at| is_denied(at) || is_late(at));
    let diagnosis = Diagnosis::certain("connect-rate-limit", text, FEWER, explains);
    Some(described(diagnosis, &rate, is_proved && waiting < UNQUEUED))
}

const FEWER: &str = "raise the limit of the firewall (nft limit rate, SYN flood protection) or the \
                     balancer, or keep connections open and use them again";

/// Of many that are begun at once some are denied, where many that are open at once are not.
fn guess_rate(facts: &Facts) -> Option<Diagnosis> {
    let storm = facts.failure("connect-storm")?;
    (is_denied(storm) && facts.passed.contains(&"connections")).then(|| {
        let text = "of connections that begin at once some are denied, and as many that are open \
                    at once are not: their rate seems to be limited";
        Diagnosis::certain("connect-rate-limit", text, FEWER, vec!["connect-storm"]).likely()
    })
}

/// `listen-queue`: the server takes connections more slowly than they come.
pub(super) fn queue(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Some(rate) = findings.rate else {
        return guess_queue(facts).filter(|_| findings.is_open("rate"));
    };
    let (waiting, per_s) = (rate.fast.waiting(), rounded(rate.fast.per_s));
    let (text, is_proved) = match rate.limited() {
        Limited::PerSecond { is_proved } if waiting >= f64::midpoint(QUEUED, UNQUEUED) => (
            format!(
                "the listen queue overflows: about {per_s} connections a second are taken from it, \
                 those in it wait {}, and what does not fit is dropped and comes again after a \
                 second",
                duration(rate.fast.wait)
            ),
            is_proved && waiting >= QUEUED,
        ),
        // A limit of bursts does so, too.
        Limited::AtOnce => (
            format!(
                "the listen queue is short: of {} connections that begin at once, {} are taken \
                 within a second, while of those that begin one after another, {per_s} a second, \
                 hardly one is dropped",
                rate.tried, rate.made
            ),
            false,
        ),
        Limited::No | Limited::PerSecond { .. } => return None,
    };
    let explains = facts.clauses(is_late);
    let diagnosis = Diagnosis::certain("listen-queue", text, LONGER, explains);
    Some(described(diagnosis, &rate, is_proved))
}

const LONGER: &str = "raise the server's backlog and net.core.somaxconn (nstat \
                      TcpExtListenOverflows counts what did not fit), and have it accept more at \
                      once";

/// Where the clause that counts lost packets passed, or so many of those that are begun at once
/// are late, it is none by chance: one of so many.
const NOT_LOST: usize = 5;

/// Of many that are begun at once some are made a second late: their SYN was dropped.
fn guess_queue(facts: &Facts) -> Option<Diagnosis> {
    let End::Late { late, of, .. } = facts.failure("connect-storm")?.observed.end else {
        return None;
    };
    let is_loss = !facts.passed.contains(&"loss") && late * NOT_LOST <= of;
    (!is_loss && !facts.has_failed("loss")).then(|| {
        let text = format!(
            "of {of} connections that begin at once, {late} are made a second late, as their SYN \
             was dropped: the listen queue seems to be short, or their rate limited"
        );
        let explains = facts.clauses(is_late);
        let diagnosis = Diagnosis::certain("listen-queue", text, LONGER, explains).likely();
        diagnosis.with("made", of - late).with("tried", of)
    })
}

/// So many connections a second, in words.
fn a_second(per_s: f64) -> String {
    let per_s = rounded(per_s);
    if per_s < 0.1 {
        String::from("hardly any connection")
    } else if (0.95..1.05).contains(&per_s) {
        String::from("about one connection a second")
    } else {
        format!("about {per_s} connections a second")
    }
}

fn described(diagnosis: Diagnosis, rate: &Rate, is_proved: bool) -> Diagnosis {
    let wait = (rate.fast.wait.as_secs_f64() * 1e4).round() / 10.0;
    let diagnosis = diagnosis.with("per_s", rounded(rate.fast.per_s));
    let diagnosis = diagnosis.with("wait_ms", wait);
    let diagnosis = diagnosis.with("made", rate.made).with("tried", rate.tried);
    match is_proved {
        true => diagnosis,
        false => diagnosis.likely(),
    }
}

/// Whether a connection of it was made late, or not at all.
fn is_late(failure: &Failure) -> bool {
    match failure.observed.end {
        End::Begun(_) => true,
        End::Late { .. } => failure.clause != "small-writes",
        End::NotMade(NotMade::Unanswered) => true,
        _ => failure.clause == "connect-storm" && failure.is_silent(),
    }
}

/// Whether its connection was refused, or ended before anything came.
fn is_denied(failure: &Failure) -> bool {
    match &failure.observed.end {
        End::NotMade(NotMade::Refused | NotMade::Reset) => true,
        End::NotMade(how) => how.is_by_icmp(),
        End::Reset | End::Close => failure.observed.received == 0 && !failure.observed.half_closed,
        _ => false,
    }
}

/// Whether its connection got no answer.
fn is_unanswered(failure: &Failure) -> bool {
    match failure.observed.end {
        End::NotMade(NotMade::Unanswered) => true,
        End::Late { .. } => failure.clause == "connect-storm",
        End::Silence | End::Slow => failure.observed.received == 0 && !failure.observed.half_closed,
        _ => false,
    }
}

/// To a tenth.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::facts::made::{facts, failure};
    use crate::check::findings::Paced;

    fn storm() -> Facts {
        let late = End::Late {
            late: 100,
            of: 800,
            by: Duration::from_secs(1),
        };
        facts(&[failure("connect-storm", late)], &["connect", "bytes"])
    }

    fn rated(served: usize, wait: u64, slow: (usize, usize)) -> Findings {
        Findings {
            rate: Some(Rate {
                tried: 100,
                made: 20,
                fast: Paced {
                    tried: 200,
                    served,
                    per_s: 20.04,
                    wait: Duration::from_millis(wait),
                },
                slow: Some(slow),
            }),
            ..Findings::default()
        }
    }

    fn causes(findings: &Findings) -> Vec<(&'static str, Confidence)> {
        let both = [rate(&storm(), findings), queue(&storm(), findings)];
        let named = both.into_iter().flatten();
        named.map(|at| (at.cause, at.confidence)).collect()
    }

    #[test]
    fn who_waits_stands_in_a_queue_and_who_is_served_at_once_was_let_through() {
        use Confidence::{Certain, Likely};
        let of = |wait| causes(&rated(20, wait, (20, 20)));
        assert_eq!(of(1), [("connect-rate-limit", Certain)]);
        // A server that takes 10 ms for each has no queue at 20 a second.
        assert_eq!(of(12), [("connect-rate-limit", Certain)]);
        assert_eq!(of(40), [("connect-rate-limit", Likely)]);
        assert_eq!(of(60), [("listen-queue", Likely)]);
        assert_eq!(of(400), [("listen-queue", Certain)]);
        let diagnosis = rate(&storm(), &rated(20, 1, (20, 20))).unwrap();
        assert_eq!(diagnosis.evidence["per_s"], 20.0);
        assert_eq!(diagnosis.explains, ["connect-storm"]);
    }

    #[test]
    fn only_what_was_tried_is_said_of_a_rate() {
        let text = |per_s, slow| {
            let mut findings = rated(20, 1, (20, 20));
            let measured = findings.rate.as_mut().unwrap();
            measured.fast.per_s = per_s;
            measured.slow = slow;
            rate(&storm(), &findings).unwrap().text
        };
        let tried = text(20.04, Some((20, 20)));
        assert!(tried.starts_with("about 20 connections a second can be begun"));
        assert!(tried.ends_with("at half the pace all are"), "{tried}");
        let untried = text(1.02, None);
        assert!(untried.starts_with("about one connection a second can be begun"));
        assert!(!untried.contains("half the pace"), "{untried}");
        assert!(text(0.0, None).starts_with("hardly any connection can be begun"));
    }

    #[test]
    fn a_limit_that_answers_by_icmp_is_a_limit() {
        let how = NotMade::Unreachable("host unreachable");
        let facts = facts(&[failure("connections", End::NotMade(how))], &["bytes"]);
        let findings = Findings {
            steps: Some(Steps::UpTo {
                connections: 10,
                by: Denied::Prohibited,
                is_proved: true,
            }),
            ..Findings::default()
        };
        let limit = limit(&facts, &findings).unwrap();
        assert_eq!(limit.explains, ["connections"]);
        assert_eq!(limit.evidence["ends_by"], "icmp");
    }

    #[test]
    fn what_is_denied_as_often_at_any_pace_is_no_limit() {
        assert_eq!(causes(&rated(125, 1, (20, 13))), []);
        assert_eq!(causes(&rated(125, 400, (20, 13))), []);
        assert_eq!(causes(&Findings::default()), []);
        // So few tell nothing.
        let some = causes(&rated(125, 1, (4, 4)));
        assert_eq!(some, [("connect-rate-limit", Confidence::Likely)]);
    }

    #[test]
    fn a_queue_that_is_short_for_one_instant_is_not_proved() {
        let short = causes(&rated(199, 1, (20, 20)));
        assert_eq!(short, [("listen-queue", Confidence::Likely)]);
    }

    #[test]
    fn a_limit_says_what_becomes_of_the_next() {
        let facts = facts(
            &[
                failure("connections", End::Silence),
                failure("urgent", End::Reset),
            ],
            &[],
        );
        let of = |connections, by| {
            let findings = Findings {
                steps: Some(Steps::UpTo {
                    connections,
                    by,
                    is_proved: connections != 6,
                }),
                ..Findings::default()
            };
            limit(&facts, &findings).unwrap()
        };
        let waits = of(4, Denied::Waits);
        assert_eq!(waits.evidence["connections"], 4);
        assert_eq!(waits.evidence["ends_by"], "waits");
        assert_eq!(waits.explains, ["connections"]);
        let reset = of(1, Denied::Ended(Ending::Reset));
        assert_eq!(reset.explains, ["urgent", "connections"]);
        assert_eq!(reset.hidden, ["connections"]);
        assert_eq!(reset.evidence["ends_by"], "reset");
        assert!(
            reset
                .text
                .starts_with("one connection is served at a time, ")
        );
        assert_eq!(reset.confidence, Confidence::Certain);
        let kept = of(6, Denied::Waits);
        assert_eq!(kept.confidence, Confidence::Likely);
        assert!(kept.text.contains("or more"), "{}", kept.text);
        let enough = Findings {
            steps: Some(Steps::Enough),
            ..Findings::default()
        };
        assert_eq!(limit(&facts, &enough), None);
    }

    #[test]
    fn without_experiments_a_storm_that_is_late_or_denied_is_a_guess() {
        let untried = Findings {
            is_untried: true,
            ..Findings::default()
        };
        let late = |late| {
            let by = Duration::from_secs(1);
            failure("connect-storm", End::Late { late, of: 800, by })
        };
        let of = |failed: Failure, passed: &[&'static str]| {
            let facts = facts(&[failed], passed);
            let guesses = [rate(&facts, &untried), queue(&facts, &untried)];
            let tried = Findings::default();
            assert_eq!([rate(&facts, &tried), queue(&facts, &tried)], [None, None]);
            let mut guesses = guesses.into_iter().flatten();
            guesses.next().map(|at| (at.cause, at.confidence))
        };
        let queued = Some(("listen-queue", Confidence::Likely));
        assert_eq!(of(late(700), &["bytes"]), queued);
        assert_eq!(of(late(100), &["bytes", "loss"]), queued);
        // Lost packets make some late, too.
        assert_eq!(of(late(100), &["bytes"]), None);
        let limited = Some(("connect-rate-limit", Confidence::Likely));
        let denied = || failure("connect-storm", End::NotMade(NotMade::Refused));
        assert_eq!(of(denied(), &["bytes", "connections"]), limited);
        assert_eq!(of(denied(), &["bytes"]), None);
    }

    #[test]
    fn without_experiments_the_place_of_the_one_that_failed_is_a_guess() {
        let mut denied = failure("connections", End::NotMade(NotMade::Refused));
        denied.observed.place = Some((11, 200));
        let untried = Findings {
            is_untried: true,
            ..Findings::default()
        };
        let with_bytes = facts(std::slice::from_ref(&denied), &["bytes"]);
        let guess = limit(&with_bytes, &untried).unwrap();
        assert_eq!(guess.confidence, Confidence::Likely);
        assert_eq!(guess.evidence["connections"], 10);
        assert_eq!(guess.evidence["ends_by"], "reset");
        assert_eq!(limit(&with_bytes, &Findings::default()), None);
        let mut wide = facts(std::slice::from_ref(&denied), &["bytes"]);
        wide.borne.width = 11;
        assert_eq!(limit(&wide, &untried), None);
        // Of ten some were served, and of one perhaps none.
        assert!(limit(&facts(std::slice::from_ref(&denied), &[]), &untried).is_some());
        denied.observed.place = Some((2, 200));
        assert_eq!(limit(&facts(&[denied], &[]), &untried), None);
    }
}
