//! How a server runs.

use std::sync::Arc;
use std::time::Duration;

use super::service_manager::ServiceManager;
use super::{limits, memory};
use crate::base::cpus;
use crate::worker::context::{Settings, TimeLimits};
use crate::worker::datagrams::setup::Answered;
use crate::worker::source::Sources;

/// Longer times are cut to this, so that no point in time overflows.
pub(super) const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What [`Config::udp_rate`] is by default: a probe's datagram each millisecond, and a second
/// probe behind the same address.
pub const DEFAULT_UDP_RATE: u32 = 2000;

/// How a server runs. The default serves as many clients as the descriptor
/// limit allows, on a worker a CPU.
#[derive(Clone, Debug)]
pub struct Config {
    /// Worker threads, at least 1.
    pub workers: usize,
    /// The most clients at once; `None` for what the descriptor limit allows.
    pub max_connections: Option<usize>,
    /// The most clients at once from one source: an IPv4 address or the /64 of an
    /// IPv6 one. Further ones are closed as soon as they are accepted.
    pub max_per_source: Option<usize>,
    /// How long connections have to finish when the server stops.
    pub grace: Duration,
    /// How long the server serves on when it is to stop, while it reports that it is not
    /// ready, so that load balancers choose another server.
    pub lame_duck: Duration,
    /// How long the PROXY header of a listener that wants one may take from the
    /// connection's start.
    pub header_time: Duration,
    /// How long a counted message may take from its first byte to its last.
    pub message_time: Duration,
    /// How long a connection may be without a byte in either direction. A byte that
    /// the client accepts counts, also one that was sent long ago.
    pub idle_timeout: Option<Duration>,
    /// How long a client may accept none of its pending echo. It is reset then, at most
    /// a second late.
    pub stall_timeout: Option<Duration>,
    /// How long a connection may last. What has arrived of it by then is still echoed.
    pub max_lifetime: Option<Duration>,
    /// The most bytes of unread echo, in the kernel's buffers and here. Above it no
    /// client is accepted, and the clients that accepted nothing for the longest are
    /// reset, after five seconds those that hold the most. Where the kernel's own limit
    /// on TCP's memory is reached first, that counts.
    pub memory_limit: Option<usize>,
    /// How long a worker polls after activity before it sleeps; zero for not at
    /// all. It saves a quiet client's message or datagram the time that a sleeping thread takes
    /// to be woken, and costs a worker that is not busy anyway a CPU for that long.
    pub busy_poll: Duration,
    /// Whether a client of the whoami protocol is told, beside its address, what the system
    /// knows of its connection.
    pub whoami_tcp: bool,
    /// How much each source of datagrams, an IPv4 address or an IPv6 /64, may send a second:
    /// a datagram counts once for each started 1,500 bytes. More is not answered, so that two
    /// servers never answer each other faster. `None` for no limit.
    pub udp_rate: Option<u32>,
    /// Datagrams from ports below 1024 are answered as well. Behind such a port there may be
    /// a service that answers the answer.
    pub udp_low_ports: bool,
    /// Descriptors that the rest of the process needs while the server runs, for
    /// instance those of an admin socket. The limit on open files keeps them free.
    pub reserved_descriptors: usize,
    /// The service manager that is notified when the server is ready, alive or about
    /// to stop.
    pub service_manager: ServiceManager,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: cpus::count(),
            max_connections: None,
            max_per_source: None,
            grace: Duration::from_secs(5),
            lame_duck: Duration::ZERO,
            // Above the 3 s that TCP's first retransmission may take.
            header_time: Duration::from_secs(5),
            message_time: Duration::from_secs(30),
            idle_timeout: None,
            stall_timeout: Some(Duration::from_secs(60)),
            max_lifetime: None,
            memory_limit: None,
            busy_poll: Duration::ZERO,
            whoami_tcp: false,
            udp_rate: Some(DEFAULT_UDP_RATE),
            udp_low_ports: false,
            reserved_descriptors: 0,
            service_manager: ServiceManager::none(),
        }
    }
}

impl Config {
    /// The grace period, cut to what can be added to a point in time.
    pub(super) fn bounded_grace(&self) -> Duration {
        self.grace.min(CENTURY)
    }

    /// Whose datagrams are answered.
    pub(super) const fn answered(&self) -> Answered {
        Answered {
            low_ports: self.udp_low_ports,
            rate: self.udp_rate,
        }
    }

    /// The configuration of the workers, in a process that may open `open_files` descriptors.
    pub(super) fn settings(&self, open_files: usize) -> Settings {
        Settings {
            limits: TimeLimits {
                header: self.header_time.min(CENTURY),
                message: self.message_time.min(CENTURY),
                idle: self.idle_timeout.map(|time| time.min(CENTURY)),
                stall: self.stall_timeout.map(|time| time.min(CENTURY)),
                lifetime: self.max_lifetime.map(|time| time.min(CENTURY)),
            },
            busy_poll: self.busy_poll.min(CENTURY),
            check_after: memory::check_after(self.memory_limit, self.workers),
            whoami_tcp: self.whoami_tcp,
            pipes: limits::pipes(open_files, self.workers),
            sources: self.max_per_source.map(|most| Arc::new(Sources::new(most))),
            datagrams: Arc::default(),
        }
    }
}
