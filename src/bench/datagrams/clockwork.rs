//! Where a thread is in its run: its clock and the times of the part that it makes.

use crate::bench::thread::shared::Shared;
use crate::bench::thread::waiter::Waiting;
use crate::bench::times::Times;

/// The clock of one thread, and how far its run is.
#[derive(Debug)]
pub(super) struct Clockwork<'a> {
    pub(super) shared: &'a Shared<'a>,
    pub(super) times: Times,
    /// When the clock was looked at last.
    pub(super) now: u64,
    /// The measured part has begun.
    pub(super) measuring: bool,
    /// Nothing new is sent any more.
    pub(super) finishing: bool,
}

impl<'a> Clockwork<'a> {
    pub(super) fn new(shared: &'a Shared<'a>) -> Self {
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
    pub(super) fn begin(&mut self, times: Times) {
        self.times = times;
        (self.measuring, self.finishing) = (false, false);
        self.look_at_clock();
    }
}

impl Waiting for Clockwork<'_> {
    fn now(&self) -> u64 {
        self.now
    }

    fn look_at_clock(&mut self) {
        self.now = self.shared.clock.now();
    }

    fn times(&self) -> Times {
        self.times
    }

    fn is_measuring(&self) -> bool {
        self.measuring
    }

    fn may_poll(&self) -> bool {
        self.shared.may_poll
    }
}
