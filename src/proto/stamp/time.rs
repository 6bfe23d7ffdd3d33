//! Times as packets carry them.

use std::time::Duration;

/// From 1900, where NTP's time begins, to 1970, where Unix time does, in seconds: RFC 5905.
const UNIX_IN_NTP: u64 = 2_208_988_800;

/// How far TAI, which PTP counts, is ahead of UTC, in seconds: since 2017, IERS Bulletin C.
const TAI_AHEAD: i64 = 37;

const SECOND_NS: i64 = 1_000_000_000;

/// How a packet carries a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Seconds since 1900 in the upper half, parts of a second in the lower one: RFC 5905. It
    /// wraps every 136 years.
    #[default]
    Ntp,
    /// Seconds of TAI since 1970 in the upper half, nanoseconds in the lower one: the
    /// truncated format of IEEE 1588, RFC 8877, section 4.3. It wraps every 136 years.
    Ptp,
}

/// A time in either [`Format`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// A Unix time, to the nearest quarter of a nanosecond.
    pub fn from_unix(time: Duration, format: Format) -> Self {
        let ns = u64::from(time.subsec_nanos());
        let (ahead, part) = match format {
            Format::Ntp => (UNIX_IN_NTP, (ns << 32) / SECOND_NS.cast_unsigned()),
            Format::Ptp => (TAI_AHEAD.cast_unsigned(), ns),
        };
        Self(time.as_secs().wrapping_add(ahead) << 32 | part)
    }

    /// How many nanoseconds this time is after `earlier`, negative where it is before. Right
    /// where they are less than 68 years apart.
    pub fn since_ns(self, earlier: Self, format: Format) -> i64 {
        match format {
            Format::Ntp => {
                let parts = i128::from(self.0.wrapping_sub(earlier.0).cast_signed());
                i64::try_from((parts * i128::from(SECOND_NS)) >> 32).unwrap_or(i64::MAX)
            }
            Format::Ptp => {
                let [one, other] = [self, earlier].map(|time| (time.0 >> 32) as u32);
                let seconds = i64::from(one.wrapping_sub(other).cast_signed());
                let [one, other] = [self, earlier].map(|time| i64::from(time.0 as u32));
                seconds * SECOND_NS + one - other
            }
        }
    }

    /// How many nanoseconds this time of a peer is after a Unix time. Many peers write UTC in
    /// the format of PTP, so of both readings the one that is nearer is taken.
    pub fn since_unix_ns(self, time: Duration, format: Format) -> i64 {
        let since = self.since_ns(Self::from_unix(time, format), format);
        let as_utc = since.saturating_add(TAI_AHEAD * SECOND_NS);
        match format {
            Format::Ptp if as_utc.unsigned_abs() < since.unsigned_abs() => as_utc,
            _ => since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(ms: u64, format: Format) -> Timestamp {
        Timestamp::from_unix(Duration::from_millis(ms), format)
    }

    #[test]
    fn the_difference_of_two_times_is_right_also_where_they_wrap() {
        for format in [Format::Ntp, Format::Ptp] {
            let [early, late] = [500, 2250].map(|ms| unix(ms, format));
            assert_eq!(late.since_ns(early, format), 1_750_000_000);
            assert_eq!(early.since_ns(late, format), -1_750_000_000);
        }
        let last = Timestamp(u64::MAX - (1 << 31));
        let first = Timestamp(1 << 31);
        assert!((first.since_ns(last, Format::Ntp) - 1_000_000_000).abs() <= 1);
        let last = Timestamp(u64::from(u32::MAX) << 32 | 999_999_999);
        assert_eq!(Timestamp(1).since_ns(last, Format::Ptp), 2);
        let _ = Timestamp(u64::MAX).since_ns(Timestamp(1 << 63), Format::Ptp);
    }

    #[test]
    fn the_format_of_ptp_is_tai_in_seconds_and_nanoseconds() {
        assert_eq!(unix(1500, Format::Ptp).0, 38 << 32 | 500_000_000);
    }

    #[test]
    fn a_peer_may_write_utc_in_the_format_of_ptp() {
        let (sent, seconds) = (Duration::from_secs(1_800_000_000), 1_800_000_000_u64);
        for ahead in [0, 37] {
            let time = Timestamp((seconds + ahead) << 32 | 2_000_000);
            assert_eq!(time.since_unix_ns(sent, Format::Ptp), 2_000_000, "{ahead}");
        }
        let later = Timestamp::from_unix(sent + Duration::from_secs(40), Format::Ntp);
        assert_eq!(later.since_unix_ns(sent, Format::Ntp), 40_000_000_000);
    }
}
