//! When a run starts, counts and ends.

/// The times of a run, the same for all its threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Load is made from then on.
    pub(super) start: u64,
    /// It counts from then on.
    pub(super) measured_from: u64,
    /// Nothing is sent any more.
    pub(super) end: u64,
}
