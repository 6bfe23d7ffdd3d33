//! Listening sockets: one bound address and the protocol served on it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, SockRef, Socket, Type};

use crate::address::Address;
use crate::error::Error;
use crate::proto::Protocol;

/// How many clients may wait in the kernel to be accepted. With the customary
/// 128 a connect storm overflows the queue, and every client it drops waits a
/// second for its SYN to be sent again.
pub const DEFAULT_BACKLOG: u32 = 4096;

/// A bound, listening socket and what is spoken on it.
#[derive(Debug)]
pub struct Listener {
    pub(crate) protocol: Protocol,
    pub(crate) socket: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Listener {
    /// Takes a socket that is bound and listens already, and sets on it what
    /// the server relies on: non-blocking, and for its clients no Nagle delay
    /// and urgent data in line.
    ///
    /// # Errors
    /// The system's, when an option can't be set.
    pub fn new(protocol: Protocol, socket: TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        // Linux hands these two down to every accepted socket.
        let options = SockRef::from(&socket);
        options.set_tcp_nodelay(true)?;
        options.set_out_of_band_inline(true)?;
        Ok(Self {
            protocol,
            socket,
            address,
        })
    }

    /// Binds every address that `address` stands for, with the protocol's own
    /// port where none is named.
    ///
    /// Without a host that is all interfaces: IPv6 and IPv4 on one socket, or
    /// IPv4 alone where the system has no IPv6. A name may stand for several
    /// addresses; those that this machine does not have are passed over as long
    /// as one remains.
    ///
    /// # Errors
    /// [`Error::Resolve`] for an unknown name, [`Error::Listen`] when an address
    /// can't be had.
    pub fn bind(protocol: Protocol, address: &Address, backlog: u32) -> Result<Vec<Self>, Error> {
        warn_of_short_queue(backlog);
        if address.host().is_none() {
            let port = address.port().unwrap_or(protocol.default_port());
            return Ok(vec![Self::bind_all_interfaces(protocol, port, backlog)?]);
        }
        let mut bound = Vec::new();
        let mut absent = None;
        for address in address.resolve("", protocol.default_port())? {
            match Self::bind_one(protocol, address, backlog, true) {
                Ok(listener) => bound.push(listener),
                Err(source) if is_absent(&source) => absent = Some(failed(address, source)),
                Err(source) => return Err(failed(address, source)),
            }
        }
        match absent {
            Some(error) if bound.is_empty() => Err(error),
            Some(error) => {
                log::warn!("{error}");
                Ok(bound)
            }
            None => Ok(bound),
        }
    }

    fn bind_all_interfaces(protocol: Protocol, port: u16, backlog: u32) -> Result<Self, Error> {
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        match Self::bind_one(protocol, v6, backlog, false) {
            Err(error) if is_absent(&error) => {
                let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                Self::bind_one(protocol, v4, backlog, true).map_err(|source| failed(v4, source))
            }
            result => result.map_err(|source| failed(v6, source)),
        }
    }

    fn bind_one(
        protocol: Protocol,
        address: SocketAddr,
        backlog: u32,
        only_v6: bool,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // So that a restart can bind while old connections are in TIME_WAIT.
        // On Windows the option means something else: to steal a bound port.
        #[cfg(not(windows))]
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Self::new(protocol, socket.into())
    }

    /// The address it is bound to, with the real port where 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// As in the log: `echo://127.0.0.1:20162`.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.protocol, self.address)
    }
}

/// The kernel cuts a longer queue silently: listen(2).
fn warn_of_short_queue(backlog: u32) {
    let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
    let limit = limit.ok().and_then(|text| text.trim().parse::<u32>().ok());
    if let Some(limit) = limit.filter(|&limit| limit < backlog) {
        log::warn!("the kernel lets {limit} clients wait, not {backlog} (net.core.somaxconn)");
    }
}

/// Whether the machine lacks the address or its whole family.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || is_family_unsupported(error)
}

#[cfg(unix)]
fn is_family_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

#[cfg(not(unix))]
fn is_family_unsupported(error: &io::Error) -> bool {
    error.kind() == ErrorKind::Unsupported
}

fn failed(address: SocketAddr, source: io::Error) -> Error {
    Error::Listen {
        address: address.to_string(),
        source,
    }
}
