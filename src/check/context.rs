//! What all connections of a check share: the plan, the bytes, and the order to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::ended::Ended;
use super::plan::Plan;
use crate::probe::pattern::Pattern;

/// How long a socket blocks at a time: a stop is seen that soon.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// What every connection of a check is given.
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

    /// Whether the check is to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Sleeps, for less than a person's patience, unless the check is stopped.
    pub(super) fn pause(&self, time: Duration) -> Result<(), Ended> {
        std::thread::sleep(time);
        match self.is_stopped() {
            true => Err(Ended::Stopped),
            false => Ok(()),
        }
    }
}
