//! The clock of a run: nanoseconds since it was made, in one word.

use std::time::{Duration, Instant};

/// One second, in the unit of the clock.
pub(super) const SECOND: u64 = 1_000_000_000;

/// Counts from the moment it was made; all threads of a run share one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> u64 {
        nanoseconds(self.0.elapsed())
    }
}

/// A duration in the unit of the clock: 584 years at the most.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
