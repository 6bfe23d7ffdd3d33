//! The local addresses that connections are made from.
//!
//! The connections from one local address to one server are limited by its local
//! ports, which stay in use for a minute after a close. Each further address has
//! as many ports of its own.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket};

use crate::base::error::cause;
use crate::base::{connecting, sys};

/// One local address, or a range of them: `10.0.0.7`,
/// `127.0.0.1..127.0.0.200`.
///
/// ```
/// use echopool::bench::source::Source;
///
/// let source: Source = "127.0.0.1..127.0.0.200".parse().unwrap();
/// assert_eq!(source.count(), 200);
/// assert!("127.0.0.9..127.0.0.1".parse::<Source>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Source {
    first: IpAddr,
    last: IpAddr,
}

impl Source {
    /// The number of addresses, at most `u64::MAX`.
    pub fn count(&self) -> u64 {
        let beyond_first = number(self.last) - number(self.first);
        u64::try_from(beyond_first).map_or(u64::MAX, |beyond| beyond.saturating_add(1))
    }

    /// The address at `place`, where the first is at 0.
    fn nth(&self, place: u64) -> IpAddr {
        let number = number(self.first) + u128::from(place);
        match self.first {
            IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}..{}", self.first, self.last),
        }
    }
}

/// Why a text is not a [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSource {
    /// It has no valid address.
    #[error("it must be an IP address, or two with .. between them")]
    Address,
    /// The two addresses are of different families, or the first is behind the last.
    #[error("the first address must not come after the last, and both must be of one family")]
    Order,
}

impl FromStr for Source {
    type Err = BadSource;

    fn from_str(text: &str) -> Result<Self, BadSource> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let [first, last] = [first, last].map(|end| end.parse().map_err(|_| BadSource::Address));
        let (first, last): (IpAddr, IpAddr) = (first?, last?);
        match first.is_ipv4() == last.is_ipv4() && first <= last {
            true => Ok(Self { first, last }),
            false => Err(BadSource::Order),
        }
    }
}

impl TryFrom<String> for Source {
    type Error = BadSource;

    fn try_from(text: String) -> Result<Self, BadSource> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

/// The local address of connection number `number` to `to`: the addresses of its
/// family in turn. `None` if there is no source, so that the system chooses.
///
/// # Errors
/// All sources are of the other family.
pub(super) fn choose(
    sources: &[Source],
    number: u64,
    to: SocketAddr,
) -> io::Result<Option<IpAddr>> {
    if sources.is_empty() {
        return Ok(None);
    }
    let of_family = || {
        sources
            .iter()
            .filter(|source| source.first.is_ipv4() == to.is_ipv4())
    };
    let all = of_family().map(Source::count).fold(0, u64::saturating_add);
    let mut place = number.checked_rem(all).ok_or_else(|| {
        let family = if to.is_ipv4() { "IPv4" } else { "IPv6" };
        io::Error::other(format!("no --source is an {family} address"))
    })?;
    for source in of_family() {
        match place.checked_sub(source.count()) {
            None => return Ok(Some(source.nth(place))),
            Some(rest) => place = rest,
        }
    }
    Ok(None)
}

/// Begins to make connection number `number`, without blocking.
///
/// # Errors
/// Those of socket(2), bind(2) and connect(2).
pub(super) fn begin(
    sources: &[Source],
    number: u64,
    to: SocketAddr,
) -> io::Result<mio::net::TcpStream> {
    let Some(from) = choose(sources, number, to)? else {
        return connecting::begin(to);
    };
    connecting::begin_with(bound(from)?, to)
}

/// A non-blocking socket that is bound to `from` and a port chosen at connect.
fn bound(from: IpAddr) -> io::Result<Socket> {
    let from = SockAddr::from(SocketAddr::new(from, 0));
    let domain = Domain::from(i32::from(from.family()));
    let socket = sys::non_blocking(domain)?;
    // Else the port is taken for this address, whatever it connects to.
    sys::choose_port_late(&socket)?;
    socket.bind(&from).map_err(|error| {
        let from = from.as_socket().map(|from| from.ip());
        let from = from.map_or_else(String::new, |from| from.to_string());
        // Not the error's own kind: a missing address is not a lack of ports.
        io::Error::other(format!("not from {from}: {}", cause(&error)))
    })?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(texts: &[&str]) -> Vec<Source> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_source_is_an_address_or_a_range() {
        for text in [
            "10.0.0.7",
            "127.0.0.1..127.0.0.200",
            "::1",
            "fd00::1..fd00::ff",
        ] {
            let source: Source = text.parse().unwrap();
            assert_eq!(source.to_string(), text);
        }
        for (text, error) in [
            ("", BadSource::Address),
            ("localhost", BadSource::Address),
            ("127.0.0.1:80", BadSource::Address),
            ("127.0.0.1..", BadSource::Address),
            ("127.0.0.2..127.0.0.1", BadSource::Order),
            ("127.0.0.1..::1", BadSource::Order),
        ] {
            assert_eq!(text.parse::<Source>(), Err(error), "{text}");
        }
    }

    #[test]
    fn addresses_of_the_servers_family_take_turns() {
        let sources = sources(&["127.0.0.254..127.0.1.1", "::1", "127.9.9.9"]);
        let to = "127.0.0.1:7".parse().unwrap();
        let chosen = |number| choose(&sources, number, to).unwrap().unwrap().to_string();
        let turn: Vec<String> = (0..6).map(chosen).collect();
        let all = [
            "127.0.0.254",
            "127.0.0.255",
            "127.0.1.0",
            "127.0.1.1",
            "127.9.9.9",
        ];
        assert_eq!(turn[..5], all);
        assert_eq!(turn[5], all[0]);
        let v6 = choose(&sources, 5, "[::1]:7".parse().unwrap()).unwrap();
        assert_eq!(v6, Some(Ipv6Addr::LOCALHOST.into()));
    }

    #[test]
    fn the_system_chooses_without_sources_and_none_of_the_family_is_an_error() {
        let to = "127.0.0.1:7".parse().unwrap();
        assert_eq!(choose(&[], 3, to).unwrap(), None);
        let error = choose(&sources(&["::1"]), 0, to).unwrap_err();
        assert_eq!(error.to_string(), "no --source is an IPv4 address");
    }

    #[test]
    fn all_addresses_of_a_family_can_be_counted() {
        assert_eq!(sources(&["0.0.0.0..255.255.255.255"])[0].count(), 1 << 32);
        let all = sources(&["::..ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"])[0];
        assert_eq!(all.count(), u64::MAX);
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let to = "127.0.0.1:7".parse().unwrap();
        let error = begin(&sources(&["192.0.2.1"]), 0, to).unwrap_err();
        assert!(
            error.to_string().starts_with("not from 192.0.2.1: "),
            "{error}"
        );
    }
}
