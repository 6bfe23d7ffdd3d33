//! What comes back is not what was sent.

use crate::base::units::count;
use crate::check::cause::Diagnosis;
use crate::check::datagram::facts::Facts;
use crate::check::datagram::findings::Findings;
use crate::check::datagram::trouble::Trouble;
use crate::check::diagnosis::{came_back_as, how, in_words};
use crate::probe::datagram::payload::Change;

const SOMETHING: &str = "something on the way, or the server, changes datagrams";

/// What was seen of a change, where its clause failed by one of which that holds.
fn seen(facts: &Facts, is_it: &dyn Fn(&Change) -> bool) -> Option<Change> {
    facts.find(|trouble| match trouble {
        Trouble::Changed(change) if is_it(change) => Some(change.clone()),
        _ => None,
    })
}

/// The clauses that failed by such a change.
fn changed_so(facts: &Facts, is_it: &dyn Fn(&Change) -> bool) -> Vec<&'static str> {
    facts.clauses(|at| matches!(&at.trouble, Trouble::Changed(change) if is_it(change)))
}

/// To how many bytes something is cut.
const fn cut_to(change: &Change) -> Option<usize> {
    match change {
        Change::Length { expected, received } if *received < *expected => Some(*received),
        _ => None,
    }
}

/// Whether short texts are cut: that is of what is in them, and no buffer is so short.
fn cuts_texts(findings: &Findings) -> bool {
    let changes = findings.changes.iter().flat_map(|it| &it.changed);
    changes
        .into_iter()
        .any(|(sent, came)| came.len() < sent.len())
}

/// `bytes-changed`: what is longer than a buffer comes back with its begin only.
pub(super) fn cut(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    if cuts_texts(findings) {
        return None;
    }
    let first = seen(facts, &|change| cut_to(change).is_some())?;
    let bytes = cut_to(&first)?;
    let text = format!(
        "{SOMETHING}: what is longer is cut to {} ({first})",
        count(bytes as u64, "byte", "bytes")
    );
    let advice = "give the server a receive buffer as long as the longest datagram, and have it \
                  drop what is cut (MSG_TRUNC) instead of answering";
    let explains = changed_so(facts, &|change| cut_to(change) == Some(bytes));
    let diagnosis = Diagnosis::certain("bytes-changed", text, advice, explains);
    let diagnosis = diagnosis.with("how", "cut").with("bytes", bytes);
    Some(diagnosis.with("example", first.to_string()))
}

/// `bytes-changed`: datagrams come back with other bytes, or with more.
pub(super) fn changed(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let may_be_cut = !cuts_texts(findings);
    let is_it = |change: &Change| !may_be_cut || cut_to(change).is_none();
    let first = seen(facts, &is_it)?;
    let changes = findings.changes.as_ref();
    let changes = changes.filter(|changes| !changes.changed.is_empty());
    let is_longer = matches!(first, Change::Length { .. });
    // One text alone may be longer by what is in it.
    let how = match changes.map(how) {
        Some("other") if is_longer => "added",
        Some(how) => how,
        None if is_longer => "added",
        None => "other",
    };
    let what = in_words(how).unwrap_or("some bytes come back as others");
    let example = match changes.and_then(|changes| changes.changed.first()) {
        Some((sent, came)) => came_back_as(sent, came),
        None => first.to_string(),
    };
    let advice = "have the server and every proxy treat datagrams as bytes; on the way look for a \
                  helper of a NAT that rewrites addresses in them (ALG), and switch it off";
    let explains = changed_so(facts, &is_it);
    let text = format!("{SOMETHING}: {what} ({example})");
    let diagnosis = Diagnosis::certain("bytes-changed", text, advice, explains);
    Some(diagnosis.with("how", how).with("example", example))
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
        let short = Change::Length {
            expected: 8972,
            received: 2048,
        };
        let facts = facts(&[("fragments", Trouble::Changed(short))], &[]);
        let cut = cut(&facts, &with(&[])).unwrap();
        assert_eq!(
            (&cut.evidence["how"], &cut.evidence["bytes"]),
            (&"cut".into(), &2048.into())
        );
    }

    #[test]
    fn what_is_cut_lengthened_and_changed_is_told_apart() {
        let length = |received| Change::Length {
            expected: 508,
            received,
        };
        let byte = Change::Byte {
            offset: 0,
            expected: 0x3d,
            received: 0x67,
        };
        let cut_at_end = Change::Length {
            expected: 65_507,
            received: 8192,
        };
        let failed = [
            ("longest", Trouble::Changed(cut_at_end)),
            ("bytes", Trouble::Changed(byte)),
        ];
        let both = facts(&failed, &[]);
        let cut = cut(&both, &with(&[])).unwrap();
        assert_eq!(cut.explains, ["longest"]);
        let other = changed(&both, &with(&[])).unwrap();
        assert_eq!(
            (&other.explains[..], &other.evidence["how"]),
            (&["bytes"][..], &"other".into())
        );
        let longer = facts(&[("sizes", Trouble::Changed(length(509)))], &[]);
        for findings in [with(&[]), with(&[(b"aAbBz", b"aAbBzx")])] {
            let longer = changed(&longer, &findings).unwrap();
            assert_eq!(longer.evidence["how"], "added");
            assert!(longer.text.contains("bytes are added"), "{}", longer.text);
        }
        // A text that ends at its NUL is no buffer's end.
        let shorter = facts(&[("bytes", Trouble::Changed(length(255)))], &[]);
        let at_nul = with(&[(b"a\0b", b"a")]);
        assert_eq!(super::cut(&shorter, &at_nul), None);
        assert_eq!(changed(&shorter, &at_nul).unwrap().evidence["how"], "nul");
    }
}
