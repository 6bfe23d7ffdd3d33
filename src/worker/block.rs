//! The scratch memory of a worker, and how much of it a connection has for one read.
//!
//! All connections of a worker share one block, so that an idle one costs no buffer. What
//! they receive lies one behind another in it until it is sent back in the same turn.

use std::ops::Range;

/// The size of the block, in bytes: the most that one receive phase reads. It fits the
/// second-level cache of current processors.
const BLOCK: usize = 4 * (SLICE + ALIGN);

/// The most that is read from one connection in a turn, in bytes. It bounds how long a
/// fast stream delays the other connections.
pub(super) const SLICE: usize = 64 * 1024;

/// The same, in bytes, for a connection that has not streamed lately or whose send
/// buffer is full: it bounds the memory that a peer costs when it stops reading. A
/// message is shorter, so a short read shows its end without a second read.
pub(super) const NARROW_SLICE: usize = MESSAGE + ALIGN;

/// The length of a common message, in bytes, which one read shows to be whole.
pub(super) const MESSAGE: usize = 16 * 1024;

/// A client that sends so many bytes before it waits for their echo streams. One that sends
/// fewer exchanges messages: all of a long one is read in its first turn. The length exceeds
/// 64 KiB, so that a read of as many ends short.
pub(super) const LONG_MESSAGE: usize = match cfg!(test) {
    // The kernel's buffers hold several.
    true => NARROW_SLICE + 8 * 1024,
    false => SLICE + ALIGN,
};

/// Received bytes start at multiples of this: a cache line.
const ALIGN: usize = 64;

/// The block. Places in it count from its first whole cache line, so that those that are
/// multiples of [`ALIGN`] begin one.
pub(super) struct Block {
    bytes: Box<[u8]>,
    /// What is in front of the first whole cache line.
    skipped: usize,
}

impl Block {
    pub(super) fn new() -> Self {
        let bytes = vec![0; BLOCK + ALIGN].into_boxed_slice();
        Self {
            skipped: bytes.as_ptr().align_offset(ALIGN).min(ALIGN),
            bytes,
        }
    }

    /// Where the next bytes are put, behind those that end at `end`.
    pub(super) const fn behind(end: usize) -> usize {
        end.next_multiple_of(ALIGN)
    }

    /// Whether a long message fits from `place` on.
    pub(super) const fn has_room(&self, place: usize) -> bool {
        self.skipped + place + SLICE + ALIGN <= self.bytes.len()
    }

    /// So many bytes from `place` on, to be read into.
    pub(super) fn free(&mut self, place: usize, length: usize) -> &mut [u8] {
        &mut self.bytes[self.skipped..][place..place + length]
    }

    /// The bytes that were read into a part of it.
    pub(super) fn filled(&self, part: Range<usize>) -> &[u8] {
        &self.bytes[self.skipped..][part]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_reads_begin_a_cache_line() {
        let mut block = Block::new();
        let mut place = 0;
        for length in [1, ALIGN - 1, ALIGN, NARROW_SLICE, 1] {
            let free = block.free(place, length);
            assert_eq!(free.as_ptr().align_offset(ALIGN), 0, "from {place} on");
            free.fill(7);
            let end = place + length;
            assert!(block.filled(place..end).iter().all(|&byte| byte == 7));
            place = Block::behind(end);
            assert!((end..end + ALIGN).contains(&place));
        }
    }

    #[test]
    fn as_many_long_messages_fit_as_the_block_has() {
        let block = Block::new();
        let places = (0..).step_by(SLICE + ALIGN);
        let room = places.take_while(|&place| block.has_room(place)).count();
        assert_eq!(room, BLOCK / (SLICE + ALIGN));
    }
}
