//! The main thread's loop: accept, hand over, stop.
//!
//! It owns the listeners and waits on a poller for a client in a listen queue, for
//! a worker that has died, for a free place after the server was full, and for a
//! request to stop.

use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::admission::{Admission, AdmissionControl};
use super::config::{CENTURY, Config};
use super::error::{Error, failed_to};
use super::listener::Listener;
use super::memory::Memory;
use super::metrics::Phase;
use super::report::Report;
use super::service_manager::ServiceManager;
use super::status::{Status, WATCHDOG_INTERVAL};
use super::stop::Stop;
use crate::base::address::canonical;
use crate::base::error::cause;
use crate::base::sys::accept::accept;
use crate::base::sys::{self, Yielding};
use crate::base::throttle::Throttle;
use crate::base::units;
use crate::pool::Pool;
use crate::proto::Protocol;
use crate::worker::context::{Accepted, Drain};
use crate::worker::waker::MainWaker;

/// The most clients accepted from one listener before the next listener has its turn.
const ACCEPTS_PER_TURN: usize = 64;

/// How long accepting pauses when the system refuses it, for instance because
/// all descriptors are in use. Ten attempts a second cost next to nothing, and
/// the delay is short for a client.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long at most the listen queues are emptied when the server stops.
const LAST_ACCEPTS: Duration = Duration::from_millis(100);

/// A connection that neither sent nor received for this long is quiet.
const QUIET: Duration = Duration::from_millis(200);

/// The poller's token of the main thread's waker.
pub(crate) const WAKER: Token = Token(usize::MAX);

/// A listener and its readiness: the poller reports edges only, so `ready` stays
/// set until an accept would block.
struct PolledListener {
    listener: Listener,
    ready: bool,
}

/// The main thread's state.
pub(crate) struct Acceptor {
    poller: Poll,
    main_waker: Arc<MainWaker>,
    pool: Pool,
    admission: AdmissionControl,
    memory: Memory,
    listeners: Vec<PolledListener>,
    /// Index of the listener that is accepted from first.
    turn: usize,
    /// An accepted client that no worker's channel had room for.
    held: Option<Accepted>,
    /// Keeps this thread from preempting a worker for each single client: it runs
    /// when a worker sleeps, and then accepts several.
    yielding: Option<Yielding>,
    /// Accepting pauses until then.
    paused_until: Option<Instant>,
    status: Status,
    manager: ServiceManager,
    /// The time between two watchdog rounds; `None` when neither a service manager
    /// nor a status handle needs their result.
    watchdog_interval: Option<Duration>,
    /// When the next watchdog round is due.
    watchdog_at: Instant,
    /// A descriptor that is closed at the stop, so that waiting clients can be accepted
    /// and counted although all others are in use.
    reserve: Option<TcpListener>,
    /// When the lame-duck period ends; `None` before it has begun.
    lame_until: Option<Instant>,
    failure_throttle: Throttle,
}

impl Acceptor {
    pub(crate) fn new(
        poller: Poll,
        main_waker: Arc<MainWaker>,
        pool: Pool,
        (admission, memory): (AdmissionControl, Memory),
        status: Status,
        listeners: Vec<Listener>,
    ) -> Self {
        let reserve = listeners
            .first()
            .and_then(|first| first.socket.try_clone().ok());
        let polled = |listener| PolledListener {
            listener,
            ready: true,
        };
        Self {
            poller,
            main_waker,
            pool,
            admission,
            memory,
            listeners: listeners.into_iter().map(polled).collect(),
            turn: 0,
            held: None,
            yielding: Yielding::begin(),
            paused_until: None,
            status,
            manager: ServiceManager::none(),
            watchdog_interval: None,
            watchdog_at: Instant::now(),
            reserve,
            lame_until: None,
            failure_throttle: Throttle::new(Duration::from_secs(1)),
        }
    }

    /// Serves until `stop` is requested and the lame-duck period after it is over.
    pub(crate) fn serve(&mut self, stop: &Stop, config: &Config) -> Result<(), Error> {
        let mut events = Events::with_capacity(64);
        while !stop.is_requested() || self.is_lame_duck(config) {
            let timeout = self.timeout();
            self.wait(&mut events, timeout)?;
            self.status.beat();
            self.reap()?;
            self.shed_when_short();
            self.accept();
            self.start_watchdog_round();
        }
        Ok(())
    }

    /// Whether the server still serves after a stop was requested, so that load
    /// balancers see that it is not ready any more. The first call begins the period.
    fn is_lame_duck(&mut self, config: &Config) -> bool {
        let (time, grace) = (config.lame_duck.min(CENTURY), config.grace.min(CENTURY));
        if time.is_zero() {
            return false;
        }
        let now = Instant::now();
        let until = *self.lame_until.get_or_insert_with(|| {
            self.status.acceptor.enter(Phase::LameDuck);
            self.manager.lame_duck(time, grace);
            let shown = humantime::format_duration(time);
            log::info!("stopping in {shown}: clients are still served; send no new ones");
            now + time
        });
        now < until
    }

    /// While memory or descriptors are short, has the workers reset clients that
    /// accept none of their pending echo.
    fn shed_when_short(&mut self) {
        let now = Instant::now();
        self.memory.check(&self.pool, now);
        self.status
            .acceptor
            .set_memory_short(self.memory.exceeded());
        if self.client_lacks_descriptor() {
            self.memory.make_room(&self.pool, now);
        }
    }

    /// Notifies `manager` that the server is ready, and from now on of its health and
    /// its stop. `watched`: a status handle reads the health as well.
    pub(crate) fn report_to(&mut self, manager: &ServiceManager, watched: bool) {
        manager.ready(&self.status.listeners);
        let watched = watched.then_some(WATCHDOG_INTERVAL);
        self.watchdog_interval = manager.watchdog_interval().into_iter().chain(watched).min();
        self.manager = manager.clone();
    }

    /// Ends a watchdog round and starts the next. If every worker has taken a turn in
    /// the round, the service manager is notified; otherwise the unresponsive worker is
    /// logged. A round costs each worker a wake-up.
    fn start_watchdog_round(&mut self) {
        let now = Instant::now();
        let Some(every) = self.watchdog_interval.filter(|_| now >= self.watchdog_at) else {
            return;
        };
        self.watchdog_at = now + every;
        let unresponsive = self.pool.unresponsive();
        self.status.acceptor.set_unresponsive(unresponsive);
        match unresponsive {
            None => self.manager.alive(),
            Some(id) => log::error!(
                "worker {id} has not responded for {every:?}: the server reports itself \
                 unhealthy until it does"
            ),
        }
        self.pool.start_watchdog_round();
    }

    /// Replaces the workers that have died.
    fn reap(&mut self) -> Result<(), Error> {
        if !self.pool.has_dead() {
            return Ok(());
        }
        // A new thread inherits the scheduling policy of the one that starts it.
        self.yielding = None;
        let reaped = self.pool.reap();
        self.yielding = Yielding::begin();
        reaped.map_err(failed_to("replace a worker that died"))
    }

    /// How long the poller may wait; `None` until an event.
    fn timeout(&self) -> Option<Duration> {
        let round = self.watchdog_interval.map(|_| self.watchdog_at);
        let until = round.into_iter().chain(self.lame_until).min();
        let until = until.map(|at| at.saturating_duration_since(Instant::now()));
        until.into_iter().chain(self.until_accept()).min()
    }

    /// How long until clients may be accepted, or memory is checked, without an event.
    fn until_accept(&self) -> Option<Duration> {
        let check = self.memory.timeout(&self.pool);
        // No client is accepted meanwhile, whether a pause is over or not.
        if self.memory.is_short() {
            return check;
        }
        if let Some(until) = self.paused_until {
            return Some(until.saturating_duration_since(Instant::now()));
        }
        let waiting = self.held.is_some() || self.listeners.iter().any(|polled| polled.ready);
        if !waiting {
            return check;
        }
        match self.is_full() {
            false => Some(Duration::ZERO),
            true if self.client_lacks_descriptor() => {
                let room = self.memory.room_timeout();
                Some(check.map_or(room, |check| check.min(room)))
            }
            true => check,
        }
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> Result<(), Error> {
        sys::poll(&mut self.poller, events, timeout).map_err(failed_to("wait for clients"))?;
        for event in events.iter() {
            // The waker's token is no listener's index: waking this thread was its purpose.
            if let Some(polled) = self.listeners.get_mut(event.token().0) {
                polled.ready = true;
            }
        }
        Ok(())
    }

    /// Whether no client can be accepted now. If so, the workers wake the main thread
    /// once one can.
    fn is_full(&self) -> bool {
        self.main_waker
            .is_full(|| self.admission.is_full(self.pool.live()) || !self.pool.has_room())
    }

    /// Whether a client waits in a listen queue because the limit on open files allows
    /// no further connection.
    fn client_lacks_descriptor(&self) -> bool {
        self.admission.is_bound_by_files()
            && self.admission.is_full(self.pool.live())
            && self
                .listeners
                .iter()
                .any(|polled| sys::has_client(&polled.listener.socket))
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
        // The first listener changes: at the connection limit it gets every free place.
        self.turn = (self.turn + 1) % self.listeners.len().max(1);
        for step in 0..self.listeners.len() {
            let index = (self.turn + step) % self.listeners.len();
            for _ in 0..ACCEPTS_PER_TURN {
                let able = self.held.is_none() && self.paused_until.is_none();
                if !able || !self.listeners[index].ready {
                    break;
                }
                if self.admission.is_full(self.pool.live()) {
                    self.admission.log_full(now);
                    return;
                }
                self.accept_one(index, now);
            }
        }
    }

    fn accept_one(&mut self, index: usize, now: Instant) {
        let polled = &mut self.listeners[index];
        match accept(&polled.listener.socket) {
            Ok((stream, peer)) => {
                self.status.acceptor.accepted.add(1);
                polled.listener.complete(&stream);
                let accepted = Accepted {
                    stream,
                    peer: canonical(peer),
                    protocol: polled.listener.protocol,
                    at: Instant::now(),
                    behind_proxy: polled.listener.is_behind_proxy,
                    source_guard: None,
                };
                self.admit(accepted, now);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => polled.ready = false,
            Err(error) if concerns_one_client(&error) => {
                log::debug!("a client left before it was accepted: {}", cause(&error));
            }
            Err(error) => {
                self.status.acceptor.pauses.add(1);
                self.paused_until = Some(now + ACCEPT_PAUSE);
                if sys::is_out_of_descriptors(&error) {
                    self.memory.make_room(&self.pool, now);
                }
                if let Some(suppressed) = self.failure_throttle.admit(now) {
                    log::error!(
                        "could not accept on {}: {}; trying again every {ACCEPT_PAUSE:?} \
                         ({} since the last such line)",
                        polled.listener,
                        cause(&error),
                        units::plain_count(suppressed, "failure", "failures"),
                    );
                }
            }
        }
    }

    /// Hands a client over unless its source is over its limit. The worker applies
    /// that limit to clients behind a load balancer: it learns their source from the
    /// PROXY header.
    fn admit(&mut self, mut accepted: Accepted, now: Instant) {
        if !accepted.behind_proxy {
            match self.admission.admit(accepted.peer, now) {
                Admission::Granted(source_guard) => accepted.source_guard = source_guard,
                // Dropping the stream closes the connection.
                Admission::Refused => return,
            }
        }
        self.held = self.pool.dispatch(accepted).err();
    }

    /// Accepts the last clients, closes the listeners, and stops the pool.
    pub(crate) fn finish(mut self, grace: Duration) -> Report {
        let since = Instant::now();
        self.status.acceptor.enter(Phase::Draining);
        self.manager.stopping(grace);
        let unaccepted = self.empty_listen_queues();
        self.listeners.clear();
        log::info!(
            "stopping: {} {} to finish",
            units::plain_count(self.pool.live() as u64, "client has", "clients have"),
            humantime::format_duration(grace)
        );
        let report = Report {
            refused: self.status.acceptor.refused.get(),
            unaccepted,
            shortages: self.status.acceptor.shortages(),
            workers: self.pool.stop(Drain {
                since,
                deadline: since + grace,
                quiet: QUIET.min(grace / 2),
            }),
        };
        self.status.evictions.finish();
        self.status.datagrams.finish();
        for worker in &report.workers {
            log::info!("{worker}");
        }
        log::info!("{report}");
        if report.cut() > 0 {
            let grace = humantime::format_duration(grace);
            log::warn!(
                "the grace period of {grace} ran out: {} cut",
                units::plain_count(report.cut(), "connection was", "connections were")
            );
        }
        report
    }

    /// Accepts the clients in the listen queues: for them the connection is established
    /// already, and closing a listener would reset it. Returns how many clients there
    /// was no room for.
    fn empty_listen_queues(&mut self) -> u64 {
        let until = Instant::now() + LAST_ACCEPTS;
        for polled in &mut self.listeners {
            polled.ready = true;
        }
        while (self.held.is_some() || self.listeners.iter().any(|polled| polled.ready))
            && !self.admission.is_full(self.pool.live())
            && self.paused_until.is_none()
            && !self.memory.is_short()
            && Instant::now() < until
        {
            self.accept();
            if self.held.is_some() {
                std::thread::yield_now();
            }
        }
        self.count_turned_away()
    }

    /// Counts the waiting clients that there is no room for. Closing their listener
    /// resets them, unless another process shares it: then they wait for the next server.
    fn count_turned_away(&mut self) -> u64 {
        self.reserve = None;
        let until = Instant::now() + LAST_ACCEPTS;
        let mut count = u64::from(self.held.take().is_some());
        for polled in self
            .listeners
            .iter()
            .filter(|polled| !polled.listener.is_shared)
        {
            while polled.ready && Instant::now() < until {
                let Ok((stream, _)) = accept(&polled.listener.socket) else {
                    break;
                };
                count += u64::from(awaits_answer(&stream, polled.listener.protocol));
            }
        }
        if count > 0 {
            let clients = units::plain_count(count, "client", "clients");
            log::warn!("refused {clients} that waited in the listen queue");
        }
        count
    }
}

/// Registers the listeners with the poller, each with its index as the token.
///
/// # Errors
/// [`Error::Serve`] when one can't be registered.
pub(super) fn watch(poller: &Poll, listeners: &[Listener]) -> Result<(), Error> {
    for (index, listener) in listeners.iter().enumerate() {
        sys::watch(poller.registry(), &listener.socket, Token(index))
            .map_err(failed_to(&format!("watch {listener}")))?;
        log::info!("waiting for clients on {listener}");
    }
    Ok(())
}

/// Whether a client that was not read from still awaits an answer: not if it has gone,
/// or has half-closed an echo connection without sending a byte.
fn awaits_answer(stream: &TcpStream, protocol: Protocol) -> bool {
    match stream.peek(&mut [0]) {
        Ok(bytes) => bytes > 0 || protocol != Protocol::Echo,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// Whether an accept failed because of that one client, so that the next may succeed.
pub(crate) fn concerns_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    ) || sys::is_of_new_socket(error)
}
