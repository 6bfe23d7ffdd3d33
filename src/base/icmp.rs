//! The names of ICMP messages.

use crate::base::sys::datagram::Origin;

/// The name of an ICMP message that says that something is not reached: RFC 792, RFC 1812
/// section 5.2.7.1, RFC 4443 section 3.1. `None` for what is none.
pub(crate) const fn name(origin: Origin) -> Option<&'static str> {
    Some(match origin {
        Origin::Icmp { kind: 3, code } => match code {
            0 => "network unreachable",
            1 => "host unreachable",
            2 => "protocol unreachable",
            3 => "port unreachable",
            9 => "network administratively prohibited",
            10 => "host administratively prohibited",
            13 => "communication administratively prohibited",
            _ => "destination unreachable",
        },
        Origin::Icmp6 { kind: 1, code } => match code {
            0 => "no route to destination",
            1 => "administratively prohibited",
            3 => "address unreachable",
            4 => "port unreachable",
            5 => "source address failed a policy",
            6 => "reject route",
            _ => "destination unreachable",
        },
        Origin::Icmp { kind: 11, code: 0 } | Origin::Icmp6 { kind: 3, code: 0 } => "time exceeded",
        Origin::Icmp { kind: 11, .. } | Origin::Icmp6 { kind: 3, .. } => {
            "fragment reassembly time exceeded"
        }
        Origin::Icmp { .. } | Origin::Icmp6 { .. } | Origin::Local | Origin::Other(_) => {
            return None;
        }
    })
}
