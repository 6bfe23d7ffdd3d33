//! What all connections of a check share: the plan, the byte pattern, the stop flag.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::not_passed::NotPassed;
use super::plan::Plan;
use crate::probe::pattern::Pattern;

/// The longest that a blocking call waits before the stop flag is looked at.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// What all connections of a check share.
pub(super) struct Context<'a> {
    pub(super) plan: &'a Plan,
    pub(super) pattern: Pattern,
    /// Once it is set, the check ends.
    pub(super) stop: &'a AtomicBool,
}

impl<'a> Context<'a> {
    pub(super) const fn new(plan: &'a Plan, stop: &'a AtomicBool) -> Self {
        Self {
            plan,
            pattern: Pattern::new(plan.seed),
            stop,
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Sleeps for a short time, at most about a [`TICK`], then looks at the stop flag.
    pub(super) fn pause(&self, time: Duration) -> Result<(), NotPassed> {
        std::thread::sleep(time);
        match self.is_stopped() {
            true => Err(NotPassed::Stopped),
            false => Ok(()),
        }
    }
}
