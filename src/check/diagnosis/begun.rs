//! The packets are lost that make connections.

use crate::base::units::duration;
use crate::check::cause::Diagnosis;
use crate::check::facts::{Facts, Failure};
use crate::check::findings::{Findings, Limited, Rate};
use crate::check::observation::{End, NotMade};

/// `first-syn-dropped`, or `loss` of SYNs and their answers: also of connections that are begun a
/// few at a time, and where no limit of new ones in a second was found.
pub(super) fn lost(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let begun = facts.failures.iter().find_map(|at| match at.observed.end {
        End::Begun(begun) => Some(begun),
        _ => None,
    })?;
    let is_rate = |rate: Rate| match rate.limited() {
        Limited::No => false,
        // Where hardly one is made in a second these would not all be, by one more SYN.
        Limited::PerSecond { is_proved: false } => rate.slow.is_some() || !begun.is_each_once(),
        _ => true,
    };
    if findings.rate.is_some_and(is_rate) {
        return None;
    }
    let explains = facts.clauses(is_late);
    let (tried, late, by) = (begun.tried, begun.late, duration(begun.by));
    let delay_ms = (begun.by.as_secs_f64() * 1e4).round() / 10.0;
    let diagnosis = if begun.is_each_once() {
        let text = format!(
            "the first SYN of each connection is dropped, and the one that is sent again passes: \
             of {tried} connections, begun a few at a time, {late} were made {by} later than a \
             round trip"
        );
        Diagnosis::certain("first-syn-dropped", text, FIRST, explains)
    } else {
        let percent = (begun.percent() * 10.0).round() / 10.0;
        let text = format!(
            "packets that make connections are lost, SYNs or what answers them: of {tried} \
             connections, begun a few at a time, {late} were made {by} later than a round trip"
        );
        let diagnosis = Diagnosis::certain("loss", text, ADVICE, explains);
        diagnosis.with("connects_late_percent", percent)
    };
    Some(diagnosis.with("tried", tried).with("delay_ms", delay_ms))
}

const FIRST: &str = "look for what makes clients try twice: protection from SYN floods that drops \
                     each first SYN, greylisting or a tarpit of a firewall; have it answer by SYN \
                     cookies instead, or except these clients";

const ADVICE: &str = "see with tcpdump at both ends which of them is lost, the SYN or its answer, \
                      and find the hop that drops it (mtr --tcp); where packets with data are not \
                      lost, look for what is done to SYNs alone: protection from floods, a full \
                      table of connections (nstat, conntrack -S), a balancer's limit";

fn is_late(failure: &Failure) -> bool {
    match failure.observed.end {
        End::Begun(_) | End::NotMade(NotMade::Unanswered) => true,
        End::Late { .. } => failure.clause == "connect-storm",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::begun::Begun;
    use crate::check::facts::made::{facts, failure};
    use crate::check::findings::Paced;

    fn begun(late: usize) -> Begun {
        Begun {
            tried: 32,
            late,
            once: late,
            by: Duration::from_millis(1021),
        }
    }

    #[test]
    fn some_that_are_late_are_loss_and_all_of_them_a_rule() {
        let late = End::Late {
            late: 200,
            of: 800,
            by: Duration::from_secs(1),
        };
        let of = |number, findings: &Findings| {
            let failures = [
                failure("loss", End::Begun(begun(number))),
                failure("connect-storm", late.clone()),
                failure("small-writes", late.clone()),
            ];
            lost(&facts(&failures, &["bytes"]), findings)
        };
        let some = of(9, &Findings::default()).unwrap();
        assert_eq!(some.cause, "loss");
        assert_eq!(some.evidence["connects_late_percent"], 28.1);
        assert_eq!(some.explains, ["loss", "connect-storm"]);
        let all = of(32, &Findings::default()).unwrap();
        assert_eq!(all.cause, "first-syn-dropped");
        assert_eq!(all.evidence["delay_ms"], 1021.0);
        // A limit of new ones in a second drops SYNs, too.
        let limited = Findings {
            rate: Some(Rate {
                tried: 150,
                made: 5,
                fast: Paced {
                    tried: 100,
                    served: 5,
                    per_s: 5.0,
                    wait: Duration::ZERO,
                },
                slow: None,
            }),
            ..Findings::default()
        };
        assert_eq!(of(9, &limited), None);
        assert_eq!(of(32, &limited).unwrap().cause, "first-syn-dropped");
        let paced = Rate {
            slow: Some((8, 8)),
            ..limited.rate.unwrap()
        };
        let paced = Findings {
            rate: Some(paced),
            ..Findings::default()
        };
        assert_eq!(of(32, &paced), None);
    }
}
