//! Some source ports lose everything.

use crate::base::units::{form, listed};
use crate::check::cause::Diagnosis;
use crate::check::datagram::facts::Facts;
use crate::check::datagram::findings::Findings;
use crate::check::datagram::trouble::Trouble;

/// `port-loses`: a member of a bundle is bad.
pub(super) fn loses(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let of = facts.find(|trouble| match trouble {
        Trouble::Ports { of, .. } => Some(*of),
        _ => None,
    })?;
    let ports = findings.ports.as_ref().filter(|ports| !ports.is_empty())?;
    let number = ports.len();
    let lose = form(number as u64, "loses", "lose");
    let text = format!(
        "{number} of {of} source ports {lose} everything, and the others nothing: {}",
        listed(ports)
    );
    let advice = "look for the member that these flows take: the links of a bundle (ip -s link of \
                  each, lacpctl, the switch's counters), the paths of a multipath route, the \
                  servers behind the address; take it out until it is mended";
    let explains = facts.clauses(|at| matches!(at.trouble, Trouble::Ports { .. }));
    let diagnosis = Diagnosis::certain("port-loses", text, advice, explains);
    Some(diagnosis.with("ports", ports.clone()).with("of", of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::datagram::facts::made::facts;

    #[test]
    fn ports_that_lose_again_are_named_and_others_not() {
        let silent = Trouble::Ports {
            silent: vec![50_003, 50_011],
            of: 32,
        };
        let facts = facts(&[("ports", silent)], &[]);
        let again = |ports: &[u16]| Findings {
            ports: Some(ports.to_vec()),
            ..Findings::default()
        };
        let named = loses(&facts, &again(&[50_003])).unwrap();
        assert_eq!(named.evidence["ports"], serde_json::json!([50_003]));
        assert_eq!(named.evidence["of"], 32);
        let words = "1 of 32 source ports loses everything, and the others nothing: 50003";
        assert_eq!(named.text, words);
        assert_eq!(loses(&facts, &again(&[])), None);
    }
}
