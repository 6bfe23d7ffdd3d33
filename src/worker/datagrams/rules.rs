//! Which datagrams are answered: the server joins no attack.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::buckets::Buckets;
use super::own::OwnAddresses;
use super::refusal::Refusal;
use crate::base::address::canonical;
use crate::base::address::is_of_many;
use crate::base::sys::datagram::Received;

/// Ports below this are those of services, many of which answer whatever comes.
const LOW_PORTS: u16 = 1024;

#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) answers_low_ports: bool,
    /// The ports of this server, on any address of this machine.
    pub(super) own_ports: Vec<u16>,
    pub(super) own: OwnAddresses,
    /// What each source may send; `None` for no limit.
    pub(super) buckets: Option<Buckets>,
}

impl Rules {
    /// Whether to answer a datagram that came to a socket with the address `local`.
    ///
    /// # Errors
    /// The first reason not to.
    pub(super) fn check(
        &self,
        received: &Received,
        local: SocketAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        let source = canonical(received.source);
        let is_to_many = received.to.is_some_and(|to| to.to_many);
        if received.truncated {
            return Err(Refusal::Cut);
        }
        if source.port() == 0 {
            return Err(Refusal::PortZero);
        }
        if is_to_many || !is_one_host(source.ip()) {
            return Err(Refusal::Address);
        }
        if source.port() < LOW_PORTS && !self.answers_low_ports {
            return Err(Refusal::LowPort);
        }
        let buckets = self.buckets.as_ref();
        if !buckets.is_none_or(|all| all.admit(source, received.bytes, now)) {
            return Err(Refusal::Rate);
        }
        if self.own_ports.contains(&source.port()) {
            let local = received.to.map_or(local.ip(), |to| to.address);
            if source.ip() == local.to_canonical() || self.own.contain(source.ip(), now) {
                return Err(Refusal::Own);
            }
        }
        Ok(())
    }
}

/// Whether an address can be that of one host. To a broadcast address of a subnet, which looks
/// like others, the kernel refuses to send.
fn is_one_host(address: IpAddr) -> bool {
    !(address.is_unspecified() || is_of_many(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sys::datagram::Local;

    const LOCAL: &str = "192.0.2.1:20162";

    fn from(source: &str) -> Received {
        Received::plain(4, false, source.parse().unwrap())
    }

    fn rules() -> Rules {
        Rules {
            own_ports: vec![20162],
            ..Rules::default()
        }
    }

    fn check(rules: &Rules, received: &Received) -> Result<(), Refusal> {
        rules.check(received, LOCAL.parse().unwrap(), Instant::now())
    }

    #[test]
    fn a_source_that_is_not_one_host_with_a_high_port_is_refused_by_its_reason() {
        for (source, expected) in [
            ("198.51.100.1:1024", Ok(())),
            ("[2001:db8::1]:65535", Ok(())),
            ("198.51.100.1:0", Err(Refusal::PortZero)),
            ("[::ffff:198.51.100.1]:0", Err(Refusal::PortZero)),
            ("198.51.100.1:1023", Err(Refusal::LowPort)),
            ("[2001:db8::1]:7", Err(Refusal::LowPort)),
            ("255.255.255.255:5000", Err(Refusal::Address)),
            ("[::ffff:255.255.255.255]:5000", Err(Refusal::Address)),
            ("0.0.0.0:5000", Err(Refusal::Address)),
            ("224.0.0.1:5000", Err(Refusal::Address)),
            ("[ff02::1]:5000", Err(Refusal::Address)),
            ("[::]:5000", Err(Refusal::Address)),
        ] {
            assert_eq!(check(&rules(), &from(source)), expected, "{source}");
        }
        let all = Rules {
            answers_low_ports: true,
            ..rules()
        };
        assert_eq!(check(&all, &from("198.51.100.1:7")), Ok(()));
        assert_eq!(check(&all, &from("198.51.100.1:0")), Err(Refusal::PortZero));
    }

    #[test]
    fn a_port_of_ours_is_refused_on_every_address_of_this_machine_and_on_no_other() {
        for own in [LOCAL, "127.0.0.1:20162", "127.9.9.9:20162", "[::1]:20162"] {
            assert_eq!(check(&rules(), &from(own)), Err(Refusal::Own), "{own}");
        }
        for other in ["198.51.100.1:20162", "127.0.0.1:20161"] {
            assert_eq!(check(&rules(), &from(other)), Ok(()), "{other}");
        }
        let mut asked = from("198.51.100.7:20162");
        asked.to = Some(Local {
            address: "198.51.100.7".parse().unwrap(),
            interface: 1,
            to_many: false,
        });
        assert_eq!(check(&rules(), &asked), Err(Refusal::Own));
    }

    #[test]
    fn what_was_cut_or_sent_to_many_is_refused() {
        let mut received = from("198.51.100.1:5000");
        received.truncated = true;
        assert_eq!(check(&rules(), &received), Err(Refusal::Cut));
        let mut received = from("198.51.100.1:5000");
        received.to = Some(Local {
            address: "192.0.2.255".parse().unwrap(),
            interface: 1,
            to_many: true,
        });
        assert_eq!(check(&rules(), &received), Err(Refusal::Address));
    }

    #[test]
    fn a_source_over_its_rate_is_refused_before_its_address_is_looked_up() {
        let rules = Rules {
            buckets: Some(Buckets::new(64, Instant::now())),
            ..rules()
        };
        let now = Instant::now();
        let local = LOCAL.parse().unwrap();
        let own = from("127.0.0.1:20162");
        let results = (0..65).map(|_| rules.check(&own, local, now));
        let (own, over): (Vec<_>, Vec<_>) = results.partition(|&it| it == Err(Refusal::Own));
        assert_eq!((own.len(), over), (64, vec![Err(Refusal::Rate)]));
    }

    #[test]
    fn a_source_over_its_rate_is_refused() {
        let rules = Rules {
            buckets: Some(Buckets::new(100, Instant::now())),
            ..rules()
        };
        let now = Instant::now();
        let local = LOCAL.parse().unwrap();
        let one = from("198.51.100.1:5000");
        let results: Vec<_> = (0..101).map(|_| rules.check(&one, local, now)).collect();
        assert!(results[..100].iter().all(Result::is_ok));
        assert_eq!(results[100], Err(Refusal::Rate));
    }
}
