//! Limits the rate of a repeated log line; the lines left out are counted.

use std::time::{Duration, Instant};

/// Admits one event in each period and counts the others.
#[derive(Debug)]
pub(crate) struct Throttle {
    period: Duration,
    last: Option<Instant>,
    suppressed: u64,
}

impl Throttle {
    pub(crate) const fn new(period: Duration) -> Self {
        Self {
            period,
            last: None,
            suppressed: 0,
        }
    }

    /// Counts an event at `now`. If it is admitted, returns how many were suppressed since
    /// the last one.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u64> {
        let too_soon = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < self.period);
        if too_soon {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(self.take_suppressed())
    }

    /// Returns how many were suppressed since the last one admitted, and resets the count.
    pub(crate) const fn take_suppressed(&mut self) -> u64 {
        std::mem::replace(&mut self.suppressed, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_a_period_is_admitted_and_the_others_are_counted() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut throttle = Throttle::new(Duration::from_secs(1));
        let admitted: Vec<_> = [0, 1, 999, 1000, 1500, 2000]
            .map(|ms| throttle.admit(after(ms)))
            .into();
        assert_eq!(admitted, [Some(0), None, None, Some(2), None, Some(1)]);
        assert_eq!(throttle.admit(after(2999)), None);
        assert_eq!(throttle.take_suppressed(), 1);
        assert_eq!(throttle.take_suppressed(), 0);
    }
}
