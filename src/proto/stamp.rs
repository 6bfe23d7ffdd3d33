//! STAMP's test packets without authentication: RFC 8762, sections 4.2.1 and 4.3.1, with the
//! session identifier of RFC 8972.
//!
//! A sender's packet and a reflector's answer have the same length. What is behind the first
//! 44 bytes is padding, or extensions that the sender reads back.

use std::time::Duration;

/// The length of a packet without padding, in bytes.
pub const LENGTH: usize = 44;

/// The shortest packet that an answer fits: that of TWAMP (RFC 5357), in bytes.
pub const LEAST: usize = 41;

/// The UDP port of reflectors: RFC 8762, section 4.1.
pub const PORT: u16 = 862;

/// From 1900, where NTP's time begins, to 1970, where Unix time does, in seconds: RFC 5905.
const UNIX_IN_NTP: u64 = 2_208_988_800;

/// A time as a packet carries it: seconds since 1900 in the upper half, parts of a second in
/// the lower one. It wraps every 136 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// A Unix time, to the nearest quarter of a nanosecond.
    pub fn from_unix(time: Duration) -> Self {
        let seconds = time.as_secs().wrapping_add(UNIX_IN_NTP) << 32;
        let part = (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000;
        Self(seconds | part)
    }

    /// How many nanoseconds this time is after `earlier`, negative where it is before. Right
    /// where they are less than 68 years apart.
    pub fn since_ns(self, earlier: Self) -> i64 {
        let parts = i128::from(self.0.wrapping_sub(earlier.0).cast_signed());
        i64::try_from((parts * 1_000_000_000) >> 32).unwrap_or(i64::MAX)
    }
}

/// What a packet says of the clock that its times are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// It is set by an external source of time.
    pub is_synchronized: bool,
    /// Its times are in the format of PTP, not of NTP.
    pub is_ptp: bool,
    /// How wrong it may be. A packet carries it with eight significant bits, rounded up.
    pub error: Duration,
}

impl Clock {
    /// The error estimate of RFC 4656, section 4.1.2: two flags, six bits of scale, eight
    /// bits of multiplier; the error is the multiplier times 2 to the scale, in parts of 2⁻³²
    /// seconds.
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
        let flags = u16::from(self.is_synchronized) << 15 | u16::from(self.is_ptp) << 14;
        match scale {
            0..64 => flags | (scale as u16) << 8 | multiplier as u16,
            _ => flags | 0x3fff,
        }
    }

    /// Reads an error estimate. A multiplier of 0, which is not allowed, is no error at all.
    pub fn from_estimate(estimate: u16) -> Self {
        let parts = u128::from(estimate & 0xff) << (estimate >> 8 & 0x3f);
        let ns = (parts * 1_000_000_000) >> 32;
        Self {
            is_synchronized: estimate & 0x8000 != 0,
            is_ptp: estimate & 0x4000 != 0,
            error: Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)),
        }
    }
}

/// A sender's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Counts the packets of the session.
    pub sequence: u32,
    /// When it was sent.
    pub sent: Timestamp,
    /// Of the sender's clock: see [`Clock`].
    pub estimate: u16,
    /// Tells sessions of the same addresses apart; 0 where there is one.
    pub session: u16,
}

impl Request {
    /// Writes it over the start of `packet`, whose padding stays.
    ///
    /// # Panics
    /// If `packet` is shorter than [`LENGTH`].
    pub fn write(&self, packet: &mut [u8]) {
        packet[..LENGTH].fill(0);
        put(packet, 0, self.sequence.to_be_bytes());
        put(packet, 4, self.sent.0.to_be_bytes());
        put(packet, 12, self.estimate.to_be_bytes());
        put(packet, 14, self.session.to_be_bytes());
    }

    /// Reads a packet; `None` if it is shorter than [`LEAST`], so that no answer fits.
    pub fn read(packet: &[u8]) -> Option<Self> {
        if packet.len() < LEAST {
            return None;
        }
        Some(Self {
            sequence: u32::from_be_bytes(part(packet, 0)?),
            sent: Timestamp(u64::from_be_bytes(part(packet, 4)?)),
            estimate: u16::from_be_bytes(part(packet, 12)?),
            session: u16::from_be_bytes(part(packet, 14)?),
        })
    }
}

/// A reflector's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reflection {
    /// Counts the answers of the session, if the reflector keeps state; else that of the
    /// request.
    pub sequence: u32,
    /// When it was sent.
    pub sent: Timestamp,
    /// Of the reflector's clock.
    pub estimate: u16,
    /// When the request was received.
    pub received: Timestamp,
    /// The request.
    pub request: Request,
    /// The TTL or hop limit with which the request was received; 0 where it is unknown.
    pub ttl: u8,
}

impl Reflection {
    /// Writes it over the start of `packet`, the request, whose padding stays.
    ///
    /// # Panics
    /// If `packet` is shorter than [`LEAST`].
    pub fn write(&self, packet: &mut [u8]) {
        let length = packet.len().min(LENGTH);
        packet[..length].fill(0);
        put(packet, 0, self.sequence.to_be_bytes());
        put(packet, 4, self.sent.0.to_be_bytes());
        put(packet, 12, self.estimate.to_be_bytes());
        put(packet, 14, self.request.session.to_be_bytes());
        put(packet, 16, self.received.0.to_be_bytes());
        put(packet, 24, self.request.sequence.to_be_bytes());
        put(packet, 28, self.request.sent.0.to_be_bytes());
        put(packet, 36, self.request.estimate.to_be_bytes());
        packet[40] = self.ttl;
    }

    /// Reads an answer; `None` if it is shorter than [`LEAST`].
    pub fn read(packet: &[u8]) -> Option<Self> {
        if packet.len() < LEAST {
            return None;
        }
        Some(Self {
            sequence: u32::from_be_bytes(part(packet, 0)?),
            sent: Timestamp(u64::from_be_bytes(part(packet, 4)?)),
            estimate: u16::from_be_bytes(part(packet, 12)?),
            received: Timestamp(u64::from_be_bytes(part(packet, 16)?)),
            request: Request {
                sequence: u32::from_be_bytes(part(packet, 24)?),
                sent: Timestamp(u64::from_be_bytes(part(packet, 28)?)),
                estimate: u16::from_be_bytes(part(packet, 36)?),
                session: u16::from_be_bytes(part(packet, 14)?),
            },
            ttl: packet[40],
        })
    }
}

fn put<const N: usize>(packet: &mut [u8], at: usize, bytes: [u8; N]) {
    packet[at..at + N].copy_from_slice(&bytes);
}

fn part<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request by hand, field by field as in RFC 8762, figure 2.
    #[rustfmt::skip]
    const REQUEST: [u8; LENGTH] = [
        0, 0, 0, 7, // sequence number
        0x83, 0xaa, 0x7e, 0x80, 0x80, 0, 0, 0, // timestamp: 1970, and half a second
        0x8a, 0xff, // error estimate: synchronized, 255 × 2^10 parts
        0x12, 0x34, // session identifier of RFC 8972
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];

    /// The answer to it, as in RFC 8762, figure 5.
    #[rustfmt::skip]
    const REFLECTION: [u8; LENGTH] = [
        0, 0, 0, 3, // sequence number
        0x83, 0xaa, 0x7e, 0x82, 0, 0, 0, 0, // timestamp: 1970, and two seconds
        0x00, 0x01, // error estimate: not synchronized, one part
        0x12, 0x34, // session identifier
        0x83, 0xaa, 0x7e, 0x81, 0x40, 0, 0, 0, // receive timestamp: a second and a quarter
        0, 0, 0, 7, // the sender's sequence number
        0x83, 0xaa, 0x7e, 0x80, 0x80, 0, 0, 0, // the sender's timestamp
        0x8a, 0xff, // the sender's error estimate
        0, 0,
        63, // the sender's TTL
        0, 0, 0,
    ];

    fn unix(ms: u64) -> Timestamp {
        Timestamp::from_unix(Duration::from_millis(ms))
    }

    const fn request() -> Request {
        Request {
            sequence: 7,
            sent: Timestamp(0x83aa_7e80_8000_0000),
            estimate: 0x8aff,
            session: 0x1234,
        }
    }

    #[test]
    fn packets_are_those_of_the_rfc() {
        assert_eq!(unix(500), request().sent);
        assert_eq!(Request::read(&REQUEST), Some(request()));
        let mut packet = REQUEST;
        let reflection = Reflection {
            sequence: 3,
            sent: unix(2000),
            estimate: 1,
            received: unix(1250),
            request: request(),
            ttl: 63,
        };
        reflection.write(&mut packet);
        assert_eq!(packet, REFLECTION);
        assert_eq!(Reflection::read(&packet), Some(reflection));
        request().write(&mut packet);
        assert_eq!(packet, REQUEST);
    }

    #[test]
    fn padding_stays_and_a_packet_that_is_too_short_is_none() {
        let mut packet = [[0xee; LENGTH], [0xee; LENGTH]].concat();
        request().write(&mut packet);
        assert_eq!(packet[LENGTH..], [0xee; LENGTH]);
        for length in 0..=LENGTH {
            let is_read = Request::read(&REQUEST[..length]).is_some();
            assert_eq!(is_read, length >= LEAST, "{length}");
            assert_eq!(Reflection::read(&REFLECTION[..length]).is_some(), is_read);
        }
        let mut short = REQUEST[..LEAST].to_vec();
        Reflection::read(&REFLECTION).unwrap().write(&mut short);
        assert_eq!(short, REFLECTION[..LEAST]);
    }

    #[test]
    fn the_difference_of_two_times_is_right_also_where_they_wrap() {
        assert_eq!(unix(2000).since_ns(unix(500)), 1_500_000_000);
        assert_eq!(unix(500).since_ns(unix(2000)), -1_500_000_000);
        let last = Timestamp(u64::MAX - (1 << 31));
        let first = Timestamp(1 << 31);
        assert!((first.since_ns(last) - 1_000_000_000).abs() <= 1);
    }

    #[test]
    fn an_error_is_carried_with_eight_bits_and_never_less_than_it_is() {
        for us in [0, 1, 20, 255, 256, 1000, 16_000_000, u64::from(u32::MAX)] {
            let clock = Clock {
                is_synchronized: us % 2 == 0,
                is_ptp: false,
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
            is_ptp: true,
            error: Duration::MAX,
        };
        assert!(Clock::from_estimate(endless.estimate()).is_ptp);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_and_written_back(bytes in proptest::collection::vec(0_u8.., 0..100)) {
            if let Some(reflection) = Reflection::read(&bytes) {
                let mut copy = bytes.clone();
                reflection.write(&mut copy);
                proptest::prop_assert_eq!(Reflection::read(&copy), Some(reflection));
                proptest::prop_assert_eq!(&copy[LENGTH.min(copy.len())..], &bytes[LENGTH.min(bytes.len())..]);
            }
        }
    }
}
