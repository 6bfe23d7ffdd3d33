//! An address as typed by a user: `HOST:PORT`, `[V6]:PORT`, `:PORT`, `PORT` or `HOST`.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::base::error::Error;

/// The host that stands for all interfaces.
const EVERYWHERE: &str = "*";

/// A host, a port, or both. The caller supplies what is missing.
///
/// ```
/// use echopool::base::address::Address;
///
/// let address: Address = "[::1]:7".parse().unwrap();
/// assert_eq!((address.host(), address.port()), (Some("::1"), Some(7)));
/// assert!("localhost:70000".parse::<Address>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: Option<String>,
    port: Option<u16>,
}

impl Address {
    /// An address with a port and no host.
    pub const fn from_port(port: u16) -> Self {
        Self {
            host: None,
            port: Some(port),
        }
    }

    /// The host, without the brackets of an IPv6 literal.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The port.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// This address, with `host` as its host if it names none.
    #[must_use]
    pub fn or_host(&self, host: &str) -> Self {
        Self {
            host: Some(self.host().unwrap_or(host).to_owned()),
            port: self.port,
        }
    }

    /// Whether a server is to listen on all interfaces, in both families: no host, or `*`.
    pub fn is_everywhere(&self) -> bool {
        self.host().is_none_or(|host| host == EVERYWHERE)
    }

    /// Whether the host is an IP address itself, and not a name that stands for some.
    pub fn is_literal(&self) -> bool {
        let host = self.host().and_then(|host| host.split('%').next());
        host.is_some_and(|host| host.parse::<IpAddr>().is_ok())
    }

    /// Resolves the host, or else `default_host`, to all its socket addresses, with the port
    /// or else `default_port`. None is repeated, and an IPv4 address that is written as an IPv6
    /// one, `::ffff:a.b.c.d`, is IPv4.
    ///
    /// # Errors
    /// [`Error::Resolve`] when the name is unknown or has no address, or is `*`.
    pub fn resolve(&self, default_host: &str, default_port: u16) -> Result<Vec<SocketAddr>, Error> {
        self.resolve_of(None, default_host, default_port)
    }

    /// As [`resolve`](Self::resolve), with the addresses of one family alone.
    ///
    /// # Errors
    /// [`Error::Resolve`], also when the name has addresses of the other family only.
    pub fn resolve_of(
        &self,
        family: Option<Family>,
        default_host: &str,
        default_port: u16,
    ) -> Result<Vec<SocketAddr>, Error> {
        let host = self.host().unwrap_or(default_host);
        let failed = |source| Error::Resolve {
            host: host.to_owned(),
            source,
        };
        if host == EVERYWHERE {
            let source = io::Error::other("it means all interfaces, where a server can listen");
            return Err(failed(source));
        }
        let found = (host, self.port.unwrap_or(default_port))
            .to_socket_addrs()
            .map_err(failed)?;
        let mut found: Vec<SocketAddr> = found.map(canonical).collect();
        let mut seen = std::collections::HashSet::new();
        found.retain(|address| seen.insert(*address));
        if found.is_empty() {
            return Err(failed(io::Error::other("the name has no address")));
        }
        if let Some(family) = family {
            found.retain(|address| address.is_ipv4() == (family == Family::Ipv4));
            if found.is_empty() {
                return Err(failed(io::Error::other(format!("no {family} address"))));
            }
        }
        Ok(found)
    }
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 32 bits.
    Ipv4,
    /// 128 bits.
    Ipv6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host(), self.port) {
            (Some(host), Some(port)) if host.contains(':') => write!(f, "[{host}]:{port}"),
            (Some(host), Some(port)) => write!(f, "{host}:{port}"),
            (Some(host), None) => f.write_str(host),
            (None, Some(port)) => write!(f, ":{port}"),
            (None, None) => Ok(()),
        }
    }
}

/// Why a text is not an [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// The text is empty.
    #[error("an address is HOST:PORT, [V6]:PORT, :PORT, PORT or HOST")]
    Empty,
    /// It is a URL.
    #[error("an address is HOST:PORT, without the scheme and the path of a URL")]
    Url,
    /// The port is invalid.
    #[error("a port is a number from 0 to 65535")]
    Port,
    /// The host is invalid.
    #[error("a host is a name, an IPv4 address, or an IPv6 address in brackets")]
    Host,
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if text.is_empty() {
            return Err(BadAddress::Empty);
        }
        if text.contains("://") {
            return Err(BadAddress::Url);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::from_port(port(text)?));
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (literal, rest) = rest.split_once(']').ok_or(BadAddress::Host)?;
            return Ok(Self {
                host: Some(v6_literal(literal)?),
                port: match rest.strip_prefix(':') {
                    Some(digits) => Some(port(digits)?),
                    None if rest.is_empty() => None,
                    None => return Err(BadAddress::Port),
                },
            });
        }
        match text.split_once(':') {
            None => Ok(Self {
                host: Some(name(text)?),
                port: None,
            }),
            // Two colons or more without brackets: an IPv6 address without a port.
            Some((_, rest)) if rest.contains(':') => Ok(Self {
                host: Some(v6_literal(text)?),
                port: None,
            }),
            Some(("", digits)) => Ok(Self::from_port(port(digits)?)),
            Some((host, digits)) => Ok(Self {
                host: Some(name(host)?),
                port: Some(port(digits)?),
            }),
        }
    }
}

fn port(digits: &str) -> Result<u16, BadAddress> {
    // `u16::from_str` accepts a leading plus sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadAddress::Port);
    }
    digits.parse().map_err(|_| BadAddress::Port)
}

/// An IPv6 literal, with or without a scope (`fe80::1%eth0`).
fn v6_literal(text: &str) -> Result<String, BadAddress> {
    let (literal, scope) = text.split_once('%').unwrap_or((text, "0"));
    // A bracket would end the literal early when it is printed with a port.
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '[' | ']');
    let scope_is_plain = !scope.is_empty() && !scope.contains(odd);
    match literal.parse::<Ipv6Addr>() {
        Ok(_) if scope_is_plain => Ok(text.to_owned()),
        _ => Err(BadAddress::Host),
    }
}

fn name(text: &str) -> Result<String, BadAddress> {
    if text == EVERYWHERE {
        return Ok(text.to_owned());
    }
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    if text.starts_with('-') || !text.chars().all(fits) {
        return Err(BadAddress::Host);
    }
    Ok(text.to_owned())
}

/// Whether an address is of many machines by itself. A broadcast address of a subnet can't be told
/// from others.
pub(crate) fn is_of_many(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    is_broadcast || address.is_multicast()
}

/// Converts an IPv4-mapped IPv6 address, `::ffff:a.b.c.d`, to IPv4: a socket of both families
/// reports IPv4 clients so.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match (address.ip().to_canonical(), address) {
        (IpAddr::V4(v4), _) => SocketAddr::from((v4, address.port())),
        (IpAddr::V6(_), address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Result<(Option<String>, Option<u16>), BadAddress> {
        text.parse::<Address>().map(|a| (a.host, a.port))
    }

    #[test]
    fn every_form_is_parsed() {
        let host = |h: &str| Some(h.to_owned());
        for (text, want) in [
            ("127.0.0.1:7", (host("127.0.0.1"), Some(7))),
            ("example.org:65535", (host("example.org"), Some(65535))),
            ("[::1]:20162", (host("::1"), Some(20162))),
            ("[fe80::1%eth0]:7", (host("fe80::1%eth0"), Some(7))),
            (":0", (None, Some(0))),
            ("4000", (None, Some(4000))),
            ("localhost", (host("localhost"), None)),
            ("::1", (host("::1"), None)),
            ("[::]", (host("::"), None)),
            ("*", (host("*"), None)),
            ("*:7", (host("*"), Some(7))),
        ] {
            assert_eq!(parts(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn a_bad_part_is_named() {
        for (text, want) in [
            ("", BadAddress::Empty),
            ("70000", BadAddress::Port),
            (":", BadAddress::Port),
            (":+7", BadAddress::Port),
            ("host:", BadAddress::Port),
            ("host:http", BadAddress::Port),
            ("[::1]7", BadAddress::Port),
            ("[::1", BadAddress::Host),
            ("[]:7", BadAddress::Host),
            ("[localhost]:7", BadAddress::Host),
            ("a:b:c", BadAddress::Host),
            ("fe80::1%a]b", BadAddress::Host),
            ("two words", BadAddress::Host),
            ("tcp://host", BadAddress::Url),
            ("http://host:80/", BadAddress::Url),
            ("-v", BadAddress::Host),
            ("**:7", BadAddress::Host),
            ("*.example.org", BadAddress::Host),
            ("[*]:7", BadAddress::Host),
            ("host\n", BadAddress::Host),
        ] {
            assert_eq!(parts(text), Err(want), "{text:?}");
        }
    }

    #[test]
    fn a_printed_address_parses_to_itself() {
        for text in ["[::1]:7", "host:7", ":7", "host", "::1", "*:7", "*"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_valid_address_parses_to_itself_when_printed(
            text in "[a-f0-9:.%\\[\\]+-]{0,14}|\\[[0-9a-f:%]{2,12}\\](:[0-9]{1,5})?|\\PC{0,8}"
        ) {
            if let Ok(address) = text.parse::<Address>() {
                proptest::prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }

    #[test]
    fn all_interfaces_are_no_host_or_a_star_and_nobody_can_connect_there() {
        for (text, everywhere) in [
            ("7", true),
            ("*", true),
            ("*:7", true),
            ("0.0.0.0:7", false),
            ("[::]:7", false),
            ("host:7", false),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.is_everywhere(), everywhere, "{text}");
        }
        let star: Address = "*:7".parse().unwrap();
        let error = star.resolve("localhost", 1).unwrap_err().to_string();
        assert!(
            error.starts_with("could not resolve *: it means all"),
            "{error}"
        );
        assert_eq!(star.or_host("host"), star);
        let port = Address::from_port(7).or_host("host");
        assert_eq!(port, "host:7".parse().unwrap());
    }

    #[test]
    fn an_address_is_distinguished_from_a_name() {
        for (text, literal) in [
            ("127.0.0.1:7", true),
            ("[fe80::1%eth0]:7", true),
            ("::1", true),
            ("localhost:7", false),
            ("*:7", false),
            ("7", false),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.is_literal(), literal, "{text}");
        }
    }

    #[test]
    fn a_mapped_address_resolves_to_ipv4() {
        for (text, want) in [
            ("[::ffff:127.0.0.1]:7", "127.0.0.1:7"),
            ("::ffff:7f00:1", "127.0.0.1:9"),
            ("[::ffff:0.0.0.0]:7", "0.0.0.0:7"),
            ("[::1]:7", "[::1]:7"),
        ] {
            let address: Address = text.parse().unwrap();
            let want: Vec<SocketAddr> = vec![want.parse().unwrap()];
            assert_eq!(address.resolve("", 9).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn one_family_alone_is_resolved_or_reported_missing() {
        let [v4, v6]: [Address; 2] = ["127.0.0.1", "::1"].map(|text| text.parse().unwrap());
        for (address, has, lacks) in [
            (&v4, Family::Ipv4, Family::Ipv6),
            (&v6, Family::Ipv6, Family::Ipv4),
        ] {
            let all = address.resolve("localhost", 7).unwrap();
            assert_eq!(address.resolve_of(Some(has), "localhost", 7).unwrap(), all);
            let error = address.resolve_of(Some(lacks), "localhost", 7).unwrap_err();
            let error = error.to_string();
            let want = format!("could not resolve {address}: no {lacks} address");
            assert_eq!(error, want);
        }
    }

    #[test]
    fn a_mapped_address_becomes_ipv4() {
        let mapped = "[::ffff:10.1.2.3]:99".parse().unwrap();
        assert_eq!(canonical(mapped), "10.1.2.3:99".parse().unwrap());
        let v6 = "[2001:db8::1]:99".parse().unwrap();
        assert_eq!(canonical(v6), v6);
    }
}
