//! One server, from its start to its closing report.
//!
//! **Stopping** goes in this order:
//!
//! 1. As a lame duck, if it was configured to, the server serves on for a while and
//!    reports that it is not ready.
//! 2. Clients in the listen queues are still accepted, as far as there is room.
//! 3. The listeners are closed, which resets clients that came too late, unless a
//!    service manager keeps the listeners open for the next start.
//! 4. Every worker answers the datagrams that have come, and closes its socket for them.
//! 5. Every worker serves its connections until they are quiet, half-closes them and
//!    closes them once their peers have acknowledged everything.
//! 6. Connections that remain when the grace period ends are cut and counted.
//! 7. Every worker is joined and reported.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use mio::{Poll, Waker};

use super::acceptor::{Acceptor, WAKER, watch};
use super::admission::AdmissionControl;
use super::config::Config;
use super::datagram_listener::{self, DatagramListener};
use super::error::{Error, failed_to};
use super::limits;
use super::listener::Listener;
use super::memory::Memory;
use super::report::Report;
use super::status::Status;
use super::stop::Stop;
use crate::base::open_files::open_files;
use crate::base::units;
use crate::pool::Pool;
use crate::worker::waker::MainWaker;

/// A server whose workers are running. It accepts clients in [`run`](Self::run); until
/// then they wait in the listen queues.
///
/// ```
/// use echopool::proto::Protocol;
/// use echopool::server::{Config, Listener, Server, Stop};
///
/// let listeners = Listener::bind(Protocol::Echo, &"127.0.0.1:0".parse()?, 128)?;
/// let server = Server::start(listeners, &Config::default())?;
/// println!("port {}", server.addresses()[0].port());
/// let stop = Stop::new();
/// stop.request();
/// let report = server.run(&stop)?;
/// assert_eq!(report.connections(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// To look at it while it runs, start an admin socket on its [`status`](Self::status).
pub struct Server {
    poller: Poll,
    main_waker: Arc<MainWaker>,
    pool: Pool,
    admission: AdmissionControl,
    status: Status,
    listeners: Vec<Listener>,
    /// The addresses of the sockets for datagrams.
    datagrams: Vec<SocketAddr>,
    config: Config,
    /// The status was given out, so the workers are watched for its readers.
    is_watched: bool,
}

impl Server {
    /// Starts the workers and waits until each of them polls.
    ///
    /// # Errors
    /// [`Error::Descriptors`] when the descriptor limit has no room for a client;
    /// [`Error::Serve`] when a thread or a poller can't be had.
    pub fn start(listeners: Vec<Listener>, config: &Config) -> Result<Self, Error> {
        Self::start_with(listeners, Vec::new(), config)
    }

    /// The same, and answers datagrams as well.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(
        listeners: Vec<Listener>,
        datagrams: Vec<DatagramListener>,
        config: &Config,
    ) -> Result<Self, Error> {
        if config.workers == 0 {
            let source = io::Error::other("a pool has at least one worker");
            return Err(failed_to("start the workers")(source));
        }
        let open_files = open_files();
        let sockets = datagrams
            .iter()
            .map(DatagramListener::sockets)
            .sum::<usize>();
        let reserved = listeners.len() + sockets + config.reserved_descriptors;
        let allowed = limits::connections(open_files, config.workers, reserved)?;
        let max_connections = bounded(config.max_connections, allowed);
        let poller = Poll::new().map_err(failed_to("make the main thread's poller"))?;
        let waker = Waker::new(poller.registry(), WAKER)
            .map_err(failed_to("make the main thread's waker"))?;
        let main_waker = Arc::new(MainWaker::new(waker));
        let evictions = Arc::default();
        let mut settings = config.settings(open_files);
        let names = listeners.iter().map(ToString::to_string);
        let names = names.chain(datagrams.iter().map(ToString::to_string));
        let names = names.collect();
        let datagram_addresses = datagrams.iter().map(DatagramListener::address).collect();
        let answered = config.answered();
        settings.datagrams = datagram_listener::distributed(datagrams, config.workers, answered);
        let pool = Pool::spawn(config.workers, &settings, &main_waker, &evictions)
            .map_err(failed_to("start the workers"))?;
        let status = Status {
            started: Instant::now(),
            started_at: SystemTime::now(),
            listeners: names,
            max_connections,
            acceptor: Arc::default(),
            workers: pool.metrics(),
            evictions,
            datagrams: settings.datagrams.log(),
        };
        let bound = (max_connections, max_connections == allowed);
        let admission = AdmissionControl::new(bound, settings.sources, &status);
        watch(&poller, &listeners)?;
        for name in &status.listeners[listeners.len()..] {
            log::info!("waiting for clients on {name}");
        }
        Ok(Self {
            poller,
            main_waker,
            pool,
            admission,
            status,
            listeners,
            datagrams: datagram_addresses,
            config: config.clone(),
            is_watched: false,
        })
    }

    /// The address of each listener, in the order in which they were given.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// The address of each socket for datagrams, in the order in which they were given.
    pub fn datagram_addresses(&self) -> &[SocketAddr] {
        &self.datagrams
    }

    /// A handle that reads what the server counts and whether it is healthy. From now on
    /// the workers are watched for whether they take their turns.
    pub fn status(&mut self) -> Status {
        self.is_watched = true;
        self.status.clone()
    }

    /// Serves until `stop` is requested and the last connection has ended. The calling
    /// thread is the one that accepts.
    ///
    /// # Errors
    /// [`Error::Serve`] when a worker that died can't be replaced, or the poller fails.
    /// Connections are drained before it returns.
    pub fn run(self, stop: &Stop) -> Result<Report, Error> {
        stop.attach(&self.main_waker);
        let memory = Memory::new(self.config.memory_limit);
        let mut acceptor = Acceptor::new(
            self.poller,
            self.main_waker,
            self.pool,
            (self.admission, memory),
            self.status,
            self.listeners,
        );
        acceptor.report_to(&self.config.service_manager, self.is_watched);
        let ended = acceptor.serve(stop, &self.config);
        let report = acceptor.finish(self.config.bounded_grace());
        ended.map(|()| report)
    }
}

/// How many clients are served at once, where the limit on open files has room for
/// `allowed`.
fn bounded(wanted: Option<usize>, allowed: usize) -> usize {
    match wanted {
        Some(wanted) if wanted > allowed => {
            let clients = units::plain_count(allowed as u64, "client", "clients");
            log::warn!("the limit on open files allows {clients}, not {wanted}");
            allowed
        }
        Some(wanted) => wanted,
        None => allowed,
    }
}
