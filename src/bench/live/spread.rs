//! The distribution of durations, as a row of bars over a logarithmic axis.

use crate::base::units;
use crate::probe::latency::Latency;

/// Factors within a decade at which the axis begins, ends and has its labels.
const STEPS: [u64; 3] = [1, 2, 5];

/// The heights of bars are integers: this much for each factor of e.
const SCALE: f64 = 1000.0;

/// Durations counted by column.
pub(super) struct Spread {
    counts: Vec<u64>,
    /// The axis's ends, in nanoseconds; `None` without durations.
    ends: Option<(u64, u64)>,
}

impl Spread {
    pub(super) fn new(latency: &Latency, columns: u16) -> Self {
        let mut spread = Self {
            counts: vec![0; columns.into()],
            ends: latency.min().zip(latency.max()).map(|(least, most)| {
                // Round ends, so that the axis does not move with each new extreme.
                let least = ticks().take_while(|tick| *tick <= least).last();
                let most = ticks().find(|tick| *tick > most);
                (least.unwrap_or(1), most.unwrap_or(u64::MAX))
            }),
        };
        for bucket in latency.histogram.iter_recorded() {
            let column = spread.column(bucket.value_iterated_to());
            if let Some(count) = column.and_then(|column| spread.counts.get_mut(column)) {
                *count += bucket.count_at_value();
            }
        }
        spread
    }

    /// The bars' heights. They are logarithms, so that a few slow round trips among
    /// a million are visible.
    pub(super) fn heights(&self) -> Vec<u64> {
        let height = |count: &u64| ((*count as f64).ln_1p() * SCALE).round() as u64;
        self.counts.iter().map(height).collect()
    }

    /// The line below the bars: each label begins below its column.
    pub(super) fn labels(&self) -> String {
        let mut line = String::new();
        let Some((least, most)) = self.ends else {
            return line;
        };
        for tick in ticks().skip_while(|tick| *tick < least) {
            let Some(column) = self.column(tick).filter(|_| tick < most) else {
                break;
            };
            let label = format!("|{}", units::time(tick as f64));
            let is_free = line.is_empty() || line.len() < column;
            if is_free && column + label.len() <= self.counts.len() {
                line = format!("{line:column$}{label}");
            }
        }
        line
    }

    fn column(&self, nanoseconds: u64) -> Option<usize> {
        let (least, most) = self.ends?;
        let whole = (most as f64 / least as f64).ln();
        let part = (nanoseconds.max(least) as f64 / least as f64).ln();
        Some((part / whole * self.counts.len() as f64) as usize)
    }
}

/// 1, 2, 5, 10, 20, 50, … nanoseconds.
fn ticks() -> impl Iterator<Item = u64> {
    let decades = (0..19).map(|exponent| 10_u64.pow(exponent));
    decades.flat_map(|decade| STEPS.map(|step| step * decade))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(times: &[u64], columns: u16) -> Spread {
        let mut latency = Latency::new();
        for time in times {
            latency.histogram.record(*time).unwrap();
        }
        Spread::new(&latency, columns)
    }

    #[test]
    fn each_duration_is_in_the_column_of_its_logarithm() {
        // From 10 us to 100 us: a column for each tenth of a decade.
        let spread = spread(&[10_100, 10_200, 31_000, 99_000], 10);
        assert_eq!(spread.ends, Some((10_000, 100_000)));
        assert_eq!(spread.counts, [2, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_bar_is_as_high_as_the_logarithm_of_its_count() {
        let spread = spread(&[10_100, 10_200, 31_000, 99_000], 10);
        let heights = spread.heights();
        assert_eq!((heights[0], heights[1], heights[4]), (1099, 0, 693));
    }

    #[test]
    fn labels_stand_below_their_columns_and_apart() {
        let spread = spread(&[12_000, 900_000], 60);
        // Two decades over 60 columns: 20 us at 9.03, 50 us at 20.97.
        assert_eq!(
            spread.labels(),
            "|10.0 us |20.0 us   |50.0 us  |100 us  |200 us    |500 us"
        );
    }

    #[test]
    fn one_duration_and_none_can_be_drawn() {
        let one = spread(&[31_000], 10);
        assert_eq!(one.ends, Some((20_000, 50_000)));
        assert_eq!(one.counts.iter().sum::<u64>(), 1);
        let none = spread(&[], 10);
        assert_eq!(
            (none.heights(), none.labels()),
            (vec![0; 10], String::new())
        );
        assert_eq!(spread(&[0, u64::MAX / 2], 10).counts.iter().sum::<u64>(), 2);
        assert_eq!(spread(&[5], 0).labels(), "");
    }
}
