//! Metrics of the main thread, which the status reads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::memory_limit::{MemoryLimit, Shortages};
use crate::worker::counter::Counter;
use crate::worker::eviction::SharedCounts;

/// How far a server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Clients are accepted.
    Serving,
    /// Clients are accepted, but none should be sent: the server is about to stop.
    LameDuck,
    /// No client is accepted; open connections are served to their end.
    Draining,
}

impl Phase {
    pub(crate) const ALL: [Self; 3] = [Self::Serving, Self::LameDuck, Self::Draining];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::LameDuck => "lame_duck",
            Self::Draining => "draining",
        }
    }
}

/// The counters and the state of the main thread.
#[derive(Debug, Default)]
pub(crate) struct AcceptorMetrics {
    /// Clients accepted, those refused at once among them.
    pub(crate) accepted: Counter,
    /// How often accepting paused because the system refused it.
    pub(crate) pauses: Counter,
    pub(crate) refused: SharedCounts,
    phase: AtomicUsize,
    /// The number of the limit because of which memory is short plus one; 0 while it is not.
    memory_short: AtomicUsize,
    shortages: [Counter; MemoryLimit::ALL.len()],
    /// The number of an unresponsive worker plus one; 0 for none.
    unresponsive: AtomicUsize,
    /// When the main thread's last heartbeat was, in milliseconds after the start.
    last_beat_ms: AtomicU64,
}

impl AcceptorMetrics {
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as usize, Ordering::SeqCst);
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::ALL[self.phase.load(Ordering::SeqCst)]
    }

    /// Records the limit because of which memory is short, if it is. Only the main thread
    /// does. A shortage counts for the limit with which it began.
    pub(crate) fn set_memory_short(&self, exceeded: Option<MemoryLimit>) {
        let number = exceeded.map_or(0, |limit| limit as usize + 1);
        let before = self.memory_short.swap(number, Ordering::Relaxed);
        if let (0, Some(limit)) = (before, exceeded) {
            self.shortages[limit as usize].add(1);
        }
    }

    pub(crate) fn memory_short(&self) -> Option<MemoryLimit> {
        let number = self.memory_short.load(Ordering::Relaxed);
        number.checked_sub(1).map(|index| MemoryLimit::ALL[index])
    }

    /// How many times memory became short because of each limit.
    pub(crate) fn shortages(&self) -> Shortages {
        Shortages(std::array::from_fn(|index| self.shortages[index].get()))
    }

    /// The worker that took no turn in the last watchdog round; `None` if all did.
    pub(crate) fn set_unresponsive(&self, worker: Option<usize>) {
        let number = worker.map_or(0, |id| id + 1);
        self.unresponsive.store(number, Ordering::Relaxed);
    }

    pub(crate) fn unresponsive(&self) -> Option<usize> {
        self.unresponsive.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Records a heartbeat of the main thread, `at` after the start.
    pub(crate) fn beat(&self, at: Duration) {
        let ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        self.last_beat_ms.store(ms, Ordering::Relaxed);
    }

    pub(crate) fn last_beat(&self) -> Duration {
        Duration::from_millis(self.last_beat_ms.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_its_own_number() {
        for (number, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, number);
        }
    }
}
