//! What comes back is not what was sent.

use crate::base::units::count;
use crate::check::cause::Diagnosis;
use crate::check::datagram::facts::Facts;
use crate::check::datagram::findings::Findings;
use crate::check::datagram::trouble::Trouble;
use crate::check::diagnosis::{came_back_as, how, in_words};
use crate::probe::datagram::payload::Change;

/// What is done to bytes, in words; what is cut has so many.
fn what(word: &str, bytes: usize) -> String {
    if word == "cut" {
        let bytes = count(bytes as u64, "byte", "bytes");
        return format!("what is longer is cut to {bytes}");
    }
    String::from(in_words(word).unwrap_or("some bytes come back as others"))
}

/// `bytes-changed`: datagrams come back with other bytes, or cut.
pub(super) fn changed(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let first = facts.find(|trouble| match trouble {
        Trouble::Changed(change) => Some(change.clone()),
        _ => None,
    })?;
    let changes = findings.changes.as_ref();
    let changes = changes.filter(|changes| !changes.changed.is_empty());
    let cut = match first {
        Change::Length { expected, received } if received < expected => Some(received),
        _ => None,
    };
    let word = match (changes, cut) {
        (Some(changes), _) => how(changes),
        (None, Some(_)) => "cut",
        (None, None) => "other",
    };
    let what = what(word, cut.unwrap_or_default());
    let example = match changes.and_then(|changes| changes.changed.first()) {
        Some((sent, came)) => came_back_as(sent, came),
        None => first.to_string(),
    };
    let text =
        format!("something on the way, or the server, changes datagrams: {what} ({example})");
    let advice = match word {
        "cut" => {
            "give the server a receive buffer as long as the longest datagram, and have it drop \
             what is cut (MSG_TRUNC) instead of answering"
        }
        _ => {
            "have the server and every proxy treat datagrams as bytes; on the way look for a \
             helper of a NAT that rewrites addresses in them (ALG), and switch it off"
        }
    };
    let explains = facts.clauses(|at| matches!(at.trouble, Trouble::Changed(_)));
    let diagnosis = Diagnosis::certain("bytes-changed", text, advice, explains);
    let diagnosis = diagnosis.with("how", word).with("example", example);
    Some(match cut.filter(|_| word == "cut") {
        Some(bytes) => diagnosis.with("bytes", bytes),
        None => diagnosis,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::datagram::facts::made::facts;
    use crate::check::findings::Changes;

    fn with(changed: &[(&[u8], &[u8])]) -> Findings {
        let pairs = changed
            .iter()
            .map(|(sent, came)| (sent.to_vec(), came.to_vec()));
        Findings {
            changes: Some(Changes {
                changed: pairs.collect(),
                ..Changes::default()
            }),
            ..Findings::default()
        }
    }

    #[test]
    fn how_they_are_changed_is_named() {
        let byte = Change::Byte {
            offset: 3,
            expected: 0xe9,
            received: 0x69,
        };
        let failed = [
            ("sizes", Trouble::Changed(byte)),
            ("rate", Trouble::Unanswered),
        ];
        let facts = facts(&failed, &[]);
        let seven = changed(&facts, &with(&[(b"a\xe9b", b"aib")])).unwrap();
        assert_eq!(seven.evidence["how"], "seven-bit");
        assert_eq!(seven.explains, ["sizes"]);
        let other = changed(&facts, &with(&[])).unwrap();
        assert_eq!(other.evidence["how"], "other");
    }

    #[test]
    fn a_short_buffer_is_told_by_its_length() {
        let cut = Change::Length {
            expected: 8972,
            received: 2048,
        };
        let facts = facts(&[("fragments", Trouble::Changed(cut))], &[]);
        let cut = changed(&facts, &with(&[])).unwrap();
        assert_eq!(
            (&cut.evidence["how"], &cut.evidence["bytes"]),
            (&"cut".into(), &2048.into())
        );
    }
}
