//! Control messages, which carry what goes with a datagram: cmsg(3), ip(7), ipv6(7).
//!
//! They are read and written as bytes, in the layout of the kernel: a length of a machine word,
//! two ints, the data, and padding to a machine word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::name::part;
use super::received::{Local, Received};

/// Enough for all that can be requested of a datagram together, or of an error.
pub(super) const SIZE: usize = 256;

/// How much the message takes that makes one message several datagrams.
pub(super) const SEGMENT_SIZE: usize = (HEADER + size_of::<u16>()).next_multiple_of(WORD);

const WORD: usize = size_of::<usize>();
const HEADER: usize = WORD + 2 * size_of::<libc::c_int>();

/// The control messages of one datagram.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control(pub(super) [u8; SIZE]);

impl Control {
    pub(super) const EMPTY: Self = Self([0; SIZE]);

    /// Writes a message behind the first `used` bytes. Returns how many are used then.
    fn push(&mut self, used: usize, (level, kind): (i32, i32), data: &[u8]) -> usize {
        let length = HEADER + data.len();
        let end = used + length.next_multiple_of(WORD);
        let message = &mut self.0[used..end];
        message[..WORD].copy_from_slice(&length.to_ne_bytes());
        message[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        message[WORD + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
        message[HEADER..length].copy_from_slice(data);
        end
    }

    /// Has a datagram sent from `from`, with these marks, to a peer of IPv4 or IPv6. Returns
    /// how many bytes are used.
    pub(super) fn send(&mut self, from: Option<Local>, marks: u8, to_v4: bool) -> usize {
        let mut used = 0;
        if let Some(from) = from {
            used = match from.address.to_canonical() {
                IpAddr::V4(address) => self.push_v4(used, address),
                IpAddr::V6(address) => self.push_v6(used, address, from.interface),
            };
        }
        if marks > 0 {
            let kind = match to_v4 {
                true => (libc::IPPROTO_IP, libc::IP_TOS),
                false => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
            };
            used = self.push(used, kind, &i32::from(marks).to_ne_bytes());
        }
        used
    }

    /// Has what is sent go out as datagrams of so many bytes each. Returns how many bytes are
    /// used, [`SEGMENT_SIZE`] more.
    pub(super) fn segment(&mut self, used: usize, bytes: u16) -> usize {
        let kind = (libc::SOL_UDP, libc::UDP_SEGMENT);
        self.push(used, kind, &bytes.to_ne_bytes())
    }

    /// `in_pktinfo`: the interface, the address to send from, one that is not used here.
    fn push_v4(&mut self, used: usize, address: Ipv4Addr) -> usize {
        let mut info = [0; 12];
        info[4..8].copy_from_slice(&address.octets());
        self.push(used, (libc::IPPROTO_IP, libc::IP_PKTINFO), &info)
    }

    /// `in6_pktinfo`: the address to send from, the interface. Only an address of a link
    /// needs its interface; for all others the routes choose it.
    fn push_v6(&mut self, used: usize, address: Ipv6Addr, interface: u32) -> usize {
        let interface = match address.is_unicast_link_local() {
            true => interface,
            false => 0,
        };
        let mut info = [0; 20];
        info[..16].copy_from_slice(&address.octets());
        info[16..].copy_from_slice(&interface.to_ne_bytes());
        self.push(used, (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO), &info)
    }
}

/// The messages in these bytes, each with its level, its type and its data.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from_ne_bytes(part(bytes, 0)?);
        let level = i32::from_ne_bytes(part(bytes, WORD)?);
        let kind = i32::from_ne_bytes(part(bytes, WORD + 4)?);
        let data = bytes.get(HEADER..length)?;
        bytes = bytes
            .get(length.next_multiple_of(WORD)..)
            .unwrap_or_default();
        Some((level, kind, data))
    })
}

/// Completes `received` by what these control messages say.
pub(super) fn read(bytes: &[u8], received: &mut Received) {
    for (level, kind, data) in messages(bytes) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                received.to = destination_v4(data).or(received.to);
            }
            // A socket of both families has both for IPv4; that of IPv4 says more.
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                received.to = received.to.or_else(|| destination_v6(data));
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => received.marks = data.first().copied(),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => received.marks = small(data),
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                received.hops = small(data);
            }
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS) => received.at = time(data),
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                received.dropped = part(data, 0).map(u32::from_ne_bytes);
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let size = part(data, 0).map(i32::from_ne_bytes);
                let size = size.and_then(|size| usize::try_from(size).ok());
                received.segment = size.filter(|&size| size > 0);
            }
            _ => {}
        }
    }
}

/// An int that is a byte of a header.
fn small(data: &[u8]) -> Option<u8> {
    u8::try_from(i32::from_ne_bytes(part(data, 0)?)).ok()
}

/// A `timespec` of the clock of Unix time.
pub(super) fn time(data: &[u8]) -> Option<Duration> {
    const LONG: usize = size_of::<libc::c_long>();

    let seconds = libc::c_long::from_ne_bytes(part::<LONG>(data, 0)?);
    let ns = libc::c_long::from_ne_bytes(part::<LONG>(data, LONG)?);
    Some(Duration::new(
        u64::try_from(seconds).ok()?,
        u32::try_from(ns).ok()?,
    ))
}

/// `in_pktinfo`: the interface, the address of ours, the address in the header. The two
/// differ where that one is of many. Ours is unspecified where the datagram came before the
/// socket was asked for it.
fn destination_v4(data: &[u8]) -> Option<Local> {
    let interface = u32::from_ne_bytes(part(data, 0)?);
    let ours = Ipv4Addr::from(part::<4>(data, 4)?);
    let address = Ipv4Addr::from(part::<4>(data, 8)?);
    Some(Local {
        address: address.into(),
        interface,
        to_many: match ours.is_unspecified() {
            true => address.is_multicast() || address.is_broadcast(),
            false => ours != address,
        },
    })
}

/// `in6_pktinfo`: the address in the header, the interface.
fn destination_v6(data: &[u8]) -> Option<Local> {
    let address = Ipv6Addr::from(part::<16>(data, 0)?);
    let interface = u32::from_ne_bytes(part(data, 16)?);
    Some(Local {
        address: IpAddr::from(address).to_canonical(),
        interface,
        to_many: address.is_multicast(),
    })
}
