//! Marks are not kept.

use crate::check::cause::Diagnosis;
use crate::check::datagram::facts::Facts;
use crate::check::datagram::findings::Findings;
use crate::check::datagram::trouble::Trouble;

/// `marks-bleached`: DSCP or ECN come back otherwise, and the other as it was.
pub(super) fn bleached(facts: &Facts, _: &Findings) -> Option<Diagnosis> {
    let what = facts.find(|trouble| match trouble {
        Trouble::Marks(what) => Some(*what),
        _ => None,
    })?;
    let text = match what {
        "dscp" => "DSCP is changed on the way, and ECN is kept: a router sets classes of its own",
        "ecn" => "ECN is cleared on the way, and DSCP is kept: congestion can't be told",
        _ => "DSCP and ECN are changed on the way",
    };
    let advice = "have the routers at the border of the network trust the marks (qos trust, no \
                  rewriting of the whole byte: DSCP is its upper six bits and ECN its lower two), \
                  or do without them and check with --skip marks";
    let explains = facts.clauses(|at| matches!(at.trouble, Trouble::Marks(_)));
    let diagnosis = Diagnosis::certain("marks-bleached", text, advice, explains);
    Some(diagnosis.with("what", what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::datagram::facts::made::facts;

    #[test]
    fn what_is_not_kept_is_named() {
        let facts = facts(&[("marks", Trouble::Marks("ecn"))], &["reachable"]);
        let named = bleached(&facts, &Findings::default()).unwrap();
        assert_eq!(
            (named.evidence["what"].as_str(), &named.explains[..]),
            (Some("ecn"), &["marks"][..])
        );
    }
}
