//! Too many connections: at once, or in a short time.

use std::time::Duration;

use crate::base::units::{duration, whole};
use crate::check::cause::Diagnosis;
use crate::check::facts::{Facts, Failure};
use crate::check::findings::{Denied, Findings, Rate, Steps};
use crate::check::observation::{End, NotMade};

/// Where fewer connections of a hundred are made, it is a limit and no loss of packets.
const LIMITED: f64 = 0.7;

/// Who waits longer for the first byte than a lone connection does by this stands in a
/// queue: one that a firewall lets through is served at once.
const QUEUED: Duration = Duration::from_millis(10);

/// Clauses with many connections, or with one beside others.
const CROWDED: [&str; 4] = ["connections", "connect-storm", "reset", "source-address"];

/// `connection-limit`: so many are served at once.
pub(super) fn limit(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Some(Steps::UpTo { connections, by }) = findings.steps else {
        return None;
    };
    // One that stayed without an answer may have had to wait for others.
    let explains = facts.clauses(|at| CROWDED.contains(&at.clause) || is_unserved(at));
    let number = whole(connections as u64);
    let next = match by {
        Denied::Waits => {
            "the next one waits until one of them ends: each of a pool of workers \
                          serves a connection to its end"
        }
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
    let advice = match by {
        Denied::Waits => {
            "have the server serve several connections with each worker, give it more \
                          of them, or end idle connections sooner"
        }
        Denied::Ended(_) => {
            "raise the limit on connections, all or of one source: of the firewall \
                             (nft ct count), the balancer (maxconn) or the server"
        }
    };
    let diagnosis = Diagnosis::certain("connection-limit", text, advice, explains);
    Some(
        diagnosis
            .with("connections", connections)
            .with("ends_by", by.word()),
    )
}

/// `connect-rate-limit`: so many connections may be begun in a second.
pub(super) fn rate(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let rate = findings
        .rate
        .filter(|rate| is_limited(rate) && rate.wait < QUEUED)?;
    let per_s = rounded(rate.per_s);
    let text = format!(
        "about {per_s} connections a second can be begun, and the first packet of the others is \
         dropped before the server: those that get through are served at once"
    );
    let advice = "raise the limit of the firewall (nft limit rate, SYN flood protection), or keep \
                  connections open and use them again";
    let explains = facts.clauses(is_late);
    let diagnosis = Diagnosis::certain("connect-rate-limit", text, advice, explains);
    Some(described(diagnosis, &rate))
}

/// `listen-queue`: the server takes connections more slowly than they come.
pub(super) fn queue(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let rate = findings
        .rate
        .filter(|rate| is_limited(rate) && rate.wait >= QUEUED)?;
    let per_s = rounded(rate.per_s);
    let wait = duration(rate.wait);
    let text = format!(
        "the listen queue overflows: about {per_s} connections a second are taken from it, those in \
         it wait {wait}, and what does not fit is dropped and comes again after a second"
    );
    let advice = "raise the server's backlog and net.core.somaxconn (nstat TcpExtListenOverflows \
                  counts what did not fit), and have it accept more at once";
    let explains = facts.clauses(is_late);
    let diagnosis = Diagnosis::certain("listen-queue", text, advice, explains);
    Some(described(diagnosis, &rate))
}

fn described(diagnosis: Diagnosis, rate: &Rate) -> Diagnosis {
    let wait = (rate.wait.as_secs_f64() * 1e4).round() / 10.0;
    let diagnosis = diagnosis.with("per_s", rounded(rate.per_s));
    let diagnosis = diagnosis.with("wait_ms", wait);
    diagnosis.with("made", rate.made).with("tried", rate.tried)
}

fn is_limited(rate: &Rate) -> bool {
    (rate.made as f64) < LIMITED * rate.tried as f64
}

/// Whether a connection of it was made late, or not at all.
fn is_late(failure: &Failure) -> bool {
    matches!(
        failure.observed.end,
        End::Late { .. } | End::NotMade(NotMade::Unanswered)
    ) && failure.clause != "small-writes"
        || CROWDED.contains(&failure.clause)
}

/// Whether its connection was not made, or got nothing.
const fn is_unserved(failure: &Failure) -> bool {
    match failure.observed.end {
        End::NotMade(_) => true,
        End::Silence | End::Reset | End::Close => {
            failure.observed.received == 0 && !failure.observed.half_closed
        }
        _ => false,
    }
}

/// To a tenth.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::made::{facts, failure};
    use crate::check::findings::Ending;

    fn storm() -> Facts {
        let late = End::Late {
            late: 100,
            of: 800,
            by: Duration::from_secs(1),
        };
        facts(&[failure("connect-storm", late)], &["connect", "bytes"])
    }

    fn rated(made: usize, wait: u64) -> Findings {
        Findings {
            rate: Some(Rate {
                tried: 100,
                made,
                per_s: 20.04,
                wait: Duration::from_millis(wait),
            }),
            ..Findings::default()
        }
    }

    #[test]
    fn who_waits_stands_in_a_queue_and_who_is_served_at_once_was_let_through() {
        let causes = |findings: &Findings| {
            let both = [rate(&storm(), findings), queue(&storm(), findings)];
            both.map(|at| at.map_or("", |at| at.cause))
        };
        assert_eq!(causes(&rated(20, 1)), ["connect-rate-limit", ""]);
        assert_eq!(causes(&rated(20, 40)), ["", "listen-queue"]);
        assert_eq!(causes(&rated(95, 40)), ["", ""]);
        assert_eq!(causes(&Findings::default()), ["", ""]);
        let diagnosis = rate(&storm(), &rated(20, 1)).unwrap();
        assert_eq!(diagnosis.evidence["per_s"], 20.0);
        assert_eq!(diagnosis.explains, ["connect-storm"]);
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
                steps: Some(Steps::UpTo { connections, by }),
                ..Findings::default()
            };
            limit(&facts, &findings).unwrap()
        };
        let waits = of(4, Denied::Waits);
        assert_eq!(waits.evidence["connections"], 4);
        assert_eq!(waits.evidence["ends_by"], "waits");
        let reset = of(1, Denied::Ended(Ending::Reset));
        assert_eq!(reset.evidence["ends_by"], "reset");
        assert!(
            reset
                .text
                .starts_with("one connection is served at a time, ")
        );
        let enough = Findings {
            steps: Some(Steps::Enough),
            ..Findings::default()
        };
        assert_eq!(limit(&facts, &enough), None);
    }
}
