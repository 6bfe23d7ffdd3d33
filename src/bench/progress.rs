//! The progress of a run, and its observer.

use std::time::Duration;

use crate::base::units;
use crate::bench::datagram_counts::DatagramCounts;
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
    /// Connections open now, or flows.
    pub connections: usize,
    /// What became of the datagrams so far, where the load is of those.
    pub datagrams: Option<&'a DatagramCounts>,
    /// The second that has just been completed, if any.
    pub finished: Option<&'a Interval>,
}

impl Progress<'_> {
    /// `50 connections`, or flows.
    pub(super) fn connections(&self) -> String {
        let (one, many) = match self.datagrams {
            Some(_) => ("flow", "flows"),
            None => ("connection", "connections"),
        };
        units::count(self.connections as u64, one, many)
    }

    /// The datagrams that are lost so far: `12 lost (0.12 %)`.
    pub(super) fn lost(&self) -> Option<String> {
        let counts = self.datagrams?;
        let lost = format!("{} lost", units::whole(counts.lost));
        let part = counts.loss_fraction().filter(|part| *part > 0.0);
        Some(part.map_or_else(
            || lost.clone(),
            |part| format!("{lost} ({})", units::percent(part)),
        ))
    }
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
