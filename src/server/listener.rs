//! Listening sockets: one bound address and the protocol served on it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, SockRef, Socket, Type};

use super::error::Error;
use crate::base::address::Address;
use crate::proto::Protocol;

/// How many clients may wait in the kernel to be accepted. With the customary
/// 128 a connect storm overflows the queue, and every client it drops waits a
/// second for its SYN to be sent again.
pub const DEFAULT_BACKLOG: u32 = 4096;

/// How listening sockets are made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Clients that may wait in the kernel to be accepted.
    pub backlog: u32,
    /// Size in bytes of a client's send buffer and of its receive buffer; `None` lets the
    /// kernel choose, which grows them with use.
    pub buffer: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backlog: DEFAULT_BACKLOG,
            buffer: None,
        }
    }
}

/// A bound, listening socket and the protocol that is served on it.
#[derive(Debug)]
pub struct Listener {
    pub(crate) protocol: Protocol,
    pub(crate) socket: TcpListener,
    pub(crate) address: SocketAddr,
    /// Another process holds the socket as well, so it listens on when this one closes it.
    pub(crate) is_shared: bool,
    /// Every connection begins with a PROXY header, in which a load balancer names the
    /// client.
    pub(crate) is_behind_proxy: bool,
}

impl Listener {
    /// Adopts a socket that is bound and listens already, and sets the options that
    /// the server relies on: non-blocking, and for its clients no Nagle delay
    /// and urgent data in line.
    ///
    /// # Errors
    /// The system's, when an option can't be set.
    pub fn new(protocol: Protocol, socket: TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        // On Linux every accepted socket inherits these two.
        let options = SockRef::from(&socket);
        options.set_tcp_nodelay(true)?;
        options.set_out_of_band_inline(true)?;
        Ok(Self {
            protocol,
            socket,
            address,
            is_shared: false,
            is_behind_proxy: false,
        })
    }

    /// The same for a socket that a service manager keeps open beside this process.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn handed_over(protocol: Protocol, socket: TcpListener) -> io::Result<Self> {
        let listener = Self::new(protocol, socket)?;
        Ok(Self {
            is_shared: true,
            ..listener
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
    /// [`Error::Base`] for an unknown name, [`Error::Listen`] when an address
    /// can't be had.
    pub fn bind(protocol: Protocol, address: &Address, backlog: u32) -> Result<Vec<Self>, Error> {
        let options = Options {
            backlog,
            ..Options::default()
        };
        Self::bind_with(protocol, address, &options)
    }

    /// The same, with every option.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_with(
        protocol: Protocol,
        address: &Address,
        options: &Options,
    ) -> Result<Vec<Self>, Error> {
        warn_of_short_queue(options.backlog);
        let bound = Self::bind_each(protocol, address, options)?;
        if let (Some(listener), Some(wanted)) = (bound.first(), options.buffer) {
            warn_of_other_buffers(&listener.socket, wanted);
        }
        Ok(bound)
    }

    fn bind_each(
        protocol: Protocol,
        address: &Address,
        options: &Options,
    ) -> Result<Vec<Self>, Error> {
        if address.host().is_none() {
            let port = address.port().unwrap_or(protocol.default_port());
            return Ok(vec![Self::bind_all_interfaces(protocol, port, options)?]);
        }
        let mut bound = Vec::new();
        let mut absent = None;
        for address in address.resolve("", protocol.default_port())? {
            match Self::bind_one(protocol, address, options, true) {
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

    fn bind_all_interfaces(
        protocol: Protocol,
        port: u16,
        options: &Options,
    ) -> Result<Self, Error> {
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        match Self::bind_one(protocol, v6, options, false) {
            Err(error) if is_absent(&error) => {
                let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                Self::bind_one(protocol, v4, options, true).map_err(|source| failed(v4, source))
            }
            result => result.map_err(|source| failed(v6, source)),
        }
    }

    fn bind_one(
        protocol: Protocol,
        address: SocketAddr,
        options: &Options,
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
        // Before the first client: the size decides the window scale, see tcp(7).
        if let Some(bytes) = options.buffer {
            set_buffers(&SockRef::from(&socket), bytes)?;
        }
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        Self::new(protocol, socket.into())
    }

    /// The same, but every connection must begin with a header of the PROXY protocol,
    /// version 1 or 2, which names its client. Only for a listener that no other host
    /// than the load balancer reaches: any other could claim any address.
    #[must_use]
    pub fn behind_proxy(self) -> Self {
        Self {
            is_behind_proxy: true,
            ..self
        }
    }

    /// The same, with [`Options::buffer`] for the clients that connect from now on.
    ///
    /// # Errors
    /// [`Error::Listen`] when it can't be set.
    pub(crate) fn with_buffer(self, bytes: usize) -> Result<Self, Error> {
        set_buffers(&SockRef::from(&self.socket), bytes)
            .map_err(|source| failed(self.address, source))?;
        warn_of_other_buffers(&self.socket, bytes);
        Ok(self)
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

/// Sets both buffers; every socket that is accepted from then on inherits them.
fn set_buffers(socket: &SockRef<'_>, bytes: usize) -> io::Result<()> {
    socket.set_send_buffer_size(bytes)?;
    socket.set_recv_buffer_size(bytes)
}

/// Warns where the kernel shortens the listen queue, which it does without an error:
/// listen(2).
fn warn_of_short_queue(backlog: u32) {
    let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
    let limit = limit.ok().and_then(|text| text.trim().parse::<u32>().ok());
    if let Some(limit) = limit.filter(|&limit| limit < backlog) {
        log::warn!("the kernel lets {limit} clients wait, not {backlog} (net.core.somaxconn)");
    }
}

/// Warns where the kernel, which has its own minimum and maximum, chose another size:
/// socket(7).
fn warn_of_other_buffers(socket: &TcpListener, wanted: usize) {
    /// Linux doubles the size for its own book-keeping, and reports the doubled one.
    const REPORTED_FACTOR: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
        2
    } else {
        1
    };

    let socket = SockRef::from(socket);
    let (Ok(send), Ok(receive)) = (socket.send_buffer_size(), socket.recv_buffer_size()) else {
        return;
    };
    let (send, receive) = (send / REPORTED_FACTOR, receive / REPORTED_FACTOR);
    if send != wanted || receive != wanted {
        log::warn!(
            "the kernel gives a client {send} bytes to send and {receive} to receive, not {wanted} \
             (net.core.wmem_max, net.core.rmem_max)"
        );
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

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn accepted_sockets_inherit_the_buffers_of_their_listener() {
        let options = Options {
            buffer: Some(50_000),
            ..Options::default()
        };
        let address = "127.0.0.1:0".parse().unwrap();
        let bound = Listener::bind_with(Protocol::Echo, &address, &options).unwrap();
        let socket = &bound[0].socket;
        socket.set_nonblocking(false).unwrap();
        let _client = TcpStream::connect(bound[0].address()).unwrap();
        let (accepted, _) = socket.accept().unwrap();
        let (listener, accepted) = (SockRef::from(socket), SockRef::from(&accepted));
        let sizes = |socket: &SockRef<'_>| {
            let send = socket.send_buffer_size().unwrap();
            (send, socket.recv_buffer_size().unwrap())
        };
        assert_eq!(sizes(&accepted), sizes(&listener));
        assert!((50_000..=100_000).contains(&sizes(&accepted).0));
    }
}
