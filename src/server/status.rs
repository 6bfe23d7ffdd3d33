//! A running server as seen from outside: its counters and its health.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::memory_limit::{MemoryLimit, Shortages};
use super::metrics::{AcceptorMetrics, Phase};
use crate::base::sys;
use crate::worker::datagrams::log::DatagramLog;
use crate::worker::datagrams::refusal::DatagramCounts;
use crate::worker::eviction::{Counts, EvictionLog, Latest};
use crate::worker::metrics::{DELAY_CLASSES, WorkerMetrics};

/// The time between two watchdog rounds while a status handle may read the health.
pub(crate) const WATCHDOG_INTERVAL: Duration = Duration::from_secs(5);

/// The main thread has a heartbeat at least every [`WATCHDOG_INTERVAL`]. After this long
/// without one it is unresponsive.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(15);

/// A handle that reads the state of a running server. Clones read the same server.
#[derive(Clone)]
pub struct Status {
    pub(crate) started: Instant,
    /// When the server started, as wall-clock time, for display.
    pub(crate) started_at: SystemTime,
    /// The listeners' texts as in the log: `echo://127.0.0.1:20162`.
    pub(crate) listeners: Arc<[String]>,
    pub(crate) max_connections: usize,
    pub(crate) acceptor: Arc<AcceptorMetrics>,
    pub(crate) workers: Arc<[Arc<WorkerMetrics>]>,
    pub(crate) evictions: Arc<EvictionLog>,
    pub(crate) datagrams: Arc<DatagramLog>,
}

/// The counters at one moment. They are read one after another while the threads
/// run, so sums may be off by what happens meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) phase: Phase,
    pub(crate) uptime: Duration,
    pub(crate) listeners: Arc<[String]>,
    pub(crate) max_connections: usize,
    /// Clients accepted, those that were refused at once among them.
    pub(crate) accepted: u64,
    /// How often accepting paused because the system refused it.
    pub(crate) accept_pauses: u64,
    /// The limit because of which memory is short, if it is.
    pub(crate) memory_short: Option<MemoryLimit>,
    pub(crate) shortages: Shortages,
    /// Clients that a limit refused or ended, by reason.
    pub(crate) turned_away: Counts,
    /// From being accepted to the first bytes sent back.
    pub(crate) first_echo: DelayCounts,
    pub(crate) workers: Vec<WorkerLoad>,
}

/// How many delays fell into each of [`DELAY_CLASSES`], with longer ones in the last
/// count, and the sum of all delays.
#[derive(Clone, Debug, Default)]
pub(crate) struct DelayCounts {
    pub(crate) counts: [u64; DELAY_CLASSES.len() + 1],
    pub(crate) sum: Duration,
}

/// The present load of one worker and its totals.
#[derive(Clone, Debug)]
pub(crate) struct WorkerLoad {
    pub(crate) id: usize,
    /// Connections open or on their way to it.
    pub(crate) open: usize,
    /// Connections that it has had in all.
    pub(crate) connections: u64,
    /// Bytes sent back.
    pub(crate) bytes: u64,
    /// Turns in which a connection was sent something.
    pub(crate) echoes: u64,
    pub(crate) datagrams: DatagramCounts,
    /// Memory of its clients' unread echo, in bytes.
    pub(crate) held: usize,
    /// How many workers of this number died and were replaced.
    pub(crate) replaced: u64,
    /// Processor time of its thread, where the system reports it.
    pub(crate) cpu: Option<Duration>,
}

impl Snapshot {
    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.workers.iter().map(|worker| worker.open).sum()
    }

    /// Bytes sent back in all.
    pub(crate) fn bytes(&self) -> u64 {
        self.workers.iter().map(|worker| worker.bytes).sum()
    }

    /// What became of the datagrams that came.
    pub(crate) fn datagrams(&self) -> DatagramCounts {
        let each = self.workers.iter().map(|worker| &worker.datagrams);
        each.fold(DatagramCounts::default(), DatagramCounts::and)
    }

    /// Turns in which a connection was sent something, in all.
    pub(crate) fn echoes(&self) -> u64 {
        self.workers.iter().map(|worker| worker.echoes).sum()
    }
}

impl Status {
    /// Records a heartbeat of the main thread.
    pub(crate) fn beat(&self) {
        self.acceptor.beat(self.started.elapsed());
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let acceptor = &self.acceptor;
        let evicted = self
            .workers
            .iter()
            .map(|worker| worker.counters.evicted.get());
        let mut first_echo = DelayCounts::default();
        for worker in self.workers.iter() {
            let (counts, sum) = worker.counters.first_echo.get();
            for (all, its) in first_echo.counts.iter_mut().zip(counts) {
                *all += its;
            }
            first_echo.sum += sum;
        }
        Snapshot {
            phase: acceptor.phase(),
            uptime: self.started.elapsed(),
            listeners: Arc::clone(&self.listeners),
            max_connections: self.max_connections,
            accepted: acceptor.accepted.get(),
            accept_pauses: acceptor.pauses.get(),
            memory_short: acceptor.memory_short(),
            shortages: acceptor.shortages(),
            turned_away: evicted.fold(acceptor.refused.get(), |all, its| all.and(&its)),
            first_echo,
            workers: self.workers.iter().enumerate().map(load).collect(),
        }
    }

    /// The latest clients that a limit refused or ended, newest first.
    pub(crate) fn latest(&self) -> Vec<Latest> {
        self.evictions.latest()
    }

    /// Whether the main thread and the workers respond; if not, which one does not.
    pub(crate) fn health(&self) -> Result<(), String> {
        if self.acceptor.phase() == Phase::Draining {
            return Ok(());
        }
        let now = self.started.elapsed();
        let silent_for = now.saturating_sub(self.acceptor.last_beat());
        if silent_for >= UNRESPONSIVE_AFTER {
            return Err(format!(
                "the main thread has not responded for {silent_for:.0?}"
            ));
        }
        match self.acceptor.unresponsive() {
            Some(id) => Err(format!("worker {id} does not respond")),
            None => Ok(()),
        }
    }

    /// Whether further clients should be sent to this server; if not, why not.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        let refusal = match self.acceptor.phase() {
            Phase::LameDuck => "the server is about to stop",
            Phase::Draining => "the server is stopping",
            Phase::Serving => return self.room().and_then(|()| self.health()),
        };
        Err(refusal.to_owned())
    }

    /// Whether a further client can be accepted.
    fn room(&self) -> Result<(), String> {
        match self.acceptor.memory_short() {
            Some(limit) => Err(format!("memory is short: {limit}")),
            None if self.open() >= self.max_connections => {
                Err("all connections are in use".to_owned())
            }
            None => Ok(()),
        }
    }

    fn open(&self) -> usize {
        self.workers.iter().map(|worker| worker.live.get()).sum()
    }
}

fn load((id, worker): (usize, &Arc<WorkerMetrics>)) -> WorkerLoad {
    let counters = &worker.counters;
    WorkerLoad {
        id,
        open: worker.live.get(),
        connections: counters.connections.get(),
        bytes: counters.bytes.get(),
        echoes: counters.echoes.get(),
        datagrams: counters.datagrams.get(),
        held: worker.held(),
        replaced: worker.replaced.get(),
        cpu: sys::cpu_time(counters.thread()),
    }
}
