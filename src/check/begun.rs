//! Connections that are begun a few at a time: how many take as long as a SYN that is sent again.

use std::time::Duration;

use super::lost::Loss;

/// Connections of one measurement.
pub(super) const TRIED: usize = 32;

/// A connection that took this much longer than a round trip sent its SYN again: systems wait
/// one second for that (RFC 6298 section 2.1), less the inaccuracy of timers.
pub(super) const SYN_SENT_AGAIN: Duration = Duration::from_millis(900);

/// One whose SYN was sent again just once took no longer than this beyond.
const SENT_ONCE_MORE: Duration = Duration::from_millis(1700);

/// A sound path loses up to two in a hundred each way, and a handshake has a packet each way.
const SOUND: f64 = 4.0;

/// Connections that were begun, and those of them that took as long as a SYN that is sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) tried: usize,
    pub(super) late: usize,
    /// The late ones whose SYN was sent again just once.
    pub(super) once: usize,
    /// How much later than others those were, in the median.
    pub(super) by: Duration,
}

impl Begun {
    /// What these took to be made, on a path with that round trip.
    pub(super) fn of(times: &[Duration], round_trip: Duration) -> Self {
        let beyond = times.iter().map(|time| time.saturating_sub(round_trip));
        let mut late: Vec<_> = beyond.filter(|time| *time >= SYN_SENT_AGAIN).collect();
        late.sort();
        let once = late.partition_point(|time| *time <= SENT_ONCE_MORE);
        Self {
            tried: times.len(),
            late: late.len(),
            once,
            by: late.get(late.len() / 2).copied().unwrap_or_default(),
        }
    }

    /// Of a hundred, how many are late.
    pub(super) fn percent(self) -> f64 {
        self.late as f64 * 100.0 / self.tried.max(1) as f64
    }

    /// Whether more are late than on a path that loses no more than a sound one, and not by
    /// chance.
    pub(super) fn is_proved(self) -> bool {
        let handshakes = Loss {
            packets: self.tried as u64,
            there: self.late as u64,
            back: 0,
        };
        handshakes.is_above(SOUND)
    }

    /// Whether SYNs are sent again just once, three of four: of those lost at random that happens
    /// to a quarter at the most. A rule may let some through, whose port or client it has seen
    /// lately.
    pub(super) const fn is_each_once(self) -> bool {
        self.tried >= TRIED && self.once * 4 >= self.tried * 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(late: usize, time: u64) -> Begun {
        let ms = Duration::from_millis;
        let times: Vec<_> = (0..TRIED)
            .map(|at| if at < late { ms(time) } else { ms(250) })
            .collect();
        Begun::of(&times, ms(200))
    }

    #[test]
    fn a_few_that_are_late_prove_nothing_and_many_do() {
        assert_eq!(begun(0, 0).percent(), 0.0);
        let few = begun(3, 1250);
        assert_eq!((few.late, few.is_proved()), (3, false));
        let many = begun(8, 3250);
        assert!(many.is_proved());
        assert_eq!((many.percent(), many.once), (25.0, 0));
        assert_eq!(many.by, Duration::from_millis(3050));
        // A path that is a second long sends every SYN again, and loses none.
        let ms = Duration::from_millis;
        assert_eq!(Begun::of(&[ms(1250); TRIED], ms(1200)).late, 0);
    }

    #[test]
    fn each_first_one_is_dropped_only_if_most_are_sent_again_once() {
        assert!(begun(TRIED, 1250).is_each_once());
        assert!(begun(TRIED * 3 / 4, 1250).is_each_once());
        assert!(!begun(TRIED * 3 / 4 - 1, 1250).is_each_once());
        assert!(!begun(TRIED, 3250).is_each_once());
    }
}
