//! Half-closes and urgent data: what proxies and servers do not pass on.

use crate::check::cause::Diagnosis;
use crate::check::facts::{Facts, Failure};
use crate::check::findings::{Ending, Findings, HalfClosed, Urgent};
use crate::check::observation::End;
use crate::probe::pattern::Damage;

/// `no-half-close`: our FIN is taken for the end of both directions.
pub(super) fn half_close(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let (by, all_came, is_certain) = match findings.half_close {
        Some(HalfClosed::Ends { by, all_came }) => (by, all_came, true),
        Some(HalfClosed::Unheard { all_came }) => (Ending::Silence, all_came, true),
        None if findings.is_open("half-close") => {
            let (by, all_came) = guess_half_close(facts)?;
            (by, all_came, false)
        }
        _ => return None,
    };
    let what = match by {
        Ending::Close => "truncates",
        Ending::Silence => "ignores",
        Ending::Reset => "resets",
    };
    let is_unheard = matches!(findings.half_close, Some(HalfClosed::Unheard { .. }));
    let does = match (by, all_came) {
        _ if is_unheard => "not acknowledged by anybody: something drops our FIN",
        (Ending::Silence, true) => "not answered: all bytes come back, and the end does not",
        (Ending::Silence, false) => "not answered: neither all bytes nor the end come",
        (Ending::Reset, true) => "answered by a reset behind the last byte: all bytes come back",
        (Ending::Reset, false) => "answered by a reset, and what was on its way is lost",
        (Ending::Close, _) => "closed, and what was on its way is lost",
    };
    let text = format!(
        "a half-close is not passed on: when our side is closed, the connection is {does}; without \
         that all comes back"
    );
    let advice = match is_unheard {
        true => {
            "have the firewall let packets with FIN through (nft list ruleset, and its state of the \
             connection: conntrack -L)"
        }
        false => {
            "have the proxy keep the other direction open (nginx: proxy_half_close on), or the \
             server read to the end and write all before it closes; else close only once all has \
             come back"
        }
    };
    let explains = facts.clauses(|at| {
        let is_it = at.is_of_half_close() || at.observed.half_closed;
        is_it
            && match by {
                Ending::Silence => at.is_silent(),
                // What is sent after a close is answered by a reset.
                Ending::Close | Ending::Reset => {
                    matches!(at.observed.end, End::Close | End::Reset)
                }
            }
    });
    let diagnosis = Diagnosis::certain("no-half-close", text, advice, explains);
    let diagnosis = diagnosis.with("what", what);
    Some(match is_certain {
        true => diagnosis,
        false => diagnosis.likely(),
    })
}

/// How connections ended where only those did on which we had closed our side, and whether
/// all bytes came back before.
fn guess_half_close(facts: &Facts) -> Option<(Ending, bool)> {
    let is_other =
        |at: &Failure| !at.is_of_half_close() && !at.observed.half_closed && !at.observed.urgent;
    let is_only = !facts.failures.iter().any(is_other) && facts.passed.contains(&"bytes");
    let of_it = facts.failures.iter().filter(|at| !at.observed.urgent);
    let mut ends = of_it.map(|at| &at.observed);
    let guess = ends.find_map(|seen| {
        let by = match seen.end {
            End::Close => Ending::Close,
            End::Reset => Ending::Reset,
            End::Silence => Ending::Silence,
            _ => return None,
        };
        Some((by, seen.received >= seen.expected))
    })?;
    is_only.then_some(guess)
}

/// `urgent-lost`: an urgent byte does not come back in its place.
pub(super) fn urgent(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let explains = facts.clauses(|at| at.clause == "urgent");
    // A connection that was not made, or whose urgent byte was let pass, has another cause;
    // but not where that byte came later.
    let is_of_it = |at: &&Failure| {
        let is_moved = findings.urgent == Some(Urgent::Moved);
        at.observed.urgent || is_moved && matches!(at.observed.end, End::Wrong(_))
    };
    let failure = facts.failure("urgent").filter(is_of_it)?;
    let is_so_elsewhere = |is_so: fn(&Failure) -> bool| {
        let mut others = facts.failures.iter().filter(|at| at.clause != "urgent");
        others.any(is_so)
    };
    let lost_one = |damage: Option<Damage>| damage == Some(Damage::Lost { bytes: 1 });
    let (what, is_certain) = match (findings.urgent, &failure.observed.end) {
        (Some(Urgent::Kept), _) => return None,
        (Some(what), _) => (what, true),
        // It was tried, and came out otherwise, or without urgent data as well.
        (None, _) if !findings.is_open("urgent") => return None,
        // Where all bytes of another connection came back, it is none of their values.
        (None, End::Wrong(wrong)) if lost_one(wrong.damage) => {
            (Urgent::TakenOut, facts.passed.contains(&"bytes"))
        }
        // A guess, where nothing ended so without an urgent byte.
        (None, End::Silence) if is_so_elsewhere(Failure::is_silent) => return None,
        (None, End::Silence) => match failure.observed.taken {
            Some(true) => (Urgent::Stalled, false),
            Some(false) | None => (Urgent::Dropped, false),
        },
        (None, End::Reset) if !is_so_elsewhere(is_ended) => (Urgent::Ended(Ending::Reset), false),
        (None, End::Close) if !is_so_elsewhere(is_ended) => (Urgent::Ended(Ending::Close), false),
        (None, _) => return None,
    };
    let does = match what {
        Urgent::TakenOut => {
            "taken out of the stream: the server or a proxy reads without \
                             SO_OOBINLINE"
        }
        Urgent::Moved => "sent on behind bytes that came after it",
        Urgent::Ended(_) => {
            "answered by the end of the connection: a firewall or an intrusion prevention takes \
             urgent data for an attack, or the server for an error"
        }
        Urgent::Stalled => {
            "received, and nothing behind it comes back: a program that passes bytes on by \
             splice(2), as Go's io.Copy and some proxies do, stops at it"
        }
        Urgent::Dropped | Urgent::Kept => {
            "dropped, and the stream stalls behind it: a firewall \
                                           loses packets with URG set"
        }
    };
    let text = format!("an urgent byte is {does}");
    let advice = "do without urgent data (RFC 6093 says so, too); else set SO_OOBINLINE in the \
                  server, or have the firewall clear URG";
    let diagnosis = Diagnosis::certain("urgent-lost", text, advice, explains);
    let diagnosis = diagnosis.with("what", what.word());
    Some(match is_certain {
        true => diagnosis,
        false => diagnosis.likely(),
    })
}

const fn is_ended(failure: &Failure) -> bool {
    matches!(failure.observed.end, End::Reset | End::Close)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::facts::made::{facts, failure};
    use crate::check::observation::Wrong;

    #[test]
    fn a_half_close_is_named_by_what_it_does() {
        let what = |by, end, all_came| {
            let facts = facts(
                &[
                    failure("half-close-early", end),
                    failure("half-close-empty", End::Other),
                    failure("urgent", End::Close),
                ],
                &[],
            );
            let findings = Findings {
                half_close: Some(HalfClosed::Ends { by, all_came }),
                ..Findings::default()
            };
            let diagnosis = half_close(&facts, &findings).unwrap();
            assert_eq!(diagnosis.explains, ["half-close-early"]);
            let is_said = diagnosis.text.contains("all bytes come back");
            assert_eq!(is_said, all_came, "{}", diagnosis.text);
            diagnosis.evidence["what"].as_str().unwrap().to_owned()
        };
        assert_eq!(what(Ending::Close, End::Reset, false), "truncates");
        assert_eq!(what(Ending::Silence, End::Silence, false), "ignores");
        assert_eq!(what(Ending::Silence, End::Silence, true), "ignores");
        assert_eq!(what(Ending::Reset, End::Close, false), "resets");
        assert_eq!(what(Ending::Reset, End::Reset, true), "resets");
        let unheard = Findings {
            half_close: Some(HalfClosed::Unheard { all_came: true }),
            ..Findings::default()
        };
        let facts = facts(&[failure("half-close-late", End::Silence)], &[]);
        let unheard = half_close(&facts, &unheard).unwrap();
        assert_eq!(unheard.evidence["what"], "ignores");
        assert!(unheard.text.contains("drops our FIN"), "{}", unheard.text);
        assert!(!unheard.advice.contains("nginx"), "{}", unheard.advice);
    }

    #[test]
    fn a_half_close_that_is_answered_in_order_is_no_cause() {
        let sound = Findings {
            half_close: Some(HalfClosed::Sound),
            ..Findings::default()
        };
        let facts = facts(&[failure("half-close-early", End::Close)], &[]);
        assert_eq!(half_close(&facts, &sound), None);
    }

    #[test]
    fn an_urgent_byte_that_is_missing_was_taken_out() {
        let missing = End::Wrong(Wrong {
            at: 1024,
            damage: Some(Damage::Lost { bytes: 1 }),
            sent: vec![1],
            came: vec![2],
        });
        let of = |end: End, urgent: Option<Urgent>| {
            let mut failure = failure("urgent", end);
            failure.observed.urgent = true;
            let facts = facts(&[failure], &["bytes"]);
            let findings = Findings {
                is_untried: urgent.is_none(),
                urgent,
                ..Findings::default()
            };
            super::urgent(&facts, &findings)
        };
        let taken = of(missing.clone(), None).unwrap();
        assert_eq!(taken.evidence["what"], "taken-out");
        assert_eq!(taken.confidence, Confidence::Certain);
        let moved = of(missing, Some(Urgent::Moved)).unwrap();
        assert_eq!(moved.evidence["what"], "moved");
        assert_eq!(of(End::Silence, Some(Urgent::Kept)), None);
    }

    #[test]
    fn what_fails_without_an_urgent_byte_is_not_for_its_sake() {
        for (end, urgent) in [(End::Reset, Some(Urgent::TakenOut)), (End::Silence, None)] {
            let facts = facts(&[failure("urgent", end)], &["bytes"]);
            let findings = Findings {
                urgent,
                ..Findings::default()
            };
            assert_eq!(super::urgent(&facts, &findings), None);
        }
    }

    #[test]
    fn what_comes_behind_an_urgent_byte_that_was_let_pass_may_be_it() {
        let added = End::Wrong(Wrong {
            at: 1025,
            damage: None,
            sent: vec![1],
            came: vec![2],
        });
        let facts = facts(&[failure("urgent", added)], &["bytes"]);
        let of = |urgent| {
            let findings = Findings {
                urgent: Some(urgent),
                ..Findings::default()
            };
            super::urgent(&facts, &findings)
        };
        let moved = of(Urgent::Moved).unwrap();
        assert_eq!(moved.evidence["what"], "moved");
        assert_eq!(of(Urgent::TakenOut), None);
    }

    #[test]
    fn without_experiments_half_closes_that_alone_fail_are_a_guess() {
        let untried = Findings {
            is_untried: true,
            ..Findings::default()
        };
        let early = [failure("half-close-early", End::Close)];
        let guess = half_close(&facts(&early, &["bytes"]), &untried).unwrap();
        assert_eq!(guess.confidence, Confidence::Likely);
        assert_eq!(guess.evidence["what"], "truncates");
        let mut urgent = failure("urgent", End::Silence);
        urgent.observed.urgent = true;
        let beside = facts(&[urgent, early[0].clone()], &["bytes"]);
        assert_eq!(
            half_close(&beside, &untried).unwrap().evidence["what"],
            "truncates"
        );
        let more = [early[0].clone(), failure("message-64k", End::Close)];
        assert_eq!(half_close(&facts(&more, &["bytes"]), &untried), None);
        assert_eq!(
            half_close(&facts(&early, &["bytes"]), &Findings::default()),
            None
        );
    }

    #[test]
    fn an_end_behind_an_urgent_byte_is_a_guess_where_nothing_else_ended_so() {
        let untried = Findings {
            is_untried: true,
            ..Findings::default()
        };
        for (end, what) in [
            (End::Silence, "dropped"),
            (End::Reset, "reset"),
            (End::Close, "closed"),
        ] {
            let mut urgent = failure("urgent", end.clone());
            urgent.observed.urgent = true;
            let of = |failures: &[Failure], findings| {
                super::urgent(&facts(failures, &["bytes"]), findings)
            };
            let guess = of(std::slice::from_ref(&urgent), &untried).unwrap();
            assert_eq!(guess.confidence, Confidence::Likely);
            assert_eq!(guess.evidence["what"], what);
            let both = [urgent.clone(), failure("message-64k", end)];
            assert_eq!(of(&both, &untried), None);
            let mut arrived = urgent.clone();
            arrived.observed.taken = Some(true);
            let arrived = of(&[arrived], &untried).unwrap();
            let stalled = if what == "dropped" { "stalled" } else { what };
            assert_eq!(arrived.evidence["what"], stalled);
            // It was tried, and the same bytes without urgent data ended so, too.
            assert_eq!(of(&[urgent], &Findings::default()), None);
        }
    }

    #[test]
    fn a_byte_that_is_missing_is_proved_to_be_the_urgent_one_only_if_all_others_came() {
        let mut lost = failure(
            "urgent",
            End::Wrong(Wrong {
                at: 1024,
                damage: Some(Damage::Lost { bytes: 1 }),
                sent: vec![1],
                came: vec![2],
            }),
        );
        lost.observed.urgent = true;
        let untried = Findings {
            is_untried: true,
            ..Findings::default()
        };
        let of = |passed: &[&'static str]| {
            let facts = facts(std::slice::from_ref(&lost), passed);
            super::urgent(&facts, &untried).map(|at| at.confidence)
        };
        assert_eq!(of(&["connect", "bytes"]), Some(Confidence::Certain));
        assert_eq!(of(&["connect"]), Some(Confidence::Likely));
    }
}
