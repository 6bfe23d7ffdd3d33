//! Half-closes and urgent data: what proxies and servers do not pass on.

use crate::check::cause::Diagnosis;
use crate::check::facts::Facts;
use crate::check::findings::{Ending, Findings, HalfClosed, Urgent};
use crate::check::observation::End;
use crate::probe::pattern::Damage;

/// `no-half-close`: our FIN is taken for the end of both directions.
pub(super) fn half_close(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Some(HalfClosed::Ends(by)) = findings.half_close else {
        return None;
    };
    let (what, does) = match by {
        Ending::Close => ("truncates", "closed, and what was on its way is lost"),
        Ending::Silence => ("ignores", "not answered: neither bytes nor the end come"),
        Ending::Reset => (
            "resets",
            "answered by a reset, and what was on its way is lost",
        ),
    };
    let text = format!(
        "a half-close is not passed on: when our side is closed, the connection is {does}, where \
         without it all comes back"
    );
    let advice = "have the proxy keep the other direction open (nginx: proxy_half_close on), or \
                  the server read to the end and write all before it closes; else close only once \
                  all has come back";
    let explains = facts.clauses(|at| at.is_of_half_close() || at.observed.half_closed);
    let diagnosis = Diagnosis::certain("no-half-close", text, advice, explains);
    Some(diagnosis.with("what", what))
}

/// `urgent-lost`: an urgent byte does not come back in its place.
pub(super) fn urgent(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let explains = facts.clauses(|at| at.clause == "urgent");
    let failure = facts.failure("urgent")?;
    let is_silent_elsewhere = facts
        .failures
        .iter()
        .any(|at| at.clause != "urgent" && at.is_silent());
    let lost_one = |damage: Option<Damage>| damage == Some(Damage::Lost { bytes: 1 });
    let (what, is_certain) = match (findings.urgent, &failure.observed.end) {
        (Some(Urgent::Kept), _) => return None,
        (Some(what), _) => (what, true),
        (None, End::Wrong(wrong)) if lost_one(wrong.damage) => (Urgent::TakenOut, true),
        // A guess, where nothing fell silent without an urgent byte.
        (None, End::Silence) if failure.observed.urgent && !is_silent_elsewhere => {
            (Urgent::Dropped, false)
        }
        (None, _) => return None,
    };
    let does = match what {
        Urgent::TakenOut => {
            "taken out of the stream: the server or a proxy reads without \
                             SO_OOBINLINE"
        }
        Urgent::Moved => "sent on behind bytes that came after it",
        Urgent::Dropped | Urgent::Kept => {
            "dropped, and the stream stalls behind it: a firewall \
                                           loses packets with URG set"
        }
    };
    let text = format!("an urgent byte is {does}");
    let advice = "do without urgent data (RFC 6093 says so, too), and then check with --skip \
                  urgent; else set SO_OOBINLINE in the server, or have the firewall clear URG";
    let diagnosis = Diagnosis::certain("urgent-lost", text, advice, explains);
    let diagnosis = diagnosis.with("what", what.word());
    Some(match is_certain {
        true => diagnosis,
        false => diagnosis.likely(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::facts::made::{facts, failure};
    use crate::check::observation::Wrong;

    #[test]
    fn a_half_close_is_named_by_what_it_does() {
        let facts = facts(
            &[
                failure("half-close-early", End::Close),
                failure("urgent", End::Close),
            ],
            &[],
        );
        let of = |ends| Findings {
            half_close: Some(ends),
            ..Findings::default()
        };
        let what = |by| {
            let diagnosis = half_close(&facts, &of(HalfClosed::Ends(by))).unwrap();
            assert_eq!(diagnosis.explains, ["half-close-early"]);
            diagnosis.evidence["what"].as_str().unwrap().to_owned()
        };
        assert_eq!(what(Ending::Close), "truncates");
        assert_eq!(what(Ending::Silence), "ignores");
        assert_eq!(what(Ending::Reset), "resets");
        assert_eq!(half_close(&facts, &of(HalfClosed::Sound)), None);
    }

    #[test]
    fn an_urgent_byte_that_is_missing_was_taken_out() {
        let missing = End::Wrong(Wrong {
            at: 1024,
            damage: Some(Damage::Lost { bytes: 1 }),
            sent: vec![1],
            came: vec![2],
        });
        let of = |end: End, urgent| {
            let facts = facts(&[failure("urgent", end)], &["bytes"]);
            let findings = Findings {
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
        assert_eq!(of(End::Silence, None), None);
        assert_eq!(of(End::Silence, Some(Urgent::Kept)), None);
    }
}
