//! Datagrams come in another order, or more often.

use crate::base::units::count;
use crate::check::cause::Diagnosis;
use crate::check::datagram::facts::Facts;
use crate::check::datagram::findings::Findings;
use crate::check::datagram::trouble::Trouble;

/// `reordered`: some of each burst overtake others.
pub(super) fn reordered(facts: &Facts, _: &Findings) -> Option<Diagnosis> {
    let (late, of) = facts.find(|trouble| match trouble {
        Trouble::Reordered { late, of } => Some((*late, *of)),
        _ => None,
    })?;
    let percent = rounded(late, of);
    let text = format!("datagrams of one flow overtake each other: {late} of {of} sent at once");
    let advice = "have links of a bundle, queues of an interface and threads of a server chosen \
                  by the flow's addresses and ports (a hash, not in turn: no round-robin mode of a \
                  bond)";
    let explains = facts.clauses(|at| matches!(at.trouble, Trouble::Reordered { .. }));
    let diagnosis = Diagnosis::certain("reordered", text, advice, explains);
    Some(diagnosis.with("percent", percent))
}

/// `duplicates`: more comes back than was sent.
pub(super) fn duplicates(facts: &Facts, _: &Findings) -> Option<Diagnosis> {
    let (copies, of) = facts.find(|trouble| match trouble {
        Trouble::Duplicated { copies, of } => Some((*copies, *of)),
        _ => None,
    })?;
    let percent = rounded(copies, of);
    let copies = count(copies as u64, "copy", "copies");
    let text = format!("datagrams come back more than once: {copies} of {of}");
    let advice = "look for two servers on one address (a cluster that answers twice), a loop of \
                  switches, a mirrored port, and tunnels or radio links that send again what \
                  has arrived";
    let explains = facts.clauses(|at| matches!(at.trouble, Trouble::Duplicated { .. }));
    let diagnosis = Diagnosis::certain("duplicates", text, advice, explains);
    Some(diagnosis.with("percent", percent))
}

fn rounded(part: usize, of: usize) -> f64 {
    (part as f64 * 1000.0 / of.max(1) as f64).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::datagram::facts::made::facts;

    #[test]
    fn the_part_is_in_percent() {
        let failed = [
            ("order", Trouble::Reordered { late: 32, of: 64 }),
            ("duplicates", Trouble::Duplicated { copies: 1, of: 192 }),
        ];
        let facts = facts(&failed, &[]);
        let none = Findings::default();
        assert_eq!(reordered(&facts, &none).unwrap().evidence["percent"], 50.0);
        assert_eq!(duplicates(&facts, &none).unwrap().evidence["percent"], 0.5);
    }
}
