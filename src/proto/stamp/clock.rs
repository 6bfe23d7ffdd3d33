//! What a packet says of the clock that its times are from.

use std::time::Duration;

use super::time::Format;

/// What a packet says of the clock that its times are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// It is set by an external source of time.
    pub is_synchronized: bool,
    /// The format of its times.
    pub format: Format,
    /// How wrong it may be. A packet carries it with eight significant bits, rounded up.
    pub error: Duration,
}

impl Clock {
    /// The error estimate of RFC 4656, section 4.1.2: two flags, six bits of scale, eight
    /// bits of multiplier; the error is the multiplier times 2 to the scale, in parts of 2⁻³²
    /// seconds. The second flag is that of RFC 8186: PTP's format.
    pub fn estimate(self) -> u16 {
        let parts = (self.error.as_nanos() << 32).div_ceil(1_000_000_000);
        // A multiplier of 0 is not allowed.
        let parts = parts.max(1);
        let bits = u128::BITS - parts.leading_zeros();
        let mut scale = bits.saturating_sub(8);
        let mut multiplier = parts.div_ceil(1 << scale);
        if multiplier > 255 {
            scale += 1;
            multiplier = parts.div_ceil(1 << scale);
        }
        let is_ptp = self.format == Format::Ptp;
        let flags = u16::from(self.is_synchronized) << 15 | u16::from(is_ptp) << 14;
        match scale {
            0..64 => flags | (scale as u16) << 8 | multiplier as u16,
            _ => flags | 0x3fff,
        }
    }

    /// Reads an error estimate. A multiplier of 0 is not allowed: such a clock is not
    /// synchronized, whatever it says, and its error is 0.
    pub fn from_estimate(estimate: u16) -> Self {
        let parts = u128::from(estimate & 0xff) << (estimate >> 8 & 0x3f);
        let ns = (parts * 1_000_000_000) >> 32;
        let format = match estimate & 0x4000 {
            0 => Format::Ntp,
            _ => Format::Ptp,
        };
        Self {
            is_synchronized: estimate & 0x8000 != 0 && parts > 0,
            format,
            error: Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_carried_with_eight_bits_and_never_less_than_it_is() {
        for us in [0, 1, 20, 255, 256, 1000, 16_000_000, u64::from(u32::MAX)] {
            let clock = Clock {
                is_synchronized: us % 2 == 0,
                format: Format::Ntp,
                error: Duration::from_micros(us),
            };
            let estimate = clock.estimate();
            assert_ne!(estimate & 0xff, 0, "{us}");
            let read = Clock::from_estimate(estimate);
            assert_eq!(read.is_synchronized, clock.is_synchronized);
            let most = clock.error.mul_f64(1.01) + Duration::from_nanos(2);
            // What is read is rounded down to whole nanoseconds.
            let least = clock.error.saturating_sub(Duration::from_nanos(1));
            assert!(read.error >= least && read.error <= most, "{us}: {read:?}");
        }
        let endless = Clock {
            is_synchronized: false,
            format: Format::Ptp,
            error: Duration::MAX,
        };
        assert_eq!(Clock::from_estimate(endless.estimate()).format, Format::Ptp);
    }

    #[test]
    fn a_clock_without_a_multiplier_is_not_synchronized() {
        assert!(Clock::from_estimate(0x8001).is_synchronized);
        for estimate in [0x8000, 0x9f00, 0x0001] {
            assert!(!Clock::from_estimate(estimate).is_synchronized);
        }
    }
}
