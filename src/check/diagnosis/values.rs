//! Bytes are changed by what they are.

use crate::check::cause::Diagnosis;
use crate::check::facts::Facts;
use crate::check::findings::{Changes, Findings};
use crate::check::observation::End;

/// Of so many bytes of a pattern one of a given value is likely there.
const MANY: u64 = 200;
/// The most bytes of an example that is taken from a clause.
const EXAMPLE: usize = 8;

/// `bytes-changed`: bytes of special values come back as others, or not.
pub(super) fn changed(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let guessed = guess(facts).filter(|_| findings.is_untried);
    let is_certain = findings.changes.is_some();
    let changes = findings.changes.clone().or(guessed)?;
    let (sent, came) = changes.changed.first()?;
    let how = how(&changes);
    let what = match how {
        "seven-bit" => "the highest bit of each byte is cleared",
        "line-ends" => "line ends are changed",
        "nul" => "NULs are taken out, or end what they are in",
        "telnet" => "0xff is taken for a telnet command",
        "xon-xoff" => "XON and XOFF (0x11, 0x13) are taken out",
        "case" => "letters are changed to the other case",
        _ => "bytes of some values come back as others",
    };
    let example = format!(
        "{} came back as {}",
        sent.escape_ascii(),
        came.escape_ascii()
    );
    let text = format!("something takes the stream for text: {what} ({example})");
    let advice = "have every proxy and the server treat the stream as bytes: no text mode, no \
                  terminal (stty raw), no telnet, no filter";
    // Only what is left out is waited for, and a few bytes hardly have any of these.
    let leaves_out = changes
        .changed
        .iter()
        .any(|(sent, came)| came.len() < sent.len());
    let explains = facts.clauses(|at| match at.observed.end {
        End::Wrong(_) | End::NoAddress => true,
        _ => leaves_out && at.is_silent() && at.observed.sent.max(at.observed.expected) >= MANY,
    });
    let diagnosis = Diagnosis::certain("bytes-changed", text, advice, explains);
    let diagnosis = diagnosis.with("how", how).with("example", example);
    Some(match is_certain {
        true => diagnosis,
        false => diagnosis.likely(),
    })
}

/// What the clause with bytes of every value saw come back as others.
fn guess(facts: &Facts) -> Option<Changes> {
    let End::Wrong(wrong) = &facts.failure("bytes")?.observed.end else {
        return None;
    };
    let common = wrong.sent.len().min(wrong.came.len()).min(EXAMPLE);
    let [sent, came] = [&wrong.sent, &wrong.came].map(|bytes| bytes[..common].to_vec());
    (!sent.is_empty()).then(|| Changes {
        changed: vec![(sent, came)],
    })
}

/// The word for what happens to the texts.
pub(in crate::check) fn how(changes: &Changes) -> &'static str {
    let all = |rule: fn(&[u8]) -> Vec<u8>| {
        let mut pairs = changes.changed.iter();
        pairs.all(|(sent, came)| rule(sent) == *came)
    };
    let without = |bytes: &[u8], left_out: &[u8]| -> Vec<u8> {
        let kept = bytes.iter().filter(|byte| !left_out.contains(byte));
        kept.copied().collect()
    };
    let is_left_out = |values: &[u8]| {
        let mut pairs = changes.changed.iter();
        pairs.all(|(sent, came)| without(sent, values) == *came)
    };
    // A NUL that ends a text takes what is behind it along.
    let up_to_nul = |bytes: &[u8]| bytes.split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
    let mut pairs = changes.changed.iter();
    let is_cut = pairs.all(|(sent, came)| up_to_nul(sent).as_ref() == Some(came));
    let plain = |bytes: &[u8]| without(bytes, b"\r\n");
    let mut pairs = changes.changed.iter();
    let is_of_lines = pairs.all(|(sent, came)| plain(sent) == plain(came));
    if all(|sent| sent.iter().map(|byte| byte & 0x7f).collect()) {
        "seven-bit"
    } else if all(<[u8]>::to_ascii_uppercase) || all(<[u8]>::to_ascii_lowercase) {
        "case"
    } else if is_left_out(&[0]) || is_cut {
        "nul"
    } else if is_left_out(&[0x11, 0x13]) || is_left_out(&[0x11]) || is_left_out(&[0x13]) {
        "xon-xoff"
    } else if is_of_lines {
        "line-ends"
    } else if changes.changed.iter().all(|(sent, _)| sent.contains(&0xff)) {
        "telnet"
    } else {
        "other"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::facts::made::{facts, failure};
    use crate::check::observation::Wrong;

    #[track_caller]
    fn assert_is(word: &str, pairs: &[(&[u8], &[u8])]) {
        let pairs = pairs
            .iter()
            .map(|(sent, came)| (sent.to_vec(), came.to_vec()));
        let changes = Changes {
            changed: pairs.collect(),
        };
        assert_eq!(how(&changes), word);
    }

    #[test]
    fn what_happens_to_bytes_is_named() {
        assert_is(
            "seven-bit",
            &[(b"a\xe9b", b"aib"), (b"a\xff\xffb", b"a\x7f\x7fb")],
        );
        assert_is("case", &[(b"aAb", b"AAB"), (b"a\0b", b"A\0B")]);
        assert_is("case", &[(b"aAb", b"aab")]);
        assert_is("nul", &[(b"a\0b", b"ab")]);
        assert_is("nul", &[(b"a\0b", b"a")]);
        assert_is("xon-xoff", &[(b"a\x11b", b"ab"), (b"a\x13b", b"ab")]);
        assert_is("line-ends", &[(b"a\r\nb", b"a\nb")]);
        assert_is(
            "line-ends",
            &[(b"a\nb", b"a\r\nb"), (b"a\r\nb", b"a\r\r\nb")],
        );
        assert_is("telnet", &[(b"a\xff\xffb", b"a\xffb")]);
        assert_is(
            "other",
            &[(b"a\xe9b", b"a\xef\xbf\xbdb"), (b"a\xffb", b"a?b")],
        );
        assert_is("other", &[(b"aAb", b"axb")]);
    }

    #[test]
    fn it_explains_what_came_otherwise_and_what_is_waited_for() {
        let wrong = End::Wrong(Wrong {
            at: 0,
            damage: None,
            sent: vec![0xe9],
            came: vec![0x69],
        });
        let mut awaited = failure("pipelining", End::Silence);
        awaited.observed.expected = 16_384;
        let failures = [
            failure("bytes", wrong),
            awaited,
            failure("half-close-early", End::Close),
            failure("slow-writer", End::Silence),
        ];
        let of = |came: &[u8]| {
            let findings = Findings {
                changes: Some(Changes {
                    changed: vec![(b"h\xe9".to_vec(), came.to_vec())],
                }),
                ..Findings::default()
            };
            changed(&facts(&failures, &[]), &findings).unwrap()
        };
        assert_eq!(of(b"h").explains, ["bytes", "pipelining"]);
        // As many as were sent are not waited for.
        let diagnosis = of(b"hi");
        assert_eq!(diagnosis.explains, ["bytes"]);
        assert_eq!(diagnosis.evidence["how"], "seven-bit");
        assert_eq!(diagnosis.evidence["example"], "h\\xe9 came back as hi");
        let none = Findings {
            changes: Some(Changes {
                changed: Vec::new(),
            }),
            ..Findings::default()
        };
        assert_eq!(changed(&facts(&failures, &[]), &none), None);
    }

    #[test]
    fn without_experiments_what_the_clause_saw_is_a_guess() {
        let wrong = End::Wrong(Wrong {
            at: 256,
            damage: None,
            sent: vec![0x80, 0, 0x81, 0],
            came: vec![0, 0, 1, 0],
        });
        let facts = facts(&[failure("bytes", wrong)], &["connect"]);
        let untried = Findings {
            is_untried: true,
            ..Findings::default()
        };
        let guess = changed(&facts, &untried).unwrap();
        assert_eq!(guess.confidence, Confidence::Likely);
        assert_eq!(guess.evidence["how"], "seven-bit");
        assert_eq!(changed(&facts, &Findings::default()), None);
    }
}
