//! Some source ports lose everything.

use crate::base::units::{form, listed};
use crate::check::cause::Diagnosis;
use crate::check::datagram::facts::Facts;
use crate::check::datagram::findings::Findings;
use crate::check::datagram::trouble::Trouble;

const MEMBER: &str = "look for the member that these flows take: the links of a bundle (ip -s link \
                      of each, lacpctl, the switch's counters), the paths of a multipath route, \
                      the servers behind the address; take it out until it is mended";

/// `port-loses`: a member of a bundle is bad.
pub(super) fn loses(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let of = facts.find(|trouble| match trouble {
        Trouble::Ports { of, .. } => Some(*of),
        _ => None,
    })?;
    let ports = findings.ports.as_ref().filter(|ports| !ports.is_empty())?;
    if findings.is_full_of_flows {
        return None;
    }
    let number = ports.len();
    let lose = form(number as u64, "loses", "lose");
    let text = format!(
        "{number} of {of} source ports {lose} everything, and the others nothing: {}",
        listed(ports)
    );
    let explains = facts.clauses(|at| matches!(at.trouble, Trouble::Ports { .. }));
    let diagnosis = Diagnosis::certain("port-loses", text, MEMBER, explains);
    Some(diagnosis.with("ports", ports.clone()).with("of", of))
}

/// `port-loses`: a member of a bundle loses a part.
pub(super) fn loses_part(facts: &Facts, _: &Findings) -> Option<Diagnosis> {
    let (ports, of, by_them, by_others) = facts.find(|trouble| match trouble {
        Trouble::PortsLose {
            ports,
            of,
            by_them,
            by_others,
        } => Some((ports.clone(), *of, *by_them, *by_others)),
        _ => None,
    })?;
    let percent = (by_them.lost as f64 / by_them.sent as f64 * 1000.0).round() / 10.0;
    let number = ports.len();
    let lose = form(number as u64, "loses", "lose");
    let text = format!(
        "{number} of {of} source ports {lose} {percent} % of their datagrams, and others beside them \
         {} of {}: {}",
        by_others.lost,
        by_others.sent,
        listed(&ports)
    );
    let explains = facts.clauses(|at| matches!(at.trouble, Trouble::PortsLose { .. }));
    let diagnosis = Diagnosis::certain("port-loses", text, MEMBER, explains);
    let diagnosis = diagnosis.with("ports", ports).with("of", of);
    Some(diagnosis.with("percent", percent))
}

/// `flow-limit`: a table of flows is full.
pub(super) fn full(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let (silent, of) = facts.find(|trouble| match trouble {
        Trouble::Ports { silent, of } => Some((silent.len(), *of)),
        _ => None,
    })?;
    findings.is_full_of_flows.then(|| {
        let made = of - silent;
        let text = format!(
            "no more flows are taken: {made} of {of} new source ports got their echo, no other new \
             one does, and one that was used before still does"
        );
        let advice = "raise the limit of flows of a source where they are remembered (nft ct count, \
                      connlimit, a NAT's ports of a subscriber, net.netfilter.nf_conntrack_max), or \
                      its time-out for UDP lower; have programs use fewer sockets";
        let explains = facts.clauses(|at| matches!(at.trouble, Trouble::Ports { .. }));
        let diagnosis = Diagnosis::certain("flow-limit", text, advice, explains);
        diagnosis.with("made", made).with("of", of)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::datagram::facts::made::facts;
    use crate::check::datagram::trouble::Portion;

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
        assert_eq!(loses_part(&facts, &again(&[])), None);
        assert_eq!(full(&facts, &again(&[50_003])), None);
        let full_of_flows = Findings {
            is_full_of_flows: true,
            ..again(&[50_003, 50_011])
        };
        assert_eq!(loses(&facts, &full_of_flows), None);
        let full = full(&facts, &full_of_flows).unwrap();
        assert_eq!(
            (&full.evidence["made"], &full.evidence["of"]),
            (&30.into(), &32.into())
        );
    }

    #[test]
    fn a_part_that_ports_lose_is_in_percent() {
        let part = Trouble::PortsLose {
            ports: vec![50_003, 50_011],
            of: 32,
            by_them: Portion { lost: 15, sent: 32 },
            by_others: Portion { lost: 1, sent: 128 },
        };
        let facts = facts(&[("ports", part)], &["loss"]);
        let named = loses_part(&facts, &Findings::default()).unwrap();
        assert_eq!(named.evidence["percent"], 46.9);
        let words = "2 of 32 source ports lose 46.9 % of their datagrams, and others beside them 1 of \
                     128: 50003, 50011";
        assert_eq!(named.text, words);
        assert_eq!(named.explains, ["ports"]);
    }
}
