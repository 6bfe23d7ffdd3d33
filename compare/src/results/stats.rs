//! The arithmetic over rounds: median, spread and ratio.

use serde::Serialize;

/// What the rounds gave for one metric of one server, in the metric's unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The middle one; of an even number the mean of the middle two.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Summary {
    /// Sums up `values`, in any order; `None` where there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => return None,
            odd if odd % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        };
        Some(Self {
            median,
            min: sorted[0],
            max: sorted[sorted.len() - 1],
        })
    }

    /// Sums up each of `values` as a multiple of the base of the same round; `None`
    /// where there is no round that has both. What disturbs a round changes both
    /// sides, so these ratios differ less than the values.
    #[must_use]
    pub fn of_ratios(values: &[f64], bases: &[f64]) -> Option<Self> {
        let rounds = values.iter().zip(bases);
        let ratios: Vec<f64> = rounds
            .filter_map(|(value, base)| ratio(*value, *base))
            .collect();
        Self::of(&ratios)
    }
}

/// `value` as a multiple of `base`; `None` where that says nothing.
fn ratio(value: f64, base: f64) -> Option<f64> {
    let quotient = value / base;
    quotient.is_finite().then_some(quotient)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(median: f64, min: f64, max: f64) -> Option<Summary> {
        Some(Summary { median, min, max })
    }

    #[test]
    fn the_median_of_an_odd_number_is_the_middle_one() {
        assert_eq!(Summary::of(&[9.0, 1.0, 4.0]), summary(4.0, 1.0, 9.0));
        assert_eq!(Summary::of(&[7.5]), summary(7.5, 7.5, 7.5));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(Summary::of(&[8.0, 1.0, 4.0, 2.0]), summary(3.0, 1.0, 8.0));
    }

    #[test]
    fn nothing_measured_has_no_summary() {
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn ratios_are_those_of_each_round() {
        let ratios = Summary::of_ratios(&[2.0, 30.0, 8.0], &[1.0, 10.0, 2.0]);
        assert_eq!(ratios, summary(3.0, 2.0, 4.0));
        // A server that failed in the second round.
        assert_eq!(
            Summary::of_ratios(&[2.0], &[4.0, 1.0]),
            summary(0.5, 0.5, 0.5)
        );
        assert_eq!(Summary::of_ratios(&[0.0], &[0.0]), None);
    }

    #[test]
    fn a_ratio_is_a_multiple_of_the_base() {
        assert_eq!(ratio(3.0, 2.0), Some(1.5));
        assert_eq!(ratio(0.0, 2.0), Some(0.0));
        assert_eq!(ratio(1.0, 0.0), None);
        assert_eq!(ratio(0.0, 0.0), None);
    }
}
