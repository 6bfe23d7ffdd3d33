//! The service manager that started this process: the sockets that it hands over,
//! and the notifications that it expects.
//!
//! That is systemd, or one with the same interface: sd_listen_fds(3), sd_notify(3),
//! sd_watchdog_enabled(3).

use std::env;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use socket2::{Domain, Socket, Type};

use super::datagram_listener::DatagramListener;
use super::error::Error;
use super::listener::Listener;
use super::sockets::Sockets;
use crate::base::error::cause;
use crate::base::sys;
use crate::proto::Protocol;
use crate::worker::datagrams::protocol::DatagramProtocol;

/// How many notifications are sent within the watchdog's timeout, so that a server
/// which is late by half of it is not killed.
const WATCHDOG_PARTS: u32 = 4;

/// The watchdog is not notified more often, however short its timeout is.
const LEAST_WATCHDOG_INTERVAL: Duration = Duration::from_millis(10);

/// The most time that a stop takes beyond the grace period: the listen queues are emptied
/// before it, and everything is closed and reported after it.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// The service manager that is notified when the server is ready, alive or about to stop.
#[derive(Clone, Debug, Default)]
pub struct ServiceManager {
    has_socket: bool,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// No service manager.
    pub const fn none() -> Self {
        Self {
            has_socket: false,
            watchdog: None,
        }
    }

    /// The one that the environment of this process names (`NOTIFY_SOCKET`,
    /// `WATCHDOG_USEC`), or none.
    pub fn from_environment() -> Self {
        let has_socket = env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
        let watchdog = sd_notify::watchdog_enabled().filter(|time| has_socket && !time.is_zero());
        Self {
            has_socket,
            watchdog,
        }
    }

    /// How often [`alive`](Self::alive) is to be called; `None` for never.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        let every = |time: Duration| (time / WATCHDOG_PARTS).max(LEAST_WATCHDOG_INTERVAL);
        self.watchdog.map(every)
    }

    /// Notifies that every worker waits for clients, on these listeners.
    pub(crate) fn ready(&self, listeners: &[String]) {
        let status = format!("serving {}", listeners.join(", "));
        self.notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// Notifies the watchdog that every worker takes its turns.
    pub(crate) fn alive(&self) {
        self.notify(&[NotifyState::Watchdog]);
    }

    /// Notifies that clients have `grace` to finish: the server must not be killed before.
    pub(crate) fn stopping(&self, grace: Duration) {
        let time = humantime::format_duration(grace);
        self.stop_within(grace, &format!("stopping: clients have {time} to finish"));
    }

    /// Notifies that the server serves on for `time` before it stops.
    pub(crate) fn lame_duck(&self, time: Duration, grace: Duration) {
        let shown = humantime::format_duration(time);
        self.stop_within(
            time + grace,
            &format!("serving on for {shown}, then stopping"),
        );
    }

    fn stop_within(&self, time: Duration, status: &str) {
        // The crate's own variant ends at 71 minutes.
        let time = (time + STOP_SLACK).as_micros();
        let extension = format!("EXTEND_TIMEOUT_USEC={time}");
        self.notify(&[
            NotifyState::Stopping,
            NotifyState::Custom(&extension),
            NotifyState::Status(status),
        ]);
    }

    fn notify(&self, states: &[NotifyState]) {
        if !self.has_socket {
            return;
        }
        if let Err(error) = sd_notify::notify(states) {
            let cause = cause(&error);
            log::warn!(
                "could not notify the service manager \"{}\": {cause}",
                states[0]
            );
        }
    }
}

/// Adopts the sockets that the service manager has handed over; the name of each is its
/// protocol. A second call returns none.
///
/// # Errors
/// [`Error::Serve`] when a socket has another name, or is of another kind, or the manager's
/// environment variables contradict each other.
pub fn sockets() -> Result<Sockets, Error> {
    static TAKEN: AtomicBool = AtomicBool::new(false);

    let mut sockets = Sockets::default();
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(sockets);
    }
    let failed = |operation| move |source| Error::Serve { operation, source };
    let handed = sd_notify::listen_fds_with_names().map_err(failed(String::from(
        "take over the service manager's sockets (LISTEN_FDS, LISTEN_FDNAMES)",
    )))?;
    for (descriptor, name) in handed {
        let operation = format!("serve the service manager's socket {name:?}");
        let descriptor = sys::take_over(descriptor);
        let datagrams = [DatagramProtocol::Echo, DatagramProtocol::Stamp];
        let datagrams = datagrams.into_iter().find(|it| it.to_string() == name);
        let adopted = match datagrams {
            Some(protocol) => {
                adopt_datagrams(descriptor, protocol).map(|socket| sockets.datagrams.push(socket))
            }
            None => adopt(descriptor, &name).map(|listener| sockets.listeners.push(listener)),
        };
        adopted.map_err(failed(operation))?;
    }
    Ok(sockets)
}

fn adopt_datagrams(
    descriptor: OwnedFd,
    protocol: DatagramProtocol,
) -> io::Result<DatagramListener> {
    let socket = Socket::from(descriptor);
    let is_ip = [Domain::IPV4, Domain::IPV6].contains(&socket.domain()?);
    if !(is_ip && socket.r#type()? == Type::DGRAM) {
        return Err(io::Error::other(
            "it is no UDP socket; its .socket unit needs ListenDatagram= with a port",
        ));
    }
    DatagramListener::handed_over(protocol, socket.into())
}

fn adopt(descriptor: OwnedFd, name: &str) -> io::Result<Listener> {
    let protocol = Protocol::ALL
        .into_iter()
        .find(|protocol| protocol.to_string() == name)
        .ok_or_else(|| {
            io::Error::other(
                "no protocol has that name; its .socket unit needs FileDescriptorName=echo, counted, \
                 whoami, udp or stamp",
            )
        })?;
    let socket = Socket::from(descriptor);
    let is_ip = [Domain::IPV4, Domain::IPV6].contains(&socket.domain()?);
    if !(is_ip && socket.r#type()? == Type::STREAM && socket.is_listener()?) {
        return Err(io::Error::other(
            "it is no listening TCP socket; its .socket unit needs ListenStream= with a port, \
             and Accept=no",
        ));
    }
    Listener::handed_over(protocol, socket.into())
}
