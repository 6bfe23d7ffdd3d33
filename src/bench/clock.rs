//! The clock of a run: nanoseconds since its start, as a `u64`.

use std::time::Instant;

pub(super) use crate::base::units::nanoseconds;

/// One second, in the unit of the clock.
pub(super) const SECOND: u64 = 1_000_000_000;

/// Counts from its creation; all threads of a run share one.
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
