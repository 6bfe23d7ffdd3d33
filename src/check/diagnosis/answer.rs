//! Somebody else is reached than an echo server, or nobody behind who takes the connections.

use std::time::Duration;

use super::values;
use crate::base::units::duration;
use crate::check::cause::Diagnosis;
use crate::check::facts::{Facts, Failure};
use crate::check::findings::{Ending, Findings, Held};
use crate::check::observation::End;

/// Accepted, and closed without a byte, though nothing was said.
pub(super) fn nobody_behind(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Some(hello) = &findings.hello else {
        return guess_nobody(facts).filter(|_| findings.is_open("hello"));
    };
    let by = hello.nobody()?;
    facts.is_mute().then(|| {
        let after = hello.ended_at.filter(|age| *age >= WAITED);
        let time = after.map_or_else(String::new, |age| format!(" after {}", duration(age)));
        let text = format!(
            "connections are accepted, and ended without a byte{time} though nothing was sent: a \
             load balancer or a proxy without a server behind it, or a server that turns this \
             client away"
        );
        let explains = facts.clauses(|_| true);
        let diagnosis = Diagnosis::certain("nobody-behind", text, SEE_BEHIND, explains);
        let diagnosis = diagnosis.with("ends_by", by.word());
        match after {
            Some(age) => diagnosis.with("seconds", (age.as_secs_f64() * 10.0).round() / 10.0),
            None => diagnosis,
        }
    })
}

/// What is ended as late was held until a time-out: a proxy has waited for its server.
const WAITED: Duration = Duration::from_secs(1);

const SEE_BEHIND: &str = "see whether the balancer takes its servers for alive (its health checks), \
                          and whether they listen; else look for a list of clients that may connect \
                          (hosts.allow, an access list)";

/// Nothing comes back in any clause, and several tell that: of one it may be another reason.
fn are_mute(facts: &Facts) -> bool {
    let is_before = |name: &&str| BEFORE.contains(name);
    facts.is_mute() && facts.passed.iter().all(is_before) && facts.failures.len() >= SEVERAL
}

/// Clauses that pass where nothing comes back.
const BEFORE: [&str; 4] = ["connect", "self-connect", "options", "half-close-empty"];
const SEVERAL: usize = 2;

/// Each connection is ended without a byte. Nobody knows whether it had to be spoken to.
fn guess_nobody(facts: &Facts) -> Option<Diagnosis> {
    let is_ended = |at: &Failure| matches!(at.observed.end, End::Close | End::Reset);
    (are_mute(facts) && facts.failures.iter().all(is_ended)).then(|| {
        let text = "connections are accepted, and each is ended before a byte comes back: a load \
                    balancer or a proxy without a server behind it, a server that turns this client \
                    away, or one that speaks another protocol";
        Diagnosis::certain("nobody-behind", text, SEE_BEHIND, facts.clauses(|_| true)).likely()
    })
}

/// Other bytes come back in each clause, or none at all and nothing ends.
fn guess_another(facts: &Facts) -> Option<Diagnosis> {
    if !are_mute(facts) {
        return None;
    }
    if facts.failures.iter().all(Failure::is_silent) {
        return Some(silent(facts));
    }
    let came = facts.failures.iter().find_map(|at| match &at.observed.end {
        End::Wrong(wrong) if !wrong.came.is_empty() => Some(&wrong.came[..]),
        _ => None,
    });
    Some(answering(facts, came?).likely())
}

/// Somebody else answers, or one that takes all and says nothing, or ends what it does not
/// understand.
pub(super) fn not_an_echo(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Some(hello) = &findings.hello else {
        return guess_another(facts).filter(|_| findings.is_open("hello"));
    };
    if !facts.is_mute() {
        return None;
    }
    if let Some(added) = hello.added() {
        return Some(values::added(facts, &added));
    }
    if let Some(by) = hello.taken_amiss() {
        return Some(taken_amiss(facts, by));
    }
    let first = match (hello.greeting(), &hello.answer[..]) {
        _ if hello.is_lost() => return None,
        ([], []) if hello.end == Some(Ending::Silence) => {
            // One that holds everything back is an echo, too.
            return match findings.held {
                Some(Held::Never) => Some(silent(facts)),
                _ => None,
            };
        }
        ([], []) => return None,
        ([], _) if hello.is_echoed() => return None,
        ([], answer) => answer,
        (greeting, _) => greeting,
    };
    Some(answering(facts, first))
}

/// It answers so.
fn answering(facts: &Facts, first: &[u8]) -> Diagnosis {
    let looks_like = looks_like(first);
    let shown = first[..first.len().min(SHOWN)].escape_ascii();
    let text = match looks_like {
        "other" => format!("what is there answers, but not with what it was sent: {shown}"),
        name => format!("what is there speaks {name}, and is no echo server: {shown}"),
    };
    let diagnosis = Diagnosis::certain("not-an-echo", text, ANOTHER_PORT, facts.clauses(|_| true));
    let first_bytes = first.escape_ascii().to_string();
    diagnosis
        .with("looks_like", looks_like)
        .with("first_bytes", first_bytes)
}

/// So many bytes of an answer are shown.
const SHOWN: usize = 40;

const ANOTHER_PORT: &str = "ask another port: echo is 7, and echopool serves 20162 by default";

/// It takes what is sent, and sends nothing: whatever its reason.
fn silent(facts: &Facts) -> Diagnosis {
    let text = "what is there takes everything and sends nothing back: it speaks another protocol; \
                or it is an echo server that hangs, or whose workers are all taken by other \
                clients; or a proxy that waits for a server which does not answer it";
    let advice = "see what the server does (top, strace or gdb on its process, ss -tn for what it \
                  has not read); a proxy is asked for its server; else ask another port: echo is 7, \
                  and echopool serves 20162 by default";
    Diagnosis::certain("not-an-echo", text, advice, facts.clauses(|_| true))
        .likely()
        .with("looks_like", "other")
        .with("first_bytes", "")
}

/// `lost-behind-handshake`: connections are made, and nothing behind that arrives.
pub(super) fn lost(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let is_lost = findings.hello.as_ref()?.is_lost();
    (is_lost && facts.is_mute()).then(|| {
        let text = "the handshake is answered, and nothing that is sent behind it is ever \
                    acknowledged: a firewall that sees one direction alone drops it (the routes \
                    there and back differ), something else has answered the handshake for a server \
                    that is gone, or the server's listen queue is full";
        let advice = "look with tcpdump on the server's host whether the packets behind the SYN \
                      come: if they do, see its listen queue (ss -ltn: Recv-Q) and its firewall; \
                      if not, have both directions go through the same firewall";
        Diagnosis::certain(
            "lost-behind-handshake",
            text,
            advice,
            facts.clauses(|_| true),
        )
    })
}

/// It waits as long as nothing is said, and ends at what is. Whether an echo server is behind
/// it nobody can tell.
fn taken_amiss(facts: &Facts, by: Ending) -> Diagnosis {
    let ends = match by {
        Ending::Close => "closes",
        _ => "resets",
    };
    let text = format!(
        "what is there waits for the first bytes, and {ends} the connection at ours without an \
         answer: it speaks another protocol (a data base, a message broker, TLS), or wants a PROXY \
         header before the first byte, or finds no server once it looks for one"
    );
    let advice = "ask another port (echo is 7, and echopool serves 20162 by default); a server \
                  with --proxy-protocol is asked through its load balancer; or see whether the \
                  proxy's server listens";
    Diagnosis::certain("not-an-echo", text, advice, facts.clauses(|_| true))
        .likely()
        .with("looks_like", "other")
        .with("first_bytes", "")
        .with("ends_by", by.word())
}

pub(super) fn looks_like(first: &[u8]) -> &'static str {
    let line = first.split(|byte| *byte == b'\n').next().unwrap_or(first);
    let has = |word: &[u8]| {
        let mut places = line.windows(word.len());
        places.any(|part| part.eq_ignore_ascii_case(word))
    };
    match first {
        _ if first.starts_with(b"HTTP/") || first.starts_with(b"<!DOCTYPE") => "http",
        // A record of an alert or a handshake, of SSL 3 to TLS 1.3 (RFC 8446 section 5.1).
        [0x15 | 0x16, 3, 0..=4, ..] => "tls",
        _ if first.starts_with(b"SSH-") => "ssh",
        _ if first.starts_with(b"220") && (has(b"smtp") || has(b"mail")) => "smtp",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::facts::made::{facts, failure};
    use crate::check::findings::{HELLO, Hello, Silent};
    use crate::check::observation::Wrong;

    #[test]
    fn what_is_never_acknowledged_is_lost_and_was_not_taken() {
        use Confidence::{Certain, Likely};
        let of = |is_taken, held| {
            let mut findings = greeted(b"", b"", Some(Ending::Silence));
            findings.hello.as_mut().unwrap().is_taken = is_taken;
            findings.held = held;
            let both = [lost(&mute(), &findings), not_an_echo(&mute(), &findings)];
            let named = both.into_iter().flatten();
            named
                .map(|at| (at.cause, at.confidence))
                .collect::<Vec<_>>()
        };
        let never = Some(Held::Never);
        assert_eq!(of(Some(false), never), [("lost-behind-handshake", Certain)]);
        assert_eq!(of(Some(true), never), [("not-an-echo", Likely)]);
        assert_eq!(of(None, never), [("not-an-echo", Likely)]);
        assert_eq!(of(Some(true), None), []);
    }

    fn greeted(greeting: &[u8], answer: &[u8], end: Option<Ending>) -> Findings {
        Findings {
            hello: Some(Hello {
                greeting: greeting.to_vec(),
                answer: answer.to_vec(),
                end,
                ended_at: None,
                is_taken: None,
                silent: None,
            }),
            ..Findings::default()
        }
    }

    fn mute() -> Facts {
        facts(&[failure("bytes", End::Silence)], &["connect"])
    }

    #[test]
    fn who_answers_is_named() {
        let of = |greeting: &[u8], answer: &[u8]| {
            let diagnosis = not_an_echo(&mute(), &greeted(greeting, answer, None))?;
            Some(diagnosis.evidence["looks_like"].as_str()?.to_owned())
        };
        let is = |greeting: &[u8], answer: &[u8]| of(greeting, answer).unwrap_or_default();
        assert_eq!(is(b"", b"HTTP/1.1 400 Bad Request\r\n"), "http");
        assert_eq!(is(b"", &[0x15, 3, 1, 0, 2, 2, 10]), "tls");
        assert_eq!(is(b"SSH-2.0-x\r\n", b""), "ssh");
        assert_eq!(is(b"220 mail.example ESMTP\r\n", b""), "smtp");
        assert_eq!(is(b"220 ftp ready\r\n", b""), "other");
        for echo in [&b"hello\r\n\r\n"[..], b"HELLO\n\n", b"hel", b"\xe8ello"] {
            assert_eq!(of(b"", echo), None, "{echo:?}");
        }
    }

    #[test]
    fn who_greets_and_then_echoes_adds_bytes() {
        let hello = HELLO.to_vec();
        for (greeting, answer) in [
            (b"220 ready\r\n".to_vec(), hello.clone()),
            (Vec::new(), [b"> ", HELLO].concat()),
            (Vec::new(), [HELLO, b"\n"].concat()),
        ] {
            let added = not_an_echo(&mute(), &greeted(&greeting, &answer, None)).unwrap();
            assert_eq!(added.cause, "bytes-changed");
            assert_eq!(added.evidence["how"], "added");
            assert_eq!(added.explains, ["bytes"]);
        }
        let other = not_an_echo(&mute(), &greeted(b"220 x\r\n", b"502 what?\r\n", None));
        let text = other.unwrap().text;
        assert!(text.ends_with(r": 220 x\r\n"), "{text}");
    }

    #[test]
    fn who_says_nothing_is_no_echo_only_if_nothing_is_held_back() {
        let with = |held| Findings {
            held,
            ..greeted(b"", b"", Some(Ending::Silence))
        };
        let never = not_an_echo(&mute(), &with(Some(Held::Never))).unwrap();
        assert_eq!(never.evidence["looks_like"], "other");
        assert_eq!(not_an_echo(&mute(), &with(Some(Held::UntilEnd))), None);
        assert_eq!(not_an_echo(&mute(), &with(None)), None);
    }

    /// One that was spoken to ended so, and one that was not ended so.
    fn both(end: Ending, greeting: &[u8], silent: Ending) -> Findings {
        let mut findings = greeted(b"", b"", Some(end));
        findings.hello.as_mut().unwrap().silent = Some(Silent {
            greeting: greeting.to_vec(),
            end: Some(silent),
        });
        findings
    }

    #[test]
    fn nobody_is_behind_who_ends_each_without_a_byte() {
        use Ending::{Close, Reset, Silence};
        let of = |findings: &Findings| nobody_behind(&mute(), findings).map(|at| at.cause);
        assert_eq!(of(&both(Close, b"", Close)), Some("nobody-behind"));
        assert_eq!(of(&both(Reset, b"", Reset)), Some("nobody-behind"));
        assert_eq!(of(&both(Silence, b"", Silence)), None);
        // At our bytes only.
        assert_eq!(of(&both(Close, b"", Silence)), None);
        assert_eq!(of(&greeted(b"", b"", Some(Close))), None);
        let carrying = facts(&[failure("urgent", End::Close)], &["connect", "bytes"]);
        assert_eq!(nobody_behind(&carrying, &both(Close, b"", Close)), None);
    }

    #[test]
    fn who_ends_at_our_bytes_is_most_likely_no_echo() {
        use Ending::{Close, Reset, Silence};
        let amiss = not_an_echo(&mute(), &both(Reset, b"", Silence)).unwrap();
        assert_eq!(amiss.confidence, Confidence::Likely);
        assert_eq!(amiss.evidence["ends_by"], "reset");
        assert_eq!(not_an_echo(&mute(), &both(Close, b"", Close)), None);
        let late = not_an_echo(&mute(), &both(Silence, b"220 smtp\r\n", Silence)).unwrap();
        assert_eq!(late.evidence["looks_like"], "smtp");
        assert_eq!(late.confidence, Confidence::Certain);
    }

    #[test]
    fn without_experiments_who_sends_nothing_back_is_a_guess() {
        let untried = Findings {
            is_untried: true,
            ..Findings::default()
        };
        let wrong = || {
            End::Wrong(Wrong {
                at: 0,
                damage: None,
                sent: vec![0],
                came: b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
            })
        };
        let of = |ends: [End; 2], passed: &[&'static str], findings| {
            let [one, other] = ends;
            let failures = [failure("bytes", one), failure("pipelining", other)];
            let facts = facts(&failures, passed);
            let both = [
                nobody_behind(&facts, findings),
                not_an_echo(&facts, findings),
            ];
            let named: Vec<_> = both.into_iter().flatten().collect();
            assert!(named.iter().all(|at| at.confidence == Confidence::Likely));
            named
        };
        let connected = ["connect", "options"];
        let cause = |ends| of(ends, &connected, &untried).first().map(|at| at.cause);
        assert_eq!(cause([End::Close, End::Reset]), Some("nobody-behind"));
        assert_eq!(cause([End::Silence, End::Silence]), Some("not-an-echo"));
        assert_eq!(cause([End::Silence, End::Reset]), None);
        let http = of([wrong(), End::Close], &connected, &untried);
        assert_eq!(http[0].evidence["looks_like"], "http");
        // Something comes back in another clause, or it was tried.
        let answered = ["connect", "answer"];
        assert_eq!(of([End::Close, End::Close], &answered, &untried), []);
        assert_eq!(
            of([End::Close, End::Close], &connected, &Findings::default()),
            []
        );
        let one = facts(&[failure("bytes", End::Close)], &connected);
        assert_eq!(nobody_behind(&one, &untried), None);
    }
}
