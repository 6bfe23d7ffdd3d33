//! The bytes that probes send: each identifies its connection and its position in the stream.
//!
//! A connection's stream is divided into blocks of 512 bytes. The numbers of the connection
//! and of the block are mixed, reversibly, into one word. Each of the block's 64 words is
//! that word, xored with a constant of the run. So 512 bytes of a stream cost one mixing, and
//! a word in the wrong place can be decoded: it names its connection and position.
//!
//! A load generator makes and compares every byte of a stream, so both are loops over whole
//! words that the compiler vectorizes.
//!
//! The mixing is `fmix64` of MurmurHash3 (Austin Appleby, public domain).

use std::fmt;
use std::ops::Range;

use crate::base::units;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// Words that share one mixing: enough that it costs next to nothing, and few
/// enough that their constants stay in the first-level cache.
const LANES: usize = 64;

/// How many bytes share one mixing.
const BLOCK: usize = LANES * WORD;

/// The bytes of a block, which begins at each multiple of them.
pub const BLOCK_BYTES: usize = BLOCK;

/// Bits of a mixed word that number the block: 16 TiB a connection, then the
/// stream repeats. The other 29 number the connection, and repeat as well.
const BLOCK_BITS: u32 = 35;

/// The least number of bytes that identify where they belong: they contain a whole word
/// wherever they begin, and as many bytes again to verify it.
pub const WINDOW: usize = 24;

/// The streams of all connections of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The constants by which the words of a block differ. They depend on the run's seed, so
    /// that bytes of another run are not taken for this one's.
    lanes: [u64; LANES],
}

/// A position in the stream of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The connection's number.
    pub connection: u64,
    /// The offset in its stream, in bytes.
    pub position: u64,
}

/// How a stream was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Some bytes were changed, and the stream continues after them.
    Changed,
    /// Bytes are missing.
    Lost {
        /// How many.
        bytes: u64,
    },
    /// Bytes were repeated.
    Repeated {
        /// How far the stream went back.
        bytes: u64,
    },
    /// Bytes of another connection of this run.
    Foreign(Location),
    /// Bytes of no stream of this run, or too few to identify.
    Unknown,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => f.write_str("bytes were changed"),
            Self::Lost { bytes } => f.write_str(&units::plain_count(
                *bytes,
                "byte is missing",
                "bytes are missing",
            )),
            Self::Repeated { bytes } => f.write_str(&units::plain_count(
                *bytes,
                "byte came again",
                "bytes came again",
            )),
            Self::Foreign(location) => write!(
                f,
                "bytes of connection {} came, from its offset {}",
                location.connection, location.position
            ),
            Self::Unknown => f.write_str("bytes came that were never sent"),
        }
    }
}

impl Pattern {
    /// Bits of a block's number, after which a connection's stream repeats.
    pub const BLOCK_BITS: u32 = BLOCK_BITS;

    /// The bits of a connection's number that its stream depends on.
    pub const CONNECTION_MASK: u64 = connection_mask();

    /// The numbers of the connection and of the block that a word names, which is the
    /// `number`-th of its block, or of one a whole number of blocks before.
    pub const fn decode(&self, number: usize, word: [u8; WORD]) -> (u64, u64) {
        let mixed = u64::from_le_bytes(word) ^ self.lanes[number % LANES];
        let number = unmix(mixed);
        (number >> BLOCK_BITS, number & ((1 << BLOCK_BITS) - 1))
    }

    /// The streams of the run with this seed.
    pub const fn new(seed: u64) -> Self {
        let mut lanes = [0; LANES];
        let mut lane = 0;
        while lane < lanes.len() {
            lanes[lane] = mix(seed.wrapping_add(mix(1 + lane as u64)));
            lane += 1;
        }
        Self { lanes }
    }

    /// Writes a connection's bytes from `position` on.
    pub fn fill(&self, connection: u64, position: u64, out: &mut [u8]) {
        self.walk(connection, position, out.len(), |range, run| {
            run.write(&mut out[range]);
            true
        });
    }

    /// The index of the first byte that differs from a connection's stream at `position`.
    pub fn first_difference(&self, connection: u64, position: u64, bytes: &[u8]) -> Option<usize> {
        let mut differs = None;
        self.walk(connection, position, bytes.len(), |range, run| {
            let received = &bytes[range.clone()];
            if run.is(received) {
                return true;
            }
            let mut expected = [0; BLOCK];
            let expected = &mut expected[..received.len()];
            run.write(expected);
            let first = received.iter().zip(expected).position(|(a, b)| a != b);
            differs = first.map(|offset| range.start + offset);
            false
        });
        differs
    }

    /// Classifies the damage where `bytes` arrived instead of a connection's stream at
    /// `position`. The first byte must be the first that differs. Fewer than [`WINDOW`] bytes
    /// may not suffice.
    pub fn explain(&self, connection: u64, position: u64, bytes: &[u8]) -> Damage {
        // One in 256 random bytes is right by chance.
        let mut expected = vec![0; bytes.len()];
        self.fill(connection, position, &mut expected);
        let right = bytes.iter().zip(&expected).filter(|(a, b)| a == b).count();
        if right * 4 >= bytes.len() && right > 0 {
            return Damage::Changed;
        }
        match self.locate(bytes) {
            Some(location) if location.connection != connection & connection_mask() => {
                Damage::Foreign(location)
            }
            Some(location) if location.position > position => Damage::Lost {
                bytes: location.position - position,
            },
            Some(location) => Damage::Repeated {
                bytes: position - location.position,
            },
            None => Damage::Unknown,
        }
    }

    /// Finds the connection and the position whose stream contains `bytes`.
    pub fn locate(&self, bytes: &[u8]) -> Option<Location> {
        let window = bytes.get(..WINDOW)?;
        // The first whole word may begin at any of eight bytes, and be any word of a block.
        for skipped in 0..WORD {
            let (word, _) = window[skipped..].split_first_chunk::<WORD>()?;
            for lane in 0..LANES {
                let (connection, block) = self.decode(lane, *word);
                let start = block * BLOCK as u64 + (lane * WORD) as u64;
                let Some(position) = start.checked_sub(skipped as u64) else {
                    continue;
                };
                if self
                    .first_difference(connection, position, window)
                    .is_none()
                {
                    return Some(Location {
                        connection,
                        position,
                    });
                }
            }
        }
        None
    }

    /// Calls `each` with consecutive runs of words and their byte ranges, until it returns
    /// `false`. A run is a part of one word, or whole words.
    #[inline]
    fn walk(
        &self,
        connection: u64,
        position: u64,
        length: usize,
        mut each: impl FnMut(Range<usize>, Run<'_>) -> bool,
    ) {
        let mut done = 0;
        while done < length {
            let position = position + done as u64;
            let offset = (position % BLOCK as u64) as usize;
            let (lanes, skipped) = (&self.lanes[offset / WORD..], offset % WORD);
            let left = length - done;
            let count = match skipped {
                0 if left >= WORD => (lanes.len() * WORD).min(left - left % WORD),
                _ => (WORD - skipped).min(left),
            };
            let mixed = mixed(connection, position / BLOCK as u64);
            let run = Run {
                mixed,
                lanes,
                skipped,
            };
            if !each(done..done + count, run) {
                return;
            }
            done += count;
        }
    }
}

/// Words of one block.
struct Run<'a> {
    mixed: u64,
    /// The constants of its words, and of the words after them in the block.
    lanes: &'a [u64],
    /// Bytes of its first word that do not belong to it.
    skipped: usize,
}

impl Run<'_> {
    #[inline]
    fn write(&self, out: &mut [u8]) {
        let (words, part) = out.as_chunks_mut();
        for (word, lane) in words.iter_mut().zip(self.lanes) {
            *word = (self.mixed ^ lane).to_le_bytes();
        }
        if !part.is_empty() {
            part.copy_from_slice(&self.part()[..part.len()]);
        }
    }

    /// Whether `bytes` equal the run. Differences are collected and tested at the end: a loop
    /// that may stop at any word is not vectorized.
    #[inline]
    fn is(&self, bytes: &[u8]) -> bool {
        let (words, part) = bytes.as_chunks();
        let pairs = words.iter().zip(self.lanes);
        let different = pairs.fold(0, |different, (word, lane)| {
            different | u64::from_le_bytes(*word) ^ lane ^ self.mixed
        });
        different == 0 && (part.is_empty() || *part == self.part()[..part.len()])
    }

    /// Its bytes of the first word.
    fn part(&self) -> [u8; WORD] {
        let word = self.mixed ^ self.lanes[0];
        (word >> (self.skipped * 8)).to_le_bytes()
    }
}

/// A block's number, mixed.
const fn mixed(connection: u64, block: u64) -> u64 {
    mix((connection & connection_mask()) << BLOCK_BITS | block & ((1 << BLOCK_BITS) - 1))
}

const fn connection_mask() -> u64 {
    (1 << (u64::BITS - BLOCK_BITS)) - 1
}

const fn mix(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

/// The inverse of [`mix`]: with the inverses of both factors modulo 2^64; a shift by 33 is
/// its own inverse.
const fn unmix(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0x9cb4_b2f8_1293_37db);
    word ^= word >> 33;
    word = word.wrapping_mul(0x4f74_430c_22a5_4005);
    word ^ word >> 33
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RUN: Pattern = Pattern::new(0x5eed_5eed_5eed_5eed);

    /// The length of three blocks.
    const LONG: usize = 3 * BLOCK;

    fn stream(connection: u64, position: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        RUN.fill(connection, position, &mut bytes);
        bytes
    }

    #[test]
    fn one_byte_is_singular() {
        let lost = |bytes| Damage::Lost { bytes }.to_string();
        let repeated = |bytes| Damage::Repeated { bytes }.to_string();
        assert_eq!(
            [lost(1), lost(2)],
            ["1 byte is missing", "2 bytes are missing"]
        );
        assert_eq!(
            [repeated(1), repeated(2)],
            ["1 byte came again", "2 bytes came again"]
        );
    }

    proptest! {
        #[test]
        fn a_word_can_be_decoded(word: u64) {
            prop_assert_eq!(unmix(mix(word)), word);
        }

        #[test]
        fn a_stream_does_not_depend_on_how_it_is_split(position in 0..5000_u64, cut in 0..LONG) {
            let whole = stream(7, position, LONG);
            let mut parts = stream(7, position, cut);
            parts.extend(stream(7, position + cut as u64, LONG - cut));
            prop_assert_eq!(&parts, &whole);
            prop_assert_eq!(RUN.first_difference(7, position, &whole), None);
        }

        #[test]
        fn a_changed_byte_is_found(position in 0..5000_u64, at in 0..LONG, bit in 0..8_u8) {
            let mut bytes = stream(7, position, LONG);
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(RUN.first_difference(7, position, &bytes), Some(at));
            if at + 8 < LONG {
                let rest = &bytes[at..];
                prop_assert_eq!(RUN.explain(7, position + at as u64, rest), Damage::Changed);
            }
        }

        #[test]
        fn bytes_identify_their_position(connection in 0..1_u64 << 29, position in 0..1_u64 << 40) {
            let bytes = stream(connection, position, WINDOW);
            prop_assert_eq!(RUN.locate(&bytes), Some(Location { connection, position }));
        }

        #[test]
        fn loss_repetition_and_foreign_bytes_are_distinguished(
            position in 10_000..20_000_u64,
            count in 1..10_000_u64,
        ) {
            let later = stream(7, position + count, 64);
            prop_assert_eq!(RUN.explain(7, position, &later), Damage::Lost { bytes: count });
            let again = stream(7, position - count, 64);
            prop_assert_eq!(RUN.explain(7, position, &again), Damage::Repeated { bytes: count });
            let foreign = stream(8, position, 64);
            let location = Location { connection: 8, position };
            prop_assert_eq!(RUN.explain(7, position, &foreign), Damage::Foreign(location));
        }
    }

    #[test]
    fn a_word_is_its_blocks_number_mixed_and_its_lanes_constant() {
        let bytes = stream(7, 0, LONG);
        for (number, word) in bytes.as_chunks().0.iter().enumerate() {
            let (block, lane) = (number / LANES, number % LANES);
            let mixed = u64::from_le_bytes(*word) ^ RUN.lanes[lane];
            assert_eq!(unmix(mixed), 7 << BLOCK_BITS | block as u64);
        }
    }

    #[test]
    fn words_that_changed_places_are_found() {
        let bytes = stream(7, 0, LONG);
        for (one, other) in [(0, 1), (3, LANES - 1), (5, LANES + 5), (0, 2 * LANES)] {
            let mut swapped = bytes.clone();
            swapped[one * WORD..][..WORD].copy_from_slice(&bytes[other * WORD..][..WORD]);
            swapped[other * WORD..][..WORD].copy_from_slice(&bytes[one * WORD..][..WORD]);
            let first = RUN.first_difference(7, 0, &swapped);
            assert!(first.is_some_and(|first| first / WORD == one), "{first:?}");
        }
    }

    #[test]
    fn bytes_of_no_stream_are_unknown() {
        assert_eq!(RUN.explain(7, 100, &[0; 64]), Damage::Unknown);
        assert_eq!(RUN.explain(7, 100, &stream(7, 200, 5)), Damage::Unknown);
        let other_run = Pattern::new(1);
        let mut bytes = [0; 64];
        other_run.fill(7, 100, &mut bytes);
        assert_eq!(RUN.explain(7, 100, &bytes), Damage::Unknown);
    }
}
