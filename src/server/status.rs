//! A running server as it is seen from outside: what it counts, and whether it is well.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::metrics::{AcceptorMetrics, Phase};
use crate::base::sys;
use crate::worker::eviction::{Counts, EvictionLog, Latest};
use crate::worker::metrics::{DELAY_CLASSES, WorkerMetrics};

/// How often the workers are asked whether they take their turns while somebody
/// looks at the server from outside.
pub(crate) const WATCHDOG_INTERVAL: Duration = Duration::from_secs(5);

/// The main thread looks up at least every [`ROLL_EVERY`]; after so long it stands still.
const STANDS_STILL: Duration = Duration::from_secs(15);

/// Where to look; clones look at the same server.
#[derive(Clone)]
pub struct Status {
    pub(crate) started: Instant,
    /// The same by the clock on the wall, for show.
    pub(crate) started_at: SystemTime,
    /// As in the log: `echo://127.0.0.1:20162`.
    pub(crate) listeners: Arc<[String]>,
    pub(crate) max_connections: usize,
    pub(crate) acceptor: Arc<AcceptorMetrics>,
    pub(crate) workers: Arc<[Arc<WorkerMetrics>]>,
    pub(crate) evictions: Arc<EvictionLog>,
}

/// What was counted up to one moment. The numbers are read one after another
/// while the threads go on, so sums may be off by what happens meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) phase: Phase,
    pub(crate) uptime: Duration,
    pub(crate) listeners: Arc<[String]>,
    pub(crate) max_connections: usize,
    /// Clients accepted, those that were refused at once among them.
    pub(crate) accepted: u64,
    /// How often accepting had to rest because the system refused it.
    pub(crate) accept_pauses: u64,
    pub(crate) memory_is_short: bool,
    /// Clients that a limit refused or ended, by the reason.
    pub(crate) turned_away: Counts,
    /// From being accepted to the first bytes sent back.
    pub(crate) first_echo: DelayCounts,
    pub(crate) workers: Vec<WorkerLoad>,
}

/// How many delays were of each class of [`DELAY_CLASSES`], those that are longer
/// at the end, and the sum of all.
#[derive(Clone, Debug, Default)]
pub(crate) struct DelayCounts {
    pub(crate) counts: [u64; DELAY_CLASSES.len() + 1],
    pub(crate) sum: Duration,
}

/// What one worker has to do, and has done.
#[derive(Clone, Debug)]
pub(crate) struct WorkerLoad {
    pub(crate) id: usize,
    /// Connections open or on their way to it.
    pub(crate) open: usize,
    /// Connections it had in all.
    pub(crate) connections: u64,
    /// Bytes sent back.
    pub(crate) bytes: u64,
    /// How often a connection that had its turn was sent something.
    pub(crate) echoes: u64,
    /// Memory of what its clients do not take, in bytes.
    pub(crate) held: usize,
    /// How many workers died on its seat and were replaced.
    pub(crate) replaced: u64,
    /// Processor time of its thread, where the system tells.
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

    /// How often a connection that had its turn was sent something, in all.
    pub(crate) fn echoes(&self) -> u64 {
        self.workers.iter().map(|worker| worker.echoes).sum()
    }
}

impl Status {
    /// The main thread goes round.
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
            memory_is_short: acceptor.memory_is_short(),
            turned_away: evicted.fold(acceptor.refused.get(), |all, its| all.and(&its)),
            first_echo,
            workers: self.workers.iter().enumerate().map(load).collect(),
        }
    }

    /// The latest clients that a limit refused or ended, newest first.
    pub(crate) fn latest(&self) -> Vec<Latest> {
        self.evictions.latest()
    }

    /// Whether the server's threads take their turns; if not, which one does not.
    pub(crate) fn health(&self) -> Result<(), String> {
        if self.acceptor.phase() == Phase::Draining {
            return Ok(());
        }
        let now = self.started.elapsed();
        let still_for = now.saturating_sub(self.acceptor.last_beat());
        if still_for >= STANDS_STILL {
            return Err(format!(
                "the main thread has not looked up for {still_for:.0?}"
            ));
        }
        match self.acceptor.unresponsive() {
            Some(id) => Err(format!("worker {id} takes no turns")),
            None => Ok(()),
        }
    }

    /// Whether further clients should be sent here; if not, why.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        let refusal = match self.acceptor.phase() {
            Phase::LameDuck => "the server is about to stop",
            Phase::Draining => "the server stops",
            Phase::Serving if self.acceptor.memory_is_short() => "memory is short",
            Phase::Serving if self.open() >= self.max_connections => "all places are taken",
            Phase::Serving => return self.health(),
        };
        Err(refusal.to_owned())
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
        held: worker.held(),
        replaced: worker.replaced.get(),
        cpu: sys::cpu_time(counters.thread()),
    }
}
