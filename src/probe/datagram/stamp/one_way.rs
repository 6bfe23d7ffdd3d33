//! Times that may be negative, as those between two clocks are.

use crate::probe::latency::Latency;

/// A histogram of times with their sign, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct OneWay {
    /// Those below zero, without their sign.
    below: Latency,
    above: Latency,
    least: Option<i64>,
}

impl OneWay {
    /// Records a time.
    pub fn record(&mut self, ns: i64) {
        let side = match ns {
            ..0 => &mut self.below,
            _ => &mut self.above,
        };
        // It can't fail: the histogram grows as needed.
        let _ = side.histogram.record(ns.unsigned_abs());
        self.least = Some(self.least.map_or(ns, |least| least.min(ns)));
    }

    /// Adds all times of another histogram.
    pub fn add(&mut self, other: &Self) {
        self.below.add(&other.below);
        self.above.add(&other.above);
        let least = [self.least, other.least].into_iter().flatten().min();
        self.least = least;
    }

    /// The least, exactly; `None` without any.
    pub const fn least(&self) -> Option<i64> {
        self.least
    }

    /// The median, with an error of at most 0.1 %; `None` without any.
    pub fn median(&self) -> Option<i64> {
        let least = self.least?;
        let (below, all) = (self.below.count(), self.below.count() + self.above.count());
        let place = all.div_ceil(2);
        let at = |side: &Latency, place: u64| {
            // The middle of its share: a rounded quotient must not reach the next one's.
            let quantile = (place as f64 - 0.5) / side.count() as f64;
            let value = side.histogram.value_at_quantile(quantile);
            i64::try_from(value.min(side.max().unwrap_or(0))).unwrap_or(i64::MAX)
        };
        let median = match place <= below {
            // The greatest without their sign come first.
            true => -at(&self.below, below - place + 1),
            false => at(&self.above, place - below),
        };
        Some(median.max(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_median_and_the_least_are_those_of_the_sorted_times(
            mut times in proptest::collection::vec(-1_000_000_000..1_000_000_000_i64, 1..60),
            at: proptest::sample::Index,
        ) {
            let [mut one, mut other] = [OneWay::default(), OneWay::default()];
            let (first, second) = times.split_at(at.index(times.len()));
            first.iter().for_each(|&time| one.record(time));
            second.iter().for_each(|&time| other.record(time));
            one.add(&other);
            times.sort_unstable();
            let want = times[times.len().div_ceil(2) - 1];
            let median = one.median().unwrap();
            proptest::prop_assert!((median - want).abs() <= want.abs() / 500 + 1, "{median} {want}");
            proptest::prop_assert_eq!(one.least(), times.first().copied());
        }
    }

    #[test]
    fn without_any_there_is_none() {
        assert_eq!(
            (OneWay::default().median(), OneWay::default().least()),
            (None, None)
        );
    }
}
