//! What the kernel is asked to say of a socket's datagrams.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::net::sockopt;
use socket2::{Domain, SockRef};

use super::received::Wanted;

/// Has the kernel say of each datagram what is `wanted`. A socket of both families is asked
/// for both.
///
/// # Errors
/// The system's, when an option can't be set.
pub(crate) fn request(socket: &impl AsFd, wanted: Wanted) -> io::Result<()> {
    use libc::{IPPROTO_IP as IP, IPPROTO_IPV6 as IP6, SOL_SOCKET};

    let is_v6 = SockRef::from(socket).domain()? == Domain::IPV6;
    let v4 = [
        (wanted.destination, libc::IP_PKTINFO),
        (wanted.marks, libc::IP_RECVTOS),
        (wanted.hops, libc::IP_RECVTTL),
        (wanted.errors, libc::IP_RECVERR),
    ];
    let v6 = [
        (wanted.destination, libc::IPV6_RECVPKTINFO),
        (wanted.marks, libc::IPV6_RECVTCLASS),
        (wanted.hops, libc::IPV6_RECVHOPLIMIT),
        (wanted.errors, libc::IPV6_RECVERR),
    ];
    let both = [
        (wanted.time, libc::SO_TIMESTAMPNS),
        (wanted.dropped, libc::SO_RXQ_OVFL),
    ];
    let v4 = v4.map(|(on, name)| (on, IP, name)).into_iter();
    let v6 = v6.map(|(on, name)| (on, IP6, name)).into_iter();
    let both = both.map(|(on, name)| (on, SOL_SOCKET, name)).into_iter();
    let all = v4.chain(both).chain(v6.filter(|_| is_v6));
    all.filter(|&(on, ..)| on)
        .try_for_each(|(_, level, name)| switch_on(socket, level, name))
}

/// Has a socket receive nothing: it is bound to an interface that does not exist. Its port
/// stays taken.
///
/// # Errors
/// The system's, which may not know the option.
pub(crate) fn receive_nothing(socket: &impl AsFd) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, i32::MAX)
}

/// Has a socket receive datagrams of one flow and one size that come together as one, or not any
/// more: udp(7), `UDP_GRO`. [`Received::each`](super::Received::each) has them apart.
///
/// All that a [`Batch`](super::Batch) says of them is the same for all of them. The kernel joins
/// only what is of one size, one pair of addresses and ports and one interface, and has the same
/// TOS, TTL and DF bit, by IPv6 the same traffic class and hop limit: `udp_gro_receive_segment` in
/// net/ipv4/udp_offload.c, `inet_gro_flush` and `ipv6_gro_flush` in include/net/gro.h,
/// `gro_list_prepare` in net/core/gro.c. What a local program sends as one by `UDP_SEGMENT` is
/// not even taken apart. A whole is never longer than 65,535 bytes: `skb_gro_receive` in
/// net/core/gro.c. Each one's own receive time is lost.
///
/// # Errors
/// The system's: Linux knows it since 5.0.
pub(crate) fn receive_joined(socket: &impl AsFd, is_on: bool) -> io::Result<()> {
    set(socket, libc::SOL_UDP, libc::UDP_GRO, is_on.into())
}

/// Has each message of a socket go out as datagrams of so many bytes.
///
/// # Errors
/// The system's.
#[cfg(test)]
pub(crate) fn send_segmented(socket: &impl AsFd, bytes: libc::c_int) -> io::Result<()> {
    set(socket, libc::SOL_UDP, libc::UDP_SEGMENT, bytes)
}

/// Whether the kernel can take a message apart into datagrams: since Linux 4.18. Older ones
/// don't refuse the control message that asks for it, they pass it over.
pub(super) fn can_segment(socket: &impl AsFd) -> bool {
    let mut value: libc::c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the socket keeps its descriptor open for the whole call, which
    // writes at most `length` bytes to the int, whose size that is.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    result == 0
}

fn switch_on(socket: &impl AsFd, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    set(socket, level, name, 1)
}

fn set(
    socket: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the socket keeps its descriptor open for the whole call, which
    // only reads the int, whose size it is given.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    } != 0;
    match failed {
        true => Err(io::Error::last_os_error()),
        false => Ok(()),
    }
}

/// Has a socket send each datagram as one packet that no router may fragment (DF), however
/// small the kernel takes the path's MTU to be: ip(7), `IP_PMTUDISC_PROBE`.
///
/// # Errors
/// The system's, when an option can't be set.
pub(crate) fn never_fragment(socket: &impl AsFd) -> io::Result<()> {
    match SockRef::from(socket).domain()? == Domain::IPV6 {
        true => sockopt::set_ipv6_mtu_discover(socket, sockopt::Ipv6PathMtuDiscovery::PROBE)?,
        false => sockopt::set_ip_mtu_discover(socket, sockopt::Ipv4PathMtuDiscovery::PROBE)?,
    }
    Ok(())
}

/// The MTU that the kernel knows of the path of a connected socket, in bytes: that of the
/// interface, or less where ICMP has said so; `None` where the system does not say.
pub(crate) fn path_mtu(socket: &impl AsFd) -> Option<u32> {
    match SockRef::from(socket).domain().ok()? == Domain::IPV6 {
        true => sockopt::ipv6_mtu(socket).ok(),
        false => sockopt::ip_mtu(socket).ok(),
    }
}

/// How many datagrams the kernel has dropped of those that came to a socket, modulo 2³²:
/// for want of room in its queue, and those with a wrong checksum; `None` where the system
/// does not say. Source: `SO_MEMINFO`, linux/sock_diag.h.
pub(crate) fn dropped(socket: &impl AsFd) -> Option<u32> {
    const DROPS: usize = 8;

    let mut info = [0_u32; 9];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the socket keeps its descriptor open for the whole call, which
    // writes at most `length` bytes to the array, whose size that is.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    } != 0;
    let is_whole = length as usize >= size_of_val(&info);
    (!failed && is_whole).then_some(info[DROPS])
}
