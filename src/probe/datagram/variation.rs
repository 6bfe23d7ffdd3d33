//! How much round trips differ from one another.

use crate::probe::latency::Latency;

/// The share of a new difference in the jitter: RFC 3550, section 6.4.1.
const GAIN: f64 = 1.0 / 16.0;

/// The variation of a flow's round trips. Both figures need no common clock, only one that
/// does not drift within the round trip.
#[derive(Clone, Debug, Default)]
pub struct Variation {
    /// By how much the round trips of two datagrams differ that were sent one after the other,
    /// in nanoseconds, without sign: the selection of RFC 3393, section 4.5, by sequence
    /// number, of pairs that both came back in time.
    pub differences: Latency,
    /// The round trip of the reply that came last, in nanoseconds.
    last: Option<u64>,
    jitter: f64,
    replies: u64,
}

/// What is told how round trips differ.
pub trait Differences {
    /// Records two datagrams that were sent one after the other; round trips in nanoseconds.
    fn record_pair(&mut self, one: u64, other: u64);

    /// Records a reply in the order of arrival; its round trip in nanoseconds.
    fn record_arrival(&mut self, round_trip: u64);
}

/// For a flow whose variation is not wanted.
impl Differences for () {
    fn record_pair(&mut self, _: u64, _: u64) {}

    fn record_arrival(&mut self, _: u64) {}
}

impl Differences for Variation {
    fn record_pair(&mut self, one: u64, other: u64) {
        // It can't fail: the histogram grows as needed.
        let _ = self.differences.histogram.record(one.abs_diff(other));
    }

    fn record_arrival(&mut self, round_trip: u64) {
        if let Some(last) = self.last.replace(round_trip) {
            self.jitter += (last.abs_diff(round_trip) as f64 - self.jitter) * GAIN;
        }
        self.replies += 1;
    }
}

impl Variation {
    /// The interarrival jitter of RFC 3550, in nanoseconds, with the round trip for the
    /// transit time; `None` with fewer than two replies.
    pub fn jitter(&self) -> Option<f64> {
        (self.replies > 1).then_some(self.jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jitter_is_that_of_rfc_3550() {
        let mut variation = Variation::default();
        variation.record_arrival(1000);
        assert_eq!(variation.jitter(), None);
        variation.record_arrival(1160);
        assert_eq!(variation.jitter(), Some(10.0));
        // 10 + (|1000 - 1160| - 10) / 16
        variation.record_arrival(1000);
        assert_eq!(variation.jitter(), Some(19.375));
    }

    #[test]
    fn a_steady_path_has_none() {
        let mut variation = Variation::default();
        for _ in 0..100 {
            variation.record_arrival(5000);
            variation.record_pair(5000, 5000);
        }
        assert_eq!(variation.jitter(), Some(0.0));
        assert_eq!(variation.differences.max(), Some(0));
    }
}
