//! Listening TCP sockets: an address bound, with its backlog and its buffers.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, SockRef, Socket, Type};

use super::address::Address;
use super::error::{Error, Transport};
use super::sys;
use crate::base::units;

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

/// The sockets bound for one [`Address`], and the addresses that could not be bound.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    /// A socket for each address that this machine has.
    pub(crate) sockets: Vec<TcpListener>,
    /// The addresses that it does not have.
    pub(crate) absent: Vec<Absent>,
}

impl Bound {
    fn attempt(
        &mut self,
        address: SocketAddr,
        is_literal: bool,
        options: &Options,
    ) -> Result<(), Error> {
        match bind_one(address, options, Presence::Now) {
            Ok(socket) => self.sockets.push(socket),
            Err(source) if is_absent(&source) => {
                self.absent
                    .push(Absent::new(address, Transport::Tcp, source, is_literal));
            }
            Err(source) => return Err(failed(address, Transport::Tcp, source)),
        }
        Ok(())
    }
}

/// An address that this machine does not have, or whose whole family it lacks.
#[derive(Debug)]
pub(crate) struct Absent {
    address: SocketAddr,
    transport: Transport,
    source: io::Error,
    /// The user gave the address itself, not a name that resolves to it.
    is_literal: bool,
}

impl Absent {
    /// The address could not be bound because of `source`.
    pub(crate) const fn new(
        address: SocketAddr,
        transport: Transport,
        source: io::Error,
        is_literal: bool,
    ) -> Self {
        Self {
            address,
            transport,
            source,
            is_literal,
        }
    }

    /// The error of a caller that has nothing else to listen on.
    pub(crate) fn into_error(self) -> Error {
        failed(self.address, self.transport, self.source)
    }

    /// Goes on without the address, with a warning. One that was asked for by itself is
    /// bound all the same by `bind`, where the system can do that: it may come later, as an
    /// IPv6 address does that is still tentative, and its clients are served then.
    pub(crate) fn bind_early<T>(
        mut self,
        bind: impl FnOnce(SocketAddr) -> io::Result<T>,
    ) -> Option<T> {
        let address = self.address;
        if self.is_literal {
            match bind(address) {
                Ok(early) => {
                    log::warn!(
                        "this machine does not have the address {} yet: {address} is served \
                         once it does",
                        address.ip()
                    );
                    return Some(early);
                }
                Err(error) => self.source = error,
            }
        }
        log::warn!("{}; the other addresses are served", self.into_error());
        None
    }
}

/// When the machine has the address that is bound.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Now,
    /// Now or later: `IP_FREEBIND` in ip(7).
    Later,
}

/// Binds every address that `address` stands for, with `default_port` where it names none.
/// Without a host that is all interfaces: IPv6 and IPv4 on one socket, or IPv4 alone where
/// the system has no IPv6.
///
/// # Errors
/// [`Error::Resolve`] for an unknown name, [`Error::Listen`] for an address that the machine
/// has and that can't be bound.
pub(crate) fn bind(
    address: &Address,
    default_port: u16,
    options: &Options,
) -> Result<Bound, Error> {
    let mut bound = Bound::default();
    if address.is_everywhere() {
        let port = address.port().unwrap_or(default_port);
        bound.sockets.push(bind_all_interfaces(port, options)?);
        return Ok(bound);
    }
    for each in address.resolve("", default_port)? {
        bound.attempt(each, address.is_literal(), options)?;
    }
    Ok(bound)
}

/// Binds the first that can be had of the addresses that `address` stands for, as [`bind`]
/// does.
///
/// # Errors
/// As [`bind`], when none can be had and the machine has one of them.
pub(crate) fn bind_first(
    address: &Address,
    default_port: u16,
    options: &Options,
) -> Result<Bound, Error> {
    if address.is_everywhere() {
        return bind(address, default_port, options);
    }
    let (mut bound, mut error) = (Bound::default(), None);
    for each in address.resolve("", default_port)? {
        match bound.attempt(each, address.is_literal(), options) {
            Ok(()) if bound.sockets.is_empty() => {}
            Ok(()) => return Ok(bound),
            Err(failed) => error = Some(failed),
        }
    }
    error.map_or(Ok(bound), Err)
}

/// Binds an address that the machine may have later.
///
/// # Errors
/// The system's.
pub(crate) fn bind_early(address: SocketAddr, options: &Options) -> io::Result<TcpListener> {
    bind_one(address, options, Presence::Later)
}

fn bind_all_interfaces(port: u16, options: &Options) -> Result<TcpListener, Error> {
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let both_families = || {
        let socket = made(v6)?;
        socket.set_only_v6(false)?;
        listen(socket, v6, options)
    };
    match both_families() {
        Err(error) if is_absent(&error) => {
            let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            bind_one(v4, options, Presence::Now)
                .map_err(|source| failed(v4, Transport::Tcp, source))
        }
        result => result.map_err(|source| failed(v6, Transport::Tcp, source)),
    }
}

/// Binds one address; an IPv6 one for IPv6 alone.
fn bind_one(address: SocketAddr, options: &Options, presence: Presence) -> io::Result<TcpListener> {
    let socket = made(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if presence == Presence::Later {
        let domain = Domain::for_address(address);
        sys::allow_absent_address(&socket, domain)?;
    }
    listen(socket, address, options)
}

fn made(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // So that a restart can bind while old connections are in TIME_WAIT.
    // On Windows the option means something else: to steal a bound port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn listen(socket: Socket, address: SocketAddr, options: &Options) -> io::Result<TcpListener> {
    socket.bind(&address.into())?;
    // Before the first client: the size decides the window scale, see tcp(7).
    if let Some(bytes) = options.buffer {
        set_buffers(&SockRef::from(&socket), bytes)?;
    }
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Sets both buffers; every socket that is accepted from then on inherits them.
pub(crate) fn set_buffers(socket: &SockRef<'_>, bytes: usize) -> io::Result<()> {
    socket.set_send_buffer_size(bytes)?;
    socket.set_recv_buffer_size(bytes)
}

/// Warns where the kernel shortens the listen queue, which it does without an error:
/// listen(2).
pub(crate) fn warn_of_short_queue(backlog: u32) {
    let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
    let limit = limit.ok().and_then(|text| text.trim().parse::<u32>().ok());
    if let Some(limit) = limit.filter(|&limit| limit < backlog) {
        let clients = units::plain_count(limit.into(), "client", "clients");
        log::warn!(
            "the kernel limits the listen queue to {clients}, not {backlog} (net.core.somaxconn)"
        );
    }
}

/// Whether the machine lacks the address or its whole family.
pub(crate) fn is_absent(error: &io::Error) -> bool {
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

/// The error of an address that can't be listened on.
pub(crate) const fn failed(address: SocketAddr, transport: Transport, source: io::Error) -> Error {
    Error::Listen {
        address,
        transport,
        source,
    }
}
