//! Listening sockets: one bound address and the protocol served on it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use super::error::Error;
use crate::base::address::Address;
use crate::base::error::cause;
use crate::proto::Protocol;

/// How many clients may wait in the kernel to be accepted. With the customary
/// 128 a connect storm overflows the queue, and every client it drops waits a
/// second for its SYN to be sent again.
pub const DEFAULT_BACKLOG: u32 = 4096;

/// How long a connection is silent before its peer is probed, where nothing else is said.
/// A peer that is gone is ended 110 s after its last segment.
pub const DEFAULT_KEEPALIVE: Duration = Duration::from_secs(60);

/// So many probes that nobody answers end a connection.
const PROBES: u32 = 5;

/// The time between two probes is this part of the time before the first.
const PROBE_PART: u32 = 6;

/// How listening sockets are made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Clients that may wait in the kernel to be accepted.
    pub backlog: u32,
    /// Bytes of a client that wait in the kernel, each way; `None` leaves it to the
    /// kernel, which grows a buffer with the use that is made of it.
    pub buffer: Option<usize>,
    /// How long a connection is silent before its peer is probed; `None` for never.
    pub keepalive: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backlog: DEFAULT_BACKLOG,
            buffer: None,
            keepalive: Some(DEFAULT_KEEPALIVE),
        }
    }
}

/// A bound, listening socket and what is spoken on it.
#[derive(Debug)]
pub struct Listener {
    pub(crate) protocol: Protocol,
    pub(crate) socket: TcpListener,
    pub(crate) address: SocketAddr,
    /// Another process has it, too: it goes on listening when this one closes it.
    pub(crate) is_shared: bool,
    /// Its clients come through a load balancer, which names them in a PROXY header.
    pub(crate) is_behind_proxy: bool,
}

impl Listener {
    /// Takes a socket that is bound and listens already, and sets on it what
    /// the server relies on: non-blocking, and for its clients no Nagle delay
    /// and urgent data in line. A client that is silent for [`DEFAULT_KEEPALIVE`] is probed.
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
        set_keepalive(&options, Some(DEFAULT_KEEPALIVE));
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
        // Before the first client, whose window is scaled by it: tcp(7).
        if let Some(bytes) = options.buffer {
            set_buffers(&SockRef::from(&socket), bytes)?;
        }
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        Ok(Self::new(protocol, socket.into())?.with_keepalive(options.keepalive))
    }

    /// The same, with [`Options::keepalive`] for the clients that connect from now on.
    #[must_use]
    pub fn with_keepalive(self, time: Option<Duration>) -> Self {
        set_keepalive(&SockRef::from(&self.socket), time);
        self
    }

    /// The same, but every connection must begin with a header of the PROXY protocol,
    /// version 1 or 2, and its client is whom that names. Only for a listener that
    /// nobody but the load balancer reaches: others could claim to be anybody.
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

/// Every socket that is accepted from then on inherits both.
fn set_buffers(socket: &SockRef<'_>, bytes: usize) -> io::Result<()> {
    socket.set_send_buffer_size(bytes)?;
    socket.set_recv_buffer_size(bytes)
}

/// Every socket that is accepted from then on inherits it on Linux. A socket that can't be
/// probed is served without.
fn set_keepalive(socket: &SockRef<'_>, time: Option<Duration>) {
    let set = match time {
        None => socket.set_keepalive(false),
        Some(time) => {
            // The system counts whole seconds, up to 32,767.
            let time = time.clamp(Duration::from_secs(1), Duration::from_secs(32_767));
            let every = (time / PROBE_PART).max(Duration::from_secs(1));
            let times = TcpKeepalive::new().with_time(time).with_interval(every);
            #[cfg(not(windows))]
            let times = times.with_retries(PROBES);
            socket.set_tcp_keepalive(&times)
        }
    };
    if let Err(error) = set {
        log::debug!("silent clients are not probed: {}", cause(&error));
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

/// The kernel has its own least and most for a buffer: socket(7).
fn warn_of_other_buffers(socket: &TcpListener, wanted: usize) {
    /// Linux doubles what it is asked for, for its own book-keeping, and tells that.
    const TOLD: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
        2
    } else {
        1
    };

    let socket = SockRef::from(socket);
    let (Ok(send), Ok(receive)) = (socket.send_buffer_size(), socket.recv_buffer_size()) else {
        return;
    };
    let (send, receive) = (send / TOLD, receive / TOLD);
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

    #[cfg(target_os = "linux")]
    #[test]
    fn accepted_sockets_inherit_the_probes_of_their_listener() {
        let seconds = Duration::from_secs;
        let cases = [
            (Some(DEFAULT_KEEPALIVE), Some((seconds(60), seconds(10)))),
            (Some(seconds(2)), Some((seconds(2), seconds(1)))),
            (
                Some(Duration::from_millis(1)),
                Some((seconds(1), seconds(1))),
            ),
            (
                Some(seconds(1 << 40)),
                Some((seconds(32_767), seconds(5461))),
            ),
            (None, None),
        ];
        for (keepalive, expected) in cases {
            let options = Options {
                keepalive,
                ..Options::default()
            };
            let address = "127.0.0.1:0".parse().unwrap();
            let bound = Listener::bind_with(Protocol::Echo, &address, &options).unwrap();
            bound[0].socket.set_nonblocking(false).unwrap();
            let _client = TcpStream::connect(bound[0].address()).unwrap();
            let (accepted, _) = bound[0].socket.accept().unwrap();
            let accepted = SockRef::from(&accepted);
            assert_eq!(accepted.keepalive().unwrap(), expected.is_some());
            if let Some((time, every)) = expected {
                assert_eq!(accepted.tcp_keepalive_time().unwrap(), time);
                assert_eq!(accepted.tcp_keepalive_interval().unwrap(), every);
                assert_eq!(accepted.tcp_keepalive_retries().unwrap(), PROBES);
            }
        }
    }

    #[test]
    fn a_silent_client_that_is_gone_is_ended_within_two_minutes() {
        let all = DEFAULT_KEEPALIVE + PROBES * (DEFAULT_KEEPALIVE / PROBE_PART);
        assert!(all <= Duration::from_secs(120), "{all:?}");
    }

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
