//! How many clients each source has, where a source is what one party can be
//! taken to have of addresses.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Sources that are known before those without a client are looked for.
const FEW: usize = 64;

/// A client's place among those of its source; given back when it is dropped,
/// on whichever thread that is.
#[derive(Debug)]
pub(crate) struct SourceGuard {
    /// The sources' own is one more.
    _held: Arc<()>,
}

/// The sources that have clients. Whoever comes to know a client locks it once: the
/// accepting thread, or behind a load balancer the client's worker. The end of a
/// client counts an atomic number down.
#[derive(Debug)]
pub(crate) struct Sources {
    most: usize,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    live: HashMap<IpAddr, Arc<()>>,
    /// At so many sources, those without a client are forgotten.
    purge_at: usize,
}

/// A client whose source has no place left; it reads on from the client's name.
#[derive(Debug)]
pub(crate) struct Crowded {
    most: usize,
}

impl fmt::Display for Crowded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.most;
        write!(
            f,
            "refused: its source has {most} connections (--max-per-source)"
        )
    }
}

impl Sources {
    /// At most so many clients a source.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            table: Mutex::new(Table {
                live: HashMap::new(),
                purge_at: FEW,
            }),
        }
    }

    /// A place for a client from `ip`, unless its source has none left.
    pub(crate) fn admit(&self, ip: IpAddr) -> Result<SourceGuard, Crowded> {
        // Each of its steps leaves it whole.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.live.len() >= table.purge_at {
            table.live.retain(|_, held| Arc::strong_count(held) > 1);
            table.purge_at = FEW.max(2 * table.live.len());
        }
        let held = table.live.entry(source(ip)).or_default();
        match Arc::strong_count(held) <= self.most {
            true => Ok(SourceGuard {
                _held: Arc::clone(held),
            }),
            false => Err(Crowded { most: self.most }),
        }
    }
}

/// What an address counts as: IPv4 as itself, also where IPv6 carries it; IPv6
/// by its /64, which is the least a network is given, and of which a host takes
/// a new address whenever it likes (RFC 8981).
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn mapped_addresses_are_those_they_carry_and_ipv6_counts_by_its_64() {
        let same = |one, other| source(ip(one)) == source(ip(other));
        assert!(same("::ffff:127.0.0.1", "127.0.0.1"));
        assert!(!same("127.0.0.1", "127.0.0.2"));
        assert!(same("2001:db8:1:2::3", "2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert!(!same("2001:db8:1:2::3", "2001:db8:1:3::3"));
        assert!(!same("::1", "127.0.0.1"));
        assert!(!same("::ffff:10.0.0.1", "::ffff:10.0.0.2"));
    }

    #[test]
    fn a_source_has_so_many_places_and_one_more_when_one_is_given_back() {
        let sources = Sources::new(2);
        let first = sources.admit(ip("127.0.0.1")).unwrap();
        let _second = sources.admit(ip("::ffff:127.0.0.1")).unwrap();
        assert!(sources.admit(ip("127.0.0.1")).is_err());
        assert!(sources.admit(ip("127.0.0.2")).is_ok());
        std::thread::spawn(|| drop(first)).join().unwrap();
        let _third = sources.admit(ip("127.0.0.1")).unwrap();
        assert!(sources.admit(ip("127.0.0.1")).is_err());
    }

    #[test]
    fn a_source_without_clients_is_forgotten_and_one_with_some_never() {
        let sources = Sources::new(1);
        let _held = sources.admit(ip("127.0.0.1"));
        for number in 0..10_000_u128 {
            let address = Ipv6Addr::from_bits((0x2001 << 112) | (number << 64));
            assert!(sources.admit(address.into()).is_ok());
            assert!(sources.table.lock().unwrap().live.len() <= FEW + 1);
        }
        assert!(sources.admit(ip("127.0.0.1")).is_err());
    }
}
