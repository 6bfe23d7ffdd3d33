//! A socket that probes one address with datagrams.
//!
//! It is a pair on one local port. One socket is connected to the server, so the kernel
//! reports the ICMP errors of what it sent. The other has no peer, so it gets what other
//! addresses send to that port: a server with several addresses that answers from another
//! one than it was asked at would otherwise look like loss.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use socket2::{Domain, Socket, Type};

use super::path_error::{PathError, is_of_path, is_too_long};
use crate::base::sys::clock::unix_now;
use crate::base::sys::datagram::{self, Received, Wanted, request};

mod batched;

/// How the datagrams of a socket are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// DSCP and ECN, as the byte in the IP header; the kernel's default if `None`.
    pub tos: Option<u8>,
    /// The size of the receive buffer, in bytes; the kernel's default if `None`.
    pub receive_buffer: Option<usize>,
    /// The address to send from; that of the route if `None`.
    pub from: Option<IpAddr>,
    /// The kernel is to say nothing of what comes but when: each further thing takes time.
    pub only_time: bool,
    /// The local port; a free one if `None`.
    pub port: Option<u16>,
    /// Each datagram is one packet that may not be fragmented, however long it is.
    pub unfragmented: bool,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A datagram, whose bytes are in the block.
    Datagram(Datagram),
    /// An error for an earlier datagram, of which the block has as much as the error quotes.
    Error(PathError),
}

/// What came from the server to a socket that receives in batches.
#[derive(Debug)]
pub(crate) enum Batched {
    /// So many datagrams, which are in the batch.
    Datagrams(usize),
    /// An error for an earlier datagram, of which the block has as much as the error quotes.
    Error(PathError),
    /// Nothing more.
    Nothing,
}

/// A datagram that came. What the system does not say is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) length: usize,
    /// The address that it came from, if that is not the server's.
    pub(crate) stranger: Option<SocketAddr>,
    /// How long it lay in the socket's queue before it was read.
    pub(crate) waited: Option<Duration>,
    /// When the kernel received it, as Unix time; when it was read, where the system does not
    /// say.
    pub(crate) at: Duration,
    /// The TTL or hop limit that it arrived with.
    pub(crate) ttl: Option<u8>,
    /// The byte of DSCP and ECN that it arrived with.
    pub(crate) tos: Option<u8>,
}

/// Sockets that send to one address; neither of them blocks.
#[derive(Debug)]
pub(crate) struct ProbeSocket {
    connected: mio::net::UdpSocket,
    /// Gets what comes from other addresses; `None` where the system allows no second socket.
    strangers: Option<mio::net::UdpSocket>,
    pub(crate) server: SocketAddr,
    /// The source port.
    pub(crate) port: u16,
    /// An error of an earlier datagram that sending returned.
    pending: Option<io::Error>,
    /// When the socket was last asked and had nothing: what comes later has not waited longer.
    empty_at: Instant,
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
        if options.unfragmented {
            datagram::never_fragment(&socket)?;
        }
        let port = options.port.unwrap_or(0);
        let from = options.from.map(|from| SocketAddr::new(from, port));
        socket.bind(&from.unwrap_or(unspecified(server, port)).into())?;
        socket.connect(&server.into())?;
        let connected = UdpSocket::from(socket);
        let port = connected.local_addr()?.port();
        // Each chosen address has ports of its own.
        let any = unspecified(server, port);
        let at = options.from.map_or(any, |from| SocketAddr::new(from, port));
        let strangers = second(at, &connected).ok();
        let wanted = match options.only_time {
            true => ONLY_TIME,
            false => WANTED,
        };
        let errors = Wanted {
            errors: true,
            ..wanted
        };
        request(&connected, errors)?;
        if let Some(socket) = &strangers {
            request(socket, wanted)?;
        }
        Ok(Self {
            connected: mio::net::UdpSocket::from_std(connected),
            strangers: strangers.map(mio::net::UdpSocket::from_std),
            server,
            port,
            pending: None,
            empty_at: Instant::now(),
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

    /// Sends a datagram. An error of an earlier one, which the system reports here, is kept
    /// for [`receive`](Self::receive).
    ///
    /// # Errors
    /// The system's; the datagram was not sent.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.send_once(bytes) {
            Err(error) if is_of_path(&error) => {
                // Where it is this datagram's own error, it comes again.
                self.send_once(bytes)?;
                self.pending = Some(error);
                Ok(())
            }
            sent => sent,
        }
    }

    fn send_once(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match self.connected.send(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result.map(drop),
            }
        }
    }

    /// Receives a datagram, or the error of one; `None` when there is none. `block` should
    /// have 64 KiB, so that none is cut.
    ///
    /// # Errors
    /// The system's, that is no error of the path.
    pub(crate) fn receive(&mut self, block: &mut [u8]) -> io::Result<Option<Incoming>> {
        if let Some(error) = self.pending.take() {
            return Ok(Some(Incoming::Error(self.details(error, block))));
        }
        let asked_at = Instant::now();
        let longest = asked_at - self.empty_at;
        let error = match datagram::receive(&self.connected, block) {
            Ok(received) => {
                let datagram = datagram_of(received, None, longest);
                return Ok(Some(Incoming::Datagram(datagram)));
            }
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::Interrupted => Ok(None),
            ErrorKind::WouldBlock => {
                let incoming = self.receive_from_stranger(block, longest)?;
                if incoming.is_none() {
                    self.empty_at = asked_at;
                }
                Ok(incoming)
            }
            _ if is_of_path(&error) => Ok(Some(Incoming::Error(self.details(error, block)))),
            _ => Err(error),
        }
    }

    fn receive_from_stranger(
        &self,
        block: &mut [u8],
        longest: Duration,
    ) -> io::Result<Option<Incoming>> {
        let Some(strangers) = &self.strangers else {
            return Ok(None);
        };
        match datagram::receive(strangers, block) {
            Ok(received) => {
                // One from the server came before the other socket was connected.
                let source = received.source;
                let stranger = (source != self.server).then_some(source);
                Ok(Some(Incoming::Datagram(datagram_of(
                    received, stranger, longest,
                ))))
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What the system knows of an error that a call returned.
    fn details(&self, error: io::Error, block: &mut [u8]) -> PathError {
        match datagram::receive_error(&self.connected, block) {
            Ok(details) => PathError {
                mtu: is_too_long(&details.error).then_some(details.info),
                error: details.error,
                quoted: details.bytes,
                from: details.offender.map(|address| address.ip()),
                origin: Some(details.origin),
            },
            Err(_) => PathError {
                error,
                quoted: 0,
                from: None,
                mtu: None,
                origin: None,
            },
        }
    }

    /// The MTU that the kernel knows of the path, in bytes; `None` where it does not say.
    pub(crate) fn path_mtu(&self) -> Option<u32> {
        datagram::path_mtu(&self.connected)
    }

    /// How many datagrams the kernel has dropped because the socket's queue was full, modulo
    /// 2³²; `None` where the system does not say.
    pub(crate) fn dropped(&self) -> Option<u32> {
        datagram::dropped(&self.connected)
    }
}

/// What the kernel is to say of each datagram.
const WANTED: Wanted = Wanted {
    destination: false,
    marks: true,
    hops: true,
    time: true,
    dropped: false,
    errors: false,
};

/// How long after the socket was asked a datagram may have been read and its time compared.
const READING: Duration = Duration::from_millis(1);

const ONLY_TIME: Wanted = Wanted {
    marks: false,
    hops: false,
    ..WANTED
};

/// A datagram as it was received, which has waited for so long at the most. How long it has is by
/// the kernel's clock, which may be set meanwhile, and then the difference says nothing.
fn datagram_of(received: Received, stranger: Option<SocketAddr>, longest: Duration) -> Datagram {
    let now = unix_now();
    let waited = received.at.and_then(|at| now.checked_sub(at));
    let waited = waited.filter(|waited| *waited <= longest + READING);
    Datagram {
        length: received.bytes,
        stranger,
        waited,
        at: received.at.unwrap_or(now),
        ttl: received.hops,
        tos: received.marks,
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
fn second(at: SocketAddr, first: &UdpSocket) -> io::Result<UdpSocket> {
    let first = socket2::SockRef::from(first);
    let socket = open(at)?;
    first.set_reuse_address(true)?;
    socket.set_reuse_address(true)?;
    let bound = socket.bind(&at.into());
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

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests;
