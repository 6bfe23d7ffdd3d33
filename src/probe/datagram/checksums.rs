//! How many datagrams this machine has received with a wrong checksum.

use std::fs::read_to_string;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Tells drops for a wrong checksum from those for want of room. The system counts wrong
/// checksums for the whole machine, so one of these is for all sockets of a probe.
#[derive(Debug)]
pub(crate) struct Checksums {
    server: SocketAddr,
    /// The machine's count before any could be of a datagram that came to these sockets, and
    /// those of them that were told of.
    told: Option<AtomicU64>,
}

impl Checksums {
    /// Of what comes from here on to sockets that talk to this server.
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self {
            server,
            told: wrong_checksums(server).map(AtomicU64::new),
        }
    }

    /// How many of so many datagrams that the kernel has newly dropped may have had a wrong
    /// checksum: at most as many as the whole machine received since. `None` where the system
    /// does not say.
    pub(crate) fn among(&self, dropped: u64) -> Option<u64> {
        let told_of = self.told.as_ref()?;
        let all = wrong_checksums(self.server)?;
        let new = |told: u64| all.saturating_sub(told).min(dropped);
        let add = |told| Some(told + new(told));
        // It does not fail, as the closure always has a value.
        let before = told_of.fetch_update(Relaxed, Relaxed, add);
        before.ok().map(new)
    }
}

/// How many datagrams of this address's family had a wrong checksum, of all that came to this
/// network namespace; `None` where the system does not say. The kernel drops them, and counts
/// them among the drops of the socket that they were for.
///
/// Source: `InCsumErrors` of snmp_counter.rst and RFC 4113.
fn wrong_checksums(server: SocketAddr) -> Option<u64> {
    match server {
        SocketAddr::V4(_) => of_snmp(&read_to_string("/proc/thread-self/net/snmp").ok()?),
        SocketAddr::V6(_) => of_snmp6(&read_to_string("/proc/thread-self/net/snmp6").ok()?),
    }
}

/// A line of names, and one of values.
fn of_snmp(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut all = names.split_whitespace().zip(values.split_whitespace());
    let (_, value) = all.find(|(name, _)| *name == "InCsumErrors")?;
    value.parse().ok()
}

/// A name and its value a line.
fn of_snmp6(text: &str) -> Option<u64> {
    let mut all = text
        .lines()
        .filter_map(|line| line.split_once(char::is_whitespace));
    let (_, value) = all.find(|(name, _)| *name == "Udp6InCsumErrors")?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_by_its_name() {
        let text = "\
Tcp: RtoAlgorithm InCsumErrors
Tcp: 1 9
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti
Udp: 11 12 13 14 15 16 17 18
UdpLite: InDatagrams InCsumErrors
UdpLite: 1 2
";
        assert_eq!(of_snmp(text), Some(17));
        // An old kernel has no such count.
        assert_eq!(of_snmp("Udp: InDatagrams\nUdp: 1\n"), None);
        assert_eq!(of_snmp(""), None);
        let text = "Udp6InErrors   \t3\nUdp6InCsumErrors    \t5\nUdpLite6InCsumErrors\t7\n";
        assert_eq!(of_snmp6(text), Some(5));
        assert_eq!(of_snmp6("Udp6InErrors 3\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_system_says() {
        let of = |address: &str| wrong_checksums(address.parse().unwrap());
        assert!(of("127.0.0.1:7").is_some());
        assert!(of("[::1]:7").is_some());
    }
}
