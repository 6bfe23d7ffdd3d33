//! Limits the rate of a repeated log line; the lines left out are counted.

use std::sync::atomic::{AtomicU64, Ordering};
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

/// The same for several threads, without a lock: a flood of events waits for nobody.
#[derive(Debug)]
pub(crate) struct SharedThrottle {
    period_ns: u64,
    started: Instant,
    /// The time since the start from which the next event is admitted, in nanoseconds.
    next_ns: AtomicU64,
    suppressed: AtomicU64,
}

impl SharedThrottle {
    pub(crate) fn new(period: Duration) -> Self {
        Self {
            period_ns: u64::try_from(period.as_nanos()).unwrap_or(u64::MAX / 2),
            started: Instant::now(),
            next_ns: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// As [`Throttle::admit`]. Of events at the same time one is admitted; the others count as
    /// suppressed before or after it.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let since = now.saturating_duration_since(self.started).as_nanos();
        let since = u64::try_from(since).unwrap_or(u64::MAX / 2);
        let next = self.next_ns.load(Ordering::Relaxed);
        let later = since + self.period_ns;
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let is_admitted =
            since >= next && (self.next_ns.compare_exchange(next, later, success, failure)).is_ok();
        if !is_admitted {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.take_suppressed())
    }

    /// As [`Throttle::take_suppressed`].
    pub(crate) fn take_suppressed(&self) -> u64 {
        self.suppressed.swap(0, Ordering::Relaxed)
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

    #[test]
    fn threads_share_what_is_admitted_and_none_is_left_out_of_the_count() {
        const EVENTS: u64 = 1000;
        let throttle = SharedThrottle::new(Duration::from_secs(1));
        let start = throttle.started;
        let run = || -> Vec<u64> {
            let at = |event| start + Duration::from_millis(2 * event);
            (0..EVENTS)
                .filter_map(|event| throttle.admit(at(event)))
                .collect()
        };
        let admitted: Vec<u64> = std::thread::scope(|scope| {
            let threads = [scope.spawn(run), scope.spawn(run)];
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        // The events are spread over two seconds.
        assert_eq!(admitted.len(), 2, "{admitted:?}");
        let counted = admitted.len() as u64 + admitted.iter().sum::<u64>();
        assert_eq!(counted + throttle.take_suppressed(), 2 * EVENTS);
        assert_eq!(throttle.take_suppressed(), 0);
    }
}
