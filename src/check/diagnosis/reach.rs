//! Nobody is reached, or somebody else.

use crate::base::units::duration;
use crate::check::cause::Diagnosis;
use crate::check::facts::Facts;
use crate::check::findings::{Denied, Ending, Findings, Gone, Held, Says};
use crate::check::observation::{End, NotMade};

/// `refused`, `no-answer` or `unreachable`: no connection was made at all.
pub(super) fn not_connected(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let is_first = |name: &&str| ["connect", "self-connect"].contains(name);
    if !facts.passed.iter().all(is_first) {
        return None;
    }
    let ends = facts.failures.iter().map(|failure| &failure.observed.end);
    let how = ends.filter_map(|end| match end {
        End::NotMade(how) => Some(how.clone()),
        _ => None,
    });
    let how = how.min_by_key(|how| matches!(how, NotMade::ReachedItself))?;
    // Where one connection was made, something else is the matter.
    if !facts.passed.is_empty() && how != NotMade::ReachedItself {
        return None;
    }
    let explains = facts.clauses(|at| matches!(at.observed.end, End::NotMade(_)));
    let named =
        |cause, text: &str, advice| Diagnosis::certain(cause, text, advice, explains.clone());
    match how {
        NotMade::ReachedItself => Some(named(
            "refused",
            "nothing listens there: the connection got the server's own port and reached itself",
            "start the server; keep its port out of net.ipv4.ip_local_port_range",
        )),
        NotMade::Unanswered => Some(named(
            "no-answer",
            "nothing answers the first packet: a firewall drops it, or the host is not there",
            "look with tcpdump on the server's host whether the SYN comes: if it does, a firewall \
             there drops it; if not, one before it does, or the address is wrong",
        )),
        NotMade::Unusable => Some(named(
            "unreachable",
            "this machine has no way to such an address: a link-local one (fe80::) is of one \
             link, and names none",
            "name the interface with the address: fe80::1%eth0",
        )),
        NotMade::Forbidden { or_icmp: false } => Some(named(
            "unreachable",
            "this machine itself forbids the connection, by a rule for what goes out, a route \
             that prohibits it, or a policy for programs",
            "look for the rule or the route (nft list ruleset, ip route get), and for what denies \
             programs the network (SELinux or AppArmor: ausearch -m avc; seccomp)",
        )),
        NotMade::Refused => Some(refused(findings.says, explains)),
        NotMade::Unreachable(error) => Some(unreachable(error, findings.says, explains)),
        NotMade::Forbidden { or_icmp: true } => {
            let error = "administratively prohibited";
            Some(unreachable(error, findings.says, explains))
        }
        NotMade::Reset | NotMade::Other => None,
    }
}

/// Somebody answers that the connection is not to be: the host, or a firewall.
fn refused(says: Option<Says>, explains: Vec<&'static str>) -> Diagnosis {
    let Some(Says::Icmp { icmp, by }) = says else {
        let text = "the host is there, and nothing listens on the port, or a firewall refuses it";
        let advice = "start the server, or have it listen on this address and port (ss -ltn on \
                      its host); else let the port through the firewall that answers for it";
        return Diagnosis::certain("refused", text, advice, explains);
    };
    let text = format!(
        "a firewall rejects the connection: ICMP {icmp}{}; a host without a server answers by RST",
        by.map_or_else(String::new, |by| format!(" from {by}"))
    );
    let advice = "let the port through the firewall that sends the ICMP message (nft list ruleset \
                  there: reject)";
    Diagnosis::certain("refused", text, advice, explains).with("icmp", icmp)
}

/// What the kernel calls `error`: it makes one of several ICMP messages, and of none.
fn unreachable(error: &str, says: Option<Says>, explains: Vec<&'static str>) -> Diagnosis {
    let named = |text: String, advice| Diagnosis::certain("unreachable", text, advice, explains);
    match says {
        Some(Says::Icmp { icmp, by }) => {
            let who = by.map_or_else(|| String::from("something on the way"), |by| by.to_string());
            let advice = match icmp.contains("prohibited") || icmp.contains("policy") {
                true => {
                    "have the rule put right of the firewall that says so (nft list ruleset there: \
                     reject)"
                }
                false => "have the route put right of the router that says so (ip route get there)",
            };
            named(format!("{who} says by ICMP: {icmp}"), advice).with("icmp", icmp)
        }
        Some(Says::Own) => named(
            format!("{error}: this machine finds no neighbour on the link that has the address"),
            "see whether the host is on that link (ip route get, ip neigh), and up",
        ),
        Some(Says::Nobody) => named(
            format!("{error}: this machine has no route there, or one that forbids it"),
            "look at its routes (ip route get, ip rule)",
        ),
        None => named(
            format!(
                "{error}, or prohibited: something on the way says so by ICMP, or this machine has \
                 no route or finds no neighbour"
            ),
            "see who says so (tcpdump icmp or icmp6), and have its route or its rule put right; \
             without any ICMP it is this machine (ip route get, ip neigh)",
        ),
    }
}

/// Accepted, and closed without a byte, though nothing was said.
pub(super) fn nobody_behind(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let by = findings.hello.as_ref()?.nobody()?;
    facts.is_mute().then(|| {
        let text = "connections are accepted, and ended without a byte though nothing was sent: a \
                    load balancer or a proxy without a server behind it, or a server that turns \
                    this client away";
        let advice = "see whether the balancer takes its servers for alive (its health checks), \
                      and whether they listen; else look for a list of clients that may connect \
                      (hosts.allow, an access list)";
        Diagnosis::certain("nobody-behind", text, advice, facts.clauses(|_| true))
            .with("ends_by", by.word())
    })
}

/// Somebody else answers, or one that takes all and says nothing, or ends what it does not
/// understand.
pub(super) fn not_an_echo(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let hello = findings.hello.as_ref().filter(|_| facts.is_mute())?;
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
    let looks_like = looks_like(first);
    let text = match (looks_like, first) {
        ("other", _) => String::from("what is there answers, but not with what it was sent"),
        (name, _) => format!("what is there speaks {name}, and is no echo server"),
    };
    let diagnosis = Diagnosis::certain("not-an-echo", text, ANOTHER_PORT, facts.clauses(|_| true));
    let first_bytes = first.escape_ascii().to_string();
    Some(
        diagnosis
            .with("looks_like", looks_like)
            .with("first_bytes", first_bytes),
    )
}

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

/// `gone`: connections were made, and none is any more.
pub(super) fn gone(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Gone { time, by } = findings.gone?;
    let does = match by {
        Denied::Ended(Ending::Silence) | Denied::Waits => "is not answered",
        Denied::Ended(Ending::Close) => "is closed",
        Denied::Ended(Ending::Reset) => "is refused",
        Denied::Prohibited => "is prohibited by ICMP",
    };
    let text = format!(
        "connections were made at first, and for {} each one {does}: the server has ended or does \
         not take any more, or something bans this client for a while, as it made many",
        duration(time)
    );
    let advice = "see whether the server still runs and what it logged last (the first clause that \
                  failed may have ended it), and whether a rule counts connections of one source \
                  (fail2ban, iptables recent, xinetd cps); --only tests one clause alone";
    let explains = facts.clauses(|at| match at.observed.end {
        End::NotMade(_) => true,
        End::Reset | End::Close | End::Silence => at.observed.received == 0,
        _ => false,
    });
    let diagnosis = Diagnosis::certain("gone", text, advice, explains).likely();
    Some(diagnosis.with("ends_by", by.word()))
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

fn looks_like(first: &[u8]) -> &'static str {
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
    use std::time::Duration;

    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::facts::made::{facts, failure};
    use crate::check::findings::{Hello, Silent};

    fn unreached(how: NotMade) -> Option<Diagnosis> {
        let facts = facts(&[failure("connect", End::NotMade(how))], &[]);
        not_connected(&facts, &Findings::default())
    }

    #[test]
    fn who_refuses_is_told_from_who_does_not_answer() {
        let cause = |how| unreached(how).map(|at| at.cause);
        assert_eq!(cause(NotMade::Refused), Some("refused"));
        assert_eq!(cause(NotMade::ReachedItself), Some("refused"));
        assert_eq!(cause(NotMade::Unanswered), Some("no-answer"));
        assert_eq!(cause(NotMade::Other), None);
        assert_eq!(cause(NotMade::Unusable), Some("unreachable"));
        // By IPv4 no ICMP has that error.
        let forbidden = unreached(NotMade::Forbidden { or_icmp: false }).unwrap();
        assert!(!forbidden.evidence.contains_key("icmp"));
        assert!(forbidden.text.starts_with("this machine itself forbids"));
    }

    #[test]
    fn an_icmp_message_is_named_only_if_one_came() {
        let of = |how, says| {
            let facts = facts(&[failure("connect", End::NotMade(how))], &[]);
            let findings = Findings {
                says,
                ..Findings::default()
            };
            not_connected(&facts, &findings).unwrap()
        };
        let prohibited = Says::Icmp {
            icmp: "host administratively prohibited",
            by: Some([192, 0, 2, 1].into()),
        };
        let host = || NotMade::Unreachable("host unreachable");
        let told = of(host(), Some(prohibited));
        assert_eq!(told.cause, "unreachable");
        assert_eq!(told.evidence["icmp"], "host administratively prohibited");
        assert!(told.text.starts_with("192.0.2.1 says"), "{}", told.text);
        assert!(told.advice.contains("rule"), "{}", told.advice);
        assert_eq!(told.explains, ["connect"]);
        for says in [None, Some(Says::Own), Some(Says::Nobody)] {
            let untold = of(host(), says);
            assert!(!untold.evidence.contains_key("icmp"), "{untold:?}");
        }
        assert!(of(host(), Some(Says::Own)).text.contains("neighbour"));
        let port = Says::Icmp {
            icmp: "port unreachable",
            by: None,
        };
        let rejected = of(NotMade::Refused, Some(port));
        assert_eq!(rejected.cause, "refused");
        assert_eq!(rejected.evidence["icmp"], "port unreachable");
        let by_rst = of(NotMade::Refused, Some(Says::Nobody));
        assert!(!by_rst.evidence.contains_key("icmp"));
    }

    #[test]
    fn where_another_connection_was_made_the_first_one_proves_nothing() {
        let facts = facts(
            &[failure("connect", End::NotMade(NotMade::Unanswered))],
            &["self-connect"],
        );
        assert_eq!(not_connected(&facts, &Findings::default()), None);
    }

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

    #[test]
    fn who_is_there_no_more_is_no_proof_of_why() {
        let facts = facts(
            &[
                failure("reset", End::NotMade(NotMade::Refused)),
                failure("urgent", End::Silence),
            ],
            &["connect", "bytes"],
        );
        assert_eq!(gone(&facts, &Findings::default()), None);
        let findings = Findings {
            gone: Some(Gone {
                time: Duration::from_secs(11),
                by: Denied::Ended(Ending::Reset),
            }),
            ..Findings::default()
        };
        let gone = gone(&facts, &findings).unwrap();
        assert_eq!(gone.confidence, Confidence::Likely);
        assert!(gone.explains.contains(&"reset"));
        assert!(gone.text.contains("each one is refused"), "{}", gone.text);
    }

    #[test]
    fn one_connection_that_was_refused_among_others_is_not_that() {
        let storm = failure("connect-storm", End::NotMade(NotMade::Refused));
        let facts = facts(&[storm], &["connect", "bytes"]);
        assert_eq!(not_connected(&facts, &Findings::default()), None);
    }

    fn greeted(greeting: &[u8], answer: &[u8], end: Option<Ending>) -> Findings {
        Findings {
            hello: Some(Hello {
                greeting: greeting.to_vec(),
                answer: answer.to_vec(),
                end,
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
}
