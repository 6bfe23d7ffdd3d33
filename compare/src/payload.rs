//! The bytes sent, of which each has its place, so that one that is lost,
//! doubled or out of order is seen.

use std::io;

/// The stream repeats after this many bytes. It is a prime, so that blocks of a
/// usual size that changed places differ.
const PERIOD: usize = 65_537;

/// The longest window, in bytes.
pub const LONGEST: usize = 256 * 1024;

/// A stream of pseudo-random bytes without end.
#[derive(Debug)]
pub struct Payload {
    bytes: Vec<u8>,
}

impl Payload {
    /// Always the same bytes.
    #[must_use]
    pub fn new() -> Self {
        // Marsaglia's xorshift64 with the shifts 13, 7, 17.
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .take(PERIOD)
        .collect();
        while bytes.len() < PERIOD + LONGEST {
            let more = (PERIOD + LONGEST - bytes.len()).min(PERIOD);
            bytes.extend_from_within(..more);
        }
        Self { bytes }
    }

    /// The `length` bytes from `position` on; at most [`LONGEST`].
    #[must_use]
    pub fn window(&self, position: u64, length: usize) -> &[u8] {
        let start = usize::try_from(position % PERIOD as u64).unwrap_or_default();
        &self.bytes[start..start + length]
    }

    /// Compares what came back with what was sent from `position` on.
    ///
    /// # Errors
    /// The first byte that differs.
    pub fn check(&self, position: u64, echoed: &[u8]) -> io::Result<()> {
        let sent = self.window(position, echoed.len());
        if sent == echoed {
            return Ok(());
        }
        let place = sent.iter().zip(echoed).position(|(a, b)| a != b);
        let offset = position + place.unwrap_or_default() as u64;
        Err(io::Error::other(format!("wrong byte at offset {offset}")))
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_goes_on_where_the_period_ends() {
        let payload = Payload::new();
        let end = PERIOD as u64 - 2;
        let across = payload.window(end, 5);
        assert_eq!(across[..2], *payload.window(end, 2));
        assert_eq!(across[2..], *payload.window(0, 3));
        assert_eq!(payload.window(7, LONGEST).len(), LONGEST);
    }

    #[test]
    fn a_wrong_byte_is_told_with_its_offset() {
        let payload = Payload::new();
        let mut echoed = payload.window(100, 64).to_vec();
        payload.check(100, &echoed).unwrap();
        echoed[10] ^= 1;
        let error = payload.check(100, &echoed).unwrap_err();
        assert_eq!(error.to_string(), "wrong byte at offset 110");
    }

    #[test]
    fn blocks_that_changed_places_differ() {
        let payload = Payload::new();
        let second = payload.window(65_536, 65_536);
        assert!(payload.check(0, second).is_err());
    }
}
