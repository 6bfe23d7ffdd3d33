//! How many bytes a stream moves in its turn.
//!
//! A long slice pays: the bytes of the connection that has its turn are in the caches.
//! A message waits for one slice at the most, so slices are shorter while messages are
//! about, and shorter still where a turn serves many of them. A stream keeps its turn for
//! several slices, between which messages are served: see [`TENURE`]. Where so many come that
//! a turn is long, it is served in phases, and streams have a share after each: a slice, which
//! several of them may have between them. A message then waits for one more slice
//! behind each [`PHASE`] messages that came before it, or behind as many as fit the block.
//!
//! A slice moves the bytes that it reads, whether they are sent on, kept or discarded, and
//! those of pending output that it sends.

use std::time::{Duration, Instant};

/// The longest slice, in bytes, while no client is expected to send messages.
pub(super) const ALONE: usize = 1024 * 1024;

/// How many bytes a stream moves, slice by slice, before the next one has its turn. What
/// has waited for the turn has left the caches, so the first of them are expensive: the
/// buffers of a fast client hold some MiB. Those behind them come while the turn lasts.
/// The fewer streams there are, the longer is a turn.
pub(super) const TENURE: usize = 4 * 1024 * 1024;

/// The longest turn, in bytes.
const LONGEST_TENURE: usize = 16 * 1024 * 1024;

/// As many bytes as all streams move in their turns together, while that gives each of them
/// a turn between the shortest and the longest. So nobody waits long where few take turns.
const ROUND: usize = 64 * 1024 * 1024;

/// The longest slice beside clients that send messages, in bytes.
pub(super) const BESIDE: usize = 256 * 1024;

/// The same in a turn in which more than [`FEW`] of them are served.
pub(super) const BESIDE_MANY: usize = 64 * 1024;

/// So many messages take about as long as a short slice.
pub(super) const FEW: usize = 8;

/// The most messages that are served at once while streams or datagrams wait. With a slice
/// of the streams after them, streams have a share of the time however many messages come,
/// and the messages most of it.
pub(super) const PHASE: usize = 128;

/// What the turn of a stream counts in its share at the least, in bytes: one that has next
/// to nothing to move takes about as long as a message.
pub(super) const LEAST_CHARGE: usize = BESIDE_MANY / FEW;

/// The most that one splice of a stream moves while no other stream has its turns in
/// between, in bytes. With more, more bytes than the second-level cache holds are under
/// way; where streams take turns they have left it before.
const AT_ONCE_ALONE: usize = 64 * 1024;

/// How long after a message or a slice of a stream more of the same kind is expected.
/// It is longer than a turn with many streams: with 1 ms, 16 streams made a pinger
/// wait 5 ms at the 99th percentile, with this value 1 ms.
pub(super) const EXPECT_MORE: Duration = Duration::from_millis(50);

/// A stream: its key, and when it was accepted, since another may have its key later.
pub(super) type Stream = (usize, Instant);

/// The lengths of the slices of a worker's streams.
#[derive(Debug)]
pub(super) struct Slices {
    /// Before this time some client is expected to send messages.
    messages_until: Instant,
    /// The messages of this turn.
    messages: usize,
    /// The stream that had the last slice.
    last: Option<Stream>,
    /// It had the slice before that as well.
    goes_on: bool,
    /// How many bytes it has moved since its turn began.
    moved: usize,
    /// The most of all slices, for tests.
    #[cfg(test)]
    pub(super) most: usize,
    /// How long a turn is, for tests.
    #[cfg(test)]
    pub(super) tenure: usize,
}

impl Slices {
    /// No messages are expected.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            messages_until: now,
            messages: 0,
            last: None,
            goes_on: false,
            moved: 0,
            #[cfg(test)]
            most: usize::MAX,
            #[cfg(test)]
            tenure: usize::MAX,
        }
    }

    /// A turn begins.
    pub(super) const fn begin_turn(&mut self) {
        self.messages = 0;
    }

    /// Messages have arrived, of clients that do not stream.
    pub(super) fn count_messages(&mut self, count: usize, now: Instant) {
        self.messages_until = now + EXPECT_MORE;
        self.messages += count;
    }

    /// What several streams may move together after a phase of so many messages, in bytes.
    /// One may always move the [longest](Self::longest) slice.
    pub(super) fn share(messages: usize) -> usize {
        BESIDE / PHASE * messages.min(PHASE)
    }

    /// This stream has a slice.
    pub(super) fn begin_slice(&mut self, stream: Stream) {
        self.goes_on = self.last.replace(stream) == Some(stream);
        if !self.goes_on {
            self.moved = 0;
        }
    }

    /// The most that one splice of the slice moves, in bytes; `is_alone`: no other stream
    /// waits for its turn.
    pub(super) const fn at_once(&self, is_alone: bool) -> usize {
        match self.goes_on && is_alone {
            true => AT_ONCE_ALONE,
            false => usize::MAX,
        }
    }

    /// The stream that had the last slice.
    #[cfg(test)]
    pub(super) const fn last(&self) -> Option<Stream> {
        self.last
    }

    /// The slice moved so many bytes, of one of so many `streams` that take turns. Returns
    /// whether the stream keeps its turn, if it has more to move.
    pub(super) fn end_slice(&mut self, bytes: usize, streams: usize) -> bool {
        self.moved = self.moved.saturating_add(bytes);
        let keeps = bytes > 0 && self.moved < self.tenure(streams);
        if !keeps {
            self.moved = 0;
        }
        keeps
    }

    #[cfg(test)]
    fn tenure(&self, streams: usize) -> usize {
        self.tenure.min(tenure(streams))
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests have shorter turns")]
    fn tenure(&self, streams: usize) -> usize {
        tenure(streams)
    }

    /// The most that the next stream moves, in bytes.
    pub(super) fn longest(&self, now: Instant) -> usize {
        let longest = if self.messages > FEW {
            BESIDE_MANY
        } else if now < self.messages_until {
            BESIDE
        } else {
            ALONE
        };
        #[cfg(test)]
        let longest = longest.min(self.most);
        longest
    }
}

/// How many bytes belong to a turn where so many streams take turns.
fn tenure(streams: usize) -> usize {
    (ROUND / streams.max(1)).clamp(TENURE, LONGEST_TENURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_shorter_beside_messages_and_for_a_while_after_them() {
        let now = Instant::now();
        let mut slices = Slices::new(now);
        assert_eq!(slices.longest(now), ALONE);
        slices.count_messages(1, now);
        assert_eq!(slices.longest(now), BESIDE);
        slices.begin_turn();
        let last = now + EXPECT_MORE;
        assert_eq!(slices.longest(last - Duration::from_nanos(1)), BESIDE);
        assert_eq!(slices.longest(last), ALONE);
    }

    #[test]
    fn streams_share_no_more_than_a_slice_after_a_phase() {
        let shares = [0, 1, PHASE / 2, PHASE, 10 * PHASE].map(Slices::share);
        assert_eq!(shares, [0, BESIDE / PHASE, BESIDE / 2, BESIDE, BESIDE]);
    }

    #[test]
    fn splices_are_long_where_streams_take_turns() {
        let now = Instant::now();
        let mut slices = Slices::new(now);
        let at_once = [3, 3, 3, 5, 3, 3].map(|key| {
            slices.begin_slice((key, now));
            slices.at_once(true) == AT_ONCE_ALONE
        });
        assert_eq!(at_once, [false, true, true, false, false, true]);
        assert_eq!(slices.at_once(false), usize::MAX, "another waits");
    }

    #[test]
    fn a_stream_keeps_its_turn_until_it_has_moved_what_belongs_to_one() {
        let now = Instant::now();
        let mut slices = Slices::new(now);
        for _ in 0..2 {
            for slice in 1..=TENURE / ALONE {
                slices.begin_slice((3, now));
                assert_eq!(slices.end_slice(ALONE, 16), slice < TENURE / ALONE);
            }
        }
        // Another one's bytes do not count, nor those of one that had its key before.
        for stream in [(3, now), (5, now), (5, now + Duration::from_secs(1))] {
            slices.begin_slice(stream);
            assert!(slices.end_slice(TENURE - 1, 16), "{stream:?}");
        }
        assert!(!slices.end_slice(0, 16), "nothing moved");
    }

    #[test]
    fn a_turn_is_longer_where_few_streams_take_turns() {
        const MIB: usize = 1024 * 1024;

        let turns = [1, 2, 4, 8, 16, 64, 10_000].map(|streams| tenure(streams) / MIB);
        assert_eq!(turns, [16, 16, 16, 8, 4, 4, 4]);
    }

    #[test]
    fn slices_are_shortest_in_a_turn_with_many_messages() {
        let now = Instant::now();
        let mut slices = Slices::new(now);
        for _ in 0..=FEW {
            assert_eq!(slices.longest(now).min(BESIDE), BESIDE);
            slices.count_messages(1, now);
        }
        assert_eq!(slices.longest(now), BESIDE_MANY);
        slices.begin_turn();
        assert_eq!(slices.longest(now), BESIDE);
    }
}
