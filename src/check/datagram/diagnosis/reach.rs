//! Nobody is reached, or somebody else.

use crate::check::cause::Diagnosis;
use crate::check::datagram::facts::{Facts, Failure};
use crate::check::datagram::findings::{Findings, Refusal};
use crate::check::datagram::trouble::{Refused, Trouble};

/// What says first that a datagram could not arrive, and of which clause.
fn refusal(facts: &Facts) -> Option<(usize, &Refused)> {
    let mut all = facts.failures.iter().enumerate();
    all.find_map(|(at, failure)| match &failure.trouble {
        Trouble::Refused(refused) => Some((at, refused)),
        _ => None,
    })
}

/// All clauses in which the same was said.
fn refused_clauses(facts: &Facts) -> Vec<&'static str> {
    facts.clauses(|at| matches!(at.trouble, Trouble::Refused(_)))
}

/// `refused`: ICMP port unreachable.
pub(super) fn refused(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let (_, refused) = refusal(facts).filter(|(_, refused)| refused.is_port)?;
    let is_first_only = match (facts.passed.is_empty(), findings.refusal) {
        (true, None | Some(Refusal::All)) => false,
        (false, None) | (_, Some(Refusal::Others)) => true,
        (_, Some(Refusal::All | Refusal::Over)) => return None,
    };
    if is_first_only {
        return Some(refused_later(facts, findings, refused));
    }
    let text = "the host is there, and no program has the UDP port open, or a firewall says so";
    let advice = "start the server, or have it listen for UDP on this address and port (ss -lun on \
                  its host; echopool serve --udp); else let the port through the firewall";
    let diagnosis = Diagnosis::certain("refused", text, advice, refused_clauses(facts));
    Some(diagnosis.with("icmp", refused.icmp))
}

/// The same, though the first socket got its echo.
fn refused_later(facts: &Facts, findings: &Findings, refused: &Refused) -> Diagnosis {
    let is_tried = findings.refusal.is_some();
    let text = match is_tried {
        true => {
            "the first socket gets its echo still, and others are refused: the server's own socket \
             is connected to its first client (socat without fork, nc -u -l)"
        }
        false => {
            "the first socket got its echo, and others are refused: the server's own socket is \
             connected to its first client (socat without fork, nc -u -l), or it has ended since"
        }
    };
    let advice = "have the server receive and answer on a socket that is connected to nobody \
                  (recvfrom, sendto; socat: UDP-RECVFROM with fork); see whether it still runs";
    let diagnosis = Diagnosis::certain("refused", text, advice, refused_clauses(facts));
    let diagnosis = diagnosis.with("icmp", refused.icmp);
    match is_tried {
        true => diagnosis,
        false => diagnosis.likely(),
    }
}

/// `gone`: there were echoes, and from one clause on all is refused. What had no answer since
/// then follows from it: a system sends few such messages a second.
pub(super) fn gone(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let (first, refused) = refusal(facts).filter(|(_, refused)| refused.is_port)?;
    let from = match refused.from {
        Some(from) => format!(" from {from}"),
        None => String::new(),
    };
    let since = facts.failures[first].clause;
    let (text, is_certain) = match findings.refusal? {
        Refusal::All if facts.passed.is_empty() => return None,
        Refusal::All => (
            format!(
                "echoes came until the clause {since}, and since then ICMP port unreachable \
                 comes{from}, to each socket: the server has ended or closed its socket, or a \
                 firewall was told to refuse it"
            ),
            true,
        ),
        Refusal::Over => (
            format!(
                "ICMP port unreachable came{from} in the clause {since}, and a new socket gets its \
                 echo now: the server was started anew meanwhile, or refuses for a time"
            ),
            false,
        ),
        Refusal::Others => return None,
    };
    let advice = "see whether the server still runs, and why it ended (its log, journalctl, the \
                  kernel's OOM killer), and whether a rule counts the datagrams of one source";
    let since = &facts.failures[first..];
    let is_it = |at: &&Failure| at.is_silent() || matches!(at.trouble, Trouble::Refused(_));
    let explains = since.iter().filter(is_it).map(|at| at.clause).collect();
    let diagnosis = Diagnosis::certain("gone", text, advice, explains).with("ends_by", "icmp");
    let diagnosis = diagnosis.with("icmp", refused.icmp);
    Some(match is_certain {
        true => diagnosis,
        false => diagnosis.likely(),
    })
}

/// `unreachable`: any other ICMP message, or nothing can be sent from here.
pub(super) fn unreachable(facts: &Facts, _: &Findings) -> Option<Diagnosis> {
    let advice = "see who says so (tcpdump icmp or icmp6), and have its route or its rule put \
                  right; without any ICMP this machine has no route, or its own firewall refuses \
                  (ip route get, nft list ruleset)";
    if let Trouble::NotSent(why) = &facts.failures.first()?.trouble {
        let explains = facts.clauses(|at| matches!(at.trouble, Trouble::NotSent(_)));
        return Some(Diagnosis::certain(
            "unreachable",
            why.clone(),
            advice,
            explains,
        ));
    }
    let (_, refused) = refusal(facts).filter(|(_, refused)| !refused.is_port)?;
    let icmp = refused.icmp;
    let who = refused.from.map_or_else(
        || String::from("something on the way"),
        |from| from.to_string(),
    );
    let is_reached = facts.passed.contains(&"reachable");
    let some = match is_reached {
        true => " of some datagrams, and others come back",
        false => "",
    };
    let text = format!("{who} says by ICMP{some}: {icmp}");
    let diagnosis = Diagnosis::certain("unreachable", text, advice, refused_clauses(facts));
    let diagnosis = diagnosis.with("icmp", icmp);
    Some(match is_reached {
        true => diagnosis.likely(),
        false => diagnosis,
    })
}

/// `no-answer`: nothing comes back at all.
pub(super) fn no_answer(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let first = facts.failures.first()?;
    let is_first = facts.passed.is_empty() && first.trouble == Trouble::Unanswered;
    let is_first = is_first && findings.speaks.is_none();
    is_first.then(|| {
        let text = "nothing answers, and nobody says why: a firewall drops the datagrams or the \
                    echoes, the host is not there, or what has the port does not answer";
        let advice = "look with tcpdump on the server's host whether the datagrams come, and \
                      whether echoes leave: if none comes, a firewall before it drops them, or the \
                      address is wrong; if none leaves, the server's";
        let explains = facts.clauses(|at| at.trouble == Trouble::Unanswered);
        Diagnosis::certain("no-answer", text, advice, explains)
    })
}

/// `not-an-echo`: what answers does not send back what it got.
pub(super) fn not_an_echo(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let came = facts.find(|trouble| match trouble {
        Trouble::Foreign(came) => Some(came.clone()),
        _ => None,
    });
    if let Some(speaks) = findings.speaks {
        return Some(speaking(facts, speaks, came.as_deref()));
    }
    let came = came?;
    let hello = findings.hello.as_ref();
    if hello.is_some_and(|hello| hello.is_echoed()) {
        return None;
    }
    let explains = facts.clauses(|at| matches!(at.trouble, Trouble::Foreign(_)));
    let text = "what is there answers, but not with what it was sent";
    let advice = "ask another port: echo is 7, and echopool serves 20162 by default";
    let diagnosis = Diagnosis::certain("not-an-echo", text, advice, explains)
        .with("looks_like", "other")
        .with("first_bytes", came.escape_ascii().to_string());
    Some(match hello {
        Some(_) => diagnosis,
        None => diagnosis.likely(),
    })
}

/// The same, of one that answers a request of that protocol.
fn speaking(facts: &Facts, speaks: &'static str, came: Option<&[u8]>) -> Diagnosis {
    let text = match speaks {
        "stamp" => "what is there is a reflector of STAMP: it answers a test packet of that",
        "dns" => "what is there is a name server: it answers a request of DNS",
        _ => "what is there is a time server: it answers a request of NTP",
    };
    let advice = match speaks {
        "stamp" => {
            "measure it with echopool ping --stamp; for an echo ask another port: 7, or 20162"
        }
        _ => "ask another port: echo is 7, and echopool serves 20162 by default",
    };
    let is_it = |trouble: &Trouble| matches!(trouble, Trouble::Foreign(_) | Trouble::Unanswered);
    let explains = facts.clauses(|at| is_it(&at.trouble));
    let diagnosis = Diagnosis::certain("not-an-echo", text, advice, explains);
    let diagnosis = diagnosis.with("looks_like", speaks);
    match came {
        Some(came) => diagnosis.with("first_bytes", came.escape_ascii().to_string()),
        None => diagnosis,
    }
}

/// `wrong-address`: another address answers than the one asked.
pub(super) fn wrong_address(facts: &Facts, _: &Findings) -> Option<Diagnosis> {
    let (asked, seen) = facts.find(|trouble| match trouble {
        Trouble::Elsewhere { asked, seen } => Some((*asked, *seen)),
        _ => None,
    })?;
    let explains = facts.clauses(|at| matches!(at.trouble, Trouble::Elsewhere { .. }));
    let text = format!(
        "{asked} was asked, and {seen} answers: clients with a connected socket, NATs and \
         firewalls drop that"
    );
    let advice = "have the server answer from the address that it was asked at (IP_PKTINFO, or a \
                  socket bound to each address), or listen on one address alone; where an \
                  address is translated, translate both directions";
    let diagnosis = Diagnosis::certain("wrong-address", text, advice, explains);
    Some(
        diagnosis
            .with("asked", asked.to_string())
            .with("seen", seen.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::datagram::facts::made::facts;
    use crate::check::findings::Hello;

    fn said(is_port: bool, icmp: &'static str) -> Trouble {
        Trouble::Refused(Refused {
            is_port,
            icmp,
            from: None,
            words: String::from("words"),
        })
    }

    #[test]
    fn who_refuses_is_told_from_who_does_not_answer() {
        let of = |trouble: Trouble| {
            let facts = facts(&[("reachable", trouble)], &[]);
            let none = Findings::default();
            let all = [refused, unreachable, no_answer].map(|family| family(&facts, &none));
            let mut all = all.into_iter().flatten();
            let first = all.next().unwrap();
            assert_eq!(all.next(), None);
            first
        };
        let refused = of(said(true, "port unreachable"));
        assert_eq!(refused.cause, "refused");
        assert_eq!(refused.confidence, Confidence::Certain);
        let unreachable = of(said(false, "host unreachable"));
        assert_eq!(unreachable.cause, "unreachable");
        assert_eq!(unreachable.evidence["icmp"], "host unreachable");
        assert_eq!(of(Trouble::Unanswered).cause, "no-answer");
        assert_eq!(of(Trouble::NotSent(String::from("x"))).cause, "unreachable");
    }

    #[test]
    fn one_clause_without_an_answer_is_not_that() {
        let facts = facts(&[("longest", Trouble::Unanswered)], &["reachable"]);
        assert_eq!(no_answer(&facts, &Findings::default()), None);
    }

    #[test]
    fn an_echo_in_other_letters_is_one() {
        let facts = facts(
            &[("reachable", Trouble::Foreign(b"HTTP/1.1".to_vec()))],
            &[],
        );
        let with = |answer: &[u8]| Findings {
            hello: Some(Hello {
                answer: answer.to_vec(),
                ..Hello::default()
            }),
            ..Findings::default()
        };
        let other = not_an_echo(&facts, &with(b"HTTP/1.1 400")).unwrap();
        assert_eq!(other.evidence["first_bytes"], "HTTP/1.1");
        assert_eq!(not_an_echo(&facts, &with(b"HELLO")), None);
    }

    #[test]
    fn who_answered_one_socket_does_not_refuse_all() {
        let facts = facts(
            &[("reply-address", said(true, "port unreachable"))],
            &["reachable"],
        );
        let later = refused(&facts, &Findings::default()).unwrap();
        assert_eq!(later.confidence, Confidence::Likely);
        assert!(later.text.contains("its first client"), "{}", later.text);
    }

    #[test]
    fn who_has_ended_is_told_from_who_knows_its_first_client_only() {
        let lost = Trouble::Lost { lost: 9, of: 250 };
        let failed = [
            ("empty", Trouble::Unanswered),
            ("loss", said(true, "port unreachable")),
            ("rate", lost),
        ];
        let facts = facts(&failed, &["reachable"]);
        let with = |refusal| Findings {
            refusal: Some(refusal),
            ..Findings::default()
        };
        let gone = |refusal| super::gone(&facts, &with(refusal));
        let refused = |refusal| super::refused(&facts, &with(refusal));
        let all = gone(Refusal::All).unwrap();
        assert_eq!(all.confidence, Confidence::Certain);
        assert_eq!(all.explains, ["loss", "rate"]);
        assert_eq!(gone(Refusal::Over).unwrap().confidence, Confidence::Likely);
        assert_eq!(refused(Refusal::All), None);
        assert_eq!(refused(Refusal::Over), None);
        let others = refused(Refusal::Others).unwrap();
        assert_eq!(others.confidence, Confidence::Certain);
        assert_eq!(others.explains, ["loss"]);
        assert_eq!(gone(Refusal::Others), None);
    }
}
