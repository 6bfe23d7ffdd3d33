//! The data that a worker gets from the thread that started it: its context at the start,
//! clients one by one, and the order to drain.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::channel::HandOverReceiver;
use super::datagrams::setup::Setup;
use super::eviction::EvictionLog;
use super::metrics::WorkerMetrics;
use super::source::{SourceGuard, Sources};
use super::waker::MainWaker;
use crate::proto::Protocol;

/// Counts one client of a worker, from the hand-over until the guard is dropped,
/// whichever way the connection ends.
pub(crate) struct CountGuard(Arc<WorkerMetrics>);

impl CountGuard {
    pub(crate) fn new(metrics: &Arc<WorkerMetrics>) -> Self {
        metrics.live.add();
        Self(Arc::clone(metrics))
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.live.remove();
    }
}

/// A client as the main thread accepted it.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) protocol: Protocol,
    /// When it was accepted: no two clients have the same time.
    pub(crate) at: Instant,
    /// `peer` is a load balancer, which names the client in a PROXY header.
    pub(crate) behind_proxy: bool,
    /// Counts the client among those of its source.
    pub(crate) source_guard: Option<SourceGuard>,
}

/// A client on its way through the channel. The stream is closed before the count
/// goes down, so that the next client finds the descriptor free.
pub(crate) struct HandOver {
    pub(crate) accepted: Accepted,
    pub(crate) guard: CountGuard,
}

/// The order to drain, as the workers see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    /// When it was given.
    pub(crate) since: Instant,
    /// When connections that are still open are cut.
    pub(crate) deadline: Instant,
    /// How long a connection must be quiet before it is half-closed.
    pub(crate) quiet: Duration,
}

/// The limits on a connection's time; `None` means no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimits {
    /// For a PROXY header, from the connection's start.
    pub(crate) header: Duration,
    /// For a counted message, from its first byte to its last.
    pub(crate) message: Duration,
    /// Without a byte in either direction.
    pub(crate) idle: Option<Duration>,
    /// In which a peer accepts none of its pending echo.
    pub(crate) stall: Option<Duration>,
    /// From the connection's start.
    pub(crate) lifetime: Option<Duration>,
}

/// The configuration that all workers have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The limits on the time of its connections.
    pub(crate) limits: TimeLimits,
    /// How long it polls after activity before it sleeps.
    pub(crate) busy_poll: Duration,
    /// After so many bytes echoed it has the main thread look at what clients hold.
    pub(crate) check_after: usize,
    /// A client that asks for its address is told what the system knows of its connection.
    pub(crate) whoami_tcp: bool,
    /// How many pipes it may have.
    pub(crate) pipes: usize,
    /// The limit on clients a source, for clients that a PROXY header names.
    pub(crate) sources: Option<Arc<Sources>>,
    /// The sockets for datagrams, and who is answered on them.
    pub(crate) datagrams: Arc<Setup>,
}

/// The worker's number, and all that it shares with the thread that started it.
#[derive(Clone)]
pub(crate) struct Context {
    /// The worker's number, from 0.
    pub(crate) id: usize,
    pub(crate) receiver: HandOverReceiver<HandOver>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) main_waker: Arc<MainWaker>,
    pub(crate) drain: Arc<OnceLock<Drain>>,
    pub(crate) evictions: Arc<EvictionLog>,
    pub(crate) settings: Settings,
    /// The watchdog has set this; the worker's next turn clears it.
    pub(crate) turn_awaited: Arc<AtomicBool>,
}

impl Context {
    /// The worker has ended while the server stops: what it has left of its sockets for datagrams
    /// is closed.
    pub(crate) fn abandon_datagrams(&self) {
        self.settings.datagrams.abandon(self.id);
    }
}

#[cfg(test)]
impl Context {
    /// The context of a worker without a pool. Its wake-ups of the main thread go nowhere.
    pub(crate) fn detached(settings: Settings) -> Self {
        let poller = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poller.registry(), mio::Token(0)).unwrap();
        let main_waker = Arc::new(MainWaker::new(waker));
        Self {
            id: 0,
            receiver: super::channel::hand_over_channel(1, &main_waker).1,
            metrics: Arc::new(WorkerMetrics::new(&main_waker)),
            main_waker,
            drain: Arc::default(),
            evictions: Arc::default(),
            settings,
            turn_awaited: Arc::default(),
        }
    }
}
