//! How many clients each source has. A source is the set of addresses that one party
//! can be assumed to hold: an IPv4 address or an IPv6 /64.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

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
    live: HashMap<IpAddr, Arc<()>>,
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
        let most = self.most;
        write!(
            f,
            "refused: its source has {most} connections (--max-per-source)"
        )
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

    /// Counts a client from `ip`.
    ///
    /// # Errors
    /// Its source has as many clients as it may have.
    pub(crate) fn admit(&self, ip: IpAddr) -> Result<SourceGuard, SourceFull> {
        // A panic can't leave the table inconsistent, so a poisoned lock is usable.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.live.len() >= table.purge_at {
            table.live.retain(|_, count| Arc::strong_count(count) > 1);
            table.purge_at = PURGE_FROM.max(2 * table.live.len());
        }
        let count = table.live.entry(source(ip)).or_default();
        match Arc::strong_count(count) <= self.most {
            true => Ok(SourceGuard {
                _count: Arc::clone(count),
            }),
            false => Err(SourceFull { most: self.most }),
        }
    }
}

/// The source of an address. An IPv4 address, also one mapped to IPv6, is a source of
/// its own. IPv6 addresses count by their /64, the smallest prefix that a network is
/// given: a host may use any number of addresses in it (RFC 8981).
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
    fn a_mapped_address_counts_as_ipv4_and_an_ipv6_address_by_its_64() {
        let same = |one, other| source(ip(one)) == source(ip(other));
        assert!(same("::ffff:127.0.0.1", "127.0.0.1"));
        assert!(!same("127.0.0.1", "127.0.0.2"));
        assert!(same("2001:db8:1:2::3", "2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert!(!same("2001:db8:1:2::3", "2001:db8:1:3::3"));
        assert!(!same("::1", "127.0.0.1"));
        assert!(!same("::ffff:10.0.0.1", "::ffff:10.0.0.2"));
    }

    #[test]
    fn a_source_admits_up_to_its_limit_and_another_when_a_guard_is_dropped() {
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
    fn a_source_without_clients_is_removed_and_one_with_clients_is_not() {
        let sources = Sources::new(1);
        let _guard = sources.admit(ip("127.0.0.1"));
        for number in 0..10_000_u128 {
            let address = Ipv6Addr::from_bits((0x2001 << 112) | (number << 64));
            assert!(sources.admit(address.into()).is_ok());
            assert!(sources.table.lock().unwrap().live.len() <= PURGE_FROM + 1);
        }
        assert!(sources.admit(ip("127.0.0.1")).is_err());
    }
}
