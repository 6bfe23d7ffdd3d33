//! The summary at the end of a ping.

use std::fmt;

use serde::Serialize;

use crate::base::kernel::{KernelView, NOT_AVAILABLE};
use crate::base::units;

/// The counts and round-trip times of a ping. In JSON, statistics that need more replies
/// are `null`. Times are in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Messages that were due, including those for which no connection could be made.
    pub sent: u64,
    /// Messages that came back complete and unchanged within the time-out.
    pub received: u64,
    /// Messages that did not come back within the time-out, or could not.
    pub lost: u64,
    /// Lost messages that came back after their time-out.
    pub late: u64,
    /// Messages that came back changed, and receptions of bytes that were never sent.
    pub corrupted: u64,
    /// Messages in flight when the ping was interrupted.
    pub under_way: u64,
    /// The duration of the ping.
    pub elapsed_ns: u64,
    /// The shortest round trip.
    pub min_ns: Option<u64>,
    /// The mean round trip.
    pub avg_ns: Option<u64>,
    /// The median, of two replies or more.
    pub p50_ns: Option<u64>,
    /// The 99th percentile, of a hundred replies or more.
    pub p99_ns: Option<u64>,
    /// The longest round trip.
    pub max_ns: Option<u64>,
    /// The standard deviation.
    pub stddev_ns: Option<u64>,
    /// What this machine's TCP knows of the connection; of several the sums, and the rest of
    /// the last one. `None` without a connection, and where the system does not report it.
    pub tcp: Option<KernelView>,
}

impl Summary {
    /// Whether every message came back unchanged and in time, and nothing else arrived.
    pub const fn all_well(&self) -> bool {
        self.sent > 0 && self.received == self.sent && self.corrupted == 0
    }
}

impl Summary {
    pub(super) fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, received, .. } = self;
        write!(f, "{sent} sent, {received} received, {} lost", self.lost)?;
        if self.lost > 0 {
            let percent = format!("{:.2}", self.lost as f64 * 100.0 / self.sent as f64);
            let percent = percent.trim_end_matches('0').trim_end_matches('.');
            write!(f, " ({percent}%)")?;
        }
        if self.late > 0 {
            write!(f, ", {} of them late", self.late)?;
        }
        write!(f, ", {} corrupted", self.corrupted)?;
        if self.under_way > 0 {
            write!(f, ", {} still under way", self.under_way)?;
        }
        Ok(())
    }

    pub(super) fn write_round_trips(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.received == 0 {
            return Ok(());
        }
        f.write_str("\nround trip:")?;
        for (name, time) in [
            ("min", self.min_ns),
            ("avg", self.avg_ns),
            ("p50", self.p50_ns),
            ("p99", self.p99_ns),
            ("max", self.max_ns),
            ("stddev", self.stddev_ns),
        ] {
            if let Some(time) = time {
                write!(f, " {name}={}", units::time(time as f64))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_counts(f)?;
        write!(f, " in {}", units::time(self.elapsed_ns as f64))?;
        self.write_round_trips(f)?;
        match &self.tcp {
            Some(view) => write!(f, "\ntcp: {}", view.figures()),
            None if self.received > 0 => write!(f, "\ntcp: {NOT_AVAILABLE}"),
            None => Ok(()),
        }
    }
}
