//! What the kernel says of a datagram that was received.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What the kernel is to say of each datagram.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// [`Received::to`].
    pub(crate) destination: bool,
    /// [`Received::marks`].
    pub(crate) marks: bool,
    /// [`Received::hops`].
    pub(crate) hops: bool,
    /// [`Received::at`].
    pub(crate) time: bool,
    /// [`Received::dropped`].
    pub(crate) dropped: bool,
    /// ICMP errors, by [`receive_error`](super::receive_error). The error of one datagram is
    /// then also that of the next call, whatever its peer: not for a server's socket.
    pub(crate) errors: bool,
}

/// The address of this machine that a datagram was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    /// As in the datagram's header: that of a group, too.
    pub(crate) address: IpAddr,
    /// The number of the interface that it came by.
    pub(crate) interface: u32,
    /// It was sent to many: by broadcast or multicast.
    pub(crate) to_many: bool,
}

/// One datagram, without its bytes. What was not [requested](super::request), or what the
/// system does not say, is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// How many bytes of it are in the buffer.
    pub(crate) bytes: usize,
    /// It had more bytes, which are lost.
    pub(crate) truncated: bool,
    /// Its sender. A socket of both families has IPv4 ones as `::ffff:a.b.c.d`.
    pub(crate) source: SocketAddr,
    /// Where it was sent to.
    pub(crate) to: Option<Local>,
    /// DSCP and ECN: the byte TOS of IPv4, the traffic class of IPv6.
    pub(crate) marks: Option<u8>,
    /// The TTL of IPv4, the hop limit of IPv6, as it arrived.
    pub(crate) hops: Option<u8>,
    /// When the kernel received it, as Unix time.
    pub(crate) at: Option<Duration>,
    /// How many datagrams the socket had dropped when this one was queued, modulo 2³²; `None`
    /// also where it was none.
    pub(crate) dropped: Option<u32>,
    /// Several datagrams came as one, of so many bytes each; only the last may be shorter.
    pub(crate) segment: Option<usize>,
}

/// The source of a datagram whose sender has no address, which does not occur with UDP.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) const UNKNOWN: SocketAddr =
    SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 0);

impl Received {
    /// One of which nothing else is said.
    pub(crate) const fn plain(bytes: usize, truncated: bool, source: SocketAddr) -> Self {
        Self {
            bytes,
            truncated,
            source,
            to: None,
            marks: None,
            hops: None,
            at: None,
            dropped: None,
            segment: None,
        }
    }

    /// How many datagrams it is.
    pub(crate) fn count(&self) -> usize {
        self.bytes.div_ceil(self.size()).max(1)
    }

    /// Each of its datagrams, and where in the buffer it begins. All that is said of the whole
    /// holds for each; if something was cut, it is the last.
    pub(crate) fn each(self) -> impl Iterator<Item = (usize, Self)> {
        let (size, count) = (self.size(), self.count());
        (0..count).map(move |number| {
            let start = number * size;
            let one = Self {
                bytes: size.min(self.bytes - start),
                truncated: self.truncated && number + 1 == count,
                segment: None,
                ..self
            };
            (start, one)
        })
    }

    /// The bytes of all but the last; never 0.
    fn size(&self) -> usize {
        self.segment.unwrap_or(self.bytes).max(1)
    }
}

/// What reports a [`NetworkError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This machine.
    Local,
    /// An ICMP message of these numbers.
    Icmp { kind: u8, code: u8 },
    /// An ICMPv6 message of these numbers.
    Icmp6 { kind: u8, code: u8 },
    /// Anything else, as a time-stamp of a datagram that was sent.
    Other(u8),
}

/// An error that the network reported about a datagram of ours.
#[derive(Debug)]
pub(crate) struct NetworkError {
    /// How many bytes of that datagram are in the buffer.
    pub(crate) bytes: usize,
    /// What a call on a connected socket would fail with.
    pub(crate) error: std::io::Error,
    pub(crate) origin: Origin,
    /// What goes with the error: the MTU of the path where the datagram was too long.
    pub(crate) info: u32,
    /// Who sent the ICMP message; `None` where nobody did. The port is 0.
    pub(crate) offender: Option<SocketAddr>,
    /// When the kernel received the report, as Unix time, where that was requested.
    pub(crate) at: Option<Duration>,
}
