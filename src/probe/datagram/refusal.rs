//! What an error means that a datagram had.

use std::io::{self, ErrorKind};

use crate::base::error::cause;
use crate::base::icmp;
use crate::base::sys::datagram::Origin;

/// What became of a datagram on its way, where an error says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Port,
    Host,
    Network,
    Prohibited,
    /// Its TTL was over.
    Hops,
    /// Some of its fragments were missing for too long.
    Fragments,
    Other,
}

/// RFC 792, RFC 1812 section 5.2.7.1, RFC 4443 section 3. The system has one error for several
/// messages: that of a loop is that of a host which is not reached.
fn refusal(error: &io::Error, origin: Option<Origin>) -> Refusal {
    match origin {
        Some(Origin::Icmp { kind: 3, code }) => match code {
            3 => Refusal::Port,
            1 | 5 | 7 | 8 | 12 => Refusal::Host,
            0 | 6 | 11 => Refusal::Network,
            9 | 10 | 13 => Refusal::Prohibited,
            _ => Refusal::Other,
        },
        Some(Origin::Icmp6 { kind: 1, code }) => match code {
            4 => Refusal::Port,
            3 => Refusal::Host,
            0 => Refusal::Network,
            1 | 5 | 6 => Refusal::Prohibited,
            _ => Refusal::Other,
        },
        Some(Origin::Icmp { kind: 11, code } | Origin::Icmp6 { kind: 3, code }) => match code {
            0 => Refusal::Hops,
            _ => Refusal::Fragments,
        },
        Some(Origin::Icmp { .. } | Origin::Icmp6 { .. }) => Refusal::Other,
        Some(Origin::Local | Origin::Other(_)) | None => match error.kind() {
            ErrorKind::ConnectionRefused => Refusal::Port,
            ErrorKind::HostUnreachable => Refusal::Host,
            ErrorKind::NetworkUnreachable => Refusal::Network,
            ErrorKind::PermissionDenied => Refusal::Prohibited,
            _ => Refusal::Other,
        },
    }
}

/// The words for an error that came by ICMP, or from this machine's own routes, for a
/// datagram that was sent: what happened and what to do.
pub(crate) fn explained(error: &io::Error, origin: Option<Origin>) -> String {
    String::from(match refusal(error, origin) {
        Refusal::Port => {
            "refused by ICMP port unreachable: no program has this UDP port open there, or a \
             firewall rejects it; look whether the server serves UDP"
        }
        Refusal::Host if origin.is_none() => {
            "ICMP host unreachable, or prohibited: the last router has no way to the host, or a \
             firewall rejects it; look at the address and the firewalls"
        }
        Refusal::Host => {
            "ICMP host unreachable: the last router, or this machine, has no way to the host; look \
             at the address, and whether the host is up"
        }
        Refusal::Network => {
            "network unreachable: a router, or this machine, has no route to the network; look at \
             the address and the routes"
        }
        Refusal::Prohibited => {
            "administratively prohibited, by ICMP: a firewall rejects it; look at the firewalls"
        }
        Refusal::Hops => {
            "ICMP time exceeded: it passed more routers than its TTL allows, as in a loop; look at \
             the routes (traceroute)"
        }
        Refusal::Fragments => {
            "ICMP fragment reassembly time exceeded: some of its fragments were lost; send less \
             at once, or look who drops fragments"
        }
        Refusal::Other => return cause(error),
    })
}

/// The name of what says that a datagram could not arrive.
pub(crate) fn icmp(error: &io::Error, origin: Option<Origin>) -> &'static str {
    if origin == Some(Origin::Local) {
        return "no route from this machine";
    }
    let name = origin.and_then(icmp::name);
    name.unwrap_or_else(|| match refusal(error, origin) {
        Refusal::Port => "port unreachable",
        Refusal::Host => "host unreachable",
        Refusal::Network => "network unreachable",
        _ => "unknown",
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_path_have_words() {
        let of = io::Error::from_raw_os_error;
        for (code, word) in [
            (libc::ECONNREFUSED, "ICMP port unreachable"),
            (libc::EHOSTUNREACH, "ICMP host unreachable"),
            (libc::ENETUNREACH, "no route"),
            (libc::EHOSTDOWN, "down"),
            (libc::EACCES, "prohibited"),
        ] {
            let text = explained(&of(code), None);
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn one_error_of_the_system_has_the_words_of_its_message() {
        // Linux has EHOSTUNREACH for all of these.
        let error = io::Error::from_raw_os_error(libc::EHOSTUNREACH);
        let v4 = |kind, code| Some(Origin::Icmp { kind, code });
        let v6 = |kind, code| Some(Origin::Icmp6 { kind, code });
        for (origin, word, name) in [
            (v4(3, 1), "no way to the host", "host unreachable"),
            (v4(11, 0), "as in a loop", "time exceeded"),
            (v6(3, 0), "as in a loop", "time exceeded"),
            (
                v4(11, 1),
                "fragments were lost",
                "fragment reassembly time exceeded",
            ),
            (
                v6(3, 1),
                "fragments were lost",
                "fragment reassembly time exceeded",
            ),
            (
                v4(3, 10),
                "a firewall rejects it",
                "host administratively prohibited",
            ),
            (
                v4(3, 13),
                "a firewall rejects it",
                "communication administratively prohibited",
            ),
            (v6(1, 3), "no way to the host", "address unreachable"),
            (
                Some(Origin::Local),
                "this machine",
                "no route from this machine",
            ),
            (None, "or prohibited", "host unreachable"),
        ] {
            let text = explained(&error, origin);
            assert!(text.contains(word), "{origin:?}: {text}");
            assert_eq!(icmp(&error, origin), name, "{origin:?}");
        }
        // ENETUNREACH is also that of a prohibited network.
        let error = io::Error::from_raw_os_error(libc::ENETUNREACH);
        assert!(explained(&error, v4(3, 9)).contains("a firewall rejects it"));
        assert!(explained(&error, v4(3, 0)).contains("no route to the network"));
    }
}
