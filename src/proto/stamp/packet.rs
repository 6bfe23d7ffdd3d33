//! The test packets of a sender and of a reflector.

use super::time::Timestamp;

/// The length of a packet without padding, in bytes.
pub const LENGTH: usize = 44;

/// The shortest packet that an answer fits: that of TWAMP (RFC 5357), in bytes.
pub const LEAST: usize = 41;

/// The shortest answer that says all but the TTL, in bytes: some reflectors of TWAMP light, as
/// twampy, send no more.
pub const LEAST_ANSWER: usize = 38;

/// Where an answer has the request that it is of.
const REQUEST: usize = 24;

/// A sender's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Counts the packets of the session.
    pub sequence: u32,
    /// When it was sent.
    pub sent: Timestamp,
    /// Of the sender's clock: see [`Clock`](super::Clock).
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
        match packet.len() {
            LEAST.. => Self::read_head(packet),
            _ => None,
        }
    }

    /// Reads the fields that a request and an answer begin with alike.
    fn read_head(packet: &[u8]) -> Option<Self> {
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
    /// The TTL or hop limit with which the request was received; 0 where it is unknown, also
    /// where the answer is too short for it.
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
        put(packet, REQUEST, self.request.sequence.to_be_bytes());
        put(packet, REQUEST + 4, self.request.sent.0.to_be_bytes());
        put(packet, REQUEST + 12, self.request.estimate.to_be_bytes());
        packet[40] = self.ttl;
    }

    /// Reads an answer; `None` if it is shorter than [`LEAST_ANSWER`].
    pub fn read(packet: &[u8]) -> Option<Self> {
        if packet.len() < LEAST_ANSWER {
            return None;
        }
        let own = Request::read_head(packet)?;
        let (sequence, sent) = quoted(packet)?;
        Some(Self {
            sequence: own.sequence,
            sent: own.sent,
            estimate: own.estimate,
            received: Timestamp(u64::from_be_bytes(part(packet, 16)?)),
            request: Request {
                sequence,
                sent,
                estimate: u16::from_be_bytes(part(packet, REQUEST + 12)?),
                session: own.session,
            },
            ttl: packet.get(40).copied().unwrap_or(0),
        })
    }
}

/// The sequence number and the time of the request that these bytes are an answer to, also
/// where the answer was cut behind them.
pub fn quoted(answer: &[u8]) -> Option<(u32, Timestamp)> {
    let sequence = u32::from_be_bytes(part(answer, REQUEST)?);
    let sent = u64::from_be_bytes(part(answer, REQUEST + 4)?);
    Some((sequence, Timestamp(sent)))
}

fn put<const N: usize>(packet: &mut [u8], at: usize, bytes: [u8; N]) {
    packet[at..at + N].copy_from_slice(&bytes);
}

fn part<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proto::stamp::time::Format;

    /// A request by hand, field by field as in RFC 8762, figure 2.
    #[rustfmt::skip]
    const ASKED: [u8; LENGTH] = [
        0, 0, 0, 7, // sequence number
        0x83, 0xaa, 0x7e, 0x80, 0x80, 0, 0, 0, // timestamp: 1970, and half a second
        0x8a, 0xff, // error estimate: synchronized, 255 × 2^10 parts
        0x12, 0x34, // session identifier of RFC 8972
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];

    /// The answer to it, as in RFC 8762, figure 5.
    #[rustfmt::skip]
    const ANSWER: [u8; LENGTH] = [
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
        Timestamp::from_unix(Duration::from_millis(ms), Format::Ntp)
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
        assert_eq!(Request::read(&ASKED), Some(request()));
        let mut packet = ASKED;
        let reflection = Reflection {
            sequence: 3,
            sent: unix(2000),
            estimate: 1,
            received: unix(1250),
            request: request(),
            ttl: 63,
        };
        reflection.write(&mut packet);
        assert_eq!(packet, ANSWER);
        assert_eq!(Reflection::read(&packet), Some(reflection));
        request().write(&mut packet);
        assert_eq!(packet, ASKED);
    }

    #[test]
    fn padding_stays_and_a_packet_that_is_too_short_is_none() {
        let mut packet = [[0xee; LENGTH], [0xee; LENGTH]].concat();
        request().write(&mut packet);
        assert_eq!(packet[LENGTH..], [0xee; LENGTH]);
        for length in 0..=LENGTH {
            let is_read = Request::read(&ASKED[..length]).is_some();
            assert_eq!(is_read, length >= LEAST, "{length}");
            let answer = Reflection::read(&ANSWER[..length]);
            assert_eq!(answer.is_some(), length >= LEAST_ANSWER, "{length}");
            let ttl = if length >= LEAST { 63 } else { 0 };
            assert!(answer.is_none_or(|it| it.ttl == ttl), "{length}");
            let quoted = quoted(&ANSWER[..length]);
            assert_eq!(quoted.is_some(), length >= 36, "{length}");
            assert!(quoted.is_none_or(|it| it == (7, request().sent)));
        }
        let mut short = ASKED[..LEAST].to_vec();
        Reflection::read(&ANSWER).unwrap().write(&mut short);
        assert_eq!(short, ANSWER[..LEAST]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_and_written_back(bytes in proptest::collection::vec(0_u8.., 0..100)) {
            if let Some(reflection) = Reflection::read(&bytes).filter(|_| bytes.len() >= LEAST) {
                let mut copy = bytes.clone();
                reflection.write(&mut copy);
                proptest::prop_assert_eq!(Reflection::read(&copy), Some(reflection));
                proptest::prop_assert_eq!(quoted(&copy), Some((reflection.request.sequence, reflection.request.sent)));
                proptest::prop_assert_eq!(&copy[LENGTH.min(copy.len())..], &bytes[LENGTH.min(bytes.len())..]);
            }
        }
    }
}
