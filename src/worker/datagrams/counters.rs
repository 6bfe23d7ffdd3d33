//! What a worker counts of its datagrams. The worker alone writes.

use super::refusal::{DatagramCounts, Refusal};
use crate::worker::counter::Counter;

#[derive(Debug, Default)]
pub(crate) struct DatagramCounters {
    pub(super) received: Counter,
    pub(super) answered: Counter,
    pub(super) bytes: Counter,
    pub(super) unsent: Counter,
    pub(super) dropped: Counter,
    pub(super) refused: [Counter; Refusal::ALL.len()],
}

impl DatagramCounters {
    pub(crate) fn get(&self) -> DatagramCounts {
        DatagramCounts {
            received: self.received.get(),
            answered: self.answered.get(),
            bytes: self.bytes.get(),
            unsent: self.unsent.get(),
            dropped: self.dropped.get(),
            refused: std::array::from_fn(|why| self.refused[why].get()),
        }
    }
}
