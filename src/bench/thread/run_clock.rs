//! Where a thread is in its run: its clock and the times of the part that it makes.

use super::shared::Shared;
use crate::bench::times::Times;

/// The clock of one thread, and how far its run is.
#[derive(Debug)]
pub(crate) struct RunClock<'a> {
    pub(crate) shared: &'a Shared<'a>,
    pub(crate) times: Times,
    /// When the clock was looked at last.
    pub(crate) now: u64,
    /// The measured part has begun.
    pub(crate) measuring: bool,
    /// Nothing new is sent any more.
    pub(crate) finishing: bool,
}

impl<'a> RunClock<'a> {
    pub(crate) fn new(shared: &'a Shared<'a>) -> Self {
        Self {
            shared,
            times: Times {
                start: u64::MAX,
                measured_from: u64::MAX,
                end: u64::MAX,
            },
            now: shared.clock.now(),
            measuring: false,
            finishing: false,
        }
    }

    /// Begins a part of the run with these times.
    pub(crate) fn begin(&mut self, times: Times) {
        self.times = times;
        (self.measuring, self.finishing) = (false, false);
        self.look_at_clock();
    }

    pub(crate) fn look_at_clock(&mut self) {
        self.now = self.shared.clock.now();
    }
}
