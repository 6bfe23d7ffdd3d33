//! What a failed clause saw, as data: how its connection ended, after how much, and when.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::begun::Begun;
use super::lost::Loss;
use crate::probe::connect::is_reached_itself;
use crate::probe::pattern::Damage;

/// Operation not permitted, errno(3).
const EPERM: i32 = 1;

/// Why no connection was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotMade {
    /// By a RST, or by ICMP port unreachable: the error is the same.
    Refused,
    /// Nothing came back within the time-out.
    Unanswered,
    /// ICMP said so, or this machine has no route: what the kernel calls it.
    Unreachable(&'static str),
    /// This machine takes no such address: one of a link, which is not named.
    Unusable,
    /// A route of this machine drops what goes there.
    Dropped,
    /// This machine forbids it; or by IPv6, where `or_icmp`, ICMPv6 did.
    Forbidden { or_icmp: bool },
    /// It reached its own socket.
    ReachedItself,
    /// Established, and reset before it could be used.
    Reset,
    /// Anything else.
    Other,
}

impl NotMade {
    /// Whether an ICMP message may have said so.
    pub(super) const fn is_by_icmp(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::Forbidden { or_icmp: true }
        )
    }

    /// What the error of a connect to that address says.
    pub(super) fn of(error: &io::Error, address: IpAddr) -> Self {
        match error.kind() {
            _ if is_reached_itself(error) => Self::ReachedItself,
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::Unanswered,
            _ if is_no_protocol(error) => Self::Unreachable("protocol unreachable"),
            ErrorKind::InvalidInput => match is_link_local(address) {
                true => Self::Unusable,
                // Routes of the type blackhole have that error.
                false => Self::Dropped,
            },
            ErrorKind::HostUnreachable => Self::Unreachable("host unreachable"),
            ErrorKind::NetworkUnreachable => Self::Unreachable("network unreachable"),
            // Linux makes EACCES of ICMPv6 type 1 code 1, and of no ICMP of IPv4; a firewall of
            // this machine makes EPERM, a route that prohibits or SELinux makes EACCES.
            ErrorKind::PermissionDenied => Self::Forbidden {
                or_icmp: address.is_ipv6() && error.raw_os_error() != Some(EPERM),
            },
            // One that was reset at once has no peer any more.
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::NotConnected => {
                Self::Reset
            }
            _ => Self::Other,
        }
    }
}

const fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Whether it is what Linux makes of ICMP type 3 code 2.
#[cfg(unix)]
fn is_no_protocol(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOPROTOOPT)
}

#[cfg(not(unix))]
fn is_no_protocol(_: &io::Error) -> bool {
    false
}

/// Bytes came that were not those sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The offset of the first in the echo, in bytes.
    pub(super) at: u64,
    /// What the stream tells of it; `None` where the bytes were of no stream.
    pub(super) damage: Option<Damage>,
    /// What was to come from there on; empty where nothing was.
    pub(super) sent: Vec<u8>,
    /// What came, as far as it was read.
    pub(super) came: Vec<u8>,
}

/// How a clause's connection ended, or what else was seen of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum End {
    /// No connection was made.
    NotMade(NotMade),
    /// Nothing moved for the time-out, and more had to come: bytes, or the end where all
    /// bytes had come.
    Silence,
    /// Something moved, but less than the least rate.
    Slow,
    /// By RST.
    Reset,
    /// By FIN, too early.
    Close,
    /// Other bytes came than were sent, or more.
    Wrong(Wrong),
    /// All came, too late: this many of so many were, by so long in the median.
    Late {
        late: usize,
        of: usize,
        by: Duration,
    },
    /// The first answer of a connection came so late, and the next ones so long after what they
    /// answer: the same on each of several connections.
    LateFirst { by: Duration, next: Duration },
    /// More packets were lost than a sound path loses.
    Lost(Loss),
    /// More connections were made late, as by a SYN that is sent again, than a sound path makes.
    Begun(Begun),
    /// The server told another address than the connection has here.
    Address { seen: SocketAddr, own: SocketAddr },
    /// The server told no address where it had to.
    NoAddress,
    /// Something else, which its text tells.
    #[default]
    Other,
}

/// What became of others beside a connection that was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowd {
    /// Those that were open, and served before.
    pub(super) served: usize,
    /// Those that were served of some that were tried beside them afterwards.
    pub(super) more: usize,
}

/// What a failed clause saw. What is not known is zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Observation {
    pub(super) end: End,
    /// Bytes of the connection that the system took from us.
    pub(super) sent: u64,
    /// Bytes that came back, all of them right.
    pub(super) received: u64,
    /// Bytes that had to come back, including those that did.
    pub(super) expected: u64,
    /// The connection's age at its end: since it was made.
    pub(super) age: Duration,
    /// Its age when a byte last moved, either way.
    pub(super) moved_at: Duration,
    /// How long it took to connect.
    pub(super) connect_time: Duration,
    /// We had closed our side.
    pub(super) half_closed: bool,
    /// We had sent an urgent byte, and waited for it.
    pub(super) urgent: bool,
    /// The peer's system had acknowledged all that was sent, where the system tells.
    pub(super) taken: Option<bool>,
    /// It was held silent on purpose before.
    pub(super) held_silent: bool,
    /// The size of the message that was on its way, in bytes.
    pub(super) message: Option<u64>,
    /// The connection's place among those of its clause, from 1, and how many there were
    /// to be.
    pub(super) place: Option<(usize, usize)>,
    pub(super) crowd: Option<Crowd>,
    /// The bytes that had been sent and not come back, with a few before them: up to
    /// [`MOST_UNDER_WAY`].
    pub(super) under_way: Vec<u8>,
}

/// The most bytes that are kept of those under way, and how many that had come back are kept
/// before them: what is looked for may begin in these.
pub(super) const MOST_UNDER_WAY: usize = 1 << 20;
pub(super) const LEAD: u64 = 64;

impl Observation {
    /// With that end, and nothing else known.
    pub(super) fn ended(end: End) -> Self {
        Self {
            end,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_connects_are_told_apart() {
        let v4 = IpAddr::from([192, 0, 2, 1]);
        let of = |number| NotMade::of(&io::Error::from_raw_os_error(number), v4);
        assert_eq!(
            NotMade::of(&ErrorKind::TimedOut.into(), v4),
            NotMade::Unanswered
        );
        #[cfg(target_os = "linux")]
        for (number, kind) in [
            (libc::ECONNREFUSED, NotMade::Refused),
            (libc::ETIMEDOUT, NotMade::Unanswered),
            (libc::EHOSTUNREACH, NotMade::Unreachable("host unreachable")),
            (
                libc::ENETUNREACH,
                NotMade::Unreachable("network unreachable"),
            ),
            (
                libc::ENOPROTOOPT,
                NotMade::Unreachable("protocol unreachable"),
            ),
            (libc::EINVAL, NotMade::Dropped),
            (libc::EACCES, NotMade::Forbidden { or_icmp: false }),
            (libc::EPERM, NotMade::Forbidden { or_icmp: false }),
            (libc::ECONNRESET, NotMade::Reset),
            (libc::ENOTCONN, NotMade::Reset),
            (libc::EMFILE, NotMade::Other),
        ] {
            assert_eq!(of(number), kind);
        }
        #[cfg(target_os = "linux")]
        for (number, or_icmp) in [(libc::EACCES, true), (libc::EPERM, false)] {
            let error = io::Error::from_raw_os_error(number);
            let v6 = "2001:db8::1".parse().unwrap();
            assert_eq!(NotMade::of(&error, v6), NotMade::Forbidden { or_icmp });
        }
        #[cfg(target_os = "linux")]
        for (address, how) in [
            ("fe80::1", NotMade::Unusable),
            ("2001:db8::1", NotMade::Dropped),
        ] {
            let error = io::Error::from_raw_os_error(libc::EINVAL);
            assert_eq!(NotMade::of(&error, address.parse().unwrap()), how);
        }
    }
}
