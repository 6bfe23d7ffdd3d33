//! The addresses of this machine: getifaddrs(3).

use std::net::IpAddr;

/// The addresses of all interfaces, those of IPv4 in their own form; `None` where the system
/// does not say.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn own_addresses() -> Option<Vec<IpAddr>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the call writes one pointer to the address given.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return None;
    }
    let mut addresses = Vec::new();
    let mut next = first;
    // SAFETY: the list is valid until it is freed: each entry points to the next one or to
    // null, and its address is null or a structure of the length that its family has.
    unsafe {
        while let Some(entry) = next.as_ref() {
            addresses.extend(address(entry.ifa_addr));
            next = entry.ifa_next;
        }
        libc::freeifaddrs(first);
    }
    Some(addresses)
}

/// The address in a structure of the family that it names; `None` for those of no network.
///
/// # Safety
/// The pointer is null or to a valid structure of its family.
#[cfg(any(target_os = "linux", target_os = "android"))]
unsafe fn address(at: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: as the caller promises. A structure of such a family begins with the fields
    // that are read, and need not be aligned.
    unsafe {
        match libc::c_int::from(at.as_ref()?.sa_family) {
            libc::AF_INET => {
                let v4 = at.cast::<libc::sockaddr_in>().read_unaligned();
                Some(IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes()))
            }
            libc::AF_INET6 => {
                let v6 = at.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(IpAddr::from(v6.sin6_addr.s6_addr))
            }
            _ => None,
        }
    }
}

/// Unknown elsewhere.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) const fn own_addresses() -> Option<Vec<IpAddr>> {
    None
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_loopback_address_is_among_them() {
        let addresses = own_addresses().unwrap();
        assert!(
            addresses.contains(&Ipv4Addr::LOCALHOST.into()),
            "{addresses:?}"
        );
    }
}
