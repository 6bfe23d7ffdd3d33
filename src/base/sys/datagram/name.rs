//! A socket's address as the kernel reads and writes it: `sockaddr_in` and `sockaddr_in6`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The size of the longer one, `sockaddr_in6`.
pub(super) const SIZE: usize = size_of::<libc::sockaddr_in6>();

/// Room for one of them, aligned for both.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Name(pub(super) [u8; SIZE]);

impl Name {
    pub(super) const EMPTY: Self = Self([0; SIZE]);

    /// The address in it; `None` for another family.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        address(&self.0)
    }
}

/// The address at the start of these bytes; `None` for another family, or too few bytes.
pub(super) fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(part(bytes, 0)?));
    let port = u16::from_be_bytes(part(bytes, 2)?);
    match family {
        libc::AF_INET => {
            let address = Ipv4Addr::from(part::<4>(bytes, 4)?);
            Some((address, port).into())
        }
        libc::AF_INET6 => {
            let flow = u32::from_be_bytes(part(bytes, 4)?);
            let address = Ipv6Addr::from(part::<16>(bytes, 8)?);
            let scope = u32::from_ne_bytes(part(bytes, 24)?);
            Some(SocketAddrV6::new(address, port, flow, scope).into())
        }
        _ => None,
    }
}

/// The `N` bytes from `at` on, if there are as many.
pub(super) fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
