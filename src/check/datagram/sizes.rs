//! Datagrams of each size that is special.

use super::clause::Clause;
use super::not_passed::NotPassed;
use super::target::{TRIES, Target, trouble};
use crate::base::units::{count, ordinal, whole};

pub(super) const EMPTY: Clause = Clause {
    name: "empty",
    proves: "a datagram without a byte comes back as one",
    usually: "a server or a proxy takes the length 0 for the end of a stream, or a firewall \
              drops datagrams without content",
    rfc: "RFC 768, RFC 862",
    run: |target| sizes(target, &[0]),
};

pub(super) const SIZES: Clause = Clause {
    name: "sizes",
    proves: "datagrams of 1, 508 and 1,200 bytes come back whole: every path carries as many",
    usually: "something limits the size of datagrams, or cuts them",
    rfc: "RFC 791 section 3.2, RFC 9000 section 14",
    run: |target| sizes(target, &[1, 508, 1200]),
};

pub(super) const FULL_PACKET: Clause = Clause {
    name: "full-packet",
    proves: "a datagram that fills a packet of 1,500 bytes comes back whole",
    usually: "packets of full size are lost on a tunnel or a VPN whose MTU is smaller, and the \
              ICMP messages that would tell are filtered",
    rfc: "RFC 8899, RFC 1191",
    run: |target| {
        let full = full(target);
        sizes(target, &[full])
    },
};

pub(super) const FRAGMENTS: Clause = Clause {
    name: "fragments",
    proves: "datagrams of a byte more than a packet, and of 8,972 bytes, come back whole",
    usually: "a firewall, a NAT or a load balancer drops fragments: all but the first lack the \
              ports by which they are told apart",
    rfc: "RFC 791 section 2.3, RFC 8900",
    run: |target| {
        let full = full(target);
        sizes(target, &[full + 1, 8972])
    },
};

pub(super) const LONGEST: Clause = Clause {
    name: "longest",
    proves: "the longest datagram, 65,507 bytes, comes back whole",
    usually: "fragments are dropped, a queue on the way is shorter than its 44 fragments, or the \
              server's buffer is shorter than the datagram",
    rfc: "RFC 768, RFC 791 section 3.1",
    run: |target| sizes(target, &[65_507]),
};

/// The bytes of a datagram that fills a packet of 1,500 bytes: less the headers of IPv4 or
/// IPv6 and of UDP.
pub(super) fn full(target: &Target<'_>) -> usize {
    1500 - headers(target)
}

/// The bytes of the headers of IP and UDP.
pub(super) fn headers(target: &Target<'_>) -> usize {
    match target.address.is_ipv4() {
        true => 20 + 8,
        false => 40 + 8,
    }
}

fn sizes(target: &mut Target<'_>, sizes: &[usize]) -> Result<String, NotPassed> {
    let mut seen = Vec::new();
    for size in sizes {
        let mut port = target.open()?;
        let bytes = target.content(*size);
        let tries = match target.has_failed("fragments") {
            true => TRIES,
            false => Target::tries(*size),
        };
        let at = target.ask(&mut port, bytes, tries)?;
        let size = *size as u64;
        if let Some((why, trouble)) = trouble(&port, at) {
            let size = count(size, "byte", "bytes");
            let seen = format!("{size}: {why}");
            return Err(NotPassed::failed(seen, trouble));
        }
        let again = match port.sent[at].times {
            1 => String::new(),
            times => format!(" (at the {} try)", ordinal(times as u64)),
        };
        seen.push(whole(size) + &again);
    }
    let last = seen.pop().unwrap_or_default();
    let sizes = match seen.is_empty() {
        true => last,
        false => format!("{} and {last}", seen.join(", ")),
    };
    Ok(format!("{sizes} bytes came back"))
}
