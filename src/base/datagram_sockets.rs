//! Bound sockets for datagrams, several on one address.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, SockRef, Socket, Type};

use super::address::Address;
use super::error::Error;
use super::listening::{Absent, failed, is_absent};
use super::sys;

/// The receive buffer that is asked for, in bytes: it held 16,000 datagrams in flight where the
/// usual 208 KiB lost some of 800.
pub const DEFAULT_UDP_BUFFER: usize = 4 << 20;

/// The sockets of each address that was bound, and the addresses that the machine lacks.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    pub(crate) groups: Vec<Vec<UdpSocket>>,
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
                let absent = Absent::new(each, source, address.is_literal());
                bound.absent.push(absent);
            }
            Err(source) => return Err(failed(each, source)),
        }
    }
    Ok(bound)
}

/// Binds an address that the machine may have later, where the system can do that.
///
/// # Errors
/// The system's.
pub(crate) fn bind_early(
    address: SocketAddr,
    count: usize,
    buffer: usize,
) -> io::Result<Vec<UdpSocket>> {
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
    fn bind_all_interfaces(&self, port: u16) -> Result<Vec<UdpSocket>, Error> {
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        match self.bind(v6, Form::Both) {
            Err(error) if is_absent(&error) => {
                let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                self.bind(v4, Form::One)
                    .map_err(|source| failed(v4, source))
            }
            result => result.map_err(|source| failed(v6, source)),
        }
    }

    /// The first socket is bound without `SO_REUSEPORT`, which fails where any other program
    /// has the port, also one that shares it. With the option a second server would take half
    /// of the clients unnoticed. Only then is the port opened to the other sockets.
    fn bind(&self, address: SocketAddr, form: Form) -> io::Result<Vec<UdpSocket>> {
        let first = self.made(address, form)?;
        first.bind(&address.into())?;
        let mut sockets = vec![UdpSocket::from(first)];
        if CAN_SHARE && self.count > 1 {
            let address = sockets[0].local_addr()?;
            share_port(&SockRef::from(&sockets[0]))?;
            for _ in 1..self.count {
                let socket = self.made(address, form)?;
                share_port(&SockRef::from(&socket))?;
                socket.bind(&address.into())?;
                sockets.push(socket.into());
            }
        }
        let wanted = self.buffer;
        if let Some(has) = sockets.first().and_then(|it| smaller_buffer(it, wanted)) {
            log::warn!(
                "the kernel limits the receive buffer for datagrams to {has} bytes, not {wanted} \
                 (net.core.rmem_max): more that come at once are lost"
            );
        }
        Ok(sockets)
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

/// Whether several sockets can share a port, with the clients distributed over them.
const CAN_SHARE: bool = cfg!(any(target_os = "linux", target_os = "android"));

#[cfg(any(target_os = "linux", target_os = "android"))]
fn share_port(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn share_port(_: &SockRef<'_>) -> io::Result<()> {
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
pub(crate) fn smaller_buffer(socket: &UdpSocket, wanted: usize) -> Option<usize> {
    /// Linux doubles the size for its own book-keeping, and reports the doubled one.
    const REPORTED_FACTOR: usize = if CAN_SHARE { 2 } else { 1 };

    let has = SockRef::from(socket).recv_buffer_size().ok()? / REPORTED_FACTOR;
    (has < wanted).then_some(has)
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    fn bound(address: &str, count: usize) -> Result<Vec<Vec<UdpSocket>>, Error> {
        bind(&address.parse().unwrap(), 0, count, 100_000).map(|bound| bound.groups)
    }

    fn is_in_use(error: &Error) -> bool {
        matches!(error, Error::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse)
    }

    #[test]
    fn each_worker_has_a_socket_on_the_port_and_another_program_can_not_have_it() {
        for address in ["127.0.0.1:0", "[::1]:0", "*:0"] {
            for count in [1, 3] {
                let sockets = &bound(address, count).unwrap()[0];
                assert_eq!(sockets.len(), count);
                let at = sockets[0].local_addr().unwrap();
                assert!(sockets.iter().all(|each| each.local_addr().unwrap() == at));
                let again = match address {
                    "*:0" => format!("*:{}", at.port()),
                    _ => at.to_string(),
                };
                for second in [1, 2] {
                    let error = bound(&again, second).unwrap_err();
                    assert!(is_in_use(&error), "{again}: {error}");
                }
            }
        }
    }

    #[test]
    fn a_port_that_another_program_shares_is_not_joined() {
        let other = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        other.set_reuse_port(true).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        other.bind(&any.into()).unwrap();
        let at = other.local_addr().unwrap().as_socket().unwrap();
        for count in [1, 2] {
            assert!(is_in_use(&bound(&at.to_string(), count).unwrap_err()));
        }
    }

    #[test]
    fn the_clients_are_distributed_over_the_sockets() {
        let sockets = &bound("127.0.0.1:0", 2).unwrap()[0];
        let at = sockets[0].local_addr().unwrap();
        let clients: Vec<_> = (0..64)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        for client in &clients {
            client.send_to(b"x", at).unwrap();
        }
        let count = |socket: &UdpSocket| {
            let mut byte = [0];
            (0..64)
                .filter(|_| socket.recv_from(&mut byte).is_ok())
                .count()
        };
        let counts: Vec<_> = sockets.iter().map(count).collect();
        assert_eq!(counts.iter().sum::<usize>(), 64, "{counts:?}");
        assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
    }
}
