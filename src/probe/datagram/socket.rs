//! A socket that probes one address with datagrams.
//!
//! It is a pair on one local port. One socket is connected to the server, so the kernel
//! reports the ICMP errors of what it sent. The other has no peer, so it gets what other
//! addresses send to that port: a server with several addresses that answers from another
//! one than it was asked at would otherwise look like loss.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use mio::{Interest, Registry, Token};
use socket2::{Domain, Socket, Type};

/// How the datagrams of a socket are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// DSCP and ECN, as the byte in the IP header; the kernel's default if `None`.
    pub tos: Option<u8>,
    /// The size of the receive buffer, in bytes; the kernel's default if `None`.
    pub receive_buffer: Option<usize>,
}

/// A datagram that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) length: usize,
    /// The address that it came from, if that is not the server's.
    pub(crate) stranger: Option<SocketAddr>,
}

/// Sockets that send to one address; neither of them blocks.
#[derive(Debug)]
pub(crate) struct ProbeSocket {
    connected: mio::net::UdpSocket,
    /// Gets what comes from other addresses; `None` where the system allows no second socket.
    strangers: Option<mio::net::UdpSocket>,
    pub(crate) server: SocketAddr,
    #[expect(dead_code, reason = "the ping names its ports")]
    pub(crate) local: SocketAddr,
}

impl ProbeSocket {
    /// Binds a free local port.
    ///
    /// # Errors
    /// The system's, as when there is no route to the server.
    pub(crate) fn new(server: SocketAddr, options: Options) -> io::Result<Self> {
        let socket = open(server)?;
        if let Some(tos) = options.tos {
            match server {
                SocketAddr::V4(_) => socket.set_tos_v4(tos.into())?,
                SocketAddr::V6(_) => socket.set_tclass_v6(tos.into())?,
            }
        }
        if let Some(bytes) = options.receive_buffer {
            // The kernel's own limit may be lower, and drops are counted.
            let _ = socket.set_recv_buffer_size(bytes);
        }
        socket.bind(&unspecified(server, 0).into())?;
        socket.connect(&server.into())?;
        let connected = UdpSocket::from(socket);
        let local = connected.local_addr()?;
        let strangers = second(server, &connected, local.port()).ok();
        Ok(Self {
            connected: mio::net::UdpSocket::from_std(connected),
            strangers: strangers.map(mio::net::UdpSocket::from_std),
            server,
            local,
        })
    }

    /// Has the poller report this token when something has come.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let Self {
            connected,
            strangers,
            ..
        } = self;
        for socket in [Some(connected), strangers.as_mut()].into_iter().flatten() {
            registry.register(socket, token, Interest::READABLE)?;
        }
        Ok(())
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// The system's. [`is_of_path`] says whether it may belong to an earlier datagram; this
    /// one was not sent in any case.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match self.connected.send(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result.map(drop),
            }
        }
    }

    /// Receives a datagram; `None` when there is none. `block` should have 64 KiB, so that
    /// none is cut.
    ///
    /// # Errors
    /// The system's: an error that came by ICMP for an earlier datagram.
    pub(crate) fn receive(&self, block: &mut [u8]) -> io::Result<Option<Datagram>> {
        if let Some(length) = received(self.connected.recv(block))? {
            return Ok(Some(Datagram {
                length,
                stranger: None,
            }));
        }
        let Some(strangers) = &self.strangers else {
            return Ok(None);
        };
        let datagram = received(strangers.recv_from(block))?;
        Ok(datagram.map(|(length, address)| Datagram {
            length,
            // One that came before the other socket was connected.
            stranger: (address != self.server).then_some(address),
        }))
    }
}

/// Whether a system call failed with an error of the path: one that came by ICMP for an
/// earlier datagram, or by this machine's own routes.
pub(crate) fn is_of_path(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
    ) || other_errors_of_path(error)
}

#[cfg(unix)]
fn other_errors_of_path(error: &io::Error) -> bool {
    let codes = [libc::ENOPROTOOPT, libc::EHOSTDOWN];
    error.raw_os_error().is_some_and(|it| codes.contains(&it))
}

#[cfg(not(unix))]
fn other_errors_of_path(_: &io::Error) -> bool {
    false
}

fn received<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(datagram) => Ok(Some(datagram)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn open(server: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(server), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    if server.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// A socket without a peer on the same port. The port is shared for this moment alone, so
/// that no other program is given it.
fn second(server: SocketAddr, first: &UdpSocket, port: u16) -> io::Result<UdpSocket> {
    let first = socket2::SockRef::from(first);
    let socket = open(server)?;
    first.set_reuse_address(true)?;
    socket.set_reuse_address(true)?;
    let bound = socket.bind(&unspecified(server, port).into());
    first.set_reuse_address(false)?;
    socket.set_reuse_address(false)?;
    bound?;
    Ok(UdpSocket::from(socket))
}

fn unspecified(like: SocketAddr, port: u16) -> SocketAddr {
    let ip = match like {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, port)
}
