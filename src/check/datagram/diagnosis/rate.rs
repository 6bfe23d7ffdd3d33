//! Datagrams are lost: those above a rate, or any.

use crate::check::cause::Diagnosis;
use crate::check::datagram::facts::{Facts, Failure};
use crate::check::datagram::findings::{Findings, Loss, Rate, Slow};
use crate::check::datagram::trouble::Trouble;

/// Whether what is lost by chance, or above a rate, can be the reason.
const fn may_be(failure: &Failure) -> bool {
    failure.is_silent()
}

/// `rate-limit`: so many a second come back of more, and all of few.
pub(super) fn limit(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Some(Rate::Limited { per_s, slow }) = findings.rate else {
        return None;
    };
    let many = match per_s {
        1.0.. => format!("of more datagrams than that about {per_s:.0} a second come back"),
        _ => String::from("of 1,000 datagrams in a second none comes back"),
    };
    let Slow { came, of, .. } = slow;
    let few = match came == of {
        true => String::from("all do"),
        false => format!("{came} of {of} do"),
    };
    let text = format!(
        "the rate is limited: {many}, and at {} a second {few}",
        slow.per_s
    );
    let advice = "raise the limit of the server (echopool serve --udp-rate) or of the firewall \
                  (nft limit rate, hashlimit, a policer), or send less; a limit below what a \
                  check sends hides what else may be the matter";
    // Where so many pass in a second, what is sent alone is not lost for its rate.
    let is_slower = facts.passed.contains(&"rate");
    let is_it = |at: &Failure| may_be(at) && !(is_slower && at.trouble == Trouble::Unanswered);
    let diagnosis = Diagnosis::certain("rate-limit", text, advice, facts.clauses(is_it));
    let diagnosis = diagnosis.with("per_s", per_s.round());
    Some(match slow.is_whole() {
        true => diagnosis,
        // Some are lost at any rate.
        false => diagnosis.likely(),
    })
}

/// `loss`: as many are lost at a low rate.
pub(super) fn loss(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let loss = findings.loss?;
    let percent = loss.percent();
    (loss.is_one() && !is_of_content(facts, loss)).then(|| {
        let text = format!(
            "{percent} % of the datagrams or their echoes are lost, at any rate: an echo does not \
             tell in which direction"
        );
        let advice = "look for errors and drops on the interfaces along the way (ip -s link, \
                      ethtool -S, the routers' counters), and for a link that is full; STAMP \
                      tells each direction (echopool serve --stamp)";
        let diagnosis = Diagnosis::certain("loss", text, advice, facts.clauses(may_be));
        diagnosis.with("percent", percent).with("packets", loss.of)
    })
}

/// Datagrams that are sent so often before they are given up, of which by chance so many times
/// as many are lost as should be, and some, at the most.
const SENT: i32 = 3;
const BY_CHANCE: f64 = 4.0;
const SOME: f64 = 3.0;

/// Whether more of those that are sent several times are lost than by chance: then some are lost
/// each time, for what is in them.
fn is_of_content(facts: &Facts, loss: Loss) -> bool {
    let Some(Trouble::Lost { lost, of }) = facts.failure("bytes").map(|at| &at.trouble) else {
        return false;
    };
    let expected = (loss.lost as f64 / loss.of.max(1) as f64).powi(SENT) * *of as f64;
    *lost as f64 > BY_CHANCE * expected + SOME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::datagram::facts::made::facts;

    fn limited_to(per_s: f64, came: usize) -> Rate {
        let slow = Slow {
            came,
            of: 12,
            per_s: 4,
        };
        Rate::Limited { per_s, slow }
    }

    #[test]
    fn what_a_limit_is_said_to_pass_is_what_was_seen() {
        let facts = facts(&[("rate", Trouble::Lost { lost: 90, of: 100 })], &[]);
        for (per_s, came, words, confidence) in [
            (
                50.0,
                12,
                "about 50 a second come back, and at 4 a second all do",
                Confidence::Certain,
            ),
            (
                50.0,
                11,
                "and at 4 a second 11 of 12 do",
                Confidence::Certain,
            ),
            (50.0, 8, "and at 4 a second 8 of 12 do", Confidence::Likely),
            (
                0.0,
                12,
                "of 1,000 datagrams in a second none comes back",
                Confidence::Certain,
            ),
        ] {
            let findings = Findings {
                rate: Some(limited_to(per_s, came)),
                ..Findings::default()
            };
            let limit = limit(&facts, &findings).unwrap();
            assert!(limit.text.contains(words), "{}", limit.text);
            assert_eq!(limit.confidence, confidence);
        }
    }

    #[test]
    fn a_limit_and_a_loss_explain_what_is_silent() {
        let failed = [
            ("loss", Trouble::Lost { lost: 90, of: 100 }),
            ("marks", Trouble::Marks("ecn")),
            ("longest", Trouble::Unanswered),
        ];
        let facts = facts(&failed, &[]);
        let limited = Findings {
            rate: Some(limited_to(99.6, 12)),
            ..Findings::default()
        };
        let limit = limit(&facts, &limited).unwrap();
        assert_eq!(
            (&limit.explains[..], &limit.evidence["per_s"]),
            (&["loss", "longest"][..], &100.0.into())
        );
        let lossy = |lost| Findings {
            loss: Some(Loss { lost, of: 300 }),
            ..Findings::default()
        };
        let loss_of = |lost| loss(&facts, &lossy(lost));
        assert_eq!(loss_of(31).unwrap().evidence["percent"], 10.3);
        assert_eq!(loss_of(6), None);
    }

    #[test]
    fn what_is_lost_each_time_is_not_lost_by_chance() {
        let of = |bytes: usize, lost: usize| {
            let failed = [
                (
                    "bytes",
                    Trouble::Lost {
                        lost: bytes,
                        of: 259,
                    },
                ),
                ("loss", Trouble::Lost { lost: 71, of: 250 }),
            ];
            let findings = Findings {
                loss: Some(Loss { lost, of: 300 }),
                ..Findings::default()
            };
            loss(&facts(&failed, &[]), &findings).map(|at| at.cause)
        };
        assert_eq!(of(4, 66), Some("loss"));
        assert_eq!(of(72, 66), None);
        // Of so many that are lost, a fifth is each time.
        assert_eq!(of(55, 180), Some("loss"));
        assert_eq!(of(259, 300), None, "all is no chance");
    }

    #[test]
    fn a_rate_explains_nothing_that_is_sent_alone_where_more_pass() {
        let failed = [
            ("empty", Trouble::Unanswered),
            ("order", Trouble::Lost { lost: 9, of: 64 }),
        ];
        let findings = Findings {
            rate: Some(limited_to(490.0, 12)),
            ..Findings::default()
        };
        let explains =
            |passed: &[&'static str]| limit(&facts(&failed, passed), &findings).unwrap().explains;
        assert_eq!(explains(&["rate", "loss"]), ["order"]);
        assert_eq!(explains(&[]), ["empty", "order"]);
    }
}
