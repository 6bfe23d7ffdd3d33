//! How far a run has come, for whoever watches it.

use std::time::Duration;

use crate::bench::results::{Interval, Totals};
use crate::probe::latency::Latency;

/// A run while it runs.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Since the start of the measured part; zero in the warm-up.
    pub elapsed: Duration,
    /// Whether load is made that is not counted yet.
    pub warming_up: bool,
    /// How long it will go on, if that is known.
    pub left: Option<Duration>,
    /// What was counted so far.
    pub totals: &'a Totals,
    /// Round trips so far: response time in an open loop, else service time.
    pub latency: &'a Latency,
    /// The current second, or the last full one.
    pub recent: &'a Interval,
    /// Connections open now.
    pub connections: usize,
    /// The second that was completed just now, if one was.
    pub finished: Option<&'a Interval>,
}

/// Watches a run.
pub trait Watch {
    /// Is called about ten times a second, from the thread that called for the run.
    fn progress(&mut self, progress: &Progress<'_>);
}
