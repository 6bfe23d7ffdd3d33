//! How many clients each source has. A source is the set of addresses that one party
//! can be assumed to hold: an IPv4 address, an IPv6 /64, or a host of the same link.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::units;

/// The table is not searched for sources without clients before it has this many.
const PURGE_FROM: usize = 64;

/// Counts one client of its source, until the guard is dropped, on any thread.
#[derive(Debug)]
pub(crate) struct SourceGuard {
    /// The reference count is the number of clients, plus one for the table.
    _count: Arc<()>,
}

/// The sources that have clients. The thread that learns a client's address locks the
/// table once: the main thread or, behind a load balancer, the client's worker. When a
/// client ends, an atomic counter is decremented without the lock.
#[derive(Debug)]
pub(crate) struct Sources {
    most: usize,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    live: HashMap<Source, Arc<()>>,
    /// At this many sources, those without clients are removed.
    purge_at: usize,
}

/// A client was refused because its source has the most connections that it may have.
/// The text follows the client's name.
#[derive(Debug)]
pub(crate) struct SourceFull {
    most: usize,
}

impl fmt::Display for SourceFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = units::plain_count(self.most as u64, "connection", "connections");
        write!(f, "refused: its source has {most} (--max-per-source)")
    }
}

impl Sources {
    /// Admits at most `most` clients a source.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            table: Mutex::new(Table {
                live: HashMap::new(),
                purge_at: PURGE_FROM,
            }),
        }
    }

    /// Counts a client from `peer`; its port does not matter.
    ///
    /// # Errors
    /// Its source has as many clients as it may have.
    pub(crate) fn admit(&self, peer: SocketAddr) -> Result<SourceGuard, SourceFull> {
        // A panic can't leave the table inconsistent, so a poisoned lock is usable.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.live.len() >= table.purge_at {
            table.live.retain(|_, count| Arc::strong_count(count) > 1);
            table.purge_at = PURGE_FROM.max(2 * table.live.len());
        }
        let count = table.live.entry(Source::of(peer)).or_default();
        match Arc::strong_count(count) <= self.most {
            true => Ok(SourceGuard {
                _count: Arc::clone(count),
            }),
            false => Err(SourceFull { most: self.most }),
        }
    }
}

/// The key of a source: the part of the address that its clients have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// An IPv4 address, however IPv6 carries it.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address, the smallest prefix that a network is given:
    /// a host may use any number of addresses in it (RFC 8981).
    Prefix(u64),
    /// An IPv6 address that is one host's alone, and its link, by the scope.
    Host(Ipv6Addr, u32),
}

impl Source {
    pub(super) fn of(peer: SocketAddr) -> Self {
        match (peer.ip().to_canonical(), peer) {
            (IpAddr::V4(v4), _) => Self::V4(v4),
            // All hosts of a link share the prefix fe80::/64, and each link has its own.
            (IpAddr::V6(v6), SocketAddr::V6(peer)) if v6.is_unicast_link_local() => {
                Self::Host(v6, peer.scope_id())
            }
            (IpAddr::V6(v6), _) => match embedded(v6) {
                Some(v4) => Self::V4(v4),
                // A network's own translator has as many forms of address as RFC 6052
                // has; each stands for one IPv4 address.
                None if v6.segments()[..3] == [0x64, 0xff9b, 1] => Self::Host(v6, 0),
                None => Self::Prefix((v6.to_bits() >> 64) as u64),
            },
        }
    }
}

/// The IPv4 address of the client behind a translator or a tunnel, where the form of the
/// address says it: all that come by 64:ff9b::/96 share a /64, and who has a 6to4 prefix
/// has 65,536 of them.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = v6.to_bits();
    match v6.segments() {
        // NAT64: RFC 6052, section 2.1.
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Some(Ipv4Addr::from_bits(bits as u32)),
        // 6to4: RFC 3056, section 2.
        [0x2002, ..] => Some(Ipv4Addr::from_bits((bits >> 80) as u32)),
        // Teredo has it inverted: RFC 4380, section 4.
        [0x2001, 0, ..] => Some(Ipv4Addr::from_bits(!(bits as u32))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV6;

    use super::*;

    fn peer(text: &str) -> SocketAddr {
        (text.parse::<IpAddr>().unwrap(), 7).into()
    }

    #[test]
    fn an_ipv4_address_is_a_source_however_ipv6_carries_it_and_an_ipv6_address_counts_by_its_64() {
        let same = |one, other| Source::of(peer(one)) == Source::of(peer(other));
        assert!(same("::ffff:127.0.0.1", "127.0.0.1"));
        assert!(!same("127.0.0.1", "127.0.0.2"));
        assert!(same("2001:db8:1:2::3", "2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert!(!same("2001:db8:1:2::3", "2001:db8:1:3::3"));
        assert!(same("fd00::1", "fd00::2"));
        assert!(!same("::1", "127.0.0.1"));
        assert!(!same("::ffff:10.0.0.1", "::ffff:10.0.0.2"));
    }

    #[test]
    fn behind_translators_and_tunnels_the_ipv4_address_within_counts() {
        // NAT64, 6to4 and Teredo, whose inverted address is 192.0.2.45.
        for text in [
            "64:ff9b::192.0.2.45",
            "2002:c000:22d::1",
            "2002:c000:22d:ffff::2",
            "2001:0:cb00:7101::3fff:fdd2",
            "2001:0:1:2:3:4:3fff:fdd2",
        ] {
            assert_eq!(
                Source::of(peer(text)),
                Source::of(peer("192.0.2.45")),
                "{text}"
            );
        }
        let same = |one, other| Source::of(peer(one)) == Source::of(peer(other));
        assert!(!same("64:ff9b::192.0.2.45", "64:ff9b::192.0.2.46"));
        assert!(!same("64:ff9b:1::192.0.2.45", "64:ff9b:1::192.0.2.46"));
        assert!(!same("2002:c000:22d::1", "2002:c000:22e::1"));
        assert!(!same(
            "2001:0:1:2:3:4:3fff:fdd2",
            "2001:0:1:2:3:4:3fff:fdd3"
        ));
        // Neighbours of these prefixes are ordinary addresses.
        assert!(same("64:ff9b:0:0:1::1", "64:ff9b:0:0:1::2"));
        assert!(same("2001:1::c000:22d", "2001:1::c000:22e"));
        assert!(same("64:ff9b:2::1", "64:ff9b:2::2"));
    }

    #[test]
    fn each_host_of_a_link_is_a_source_and_each_link_has_its_own_hosts() {
        let on = |text: &str, scope| {
            Source::of(SocketAddrV6::new(text.parse().unwrap(), 7, 0, scope).into())
        };
        assert_eq!(on("fe80::a", 2), on("fe80::a", 2));
        assert_ne!(on("fe80::a", 2), on("fe80::b", 2));
        assert_ne!(on("fe80::a", 2), on("fe80::a", 3));
        assert_ne!(on("febf::a", 2), on("febf::b", 2));
        assert_eq!(on("fec0::a", 0), on("fec0::b", 0));
    }

    #[test]
    fn a_source_admits_up_to_its_limit_and_another_when_a_guard_is_dropped() {
        let sources = Sources::new(2);
        let first = sources.admit(peer("127.0.0.1")).unwrap();
        let _second = sources.admit(peer("::ffff:127.0.0.1")).unwrap();
        assert!(sources.admit(peer("127.0.0.1")).is_err());
        assert!(sources.admit(peer("127.0.0.2")).is_ok());
        std::thread::spawn(|| drop(first)).join().unwrap();
        let _third = sources.admit(peer("127.0.0.1")).unwrap();
        assert!(sources.admit(peer("127.0.0.1")).is_err());
    }

    #[test]
    fn a_source_without_clients_is_removed_and_one_with_clients_is_not() {
        let sources = Sources::new(1);
        let _guard = sources.admit(peer("127.0.0.1"));
        for number in 0..10_000_u128 {
            let address = Ipv6Addr::from_bits((0x2001 << 112) | (number << 64));
            assert!(sources.admit(SocketAddr::from((address, 7))).is_ok());
            assert!(sources.table.lock().unwrap().live.len() <= PURGE_FROM + 1);
        }
        assert!(sources.admit(peer("127.0.0.1")).is_err());
    }
}
