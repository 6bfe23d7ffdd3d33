//! The due times of an open loop's messages.

use fastrand::Rng;

use crate::bench::clock::SECOND;
use crate::bench::plan::Arrivals;

/// The due times of one thread; all threads together make the rate.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    arrivals: Arrivals,
    random: Rng,
    start: u64,
    /// Nanoseconds between two messages of this thread, on average.
    gap: f64,
    /// The next message's due time, in nanoseconds after the start. A fraction
    /// is kept, so that no rate drifts; 53 bits count days of nanoseconds.
    next: f64,
    /// Messages before it.
    drawn: u64,
    /// The first message's due time within the gap, so that threads take turns.
    offset: f64,
}

impl Schedule {
    /// Thread number `thread` of `threads`, which together make `rate_per_s`.
    #[expect(clippy::cast_precision_loss, reason = "threads are few")]
    pub(crate) fn new(
        arrivals: Arrivals,
        rate_per_s: f64,
        (thread, threads): (usize, usize),
        start: u64,
        seed: u64,
    ) -> Self {
        let gap = SECOND as f64 * threads as f64 / rate_per_s;
        let mut schedule = Self {
            arrivals,
            random: Rng::with_seed(seed),
            start,
            gap,
            next: 0.0,
            drawn: 0,
            offset: gap * thread as f64 / threads as f64,
        };
        schedule.next = match arrivals {
            Arrivals::Uniform => schedule.offset,
            Arrivals::Poisson => schedule.exponential_gap(),
        };
        schedule
    }

    /// When the next message is due.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times after the start, and a conversion that saturates"
    )]
    pub(crate) fn due(&self) -> u64 {
        self.start.saturating_add(self.next as u64)
    }

    /// Goes on to the message after it.
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^53 messages")]
    pub(crate) fn advance(&mut self) {
        self.drawn += 1;
        self.next = match self.arrivals {
            Arrivals::Uniform => self.offset + self.drawn as f64 * self.gap,
            Arrivals::Poisson => self.next + self.exponential_gap(),
        };
    }

    /// A gap of a Poisson process: the inverse of the exponential distribution.
    fn exponential_gap(&mut self) -> f64 {
        -(1.0 - self.random.f64()).ln() * self.gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dues(mut schedule: Schedule, count: usize) -> Vec<u64> {
        std::iter::repeat_with(|| {
            let due = schedule.due();
            schedule.advance();
            due
        })
        .take(count)
        .collect()
    }

    #[test]
    fn uniform_messages_are_due_one_gap_apart_without_drift() {
        let schedule = Schedule::new(Arrivals::Uniform, 3.0, (0, 1), 1000, 1);
        let due = dues(schedule, 3_000_001);
        assert_eq!(due[..3], [1000, 333_334_333, 666_667_666]);
        assert_eq!(due[3_000_000], 1000 + 1_000_000 * SECOND);
    }

    #[test]
    fn threads_take_turns() {
        let of = |thread| dues(Schedule::new(Arrivals::Uniform, 4.0, (thread, 2), 0, 1), 3);
        assert_eq!(of(0), [0, 500_000_000, 1_000_000_000]);
        assert_eq!(of(1), [250_000_000, 750_000_000, 1_250_000_000]);
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn poisson_gaps_are_exponential() {
        let schedule = Schedule::new(Arrivals::Poisson, 1000.0, (0, 1), 0, 42);
        let due = dues(schedule, 100_001);
        let gaps: Vec<f64> = due
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f64)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        assert!((mean - 1e6).abs() < 1e4, "{mean}");
        // Of an exponential distribution 1/e lies beyond the mean.
        let beyond = gaps.iter().filter(|&&gap| gap > 1e6).count() as f64 / gaps.len() as f64;
        assert!((beyond - (-1.0_f64).exp()).abs() < 0.01, "{beyond}");
    }

    #[test]
    fn a_seed_gives_the_same_arrivals_again() {
        let of = |seed| dues(Schedule::new(Arrivals::Poisson, 1e5, (0, 1), 7, seed), 100);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
