//! The progress of a run, and its observer.

use std::time::Duration;

use crate::bench::results::{Interval, Totals};
use crate::probe::latency::Latency;

/// The state of a run that goes on.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The time since the start of the measured part; zero in the warm-up.
    pub elapsed: Duration,
    /// Whether the warm-up goes on: load is made and not counted.
    pub warming_up: bool,
    /// The time until the end, if it is known.
    pub left: Option<Duration>,
    /// The counts so far.
    pub totals: &'a Totals,
    /// The round trips so far: response time in an open loop, else service time.
    pub latency: &'a Latency,
    /// The last complete second, or the first one as far as it was reported.
    pub recent: &'a Interval,
    /// Connections open now.
    pub connections: usize,
    /// The second that has just been completed, if any.
    pub finished: Option<&'a Interval>,
}

/// The name of the step before a run.
pub(super) const CONNECTING: &str = "connecting";

/// Observes a run.
pub trait Watch {
    /// Is called at the begin of each step of a search with its number, its rate and what is
    /// known so far.
    fn search_step(&mut self, _step: &str) {}

    /// Is called about ten times a second while connections are made before the run, with
    /// how far that is.
    fn connecting(&mut self, _how_far: &str) {}

    /// Is called about ten times a second, on the thread that started the run.
    fn progress(&mut self, progress: &Progress<'_>);
}
