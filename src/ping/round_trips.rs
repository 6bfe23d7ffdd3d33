//! The round-trip times of a ping.

use super::summary::Summary;
use crate::probe::latency::Latency;

/// Round-trip times: a histogram for the percentiles; minimum, maximum, mean and deviation
/// are exact.
#[derive(Default)]
pub(super) struct RoundTrips {
    latency: Latency,
    least: Option<u64>,
    most: Option<u64>,
    mean: f64,
    /// Sum of the squared distances from the mean: Welford's algorithm, which
    /// does not lose digits as the difference of two large sums would.
    squares: f64,
}

impl RoundTrips {
    pub(super) fn record(&mut self, nanoseconds: u64) {
        // It can't fail: the histogram grows as needed.
        let _ = self.latency.histogram.record(nanoseconds);
        let least = self
            .least
            .map_or(nanoseconds, |least| least.min(nanoseconds));
        self.least = Some(least);
        self.most = self.most.max(Some(nanoseconds));
        let distance = nanoseconds as f64 - self.mean;
        self.mean += distance / self.latency.histogram.len() as f64;
        self.squares += distance * (nanoseconds as f64 - self.mean);
    }

    /// The statistics, without any counts.
    pub(super) fn summary(&self) -> Summary {
        let some = |number: f64| self.least.map(|_| number.round() as u64);
        Summary {
            min_ns: self.least,
            avg_ns: some(self.mean),
            p50_ns: self.quantile(0.5, 2),
            p99_ns: self.quantile(0.99, 100),
            max_ns: self.most,
            stddev_ns: some(self.deviation()),
            ..Summary::default()
        }
    }

    /// The standard deviation of the population, as in ping(8).
    fn deviation(&self) -> f64 {
        (self.squares / self.latency.histogram.len() as f64).sqrt()
    }

    /// `None` with fewer than `needed` replies: then it would equal the maximum.
    fn quantile(&self, quantile: f64, needed: u64) -> Option<u64> {
        let (least, most) = (self.least?, self.most?);
        let value = self.latency.histogram.value_at_quantile(quantile);
        // The histogram returns the upper end of a bucket.
        (self.latency.histogram.len() >= needed).then(|| value.clamp(least, most))
    }
}
