//! What all connections of a clause share: the plan, the byte pattern, whether to stop.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::not_passed::NotPassed;
use super::plan::Plan;
use super::shared::Shared;
use crate::base::kernel::KernelView;
use crate::probe::pattern::Pattern;

/// The longest that a blocking call waits before it is asked whether to stop.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// A connection on which nothing moves for this part of the time-out, and for so many round
/// trips, has stalled: it loads the path no more.
const STALL_PART: u32 = 5;
const STALL_ROUND_TRIPS: u32 = 4;

/// A path that accepts nothing for so many round trips is full, and not before the time that
/// a system takes at the least to send again what was lost (RFC 6298 has a second, Linux
/// 200 ms), in which nothing moves either.
const FULL_ROUND_TRIPS: u32 = 3;
const FULL_LEAST: Duration = Duration::from_millis(200);

/// What all connections of a clause share.
pub(super) struct Context<'a> {
    pub(super) plan: &'a Plan,
    pub(super) pattern: Pattern,
    shared: &'a Shared<'a>,
    /// Nothing moves on the clause's connection: it only waits for the time-out.
    stalled: AtomicBool,
    /// What the system knows of the connection that the clause reports of.
    view: OnceLock<KernelView>,
}

impl<'a> Context<'a> {
    pub(super) const fn new(shared: &'a Shared<'a>) -> Self {
        Self {
            plan: shared.plan,
            pattern: shared.pattern,
            shared,
            stalled: AtomicBool::new(false),
            view: OnceLock::new(),
        }
    }

    /// What the system knows of the connection that the clause reports of, if it does.
    pub(super) fn view(&self) -> Option<KernelView> {
        self.view.get().copied()
    }

    pub(super) fn set_view(&self, view: KernelView) {
        // A clause reports of one.
        let _ = self.view.set(view);
    }

    /// Whether to stop: the check was, or its time is over.
    pub(super) fn is_stopped(&self) -> bool {
        self.shared.is_stopped()
    }

    /// Sleeps, and looks now and then whether to stop.
    pub(super) fn pause(&self, time: Duration) -> Result<(), NotPassed> {
        let mut left = time;
        while !left.is_zero() && !self.is_stopped() {
            let part = left.min(TICK);
            std::thread::sleep(part);
            left -= part;
        }
        self.go_on()
    }

    /// Whether the clause may go on.
    pub(super) fn go_on(&self) -> Result<(), NotPassed> {
        match self.is_stopped() {
            true => Err(NotPassed::Stopped),
            false => Ok(()),
        }
    }

    /// Nothing has moved on a connection of this clause for so long.
    pub(super) fn is_silent_for(&self, time: Duration) {
        let round_trips = self.shared.round_trip().unwrap_or_default() * STALL_ROUND_TRIPS;
        let is_stalled = time >= round_trips.max(self.plan.timeout / STALL_PART);
        // It is asked for each block: a load is cheaper than a store.
        if self.is_stalled() != is_stalled {
            self.stalled.store(is_stalled, Ordering::Relaxed);
        }
    }

    /// Whether the clause only waits for the time-out.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// So many bytes came back in this time.
    pub(super) fn saw_stream(&self, bytes: u64, time: Duration) {
        self.shared.saw_stream(bytes, time);
    }

    /// The least round trip seen so far.
    pub(super) fn round_trip(&self) -> Duration {
        self.shared.round_trip().unwrap_or_default()
    }

    /// A path that accepts nothing for so long is full.
    pub(super) fn full_after(&self) -> Duration {
        (self.round_trip() * FULL_ROUND_TRIPS).max(FULL_LEAST)
    }

    /// Whether a clause under test loads the path or the server.
    pub(super) fn is_loaded(&self) -> bool {
        self.shared.is_loaded()
    }

    /// A connection is over, of which the system knew that.
    pub(super) fn saw_segments(&self, view: Option<KernelView>) {
        self.shared.saw_segments(view);
    }

    /// A connection was reset with more on its way than was read.
    pub(super) fn left_full(&self) {
        self.shared.note_borne(|borne| borne.left_full = true);
    }

    /// How many clauses are under test, this one among them.
    pub(super) fn running(&self) -> usize {
        self.shared.running()
    }
}
