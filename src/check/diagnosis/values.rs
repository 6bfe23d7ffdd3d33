//! Bytes are changed by what they are.

use crate::base::units::{count, whole};
use crate::check::cause::Diagnosis;
use crate::check::facts::{Facts, Failure};
use crate::check::findings::{Changes, Content, Ending, Findings};
use crate::check::observation::{End, Wrong};
use crate::check::parallel::CONNECT_THREADS;
use crate::probe::pattern::Damage;

/// Of so many bytes of a pattern one of a given value is likely there.
const MANY: u64 = 200;
/// The most bytes of an example that is taken from a clause.
const EXAMPLE: usize = 8;

const AS_BYTES: &str = "have every proxy and the server treat the stream as bytes: no text mode, \
                        no terminal (stty raw), no telnet, no filter";

/// `bytes-changed`: bytes of special values come back as others, or not.
pub(super) fn changed(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let guessed = guess(facts).filter(|_| findings.is_open("changes"));
    let is_certain = findings.changes.is_some();
    let changes = findings.changes.clone().or(guessed)?;
    let (sent, came) = changes.changed.first()?;
    let how = how(&changes);
    let what = in_words(how).unwrap_or("bytes of some values come back as others");
    let example = came_back_as(sent, came);
    let text = match is_first_lost(&changes) {
        true => format!("the first byte of each connection is lost ({example})"),
        false => format!("something takes the stream for text: {what} ({example})"),
    };
    // Only what is left out is waited for. A few bytes hardly have any of these, so a connection
    // on which nothing came back was silent for another reason.
    let leaves_out = changes
        .changed
        .iter()
        .any(|(sent, came)| came.len() < sent.len());
    let is_long = |at: &Failure| at.observed.sent.max(at.observed.expected) >= MANY;
    let explains = facts.clauses(|at| match &at.observed.end {
        // Those of another connection are no bytes that were changed.
        End::Wrong(wrong) => !matches!(wrong.damage, Some(Damage::Foreign(_))),
        End::NoAddress => true,
        _ => leaves_out && at.is_silent() && (at.observed.received > 0 || is_long(at)),
    });
    let diagnosis = Diagnosis::certain("bytes-changed", text, AS_BYTES, explains);
    let diagnosis = diagnosis.with("how", how).with("example", example);
    Some(match is_certain {
        true => diagnosis,
        false => diagnosis.likely(),
    })
}

/// Whether of each text all but its first byte comes back: something has looked at it, and has not
/// put it back.
fn is_first_lost(changes: &Changes) -> bool {
    let mut pairs = changes.changed.iter();
    changes.changed.len() > 2 && pairs.all(|(sent, came)| sent.get(1..) == Some(came))
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
        ..Changes::default()
    })
}

/// The same: `added` comes beside what was sent, and that comes back.
pub(super) fn added(facts: &Facts, added: &[u8]) -> Diagnosis {
    let shown = added.escape_ascii();
    let text =
        format!("bytes are added to what was sent, and that comes back beside them: {shown}");
    let advice =
        "have the server send nothing but what it got: no greeting, no prompt, no line end";
    Diagnosis::certain("bytes-changed", text, advice, facts.clauses(|_| true))
        .with("how", "added")
        .with("example", shown.to_string())
}

/// The same: a byte of a special value ends the connection.
pub(super) fn ended(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    if let Some(content) = &findings.content {
        return Some(by_content(facts, content));
    }
    let (text, by) = findings.changes.as_ref()?.ended.first()?;
    let example = format!("{}: {}", text.escape_ascii(), by.word());
    let does = match by {
        Ending::Silence => "are lost, with all that follows them",
        Ending::Close | Ending::Reset => "end the connection",
    };
    let text = format!(
        "something looks into the stream, or takes it for text: bytes of some values {does}, and \
         others do not ({example})"
    );
    let is_cut = |at: &Failure| {
        let seen = &at.observed;
        let is_ended = match by {
            Ending::Silence => at.is_silent(),
            Ending::Close | Ending::Reset => matches!(seen.end, End::Close | End::Reset),
        };
        // A connection behind many that had as many bytes was denied for another reason.
        let is_denied =
            seen.received == 0 && seen.place.is_some_and(|(at, _)| at > CONNECT_THREADS);
        let is_odd = seen.half_closed || seen.urgent || seen.held_silent;
        is_ended && seen.sent.max(seen.expected) >= MANY && !is_denied && !is_odd
    };
    let diagnosis = Diagnosis::certain("bytes-changed", text, AS_BYTES, facts.clauses(is_cut));
    let diagnosis = diagnosis.with("how", "ends").with("example", example);
    Some(diagnosis.with("ends_by", by.word()))
}

/// The same, where it is known which bytes do so.
fn by_content(facts: &Facts, content: &Content) -> Diagnosis {
    let bytes = content.bytes[..content.bytes.len().min(CONTENT)].escape_ascii();
    let rest = match content.bytes.len() > CONTENT {
        true => format!(
            ", and {} behind it",
            count((content.bytes.len() - CONTENT) as u64, "byte", "bytes")
        ),
        false => String::new(),
    };
    let does = match content.by {
        Ending::Silence => "falls silent",
        Ending::Close => "is closed",
        Ending::Reset => "is reset",
    };
    let text = format!(
        "something looks into the stream: a connection {does} at the bytes {bytes}{rest}, each \
         time, and carries the same with one of them changed"
    );
    let advice = "look for what filters by content: an intrusion prevention or a web application \
                  firewall, a rule of a proxy (HAProxy tcp-request content, nginx), nft or iptables \
                  that match payload (string, @ih); else for a server that takes such bytes for its \
                  own. Have it let the port through, or encrypt the stream";
    let explains = facts.clauses(|at| content.explains(at));
    Diagnosis::certain("bytes-changed", text, advice, explains)
        .with("how", "ends")
        .with("example", format!("{bytes}{rest}"))
        .with("ends_by", content.by.word())
}

/// So many bytes of those that end a connection are shown.
const CONTENT: usize = 48;

/// The same, where no value of a byte is the reason: what a clause saw is its own proof.
pub(super) fn damaged(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let is_known = changed(facts, findings).is_some() || ended(facts, findings).is_some();
    if facts.is_mute() || is_known {
        return None;
    }
    let damage = |at: &Failure| match &at.observed.end {
        End::Wrong(Wrong {
            damage: Some(Damage::Foreign(_)),
            ..
        }) => None,
        // What becomes of an urgent byte is another cause.
        End::Wrong(_) if at.observed.urgent || findings.may_move_urgent(at.clause) => None,
        End::Wrong(wrong) => Some(wrong.clone()),
        _ => None,
    };
    // One that knows what it is tells most.
    let known = |wrong: &Wrong| !matches!(wrong.damage, None | Some(Damage::Unknown));
    let wrong = facts.failures.iter().filter_map(damage);
    let wrong = wrong.min_by_key(|wrong| !known(wrong))?;
    let what = match wrong.damage {
        Some(Damage::Lost { bytes }) => {
            format!("{} left out", count(bytes, "byte is", "bytes are"))
        }
        Some(Damage::Repeated { bytes }) => {
            format!("{} sent twice", count(bytes, "byte is", "bytes are"))
        }
        Some(Damage::Changed) => String::from("bytes are changed"),
        _ if wrong.sent.is_empty() => String::from("bytes come that were not sent"),
        _ => String::from("other bytes come than were sent"),
    };
    let at = whole(wrong.at);
    let fickle = findings.changes.as_ref().and_then(|at| at.fickle.as_ref());
    let tried = match (&findings.changes, fickle) {
        (_, Some(came)) => {
            let came = came.escape_ascii();
            format!("short texts come back, but not each time ({came}): one of several servers?")
        }
        (Some(_), None) => String::from("short texts of bytes with a meaning come back"),
        (None, None) => String::from("whether that depends on their values was not tried"),
    };
    let text = format!("the stream is damaged: {what} at offset {at} of a connection; {tried}");
    let advice = "look in the server and each proxy for a write that takes a part and whose rest is \
                  dropped, and for a buffer that is written to before it is sent; then for what \
                  rewrites packets (an ALG, an intrusion prevention) or damages them (TCP's checksum \
                  finds most: nstat TcpInCsumErrors)";
    let explains = facts.clauses(|at| damage(at).is_some());
    let [sent, came] = [&wrong.sent, &wrong.came].map(|bytes| &bytes[..bytes.len().min(EXAMPLE)]);
    let example = came_back_as(sent, came);
    let diagnosis = Diagnosis::certain("bytes-changed", text, advice, explains);
    let diagnosis = diagnosis.with("how", "other").with("example", example);
    let diagnosis = diagnosis.with("at", wrong.at);
    Some(match (&findings.changes, fickle) {
        (Some(_), None) => diagnosis,
        _ => diagnosis.likely(),
    })
}

/// An example of what was changed.
pub(in crate::check) fn came_back_as(sent: &[u8], came: &[u8]) -> String {
    format!(
        "{} came back as {}",
        sent.escape_ascii(),
        came.escape_ascii()
    )
}

/// What is done to bytes, by the word of [`how`]; `None` for `other`.
pub(in crate::check) fn in_words(how: &str) -> Option<&'static str> {
    Some(match how {
        "seven-bit" => "the highest bit of each byte is cleared",
        "line-ends" => "line ends are changed",
        "nul" => "NULs are taken out, or end what they are in",
        "telnet" => "0xff is taken for a telnet command",
        "xon-xoff" => "XON and XOFF (0x11, 0x13) are taken out",
        "case" => "letters are changed to the other case",
        "added" => "bytes are added to what was sent",
        _ => return None,
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
    } else if changes.changed.len() >= 2 && all_added(changes) {
        "added"
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

/// Whether the same comes before each text, or behind each.
fn all_added(changes: &Changes) -> bool {
    let Some((sent, came)) = changes.changed.first() else {
        return false;
    };
    let number = came.len().saturating_sub(sent.len());
    let (before, behind) = (&came[..number], &came[came.len() - number..]);
    let is_it = |is_so: &dyn Fn(&[u8], &[u8]) -> bool| {
        let mut all = changes.changed.iter();
        number > 0 && all.all(|(sent, came)| is_so(sent, came))
    };
    is_it(&|sent, came| came.strip_suffix(sent) == Some(before))
        || is_it(&|sent, came| came.strip_prefix(sent) == Some(behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::facts::made::{facts, failure};

    #[track_caller]
    fn assert_is(word: &str, pairs: &[(&[u8], &[u8])]) {
        let pairs = pairs
            .iter()
            .map(|(sent, came)| (sent.to_vec(), came.to_vec()));
        let changes = Changes {
            changed: pairs.collect(),
            ..Changes::default()
        };
        assert_eq!(how(&changes), word);
    }

    #[test]
    fn bytes_that_end_a_connection_explain_what_had_them_under_way() {
        let holding = |name, end, bytes: &[u8]| {
            let mut failure = failure(name, end);
            failure.observed.under_way = bytes.to_vec();
            failure
        };
        let failures = [
            holding("bytes", End::Silence, b"a../b"),
            holding("message-64k", End::Silence, b"a./.b"),
            holding("small-writes", End::Other, b"../"),
        ];
        let findings = Findings {
            content: Some(Content {
                bytes: b"../".to_vec(),
                by: Ending::Silence,
            }),
            ..Findings::default()
        };
        let diagnosis = ended(&facts(&failures, &[]), &findings).unwrap();
        assert_eq!(diagnosis.explains, ["bytes"]);
        assert_eq!(diagnosis.evidence["how"], "ends");
        assert_eq!(diagnosis.evidence["ends_by"], "silence");
        assert_eq!(diagnosis.evidence["example"], "../");
        assert_eq!(diagnosis.confidence, Confidence::Certain);
    }

    #[test]
    fn what_happens_to_bytes_is_named() {
        assert_is(
            "seven-bit",
            &[(b"a\xe9b", b"aib"), (b"a\xff\xffb", b"a\x7f\x7fb")],
        );
        assert_is("case", &[(b"aAb", b"AAB"), (b"a\0b", b"A\0B")]);
        assert_is("case", &[(b"aAb", b"aab")]);
        assert_is("added", &[(b"aAb", b"> aAb"), (b"a\0b", b"> a\0b")]);
        assert_is("added", &[(b"aAb", b"aAb\n"), (b"a\nb", b"a\nb\n")]);
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
        let mut begun = failure("small-writes", End::Silence);
        begun.observed.received = 3;
        let failures = [
            failure("bytes", wrong),
            awaited,
            failure("half-close-early", End::Close),
            failure("slow-writer", End::Silence),
            begun,
        ];
        let of = |came: &[u8]| {
            let findings = Findings {
                changes: Some(Changes {
                    changed: vec![(b"h\xe9".to_vec(), came.to_vec())],
                    ..Changes::default()
                }),
                ..Findings::default()
            };
            changed(&facts(&failures, &[]), &findings).unwrap()
        };
        assert_eq!(of(b"h").explains, ["bytes", "pipelining", "small-writes"]);
        // As many as were sent are not waited for.
        let diagnosis = of(b"hi");
        assert_eq!(diagnosis.explains, ["bytes"]);
        assert_eq!(diagnosis.evidence["how"], "seven-bit");
        assert_eq!(diagnosis.evidence["example"], "h\\xe9 came back as hi");
        let none = Findings {
            changes: Some(Changes::default()),
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

    #[test]
    fn a_stream_that_is_damaged_whatever_its_bytes_are_says_how() {
        let wrong = |damage| {
            End::Wrong(Wrong {
                at: 4096,
                damage: Some(damage),
                sent: vec![1, 2],
                came: vec![3, 4],
            })
        };
        let sound = || Findings {
            changes: Some(Changes::default()),
            ..Findings::default()
        };
        let of = |damage, findings: &Findings| {
            let facts = facts(&[failure("message-16m", wrong(damage))], &["bytes"]);
            damaged(&facts, findings)
        };
        let mut fickle = sound();
        fickle.changes.as_mut().unwrap().fickle = Some(b"HTTP/1.1 400".to_vec());
        let not_each = of(Damage::Unknown, &fickle).unwrap();
        assert_eq!(not_each.confidence, Confidence::Likely);
        assert!(not_each.text.contains("one of several"), "{not_each:?}");
        let lost = of(Damage::Lost { bytes: 1448 }, &sound()).unwrap();
        assert_eq!(lost.explains, ["message-16m"]);
        assert_eq!(lost.evidence["how"], "other");
        assert_eq!(lost.evidence["at"], 4096);
        assert!(
            lost.text.contains("1,448 bytes are left out"),
            "{}",
            lost.text
        );
        let foreign = Damage::Foreign(crate::probe::pattern::Location {
            connection: 1,
            position: 2,
        });
        assert_eq!(of(foreign, &sound()), None);
        let mut explained = sound();
        explained.changes.as_mut().unwrap().changed = vec![(vec![0xe9], vec![0x69])];
        assert_eq!(of(Damage::Changed, &explained), None);
    }

    #[test]
    fn a_byte_that_ends_connections_is_named() {
        let many = |name, end, place| {
            let mut failure = failure(name, end);
            failure.observed.sent = 1024;
            failure.observed.place = place;
            failure
        };
        let mut silent = many("idle", End::Close, None);
        silent.observed.held_silent = true;
        let mut few = many("slow-writer", End::Close, None);
        few.observed.sent = 3;
        let facts = facts(
            &[
                many("bytes", End::Close, None),
                many("message-64k", End::Reset, None),
                failure("urgent", End::Silence),
                // None of these is for the sake of a byte.
                silent,
                few,
                many("connections", End::Reset, Some((11, 200))),
            ],
            &["connect"],
        );
        let findings = Findings {
            changes: Some(Changes {
                changed: Vec::new(),
                ended: vec![(b"a\x04b".to_vec(), Ending::Close)],
                fickle: None,
            }),
            ..Findings::default()
        };
        let diagnosis = ended(&facts, &findings).unwrap();
        assert_eq!(diagnosis.explains, ["bytes", "message-64k"]);
        let mut lost = findings.clone();
        lost.changes.as_mut().unwrap().ended = vec![(b"a\xffb".to_vec(), Ending::Silence)];
        let lost = ended(&facts, &lost).unwrap();
        assert_eq!(lost.explains, [""; 0]);
        assert!(lost.text.contains("are lost"), "{}", lost.text);
        assert_eq!(diagnosis.evidence["example"], "a\\x04b: close");
        assert_eq!(changed(&facts, &findings), None);
        assert_eq!(ended(&facts, &Findings::default()), None);
    }

    #[test]
    fn what_another_connection_sent_is_not_changed() {
        let wrong = |damage| {
            End::Wrong(Wrong {
                at: 3,
                damage,
                sent: vec![0xe9],
                came: vec![0x69],
            })
        };
        let location = crate::probe::pattern::Location {
            connection: 1,
            position: 2,
        };
        let failures = [
            failure("bytes", wrong(None)),
            failure("reset", wrong(Some(Damage::Foreign(location)))),
        ];
        let findings = Findings {
            changes: Some(Changes {
                changed: vec![(b"h\xe9".to_vec(), b"hi".to_vec())],
                ..Changes::default()
            }),
            ..Findings::default()
        };
        let explains = changed(&facts(&failures, &[]), &findings).unwrap().explains;
        assert_eq!(explains, ["bytes"]);
    }
}
