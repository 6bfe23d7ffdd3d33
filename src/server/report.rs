//! The closing report of a server.

use std::fmt;

use super::memory_limit::Shortages;
use crate::base::units;
use crate::pool::{End, WorkerReport};
use crate::worker::datagrams::refusal::DatagramCounts;
use crate::worker::eviction::Counts;

/// The report on a server that has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// One entry a worker, by number.
    pub workers: Vec<WorkerReport>,
    /// Clients that the main thread refused because of a limit.
    pub refused: Counts,
    /// Clients that waited to be accepted when the server stopped, and had no room.
    pub unaccepted: u64,
    /// How many times memory became short, and because of which limit.
    pub shortages: Shortages,
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

    /// What became of the datagrams that came.
    pub fn datagrams(&self) -> DatagramCounts {
        let each = self.workers.iter().map(|worker| &worker.datagrams);
        each.fold(DatagramCounts::default(), DatagramCounts::and)
    }

    /// Whether every client was served to its end, except those that a limit ended.
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
            "total: {}, {}, {} echoed{}{}{}",
            units::plain_count(self.workers.len() as u64, "worker", "workers"),
            units::plain_count(self.connections(), "connection", "connections"),
            units::plain_count(self.bytes(), "byte", "bytes"),
            self.evicted(),
            self.shortages,
            self.datagrams()
        )?;
        match self.unaccepted {
            0 => Ok(()),
            count => write!(f, ", {count} refused at the stop"),
        }
    }
}
