//! The main thread: accept, hand over, stop.
//!
//! It owns the listeners and waits on a poller for a client, for a worker that
//! has died, for room after the server was full, and for the order to stop.
//!
//! **Stopping** goes in this order: whoever waits in the listen queues is still
//! accepted, as far as there is room; the listeners are closed, which resets
//! whoever came too late, unless a service manager keeps them open for the next
//! start; every worker serves its connections
//! until they are quiet, half-closes them and lets them go once their peers have
//! acknowledged all; what remains when the grace period ends is cut and counted;
//! every worker is joined and reported.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::address::canonical;
use crate::bell::Bell;
use crate::error::{Error, cause};
use crate::eviction::Counts;
use crate::gate::{Admission, Gate};
use crate::limits;
use crate::listener::Listener;
use crate::manager::Manager;
use crate::memory::Memory;
use crate::pool::{Accepted, Drain, End, Pool, Settings, WorkerReport};
pub use crate::stop::Stop;
use crate::sys::{self, Yielding};
use crate::throttle::Throttle;
use crate::worker::TimeLimits;

/// How many clients one listener accepts before the main thread looks up.
const ACCEPTS_PER_TURN: usize = 64;

/// How long accepting rests when the system refuses it, for instance because
/// all descriptors are in use: ten attempts a second cost nothing, and a client
/// hardly notices the wait.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the listen queues are emptied when the server stops.
const LAST_ACCEPTS: Duration = Duration::from_millis(100);

/// A connection that neither sent nor received for so long is quiet.
const QUIET: Duration = Duration::from_millis(200);

/// Longer times are cut to this, so that no point in time overflows.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

const BELL: Token = Token(usize::MAX);

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
    /// longest are reset. Where the kernel's own limit on TCP's memory is reached
    /// first, that counts.
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
        )
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
    run_under(&Manager::none(), listeners, stop, config)
}

/// The same under a service manager, which is told when every worker is ready,
/// that they are well, and that the server stops.
///
/// # Errors
/// As those of [`run`].
pub fn run_under(
    manager: &Manager,
    listeners: Vec<Listener>,
    stop: &Stop,
    config: &Config,
) -> Result<Report, Error> {
    if config.workers == 0 {
        let source = io::Error::other("a pool has at least one worker");
        return Err(failed_to("start the workers")(source));
    }
    let open_files = limits::open_files();
    let allowed = limits::connections(open_files, config.workers, listeners.len())?;
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
    let settings = Settings {
        limits: TimeLimits {
            message: config.message_time.min(CENTURY),
            idle: config.idle_timeout.map(|time| time.min(CENTURY)),
            stall: config.stall_timeout.map(|time| time.min(CENTURY)),
            lifetime: config.max_lifetime.map(|time| time.min(CENTURY)),
        },
        busy_poll: config.busy_poll.min(CENTURY),
        pipes: limits::pipes(open_files, config.workers),
    };
    let notices = Arc::default();
    let bound = (max_connections, max_connections == allowed);
    let gate = Gate::new(bound, config.max_per_source, Arc::clone(&notices));
    let pool = Pool::spawn(config.workers, settings, &bell, &notices)
        .map_err(failed_to("start the workers"))?;
    stop.attach(&bell);
    let memory = Memory::new(config.memory_limit);
    let mut acceptor = Acceptor::new(poller, bell, pool, (gate, memory), listeners)?;
    acceptor.report_to(manager);
    let ended = acceptor.serve(stop);
    let report = acceptor.finish(config.grace.min(CENTURY));
    ended.map(|()| report)
}

fn failed_to(operation: &str) -> impl FnOnce(io::Error) -> Error {
    let operation = operation.to_owned();
    move |source| Error::Serve { operation, source }
}

/// A listener, and whether it may have clients that no event will tell of again.
struct Door {
    listener: Listener,
    ready: bool,
}

/// The main thread's state.
struct Acceptor {
    poller: Poll,
    bell: Arc<Bell>,
    pool: Pool,
    gate: Gate,
    memory: Memory,
    doors: Vec<Door>,
    /// The listener that is looked at first.
    turn: usize,
    /// A client that no worker's channel had room for.
    held: Option<Accepted>,
    /// Woken for each client alone, this thread would interrupt the workers for
    /// each; so it finds several when its turn comes.
    yielding: Option<Yielding>,
    /// Accepting rests until then.
    paused_until: Option<Instant>,
    manager: Manager,
    /// When its watchdog is to hear of the workers again.
    vouch_at: Option<Instant>,
    told_failure: Throttle,
}

impl Acceptor {
    fn new(
        poller: Poll,
        bell: Arc<Bell>,
        pool: Pool,
        (gate, memory): (Gate, Memory),
        listeners: Vec<Listener>,
    ) -> Result<Self, Error> {
        for (index, listener) in listeners.iter().enumerate() {
            sys::watch(poller.registry(), &listener.socket, Token(index))
                .map_err(failed_to(&format!("watch {listener}")))?;
            log::info!("waiting for clients on {listener}");
        }
        let door = |listener| Door {
            listener,
            ready: true,
        };
        Ok(Self {
            poller,
            bell,
            pool,
            gate,
            memory,
            doors: listeners.into_iter().map(door).collect(),
            turn: 0,
            held: None,
            yielding: Yielding::begin(),
            paused_until: None,
            manager: Manager::none(),
            vouch_at: None,
            told_failure: Throttle::new(Duration::from_secs(1)),
        })
    }

    fn serve(&mut self, stop: &Stop) -> Result<(), Error> {
        let mut events = Events::with_capacity(64);
        while !stop.is_requested() {
            let timeout = self.timeout();
            self.wait(&mut events, timeout)?;
            self.reap()?;
            self.guard();
            self.accept();
            self.vouch();
        }
        Ok(())
    }

    /// Has those shed that take nothing while memory or descriptors are short.
    fn guard(&mut self) {
        let now = Instant::now();
        self.memory.look(&self.pool, now);
        if self.waits_for_place() {
            self.memory.make_room(&self.pool, now);
        }
    }

    /// Tells `manager` that all are ready, and from now on what else it wants to hear.
    fn report_to(&mut self, manager: &Manager) {
        manager.ready(self.doors.iter().map(|door| &door.listener));
        self.vouch_at = manager.vouch_every().map(|_| Instant::now());
        self.manager = manager.clone();
    }

    /// Tells the watchdog that the workers are well, if each has taken a turn
    /// since the last time, and asks them again. It costs them a wake-up each.
    fn vouch(&mut self) {
        let now = Instant::now();
        let (Some(at), Some(every)) = (self.vouch_at, self.manager.vouch_every()) else {
            return;
        };
        if now < at {
            return;
        }
        self.vouch_at = Some(now + every);
        match self.pool.silent() {
            None => self.manager.well(),
            Some(id) => log::error!(
                "worker {id} has taken no turn for {every:?}: the service manager's watchdog \
                 is not told that all is well until it does"
            ),
        }
        self.pool.call_roll();
    }

    /// Replaces the workers that have died.
    fn reap(&mut self) -> Result<(), Error> {
        if !self.pool.has_dead() {
            return Ok(());
        }
        // A thread begins with the policy of the one that starts it.
        self.yielding = None;
        let reaped = self.pool.reap();
        self.yielding = Yielding::begin();
        reaped.map_err(failed_to("replace a worker that died"))
    }

    fn timeout(&self) -> Option<Duration> {
        let vouch = self.vouch_at.into_iter();
        let vouch = vouch.map(|at| at.saturating_duration_since(Instant::now()));
        vouch.chain(self.until_accept()).min()
    }

    /// How long until a client can be accepted that no event tells of.
    fn until_accept(&self) -> Option<Duration> {
        let look = self.memory.timeout(&self.pool);
        // Nobody is accepted meanwhile, whether a pause is over or not.
        if self.memory.is_short() {
            return look;
        }
        if let Some(until) = self.paused_until {
            return Some(until.saturating_duration_since(Instant::now()));
        }
        let waiting = self.held.is_some() || self.doors.iter().any(|door| door.ready);
        if !waiting {
            return look;
        }
        match self.is_full() {
            false => Some(Duration::ZERO),
            true if self.waits_for_place() => {
                let room = self.memory.room_timeout();
                Some(look.map_or(room, |look| look.min(room)))
            }
            true => look,
        }
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> Result<(), Error> {
        sys::poll(&mut self.poller, events, timeout).map_err(failed_to("wait for clients"))?;
        for event in events.iter() {
            // The bell's token is beyond every door; its ringing has woken us.
            if let Some(door) = self.doors.get_mut(event.token().0) {
                door.ready = true;
            }
        }
        Ok(())
    }

    /// Whether no client can be taken now. If so the bell rings once one can.
    fn is_full(&self) -> bool {
        self.bell
            .is_full(|| self.gate.is_full(self.pool.live()) || !self.pool.has_room())
    }

    /// Whether a client waits for a place that the limit on open files denies.
    fn waits_for_place(&self) -> bool {
        self.gate.is_bound_by_files()
            && self.gate.is_full(self.pool.live())
            && self
                .doors
                .iter()
                .any(|door| sys::has_client(&door.listener.socket))
    }

    /// Accepts from every listener in turn, as far as there is room, and wakes
    /// the workers that got a client.
    fn accept(&mut self) {
        let now = Instant::now();
        self.accept_from_all(now);
        self.pool.wake_handed();
    }

    fn accept_from_all(&mut self, now: Instant) {
        if self.memory.is_short() || self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        self.paused_until = None;
        if let Some(held) = self.held.take() {
            self.held = self.pool.dispatch(held).err();
        }
        // Not always from the first on: at the cap the others would never have a turn.
        self.turn = (self.turn + 1) % self.doors.len().max(1);
        for step in 0..self.doors.len() {
            let index = (self.turn + step) % self.doors.len();
            for _ in 0..ACCEPTS_PER_TURN {
                let able = self.held.is_none() && self.paused_until.is_none();
                if !able || !self.doors[index].ready {
                    break;
                }
                if self.gate.is_full(self.pool.live()) {
                    self.gate.tell_full(now);
                    return;
                }
                self.accept_one(index, now);
            }
        }
    }

    fn accept_one(&mut self, index: usize, now: Instant) {
        let door = &mut self.doors[index];
        match door.listener.socket.accept() {
            Ok((stream, peer)) => {
                let peer = canonical(peer);
                let protocol = door.listener.protocol;
                // Dropping the stream is what tells one that is refused.
                if let Admission::Granted(place) = self.gate.admit(peer, now) {
                    self.hand_over(Accepted {
                        stream,
                        peer,
                        protocol,
                        place,
                    });
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => door.ready = false,
            Err(error) if concerns_one_client(&error) => {
                log::debug!("a client left before it was accepted: {}", cause(&error));
            }
            Err(error) => {
                self.paused_until = Some(now + ACCEPT_PAUSE);
                if let Some(suppressed) = self.told_failure.admit(now) {
                    log::error!(
                        "could not accept on {}: {}; trying again every {ACCEPT_PAUSE:?} \
                         ({suppressed} failures since the last such line)",
                        door.listener,
                        cause(&error),
                    );
                }
            }
        }
    }

    fn hand_over(&mut self, accepted: Accepted) {
        match prepare(&accepted) {
            Ok(()) => self.held = self.pool.dispatch(accepted).err(),
            Err(error) => {
                let peer = accepted.peer;
                log::debug!("client {peer} left at once: {}", cause(&error));
            }
        }
    }

    /// Takes the last clients, closes the listeners, and stops the pool.
    fn finish(mut self, grace: Duration) -> Report {
        let since = Instant::now();
        self.manager.stopping(grace);
        self.empty_listen_queues();
        self.doors.clear();
        log::info!(
            "stopping: {} clients have {} to finish",
            self.pool.live(),
            humantime::format_duration(grace)
        );
        let report = Report {
            refused: self.gate.refused(),
            workers: self.pool.stop(Drain {
                since,
                deadline: since + grace,
                quiet: QUIET.min(grace / 2),
            }),
        };
        for worker in &report.workers {
            log::info!("{worker}");
        }
        log::info!("{report}");
        if report.cut() > 0 {
            let grace = humantime::format_duration(grace);
            log::warn!(
                "the grace period of {grace} ran out: {} connections were cut",
                report.cut()
            );
        }
        report
    }

    /// Accepts whom the kernel has told "connected" already: to close a listener
    /// resets those that wait in its queue.
    fn empty_listen_queues(&mut self) {
        let until = Instant::now() + LAST_ACCEPTS;
        for door in &mut self.doors {
            door.ready = true;
        }
        while (self.held.is_some() || self.doors.iter().any(|door| door.ready))
            && !self.gate.is_full(self.pool.live())
            && self.paused_until.is_none()
            && !self.memory.is_short()
            && Instant::now() < until
        {
            self.accept();
            if self.held.is_some() {
                std::thread::yield_now();
            }
        }
        self.turn_away();
    }

    /// Counts whom there is no room for: closing their listener resets them anyway,
    /// unless it is shared; then they wait for the next server.
    fn turn_away(&mut self) {
        let until = Instant::now() + LAST_ACCEPTS;
        let mut count = u32::from(self.held.take().is_some());
        for door in self.doors.iter().filter(|door| !door.listener.is_shared) {
            while door.ready && Instant::now() < until && door.listener.socket.accept().is_ok() {
                count += 1;
            }
        }
        if count > 0 {
            log::warn!("{count} clients waited to be accepted and are turned away");
        }
    }
}

/// Sets on a fresh stream what it does not inherit from its listener.
fn prepare(accepted: &Accepted) -> io::Result<()> {
    accepted.stream.set_nonblocking(true)?;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        accepted.stream.set_nodelay(true)?;
        socket2::SockRef::from(&accepted.stream).set_out_of_band_inline(true)?;
    }
    Ok(())
}

/// Whether an accept failed because of that one client: the next may be fine.
fn concerns_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    ) || sys::is_of_new_socket(error)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::proto::Protocol;
    use crate::worker::PANIC_FOR;

    #[test]
    fn a_worker_that_panics_is_replaced_and_reported_and_harms_only_its_own_clients() {
        let config = Config {
            workers: 2,
            ..Config::default()
        };
        let localhost = "127.0.0.1:0".parse().unwrap();
        let listeners = Listener::bind(Protocol::Echo, &localhost, 128).unwrap();
        let address = listeners[0].address();
        let stop = Stop::new();
        let running = std::thread::spawn({
            let stop = stop.clone();
            move || run(listeners, &stop, &config)
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
        stop.request();
        let report = running.join().unwrap().unwrap();
        assert!(!report.all_well());
        assert_eq!(report.connections(), 8);
        let replaced: u64 = report.workers.iter().map(|worker| worker.replaced).sum();
        assert_eq!(replaced, 1);
        assert!(report.workers.iter().all(|worker| worker.end == End::Ok));
        assert!(report.workers.iter().all(|worker| worker.connections >= 3));
    }
}
