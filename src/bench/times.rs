//! When a run starts, is measured and ends.

/// The times of a run, in nanoseconds of its clock; the same for all its threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Load is made from this time on.
    pub(super) start: u64,
    /// Messages that are due from this time on count.
    pub(super) measured_from: u64,
    /// Nothing new is sent from this time on.
    pub(super) end: u64,
}
