//! The addresses of this machine, as they were a short time ago.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::sys::addresses::own_addresses;

/// The system is asked at most once in this time: the answer takes as long as some dozens of
/// datagrams.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Which addresses are this machine's. All workers share it; it is asked about a datagram only
/// whose source has a port of this server.
#[derive(Debug, Default)]
pub(super) struct OwnAddresses(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    addresses: Vec<IpAddr>,
    ask_at: Option<Instant>,
    /// It was logged that the system does not answer.
    is_warned: bool,
}

impl OwnAddresses {
    /// Whether this machine has the address, in IPv4's own form where it is one of that. Where
    /// the system does not answer, the last answer counts.
    pub(super) fn contain(&self, address: IpAddr, now: Instant) -> bool {
        self.contain_as(address, now, own_addresses)
    }

    fn contain_as(
        &self,
        address: IpAddr,
        now: Instant,
        ask: impl FnOnce() -> Option<Vec<IpAddr>>,
    ) -> bool {
        // All of 127.0.0.0/8 is this machine's, whatever its interface lists.
        if address.is_loopback() {
            return true;
        }
        // A panic can't leave the list inconsistent, so a poisoned lock is usable.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.ask_at.is_none_or(|at| now >= at) {
            known.ask_at = Some(now + ASK_EVERY);
            match ask() {
                Some(addresses) => known.addresses = addresses,
                None if known.is_warned => {}
                None => {
                    known.is_warned = true;
                    log::warn!(
                        "the system does not say which addresses this machine has: datagrams \
                         from ports of this server are answered, unless they are from the \
                         address that they are for"
                    );
                }
            }
        }
        known.addresses.contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_asked_once_in_a_while_and_its_last_answer_counts() {
        let (own, start) = (OwnAddresses::default(), Instant::now());
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let two: IpAddr = "2001:db8::2".parse().unwrap();
        let has = |address, now, answer: Option<Vec<IpAddr>>| {
            let mut asked = false;
            let has = own.contain_as(address, now, || {
                asked = true;
                answer
            });
            (has, asked)
        };
        assert_eq!(has(one, start, Some(vec![one])), (true, true));
        let soon = start + ASK_EVERY - Duration::from_nanos(1);
        assert_eq!(has(one, soon, None), (true, false));
        assert_eq!(has(two, soon, None), (false, false));
        assert_eq!(has(two, start + ASK_EVERY, Some(vec![two])), (true, true));
        let later = start + 5 * ASK_EVERY;
        assert_eq!(has(two, later, None), (true, true), "it can't be asked");
        let loopback = "127.9.9.9".parse().unwrap();
        assert_eq!(has(loopback, later, None), (true, false));
    }
}
