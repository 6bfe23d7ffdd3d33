//! Listening sockets: one bound address and the protocol served on it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::error::{Error, failed_to};
use crate::base::address::Address;
use crate::base::error::{Transport, cause};
use crate::base::listening::{self, Absent, Options, set_buffers, warn_of_short_queue};
use crate::base::pacing;
use crate::base::sys;
use crate::base::units;
use crate::proto::Protocol;

/// How long a connection is silent before its peer is probed, where no other time is set.
/// A peer that is gone is ended 110 s after its last segment.
pub const DEFAULT_KEEPALIVE: Duration = Duration::from_secs(60);

/// This many probes without an answer end a connection.
const PROBES: u32 = 5;

/// The time between two probes is this part of the time before the first.
const PROBE_PART: u32 = 6;

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
    /// Every accepted socket has the options of a client from the listener.
    clients_inherit: bool,
}

impl Listener {
    /// Adopts a socket that is bound and listens already, and sets the options that
    /// the server relies on: non-blocking, and for its clients no Nagle delay
    /// and urgent data in line. One that the kind of socket lacks is done without, as MPTCP
    /// lacks urgent data. A client that is silent for [`DEFAULT_KEEPALIVE`]
    /// is probed. Clients of a loopback address are not paced.
    ///
    /// # Errors
    /// The system's, when an option can't be set.
    pub fn new(protocol: Protocol, socket: TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        let options_are_set = set_client_options(&SockRef::from(&socket))?;
        set_keepalive(&SockRef::from(&socket), Some(DEFAULT_KEEPALIVE));
        pacing::stop_within_machine(&SockRef::from(&socket), address);
        Ok(Self {
            protocol,
            socket,
            address,
            is_shared: false,
            is_behind_proxy: false,
            clients_inherit: options_are_set && INHERITS,
        })
    }

    /// What is spoken there.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Sets the options of an accepted client that it did not inherit.
    pub(crate) fn complete(&self, client: &TcpStream) {
        if self.clients_inherit {
            return;
        }
        // A client that has left already is found by the first read.
        if let Err(error) = set_client_options(&SockRef::from(client)) {
            log::debug!("could not set the options of a client: {}", cause(&error));
        }
    }

    /// Adopts a socket as [`new`](Self::new) does, but one that a service manager keeps open
    /// beside this process.
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
    /// [`Error::Base`] for an unknown name, and when an address can't be had.
    pub fn bind(protocol: Protocol, address: &Address, backlog: u32) -> Result<Vec<Self>, Error> {
        let options = Options {
            backlog,
            ..Options::default()
        };
        warn_of_short_queue(backlog);
        let (mut listeners, mut absent) = Self::attempt(protocol, address, &options)?;
        if listeners.is_empty() && !absent.is_empty() {
            return Err(absent.swap_remove(0).into_error().into());
        }
        for each in absent {
            listeners.extend(Self::early(protocol, each, &options)?);
        }
        Ok(listeners)
    }

    /// Binds what this machine has of the addresses that `address` stands for. Returns what it
    /// does not have as well.
    pub(super) fn attempt(
        protocol: Protocol,
        address: &Address,
        options: &Options,
    ) -> Result<(Vec<Self>, Vec<Absent>), Error> {
        let bound = listening::bind(address, protocol.default_port(), options)?;
        let adopt = |socket| Self::adopt(protocol, socket);
        let listeners: Result<_, _> = bound.sockets.into_iter().map(adopt).collect();
        Ok((listeners?, bound.absent))
    }

    /// Binds an address that this machine does not have, where the system can; with a warning.
    pub(super) fn early(
        protocol: Protocol,
        absent: Absent,
        options: &Options,
    ) -> Result<Option<Self>, Error> {
        let socket = absent.bind_early(|at| listening::bind_early(at, options));
        socket.map(|it| Self::adopt(protocol, it)).transpose()
    }

    /// Warns where the buffers of its clients are not of the size that was wanted.
    pub(super) fn warn_of_other_buffers(&self, wanted: usize) {
        warn_of_other_buffers(&self.socket, wanted);
    }

    fn adopt(protocol: Protocol, socket: TcpListener) -> Result<Self, Error> {
        let operation = format!("set up a listening socket of {protocol}");
        Self::new(protocol, socket).map_err(failed_to(&operation))
    }

    /// This listener, with another time before a silent client is probed, for clients that
    /// connect from now on; `None` for never.
    #[must_use]
    pub fn with_keepalive(self, time: Option<Duration>) -> Self {
        set_keepalive(&SockRef::from(&self.socket), time);
        self
    }

    /// This listener, but every connection must begin with a header of the PROXY protocol,
    /// version 1 or 2, which names its client. Only for a listener that no other host
    /// than the load balancer reaches: any other could claim any address.
    #[must_use]
    pub fn behind_proxy(self) -> Self {
        Self {
            is_behind_proxy: true,
            ..self
        }
    }

    /// This listener, with [`Options::buffer`] for the clients that connect from now on.
    ///
    /// # Errors
    /// [`Error::Base`] when it can't be set.
    pub(crate) fn with_buffer(self, bytes: usize) -> Result<Self, Error> {
        set_buffers(&SockRef::from(&self.socket), bytes)
            .map_err(|source| listening::failed(self.address, Transport::Tcp, source))?;
        warn_of_other_buffers(&self.socket, bytes);
        Ok(self)
    }

    /// The address it is bound to, with the real port where 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The text in the log: `echo://127.0.0.1:20162`.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.protocol, self.address)
    }
}

/// On Linux an accepted socket inherits the options of its listener.
const INHERITS: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Sets the time before a silent client is probed; `None` for never. On Linux every socket
/// that the listener accepts later inherits it. A socket that can't be probed is served
/// without.
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
        log::debug!("could not enable TCP keep-alive: {}", cause(&error));
    }
}

/// Sets what the server wants of every client's socket. Returns whether all of it was set:
/// what this kind of socket lacks is left out.
fn set_client_options(socket: &SockRef<'_>) -> io::Result<bool> {
    let mut are_all_set = true;
    for result in [
        socket.set_tcp_nodelay(true),
        socket.set_out_of_band_inline(true),
    ] {
        match result {
            Err(error) if sys::is_lacking(&error) => are_all_set = false,
            result => result?,
        }
    }
    Ok(are_all_set)
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
        let send = units::plain_count(send as u64, "byte", "bytes");
        log::warn!(
            "the kernel limits the buffers of a client to {send} for sending and {receive} \
             for receiving, not {wanted} (net.core.wmem_max, net.core.rmem_max)"
        );
    }
}

#[cfg(test)]
mod tests {
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
            let address = "127.0.0.1:0".parse().unwrap();
            let bound = Listener::bind(Protocol::Echo, &address, 128).unwrap();
            let bound: Vec<_> = bound
                .into_iter()
                .map(|listener| listener.with_keepalive(keepalive))
                .collect();
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

    #[cfg(target_os = "linux")]
    #[test]
    fn clients_on_loopback_are_not_paced_and_others_are_as_the_system_wants() {
        let accepted_on = |address: &str| {
            let socket = TcpListener::bind((address, 0)).unwrap();
            let before = pacing::prefer_bbr(&SockRef::from(&socket));
            let listener = Listener::new(Protocol::Echo, socket).unwrap();
            listener.socket.set_nonblocking(false).unwrap();
            let port = listener.address().port();
            let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (accepted, _) = listener.socket.accept().unwrap();
            (before, pacing::name(&SockRef::from(&accepted)))
        };
        let (before, on_loopback) = accepted_on("127.0.0.1");
        assert_eq!(on_loopback, pacing::without(before));
        let (before, on_all) = accepted_on("0.0.0.0");
        assert_eq!(on_all, before);
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
        let (bound, _) = Listener::attempt(Protocol::Echo, &address, &options).unwrap();
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
