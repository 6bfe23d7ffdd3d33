//! The counters of a ping and its round-trip statistics.

use std::time::Duration;

use super::event::Event;
use super::round_trips::RoundTrips;
use super::summary::Summary;
use crate::base::kernel::KernelView;

/// The counters of a ping.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) sent: u64,
    received: u64,
    lost: u64,
    late: u64,
    corrupted: u64,
    round_trips: RoundTrips,
    tcp: Option<KernelView>,
}

impl Counts {
    /// Adds what TCP knows of a connection that ends.
    pub(super) fn add_view(&mut self, view: Option<KernelView>) {
        self.tcp = match (self.tcp, view) {
            (Some(first), Some(later)) => Some(first.followed_by(later)),
            (first, later) => later.or(first),
        };
    }

    pub(super) fn count(&mut self, event: &Event) {
        match event {
            Event::Reply { time_ns, .. } => {
                self.received += 1;
                self.round_trips.record(*time_ns);
            }
            Event::Late { .. } => self.late += 1,
            Event::Lost { .. } => self.lost += 1,
            Event::Corrupted { .. } | Event::Unasked { .. } => self.corrupted += 1,
            Event::Connected { .. } | Event::Disconnected { .. } | Event::Summary(_) => {}
        }
    }

    pub(super) fn summary(&self, elapsed: Duration, under_way: u64) -> Summary {
        Summary {
            sent: self.sent,
            received: self.received,
            lost: self.lost,
            late: self.late,
            corrupted: self.corrupted,
            under_way,
            elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            tcp: self.tcp,
            ..self.round_trips.summary()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(times_ns: impl IntoIterator<Item = u64>) -> Counts {
        let mut counts = Counts::default();
        for (seq, time_ns) in (1..).zip(times_ns) {
            counts.sent += 1;
            counts.count(&Event::Reply {
                address: ([127, 0, 0, 1], 7).into(),
                seq,
                size_bytes: 64,
                time_ns,
            });
        }
        counts
    }

    fn lost(counts: &mut Counts) {
        counts.sent += 1;
        let reason = String::from("no reply");
        counts.count(&Event::Lost { seq: 0, reason });
    }

    #[test]
    fn statistics_of_a_known_set_are_right() {
        // A textbook example: mean 5, population standard deviation 2.
        let micros = [2, 4, 4, 4, 5, 5, 7, 9];
        let summary = counts(micros.map(|us| us * 1000)).summary(Duration::from_secs(7), 0);
        assert_eq!((summary.min_ns, summary.max_ns), (Some(2000), Some(9000)));
        assert_eq!(
            (summary.avg_ns, summary.stddev_ns),
            (Some(5000), Some(2000))
        );
        let p50 = summary.p50_ns.unwrap();
        assert!((4000..=4004).contains(&p50), "{p50}");
        assert_eq!(summary.p99_ns, None);
        assert!(summary.all_well());
        assert_eq!(
            summary.to_string(),
            "8 sent, 8 received, 0 lost, 0 corrupted in 7.00 s\n\
             round trip: min=2.00 us avg=5.00 us p50=4.00 us max=9.00 us stddev=2.00 us\n\
             tcp: not available"
        );
    }

    #[test]
    fn a_percentile_needs_enough_samples() {
        let known = |count: u64| {
            let summary = counts(1..=count).summary(Duration::ZERO, 0);
            (summary.p50_ns.is_some(), summary.p99_ns)
        };
        assert_eq!(known(0), (false, None));
        assert_eq!(known(1), (false, None));
        assert_eq!(known(2), (true, None));
        assert_eq!(known(99), (true, None));
        assert_eq!(known(100), (true, Some(99)));
    }

    #[test]
    fn losses_and_damage_are_in_the_summary() {
        let mut all_lost = Counts::default();
        lost(&mut all_lost);
        let summary = all_lost.summary(Duration::from_millis(1500), 0);
        assert!(!summary.all_well());
        assert_eq!(
            summary.to_string(),
            "1 sent, 0 received, 1 lost (100%), 0 corrupted in 1.50 s"
        );
        let mut some = counts([1000]);
        lost(&mut some);
        some.sent += 1;
        some.late = 1;
        some.corrupted = 2;
        let text = some.summary(Duration::from_secs(2), 1).to_string();
        assert!(
            text.starts_with(
                "3 sent, 1 received, 1 lost (33.33%), 1 of them late, 2 corrupted, \
                 1 still under way in 2.00 s\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_ping_that_sent_nothing_has_not_succeeded() {
        assert!(!Counts::default().summary(Duration::ZERO, 0).all_well());
    }
}
