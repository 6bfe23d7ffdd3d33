//! Bound sockets for datagrams, several on one address.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, SockRef, Socket, Type};

use super::address::{Address, is_of_many};
use super::error::{Error, Transport};
use super::listening::{Absent, failed, is_absent};
use super::sys;
use crate::base::units;

/// The receive buffer that is asked for, in bytes: it held 16,000 datagrams in flight where the
/// usual 208 KiB lost some of 800.
pub const DEFAULT_UDP_BUFFER: usize = 4 << 20;

/// The sockets of one address.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Over which the kernel distributes the clients.
    pub(crate) sockets: Vec<UdpSocket>,
    /// Receives nothing, and keeps other programs off the port while it is open; `None` where
    /// the port is not shared, or the system has no such socket.
    pub(crate) guard: Option<UdpSocket>,
}

/// The sockets of each address that was bound, and the addresses that the machine lacks.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    pub(crate) groups: Vec<Shared>,
    pub(crate) absent: Vec<Absent>,
}

/// Binds every address that `address` stands for, with `default_port` where it names none,
/// `count` sockets each. The kernel distributes the clients over them, and each flow stays with
/// one.
///
/// # Errors
/// [`Error::Resolve`] for an unknown name, [`Error::Listen`] for an address that the machine has
/// and that can't be had, also because another program has it.
pub(crate) fn bind(
    address: &Address,
    default_port: u16,
    count: usize,
    buffer: usize,
) -> Result<Bound, Error> {
    let group = Group { count, buffer };
    let mut bound = Bound::default();
    if address.is_everywhere() {
        let port = address.port().unwrap_or(default_port);
        bound.groups.push(group.bind_all_interfaces(port)?);
        return Ok(bound);
    }
    for each in address.resolve("", default_port)? {
        match group.bind(each, Form::One) {
            Ok(sockets) => bound.groups.push(sockets),
            Err(source) if is_absent(&source) => {
                let absent = Absent::new(each, Transport::Udp, source, address.is_literal());
                bound.absent.push(absent);
            }
            Err(source) => return Err(failed(each, Transport::Udp, source)),
        }
    }
    Ok(bound)
}

/// Binds an address that the machine may have later, where the system can do that.
///
/// # Errors
/// The system's.
pub(crate) fn bind_early(address: SocketAddr, count: usize, buffer: usize) -> io::Result<Shared> {
    Group { count, buffer }.bind(address, Form::Early)
}

/// Which address is bound.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One that the machine has; an IPv6 one for IPv6 alone.
    One,
    /// The same, now or later: `IP_FREEBIND` in ip(7).
    Early,
    /// All, of both families.
    Both,
}

/// What is bound to each address.
struct Group {
    count: usize,
    buffer: usize,
}

impl Group {
    fn bind_all_interfaces(&self, port: u16) -> Result<Shared, Error> {
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        match self.bind(v6, Form::Both) {
            Err(error) if is_absent(&error) => {
                let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                self.bind(v4, Form::One)
                    .map_err(|source| failed(v4, Transport::Udp, source))
            }
            result => result.map_err(|source| failed(v6, Transport::Udp, source)),
        }
    }

    /// The first socket is bound without `SO_REUSEPORT`, which fails where any other program
    /// has the port, also one that shares it. With the option a second server would take half
    /// of the clients unnoticed. Only then is the port opened to the other sockets, and closed
    /// again by a guard: of the sockets that have the port the kernel asks one whether a
    /// program that comes later may share it, by IPv6 the one that was bound first, by IPv4 the
    /// last. (The option can't be taken back from the others: they would no longer share.)
    fn bind(&self, address: SocketAddr, form: Form) -> io::Result<Shared> {
        if is_of_many(address.ip()) {
            return Err(io::Error::other(OF_MANY));
        }
        let first = self.made(address, form)?;
        first.bind(&address.into())?;
        let wanted = self.buffer;
        if let Some(has) = smaller_buffer(&SockRef::from(&first), wanted) {
            let has = units::plain_count(has as u64, "byte", "bytes");
            log::warn!(
                "the kernel limits the receive buffer for datagrams to {has}, not {wanted} \
                 (net.core.rmem_max): more that come at once are lost"
            );
        }
        let (mut sockets, mut guard) = (vec![UdpSocket::from(first)], None);
        if CAN_SHARE && self.count > 1 {
            let address = sockets[0].local_addr()?;
            share_port(&SockRef::from(&sockets[0]), true)?;
            if address.is_ipv6() && sys::datagram::receive_nothing(&sockets[0]).is_ok() {
                guard = sockets.pop();
            }
            while sockets.len() < self.count {
                let socket = self.made(address, form)?;
                share_port(&SockRef::from(&socket), true)?;
                socket.bind(&address.into())?;
                sockets.push(socket.into());
            }
            guard = guard.or_else(|| self.last(address, form).ok());
            match &guard {
                Some(guard) => share_port(&SockRef::from(guard), false)?,
                None => log::debug!("a later program of this user may share the port {address}"),
            }
        }
        Ok(Shared { sockets, guard })
    }

    /// A guard that is bound last.
    fn last(&self, address: SocketAddr, form: Form) -> io::Result<UdpSocket> {
        let socket = self.made(address, form)?;
        share_port(&SockRef::from(&socket), true)?;
        sys::datagram::receive_nothing(&socket)?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    }

    fn made(&self, address: SocketAddr, form: Form) -> io::Result<Socket> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(form != Form::Both)?;
        }
        if form == Form::Early {
            sys::allow_absent_address(&socket, domain)?;
        }
        ask_for_buffers(&SockRef::from(&socket), self.buffer);
        Ok(socket)
    }
}

/// Why an address of many machines is not bound.
const OF_MANY: &str = "a datagram to an address of many machines (multicast, broadcast) is never \
                       answered: give an address of this machine";

/// Whether several sockets can share a port, with the clients distributed over them.
const CAN_SHARE: bool = cfg!(any(target_os = "linux", target_os = "android"));

#[cfg(any(target_os = "linux", target_os = "android"))]
fn share_port(socket: &SockRef<'_>, is_shared: bool) -> io::Result<()> {
    socket.set_reuse_port(is_shared)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn share_port(_: &SockRef<'_>, _: bool) -> io::Result<()> {
    Ok(())
}

/// The kernel gives what it allows. A socket is of use with any.
fn ask_for_buffers(socket: &SockRef<'_>, bytes: usize) {
    for result in [
        socket.set_recv_buffer_size(bytes),
        socket.set_send_buffer_size(bytes),
    ] {
        if let Err(error) = result {
            let cause = super::error::cause(&error);
            log::debug!("could not set a buffer of a socket for datagrams: {cause}");
        }
    }
}

/// The size of a socket's receive buffer, where it is less than was wanted.
pub(crate) fn smaller_buffer(socket: &SockRef<'_>, wanted: usize) -> Option<usize> {
    /// Linux doubles the size for its own book-keeping, and reports the doubled one.
    const REPORTED_FACTOR: usize = if CAN_SHARE { 2 } else { 1 };

    let has = socket.recv_buffer_size().ok()? / REPORTED_FACTOR;
    (has < wanted).then_some(has)
}

/// Has a socket receive nothing more, though what has come can still be read and answered: it
/// gets a peer, itself. What is sent to it from here on is refused by ICMP, or goes to other
/// sockets on the port, where it would be lost in the queue of one that is closed.
///
/// # Errors
/// The system's, as where this machine does not have the address any more.
pub(crate) fn receive_no_more(socket: &UdpSocket) -> io::Result<()> {
    let mut own = socket.local_addr()?;
    if own.ip().is_unspecified() {
        own.set_ip(match own {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    socket.connect(own)
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests;
