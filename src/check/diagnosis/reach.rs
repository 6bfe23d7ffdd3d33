//! No connection is made, at all or any more.

use crate::base::units::duration;
use crate::check::cause::Diagnosis;
use crate::check::facts::Facts;
use crate::check::findings::{Denied, Ending, Findings, Gone, Says};
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
    let is_made = !facts.passed.is_empty() || facts.made > 0 || findings.says == Some(Says::Made);
    if is_made && how != NotMade::ReachedItself {
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
            "nothing answers the first packet: a firewall drops it, the host is not there, or the \
             server's listen queue is full",
            "look with tcpdump on the server's host whether the SYN comes: if it does, its listen \
             queue is full (ss -ltn: Recv-Q) or a firewall there drops it; if not, one before it \
             does, or the address is wrong",
        )),
        NotMade::Unusable => Some(named(
            "unreachable",
            "this machine has no way to such an address: a link-local one (fe80::) is of one \
             link, and names none",
            "name the interface with the address: fe80::1%eth0",
        )),
        NotMade::Dropped => Some(named(
            "unreachable",
            "this machine drops what goes there: a route of the type blackhole",
            "look at its routes (ip route show table all type blackhole)",
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
    let named = |text: String, advice| Diagnosis::certain("refused", text, advice, explains);
    match says {
        Some(Says::Icmp { icmp, by }) => {
            let by = by.map_or_else(String::new, |by| format!(" from {by}"));
            let text = format!(
                "a firewall rejects the connection: ICMP {icmp}{by}; a host without a server \
                 answers by RST"
            );
            let advice = "let the port through the firewall that sends the ICMP message (nft list \
                          ruleset there: reject)";
            named(text, advice).with("icmp", icmp)
        }
        Some(Says::OwnRule { icmp }) => named(by_own_rule(icmp), OWN_RULE).with("icmp", icmp),
        _ => named(
            String::from(
                "the host is there, and nothing listens on the port, or a firewall refuses it",
            ),
            "start the server, or have it listen on this address and port (ss -ltn on its host); \
             else let the port through the firewall that answers for it",
        ),
    }
}

fn by_own_rule(icmp: &str) -> String {
    format!("this machine itself rejects the connection by a rule of its firewall: ICMP {icmp}")
}

const OWN_RULE: &str = "put the rule right that rejects it on this machine (nft list ruleset: \
                        reject, in a chain for what goes out)";

/// What the kernel calls `error`: it makes one of several ICMP messages, and of none.
fn unreachable(error: &str, says: Option<Says>, explains: Vec<&'static str>) -> Diagnosis {
    let named = |text: String, advice| Diagnosis::certain("unreachable", text, advice, explains);
    let no_neighbour = "this machine finds no neighbour on the link that has the address";
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
        Some(Says::OwnRule { icmp }) => named(by_own_rule(icmp), OWN_RULE).with("icmp", icmp),
        Some(Says::NoNeighbour) => named(
            format!("{error}: {no_neighbour}"),
            "see whether the host is on that link (ip route get, ip neigh), and up",
        ),
        Some(Says::Own) => named(
            format!("{error}: {no_neighbour}, or a rule of its own says so"),
            "see whether the host is on that link (ip route get, ip neigh), and up; else look for \
             the rule (nft list ruleset)",
        ),
        Some(Says::Route) => named(
            format!("{error}: {}", by_route(error)),
            "look at its routes (ip route get, ip rule)",
        ),
        Some(Says::Peer | Says::Made) | None => named(
            format!(
                "{error}, or prohibited: something on the way says so by ICMP, or this machine has \
                 no route or finds no neighbour"
            ),
            "see who says so (tcpdump icmp or icmp6), and have its route or its rule put right; \
             without any ICMP it is this machine (ip route get, ip neigh)",
        ),
    }
}

/// Why this machine sends nothing: it has another error for each type of route.
fn by_route(error: &str) -> &'static str {
    match error {
        "network unreachable" => "this machine has no route there",
        "host unreachable" => "a route of this machine says so (of the type unreachable)",
        _ => "a route of this machine forbids it (of the type prohibit)",
    }
}

/// `gone`: connections were made, and none is any more.
pub(super) fn gone(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Gone { time, by, says } = findings.gone?;
    let does = match by {
        Denied::Ended(Ending::Silence) | Denied::Waits => String::from("is not answered"),
        Denied::Ended(Ending::Close) => String::from("is closed"),
        Denied::Ended(Ending::Reset) => String::from("is refused"),
        Denied::Prohibited => prohibited(says),
    };
    let why = match says {
        Some(Says::Route) => "an interface or a route of this machine is gone",
        Some(Says::NoNeighbour) => "the host has ended, or its link",
        Some(Says::OwnRule { .. }) => "something on this machine bans it, as it made many",
        _ => {
            "the server has ended or does not take any more, or something bans this client for a \
             while, as it made many"
        }
    };
    let text = format!(
        "connections were made at first, and for {} each one {does}: {why}",
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
    Some(match (by, says) {
        (Denied::Prohibited, Some(Says::Icmp { icmp, .. } | Says::OwnRule { icmp })) => {
            diagnosis.with("ends_by", by.word()).with("icmp", icmp)
        }
        // By no message that is known.
        (Denied::Prohibited, _) => diagnosis,
        _ => diagnosis.with("ends_by", by.word()),
    })
}

/// What becomes of a connection whose error an ICMP message has, or this machine itself.
fn prohibited(says: Option<Says>) -> String {
    let known = match says {
        Some(Says::Icmp { icmp, by: Some(by) }) => {
            return format!("is rejected by {by}: ICMP {icmp}");
        }
        Some(Says::Icmp { icmp, by: None } | Says::OwnRule { icmp }) => {
            return format!("is rejected: ICMP {icmp}");
        }
        Some(Says::NoNeighbour) => "fails, as this machine finds no neighbour with the address",
        Some(Says::Route) => "fails, as this machine has no route there",
        Some(Says::Own | Says::Peer | Says::Made) | None => "is said to be unreachable",
    };
    String::from(known)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::facts::made::{facts, failure};

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
        for says in [
            None,
            Some(Says::Own),
            Some(Says::NoNeighbour),
            Some(Says::Route),
        ] {
            let untold = of(host(), says);
            assert!(!untold.evidence.contains_key("icmp"), "{untold:?}");
        }
        let port = Says::Icmp {
            icmp: "port unreachable",
            by: None,
        };
        let rejected = of(NotMade::Refused, Some(port));
        assert_eq!(rejected.cause, "refused");
        assert_eq!(rejected.evidence["icmp"], "port unreachable");
        let by_rst = of(NotMade::Refused, Some(Says::Peer));
        assert!(!by_rst.evidence.contains_key("icmp"));
    }

    #[test]
    fn what_this_machine_says_itself_is_said_of_it() {
        let of = |how, says| {
            let facts = facts(&[failure("connect", End::NotMade(how))], &[]);
            let findings = Findings {
                says: Some(says),
                ..Findings::default()
            };
            not_connected(&facts, &findings).unwrap()
        };
        let unreachable = |error, says| of(NotMade::Unreachable(error), says);
        for (error, says, words) in [
            ("host unreachable", Says::NoNeighbour, "finds no neighbour"),
            ("host unreachable", Says::Own, "or a rule of its own"),
            ("host unreachable", Says::Route, "of the type unreachable"),
            ("network unreachable", Says::Route, "has no route there"),
        ] {
            let text = unreachable(error, says).text;
            assert!(text.contains(words), "{error} {says:?}: {text}");
        }
        let icmp = "host unreachable";
        let rule = unreachable(icmp, Says::OwnRule { icmp });
        assert!(rule.text.starts_with("this machine itself rejects"));
        assert!(!rule.text.contains("neighbour"), "{}", rule.text);
        assert_eq!(rule.evidence["icmp"], icmp);
        let icmp = "port unreachable";
        let refused = of(NotMade::Refused, Says::OwnRule { icmp });
        assert_eq!(refused.cause, "refused");
        assert!(refused.text.starts_with("this machine itself rejects"));
        assert!(refused.advice.contains("on this machine"));
        let or_icmp = true;
        let prohibited = of(NotMade::Forbidden { or_icmp }, Says::Route);
        assert!(prohibited.text.contains("of the type prohibit"));
        let dropped = unreached(NotMade::Dropped).unwrap();
        assert!(dropped.text.contains("blackhole"), "{}", dropped.text);
    }

    #[test]
    fn who_was_reached_once_does_not_refuse() {
        let mut denied = failure("connections", End::NotMade(NotMade::Refused));
        denied.observed.place = Some((11, 200));
        let mut facts = facts(&[denied], &[]);
        let none = Findings::default();
        assert_eq!(not_connected(&facts, &none).unwrap().cause, "refused");
        let made = Findings {
            says: Some(Says::Made),
            ..Findings::default()
        };
        assert_eq!(not_connected(&facts, &made), None);
        assert!(facts.is_unconnected());
        facts.made = 10;
        assert_eq!(not_connected(&facts, &none), None);
        assert!(!facts.is_unconnected());
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
    fn who_is_there_no_more_is_no_proof_of_why() {
        let facts = facts(
            &[
                failure("reset", End::NotMade(NotMade::Refused)),
                failure("urgent", End::Silence),
            ],
            &["connect", "bytes"],
        );
        assert_eq!(gone(&facts, &Findings::default()), None);
        let of = |by, says| {
            let gone = Gone {
                time: Duration::from_secs(11),
                by,
                says,
            };
            let findings = Findings {
                gone: Some(gone),
                ..Findings::default()
            };
            super::gone(&facts, &findings).unwrap()
        };
        let refused = of(Denied::Ended(Ending::Reset), None);
        assert_eq!(refused.confidence, Confidence::Likely);
        assert!(refused.explains.contains(&"reset"));
        assert!(refused.text.contains("each one is refused"), "{refused:?}");
        assert_eq!(refused.evidence["ends_by"], "reset");
        // By ICMP only where a message came.
        let icmp = "host administratively prohibited";
        let by = Some([192, 0, 2, 1].into());
        let rejected = of(Denied::Prohibited, Some(Says::Icmp { icmp, by }));
        assert!(rejected.text.contains("is rejected by 192.0.2.1: ICMP"));
        assert_eq!(rejected.evidence["icmp"], icmp);
        assert_eq!(rejected.evidence["ends_by"], "icmp");
        for (says, words) in [
            (Some(Says::Route), "this machine has no route there"),
            (Some(Says::NoNeighbour), "finds no neighbour"),
            (None, "is said to be unreachable"),
        ] {
            let untold = of(Denied::Prohibited, says);
            assert!(untold.text.contains(words), "{untold:?}");
            assert!(untold.evidence.is_empty(), "{untold:?}");
        }
    }

    #[test]
    fn one_connection_that_was_refused_among_others_is_not_that() {
        let storm = failure("connect-storm", End::NotMade(NotMade::Refused));
        let facts = facts(&[storm], &["connect", "bytes"]);
        assert_eq!(not_connected(&facts, &Findings::default()), None);
    }
}
