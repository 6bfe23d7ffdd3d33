//! Datagrams of a kind are lost each time, and others are not.

use crate::base::units::{count, form};
use crate::check::cause::Diagnosis;
use crate::check::datagram::facts::Facts;
use crate::check::datagram::findings::{Filtered, Findings};
use crate::check::datagram::trouble::Trouble;

/// That clause, where it failed since nothing came back.
fn silent(facts: &Facts, clause: &str) -> Vec<&'static str> {
    facts.clauses(|at| at.clause == clause && at.is_silent())
}

/// `empty-dropped`: those without a byte.
pub(super) fn empty(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    findings.empty?.then(|| {
        let text = "datagrams without a byte are lost each time, and those of one byte in between \
                    are not: the server or a proxy takes no bytes for an end, or a firewall drops \
                    them";
        let advice = "have the server answer what recvfrom returns as 0 bytes as well, and look on \
                      the way for a rule on the length; a program that sends none may check with \
                      --skip empty";
        Diagnosis::certain("empty-dropped", text, advice, silent(facts, "empty"))
    })
}

/// `marks-dropped`: those with DSCP or ECN.
pub(super) fn marks(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let what = findings.marks?;
    let name = match what {
        "dscp" => "DSCP",
        "ecn" => "ECN",
        _ => "DSCP or ECN, or both",
    };
    let text = format!(
        "datagrams with {name} are lost each time, and those without marks in between are not: \
         something on the way drops them for it"
    );
    let advice = "look for a rule or a policer on the type of service, for a class without room, and \
                  for old firewalls that take ECN for a fault; have them pass or clear the marks, \
                  or send without";
    let diagnosis = Diagnosis::certain("marks-dropped", text, advice, silent(facts, "marks"));
    Some(diagnosis.with("what", what))
}

/// `content-dropped`: those with certain bytes.
pub(super) fn content(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Filtered {
        bytes,
        offset,
        lost,
        of,
        is_all,
    } = findings.filtered.as_ref()?;
    let example = bytes.escape_ascii().to_string();
    let datagrams = count(*lost as u64, "datagram", "datagrams");
    let text = format!(
        "{datagrams} of {of} {} lost each time, and others of the same length are not: the first \
         for \"{example}\" at offset {offset}, which is lost between any other bytes as well",
        form(*lost as u64, "is", "are"),
    );
    let advice = "look for an inspection of content on the way (IPS, application control, an nft or \
                  iptables match on the payload, a DNS or SIP helper) or in the server, and have \
                  it let this port alone";
    // A single byte is in many, and a pair in many of the longest.
    let is_it = |at: &crate::check::datagram::facts::Failure| {
        let is_long = matches!(at.clause, "fragments" | "longest");
        at.clause == "bytes" || at.is_silent() && (bytes.len() == 1 || *is_all && is_long)
    };
    let explains = facts.clauses(|at| is_it(at) && at.trouble != Trouble::Forgotten);
    let diagnosis = Diagnosis::certain("content-dropped", text, advice, explains);
    let diagnosis = diagnosis.with("example", example).with("offset", *offset);
    Some(diagnosis.with("bytes", bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::datagram::facts::made::facts;

    #[test]
    fn each_kind_explains_its_own_clause() {
        let lost = |lost| Trouble::Lost { lost, of: 130 };
        let failed = [
            ("empty", Trouble::Unanswered),
            ("bytes", lost(2)),
            ("marks", Trouble::Unanswered),
            ("loss", lost(20)),
        ];
        let facts = facts(&failed, &["reachable"]);
        let with = |bytes: &[u8]| Findings {
            empty: Some(true),
            marks: Some("ecn"),
            filtered: Some(Filtered {
                bytes: bytes.to_vec(),
                offset: 7,
                lost: 2,
                of: 130,
                is_all: true,
            }),
            ..Findings::default()
        };
        let findings = with(b"\r\n");
        assert_eq!(empty(&facts, &findings).unwrap().explains, ["empty"]);
        let marks = marks(&facts, &findings).unwrap();
        assert_eq!(
            (&marks.explains[..], &marks.evidence["what"]),
            (&["marks"][..], &"ecn".into())
        );
        let pair = content(&facts, &findings).unwrap();
        assert_eq!(
            (&pair.explains[..], &pair.evidence["example"]),
            (&["bytes"][..], &"\\r\\n".into())
        );
        assert!(
            content(&facts, &with(b"A"))
                .unwrap()
                .explains
                .contains(&"loss")
        );
        let none = Findings {
            empty: Some(false),
            ..Findings::default()
        };
        assert_eq!(empty(&facts, &none), None);
        assert_eq!(content(&facts, &none), None);
    }
}
