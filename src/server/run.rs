//! The server: its configuration, its run, and its closing report.
//!
//! **Stopping** goes in this order: as a lame duck it serves on for a while, if it
//! was told to, and says that it is not ready; whoever waits in the listen queues is still
//! accepted, as far as there is room; the listeners are closed, which resets
//! whoever came too late, unless a service manager keeps them open for the next
//! start; every worker serves its connections until they are quiet, half-closes
//! them and lets them go once their peers have acknowledged all; what remains when
//! the grace period ends is cut and counted;
//! every worker is joined and reported.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::{Poll, Waker};

use super::error::{Error, failed_to};
use super::limits;
use super::stop::Stop;
use crate::admin::{self, Admin};
use crate::base::open_files::open_files;
use crate::pool::{End, Pool, Settings, WorkerReport};
use crate::server::acceptor::{Acceptor, BELL};
use crate::server::admission::Gate;
use crate::server::listener::Listener;
use crate::server::memory::Memory;
use crate::server::service_manager::Manager;
use crate::server::status::Status;
use crate::worker::deadlines::TimeLimits;
use crate::worker::eviction::Counts;
use crate::worker::source::Sources;
use crate::worker::waker::Bell;

/// Longer times are cut to this, so that no point in time overflows.
pub(crate) const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

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
    /// How long the server serves on when it is to stop, but says that it is not
    /// ready, so that those who send clients to it choose another.
    pub lame_duck: Duration,
    /// How long the PROXY header of a listener that wants one may take from the
    /// connection's beginning.
    pub header_time: Duration,
    /// How long a counted message may take from its first byte to its last.
    pub message_time: Duration,
    /// How long a connection may be without a byte in either direction. A byte that
    /// the client takes counts, also one that was sent long ago.
    pub idle_timeout: Option<Duration>,
    /// How long a client may take nothing of what it is owed; it is reset then, and
    /// is late by a second at the most.
    pub stall_timeout: Option<Duration>,
    /// How long a connection may last. What was read of it by then is still echoed.
    pub max_lifetime: Option<Duration>,
    /// The most bytes that clients may hold and not take, in the kernel's buffers
    /// and here. Above it nobody is accepted, and those that took nothing for the
    /// longest are reset, after five seconds those that hold the most. Where the
    /// kernel's own limit on TCP's memory is reached first, that counts.
    pub memory_limit: Option<usize>,
    /// How long a worker polls after activity before it sleeps; zero for not at
    /// all. It saves a quiet client's message the time a sleeping thread takes to
    /// be woken, and costs a worker that is not busy anyway a CPU for that long.
    pub busy_poll: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: num_cpus::get(),
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
        }
    }
}

/// What the server did, told when it has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// One entry a worker, by number.
    pub workers: Vec<WorkerReport>,
    /// Clients that no worker got because of a limit.
    pub refused: Counts,
    /// Clients that waited to be accepted when the server stopped, and had no room.
    pub unaccepted: u64,
}

impl Report {
    /// Connections served in all.
    pub fn connections(&self) -> u64 {
        self.workers.iter().map(|worker| worker.connections).sum()
    }

    /// Bytes sent back in all.
    pub fn bytes(&self) -> u64 {
        self.workers.iter().map(|worker| worker.bytes).sum()
    }

    /// Connections cut when the grace period ran out.
    pub fn cut(&self) -> u64 {
        self.workers.iter().map(|worker| worker.cut).sum()
    }

    /// Clients refused or ended by a limit.
    pub fn evicted(&self) -> Counts {
        let each = self.workers.iter().map(|worker| &worker.evicted);
        each.fold(self.refused, Counts::and)
    }

    /// Whether every client was served to its end, but for those that a limit ended.
    pub fn all_served(&self) -> bool {
        self.cut() == 0 && self.unaccepted == 0
    }

    /// Whether no worker died on the way.
    pub fn all_well(&self) -> bool {
        let well = |worker: &WorkerReport| worker.end == End::Ok && worker.replaced == 0;
        self.workers.iter().all(well)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "total: {} workers, {} connections, {} bytes echoed{}",
            self.workers.len(),
            self.connections(),
            self.bytes(),
            self.evicted()
        )?;
        match self.unaccepted {
            0 => Ok(()),
            count => write!(f, ", {count} turned away at the stop"),
        }
    }
}

/// Serves `listeners` on a pool of workers until `stop` is requested and the
/// last connection has ended. The calling thread is the one that accepts.
///
/// ```
/// use echopool::listener::Listener;
/// use echopool::proto::Protocol;
/// use echopool::server::{Config, Stop, run};
///
/// let listener = Listener::bind(Protocol::Echo, &"127.0.0.1:0".parse().unwrap(), 128).unwrap();
/// let stop = Stop::new();
/// stop.request();
/// let report = run(listener, &stop, &Config::default()).unwrap();
/// assert_eq!(report.connections(), 0);
/// ```
///
/// # Errors
/// [`Error::Descriptors`] when the descriptor limit has no room for a client;
/// [`Error::Serve`] when a thread or a poller can't be had, at the start or for
/// a worker that has to be replaced. Connections are drained before it returns.
pub fn run(listeners: Vec<Listener>, stop: &Stop, config: &Config) -> Result<Report, Error> {
    run_under(&Manager::none(), None, listeners, stop, config)
}

/// The same under a service manager, which is told when every worker is ready,
/// that they are well, and that the server stops; and with an admin socket for
/// those who want to look at the server while it runs.
///
/// # Errors
/// As those of [`run`].
pub fn run_under(
    manager: &Manager,
    admin: Option<Admin>,
    listeners: Vec<Listener>,
    stop: &Stop,
    config: &Config,
) -> Result<Report, Error> {
    if config.workers == 0 {
        let source = io::Error::other("a pool has at least one worker");
        return Err(failed_to("start the workers")(source));
    }
    let open_files = open_files();
    let beside = listeners.len() + admin.as_ref().map_or(0, |_| admin::DESCRIPTORS);
    let allowed = limits::connections(open_files, config.workers, beside)?;
    let max_connections = match config.max_connections {
        Some(wanted) if wanted > allowed => {
            log::warn!("the limit on open files allows {allowed} clients, not {wanted}");
            allowed
        }
        Some(wanted) => wanted,
        None => allowed,
    };
    let poller = Poll::new().map_err(failed_to("make the main thread's poller"))?;
    let waker =
        Waker::new(poller.registry(), BELL).map_err(failed_to("make the main thread's waker"))?;
    let bell = Arc::new(Bell::new(waker));
    let notices = Arc::default();
    let settings = config.settings(open_files);
    let pool = Pool::spawn(config.workers, &settings, &bell, &notices)
        .map_err(failed_to("start the workers"))?;
    stop.attach(&bell);
    let status = Status {
        started: Instant::now(),
        started_at: SystemTime::now(),
        listeners: listeners.iter().map(ToString::to_string).collect(),
        max_connections,
        entrance: Arc::default(),
        seats: pool.tallies(),
        notices,
    };
    let bound = (max_connections, max_connections == allowed);
    let gate = Gate::new(bound, settings.sources, &status);
    let memory = Memory::new(config.memory_limit);
    let guards = (gate, memory);
    let mut acceptor = Acceptor::new(poller, bell, pool, guards, status.clone(), listeners)?;
    let admin = admin.map(|admin| admin.start(status));
    let office = admin
        .transpose()
        .map_err(failed_to("start the admin thread"))?;
    acceptor.report_to(manager, office.is_some());
    let ended = acceptor.serve(stop, config);
    let report = acceptor.finish(config.grace.min(CENTURY));
    drop(office);
    ended.map(|()| report)
}

impl Config {
    /// What each worker is told, where `open_files` are allowed.
    fn settings(&self, open_files: usize) -> Settings {
        Settings {
            limits: TimeLimits {
                header: self.header_time.min(CENTURY),
                message: self.message_time.min(CENTURY),
                idle: self.idle_timeout.map(|time| time.min(CENTURY)),
                stall: self.stall_timeout.map(|time| time.min(CENTURY)),
                lifetime: self.max_lifetime.map(|time| time.min(CENTURY)),
            },
            busy_poll: self.busy_poll.min(CENTURY),
            pipes: limits::pipes(open_files, self.workers),
            sources: self.max_per_source.map(|most| Arc::new(Sources::new(most))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::admin::tests::ask;
    use crate::proto::Protocol;
    use crate::worker::conn::tests::wait_until;
    use crate::worker::event_loop::PANIC_FOR;

    /// How many workers were replaced on each seat, as the metrics tell.
    fn told_replaced(admin: SocketAddr) -> Vec<u64> {
        let text = ask(admin, "/metrics");
        let name = "echopool_worker_replaced_total{";
        let samples = text.lines().filter(|line| line.starts_with(name));
        let values = samples.map(|line| line.rsplit(' ').next().unwrap());
        values.map(|value| value.parse().unwrap()).collect()
    }

    #[test]
    fn a_worker_that_panics_is_replaced_and_reported_and_harms_only_its_own_clients() {
        let config = Config {
            workers: 2,
            ..Config::default()
        };
        let localhost = "127.0.0.1:0".parse().unwrap();
        let listeners = Listener::bind(Protocol::Echo, &localhost, 128).unwrap();
        let address = listeners[0].address();
        let office = Admin::bind(&localhost).unwrap();
        let admin = office.address();
        let stop = Stop::new();
        let running = std::thread::spawn({
            let stop = stop.clone();
            move || run_under(&Manager::none(), Some(office), listeners, &stop, &config)
        });
        let connect = || {
            let stream = TcpStream::connect(address).unwrap();
            let deadline = Some(Duration::from_secs(30));
            stream.set_read_timeout(deadline).unwrap();
            stream
        };
        let echo = |mut stream: &TcpStream| {
            let mut reply = [0; 4];
            stream.write_all(b"ping")?;
            stream.read_exact(&mut reply)?;
            io::Result::Ok(reply)
        };
        // Two clients on each worker, since the least loaded one gets the next.
        let clients: Vec<_> = (0..4).map(|_| connect()).collect();
        for client in &clients {
            assert_eq!(echo(client).unwrap(), *b"ping");
        }
        assert_eq!(told_replaced(admin), [0, 0]);
        let victim = clients[0].local_addr().unwrap().port();
        PANIC_FOR.store(victim, Ordering::SeqCst);
        assert!(echo(&clients[0]).is_err(), "its worker is gone");
        PANIC_FOR.store(0, Ordering::SeqCst);
        let alive = clients.iter().filter(|client| echo(client).is_ok()).count();
        assert_eq!(alive, 2, "the other worker's clients");
        // The pool has its full size again: new clients spread over both workers.
        let newcomers: Vec<_> = (0..4).map(|_| connect()).collect();
        for client in &newcomers {
            assert_eq!(echo(client).unwrap(), *b"ping");
        }
        // The successor may serve them before it is counted.
        wait_until(|| told_replaced(admin) != [0, 0]);
        let told = told_replaced(admin);
        stop.request();
        let report = running.join().unwrap().unwrap();
        assert!(!report.all_well());
        assert_eq!(report.connections(), 8);
        let each = report.workers.iter();
        let replaced: Vec<_> = each.map(|worker| worker.replaced).collect();
        assert_eq!(replaced.iter().sum::<u64>(), 1);
        assert_eq!(told, replaced);
        assert!(report.workers.iter().all(|worker| worker.end == End::Ok));
        assert!(report.workers.iter().all(|worker| worker.connections >= 3));
    }
}
