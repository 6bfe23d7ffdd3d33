//! The content of a probe's datagrams: each byte says which datagram it belongs to.
//!
//! **8 bytes and more** are the part of the keyed stream ([`Pattern`]) that begins at a block
//! of the datagram's own. Every whole word of it names the flow and the sequence number, so a
//! reply is identified by any word that came back whole, also where others were changed.
//!
//! **1 to 7 bytes** are the sequence number plus a constant of the run, of which only the low
//! bits fit. A reply is taken for the latest datagram of its length with these bits: with one
//! byte for one of the last 256, where all have one. A reply with other bits can't be told from
//! one that was changed.
//!
//! **0 bytes** say nothing: replies are counted, and taken for the oldest that is awaited.

use std::fmt;
use std::ops::Range;

use crate::base::units;
use crate::probe::pattern::{BLOCK_BYTES, Pattern};

/// The most bytes of a UDP datagram over IPv4: 65,535 less the headers of IP (20) and UDP (8).
pub const MOST_BYTES: usize = 65_507;

/// Bytes of a word, the least that name a flow and a sequence number.
pub(super) const WORD: usize = size_of::<u64>();

/// So many datagrams with the same few bits are looked at for one of the length that came.
const LOOKED_AT: usize = 1024;

/// How many blocks a flow's stream has before it repeats.
const BLOCKS: u64 = 1 << Pattern::BLOCK_BITS;

/// The content of one flow's datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    pattern: Pattern,
    flow: u64,
    /// The blocks from one datagram's first to the next one's.
    stride: u64,
    /// After so many datagrams the content repeats.
    period: u64,
    /// What is added to the sequence number of datagrams that are shorter than a word.
    key: u64,
}

/// What the content of a reply says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Exactly the datagram with this sequence number.
    Whole(u64),
    /// It was once the datagram with this sequence number.
    Changed(u64, Change),
    /// It has no bytes, as every datagram of this size.
    Empty,
    /// No datagram that this flow has sent.
    Foreign,
}

/// How a reply differs from its datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A byte differs.
    Byte {
        /// The offset of the first one that does.
        offset: usize,
        /// The byte that was sent.
        expected: u8,
        /// The byte that came.
        received: u8,
    },
    /// What came is right, but of another length.
    Length {
        /// The bytes that were sent.
        expected: usize,
        /// The bytes that came.
        received: usize,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte {
                offset,
                expected,
                received,
            } => write!(
                f,
                "byte {offset}: expected {expected:#04x}, received {received:#04x}"
            ),
            Self::Length { expected, received } => {
                let what = if received < expected {
                    "cut"
                } else {
                    "lengthened"
                };
                let received = units::plain_count(*received as u64, "byte", "bytes");
                write!(f, "{what} to {received} of {expected}")
            }
        }
    }
}

impl Payload {
    /// The content of the datagrams of `flow` in the run with this seed, of which none has
    /// more than `most` bytes.
    pub fn new(seed: u64, flow: u64, most: usize) -> Self {
        let pattern = Pattern::new(seed);
        let stride = (most.div_ceil(BLOCK_BYTES) as u64).max(1);
        let mut key = [0; WORD];
        // The last block of the stream, which no datagram has.
        pattern.fill(flow, (BLOCKS - 1) * BLOCK_BYTES as u64, &mut key);
        Self {
            pattern,
            flow: flow & Pattern::CONNECTION_MASK,
            stride,
            period: (BLOCKS - 1) / stride,
            key: u64::from_le_bytes(key),
        }
    }

    /// Writes the datagram with this sequence number.
    pub fn fill(&self, sequence: u64, out: &mut [u8]) {
        if out.len() < WORD {
            let word = sequence.wrapping_add(self.key).to_le_bytes();
            out.copy_from_slice(&word[..out.len()]);
        } else {
            self.pattern.fill(self.flow, self.position(sequence), out);
        }
    }

    /// What a reply says that came after those datagrams were sent, of which each had the
    /// length that `size_of` gives.
    pub fn read(&self, bytes: &[u8], sent: Range<u64>, size_of: impl Fn(u64) -> usize) -> Reading {
        let sequence = match bytes.len() {
            0 if sent.is_empty() => return Reading::Foreign,
            0 => return Reading::Empty,
            1..WORD => {
                let has_length = |number| size_of(number) == bytes.len();
                let short = self.short_sequence(bytes, sent, has_length);
                return short.map_or(Reading::Foreign, Reading::Whole);
            }
            _ => self.sequence(bytes, sent),
        };
        match sequence {
            Some(sequence) => self.compare(sequence, bytes, size_of(sequence)),
            None => Reading::Foreign,
        }
    }

    /// The datagram that begins with these bytes, for an error that quotes them, after those
    /// were sent, of which each had the length that `size_of` gives. `None` where they are too
    /// few to name one: the first bytes of a word are no number.
    pub fn quoted(
        &self,
        bytes: &[u8],
        sent: Range<u64>,
        size_of: impl Fn(u64) -> usize,
    ) -> Option<u64> {
        if bytes.len() < WORD {
            return match self.read(bytes, sent, size_of) {
                Reading::Whole(number) => Some(number),
                _ => None,
            };
        }
        match self.read(bytes, sent, |_| bytes.len()) {
            Reading::Whole(number) | Reading::Changed(number, _) => Some(number),
            Reading::Empty | Reading::Foreign => None,
        }
    }

    /// How many datagrams in a row of so many bytes are told apart.
    pub const fn told_apart(bytes: usize) -> u64 {
        match bytes {
            0 => 1,
            1..WORD => 1 << (bytes * 8),
            _ => u64::MAX,
        }
    }

    fn position(&self, sequence: u64) -> u64 {
        sequence % self.period * self.stride * BLOCK_BYTES as u64
    }

    fn compare(&self, sequence: u64, bytes: &[u8], expected: usize) -> Reading {
        let received = bytes.len();
        let same = &bytes[..received.min(expected)];
        let position = self.position(sequence);
        let change = match self.pattern.first_difference(self.flow, position, same) {
            Some(offset) => {
                let mut byte = [0];
                let at = position + offset as u64;
                self.pattern.fill(self.flow, at, &mut byte);
                Change::Byte {
                    offset,
                    expected: byte[0],
                    received: bytes[offset],
                }
            }
            None if received != expected => Change::Length { expected, received },
            None => return Reading::Whole(sequence),
        };
        Reading::Changed(sequence, change)
    }

    /// The latest sequence number that a datagram says which is shorter than a word, of
    /// those of its length.
    fn short_sequence(
        &self,
        bytes: &[u8],
        sent: Range<u64>,
        has_length: impl Fn(u64) -> bool,
    ) -> Option<u64> {
        let mut word = [0; WORD];
        word[..bytes.len()].copy_from_slice(bytes);
        let period = Self::told_apart(bytes.len());
        let low = u64::from_le_bytes(word).wrapping_sub(self.key) % period;
        let mut end = sent.end;
        for _ in 0..LOOKED_AT {
            let number = latest(low, period, sent.start..end)?;
            if has_length(number) {
                return Some(number);
            }
            end = number;
        }
        None
    }

    /// The sequence number that the first word says that was not changed.
    fn sequence(&self, bytes: &[u8], sent: Range<u64>) -> Option<u64> {
        let (words, _) = bytes.as_chunks();
        words.iter().enumerate().find_map(|(number, word)| {
            let (flow, block) = self.pattern.decode(number, *word);
            let first = block.checked_sub((number * WORD / BLOCK_BYTES) as u64)?;
            let sequence = first / self.stride;
            let fits = flow == self.flow && first % self.stride == 0 && sequence < self.period;
            let latest = || latest(sequence, self.period, sent.clone());
            fits.then(latest).flatten()
        })
    }
}

/// The greatest of these numbers that is `low` modulo `period`.
fn latest(low: u64, period: u64, sent: Range<u64>) -> Option<u64> {
    let last = sent.end.checked_sub(1)?;
    let behind = (last % period + period - low) % period;
    last.checked_sub(behind)
        .filter(|number| sent.contains(number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEED: u64 = 0x5eed;

    fn payload(most: usize) -> Payload {
        Payload::new(SEED, 3, most)
    }

    fn datagram(payload: &Payload, sequence: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        payload.fill(sequence, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn a_reply_names_its_datagram(size in 1..3000_usize, sequence in 0..1_u64 << 50, after in 0..200_u64) {
            let payload = payload(size);
            let bytes = datagram(&payload, sequence, size);
            let read = payload.read(&bytes, 0..sequence + 1 + after, |_| size);
            prop_assert_eq!(read, Reading::Whole(sequence));
        }

        #[test]
        fn one_changed_byte_of_two_words_is_found(size in 16..3000_usize, sequence in 0..10_000_u64, at: prop::sample::Index, bit in 0..8_u8) {
            let payload = payload(size);
            let mut bytes = datagram(&payload, sequence, size);
            let offset = at.index(size);
            let expected = bytes[offset];
            bytes[offset] ^= 1 << bit;
            let received = bytes[offset];
            let change = Change::Byte { offset, expected, received };
            prop_assert_eq!(payload.read(&bytes, 0..10_000, |_| size), Reading::Changed(sequence, change));
        }

        #[test]
        fn a_cut_or_lengthened_one_is_found(size in 8..3000_usize, other in 8..4000_usize, sequence in 0..10_000_u64) {
            let payload = payload(4000);
            // More bytes of the stream than were sent are right in themselves.
            let bytes = datagram(&payload, sequence, other);
            let read = payload.read(&bytes, 0..10_000, |_| size);
            let want = match size == other {
                true => Reading::Whole(sequence),
                false => Reading::Changed(sequence, Change::Length { expected: size, received: other }),
            };
            prop_assert_eq!(read, want);
        }

        #[test]
        fn bytes_of_another_run_or_flow_are_foreign(size in 8..600_usize, sequence in 0..10_000_u64) {
            let payload = payload(size);
            for other in [Payload::new(SEED, 4, size), Payload::new(SEED + 1, 3, size)] {
                let bytes = datagram(&other, sequence, size);
                prop_assert_eq!(payload.read(&bytes, 0..10_000, |_| size), Reading::Foreign);
            }
        }

        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>, next: u64, size in 0..70_000_usize) {
            payload(size).read(&bytes, 0..next, |_| size);
        }
    }

    #[test]
    fn what_was_not_sent_yet_is_foreign() {
        for size in [2, 7, 8, 64] {
            let payload = payload(size);
            let bytes = datagram(&payload, 5, size);
            assert_eq!(payload.read(&bytes, 0..5, |_| size), Reading::Foreign);
            assert_eq!(payload.read(&bytes, 0..6, |_| size), Reading::Whole(5));
        }
    }

    #[test]
    fn few_bytes_name_one_of_the_last() {
        let payload = payload(1);
        let bytes = datagram(&payload, 5, 1);
        assert_eq!(payload.read(&bytes, 0..261, |_| 1), Reading::Whole(5));
        assert_eq!(payload.read(&bytes, 0..262, |_| 1), Reading::Whole(261));
        // Datagrams of this length were never sent.
        assert_eq!(payload.read(&bytes, 0..261, |_| 2), Reading::Foreign);
    }

    #[test]
    fn what_is_before_the_first_was_never_sent() {
        for size in [1, 7, 8, 64] {
            let payload = payload(size);
            let bytes = datagram(&payload, 0, size);
            assert_eq!(payload.read(&bytes, 0..9, |_| size), Reading::Whole(0));
            assert_eq!(payload.read(&bytes, 1..9, |_| size), Reading::Foreign);
            assert_eq!(payload.quoted(&bytes, 1..9, |_| size), None);
        }
    }

    #[test]
    fn few_bytes_name_the_latest_of_their_length() {
        let payload = payload(64);
        // Every third is short.
        let size_of = |number: u64| if number.is_multiple_of(3) { 1 } else { 64 };
        let bytes = datagram(&payload, 6, 1);
        // 262 has the same bits, and other bytes; 774 is short again.
        for (sent, want) in [(300, 6), (600, 6), (775, 774)] {
            assert_eq!(
                payload.read(&bytes, 1..sent, size_of),
                Reading::Whole(want),
                "{sent}"
            );
        }
        // Where none is short, it is looked for in few of them.
        let none = payload.read(&bytes, 1..u64::MAX, |_| 64);
        assert_eq!(none, Reading::Foreign);
    }

    #[test]
    fn no_bytes_say_nothing() {
        let payload = payload(0);
        assert_eq!(payload.read(&[], 0..0, |_| 0), Reading::Foreign);
        assert_eq!(payload.read(&[], 0..1, |_| 0), Reading::Empty);
    }

    #[test]
    fn the_content_repeats_far_away() {
        let payload = payload(MOST_BYTES);
        assert!(payload.period > 200_000_000, "{}", payload.period);
        let [one, other] = [7, 7 + payload.period].map(|at| datagram(&payload, at, 100));
        assert_eq!(one, other);
        let read = payload.read(&one, 0..8 + payload.period, |_| 100);
        assert_eq!(read, Reading::Whole(7 + payload.period));
    }

    #[test]
    fn a_change_has_words() {
        let cut = Change::Length {
            expected: 64,
            received: 9,
        };
        assert_eq!(cut.to_string(), "cut to 9 bytes of 64");
    }
}
