//! One flow of datagrams: their content and what became of each.

use std::ops::Range;

use super::payload::{Change, Payload, Reading};
use super::reply_log::{Reply, ReplyLog};
use super::variation::Variation;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// An unchanged reply to the datagram of this number.
    Reply(u64, Reply),
    /// A changed reply to the datagram of this number.
    Changed(u64, Change),
    /// No reply to a datagram of this flow.
    Foreign,
}

/// The number of the first datagram.
const FIRST: u64 = 1;

/// One flow of datagrams, all of one size.
#[derive(Debug)]
pub struct Tracker {
    payload: Payload,
    size: usize,
    /// The counts, and what became of each datagram.
    pub reply_log: ReplyLog,
}

impl Tracker {
    /// A flow in the run with this seed, of datagrams of `size` bytes that are numbered from 1,
    /// with a limit on the round trip in nanoseconds.
    pub fn new((seed, flow): (u64, u64), size: usize, timeout: u64) -> Self {
        Self {
            payload: Payload::new(seed, flow, size),
            size,
            reply_log: ReplyLog::new(FIRST, timeout, Variation::default()),
        }
    }

    /// The same with another number of datagrams that are remembered once they are over.
    pub fn remembering(mut self, remembered: usize) -> Self {
        self.reply_log = self.reply_log.remembering(remembered);
        self
    }

    /// Whether the echo of one more can be told from those that are awaited, and from all that
    /// were sent between them. Those without bytes are counted alone.
    pub fn is_told_apart(&self) -> bool {
        self.size == 0 || self.reply_log.span() < Payload::told_apart(self.size)
    }

    /// The numbers of those that were sent.
    fn sent(&self) -> Range<u64> {
        FIRST..self.reply_log.next()
    }

    /// Writes the next datagram, whose length is that of the flow.
    pub fn fill(&self, out: &mut [u8]) {
        self.payload.fill(self.reply_log.next(), out);
    }

    /// The datagram that begins with these bytes, for an error that quotes them. `None` where
    /// they are too few to name one.
    pub fn quoted(&self, bytes: &[u8]) -> Option<u64> {
        self.payload.quoted(bytes, self.sent(), |_| self.size)
    }

    /// The datagram that these bytes are the echo of, as far as they say, for what came from
    /// another address.
    pub fn echoed(&self, bytes: &[u8]) -> Option<u64> {
        match (bytes.len(), self.size) {
            (0, 0) => self.reply_log.presumed(),
            _ => self.quoted(bytes),
        }
    }

    /// Records what came at this time, in nanoseconds by the clock of the sendings.
    pub fn received(&mut self, bytes: &[u8], at: u64) -> Arrival {
        match self.payload.read(bytes, self.sent(), |_| self.size) {
            Reading::Whole(number) => Arrival::Reply(number, self.reply_log.received(number, at)),
            Reading::Changed(number, change) => {
                self.reply_log.changed(number);
                Arrival::Changed(number, change)
            }
            Reading::Empty if self.size == 0 => match self.reply_log.presumed() {
                Some(number) => Arrival::Reply(number, self.reply_log.received(number, at)),
                None => self.foreign(),
            },
            Reading::Empty | Reading::Foreign => self.foreign(),
        }
    }

    /// Records what came and is no reply, whatever its bytes are.
    pub const fn foreign(&mut self) -> Arrival {
        self.reply_log.foreign();
        Arrival::Foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: u64 = 1000;

    fn tracker(size: usize) -> Tracker {
        Tracker::new((7, 0), size, TIMEOUT)
    }

    fn send(tracker: &mut Tracker, at: u64) -> Vec<u8> {
        let mut bytes = vec![0; tracker.size];
        tracker.fill(&mut bytes);
        tracker.reply_log.sent(at);
        bytes
    }

    #[test]
    fn a_late_reply_is_not_the_next_ones() {
        let mut tracker = tracker(64);
        let first = send(&mut tracker, 0);
        assert_eq!(tracker.reply_log.expire(1000), [1]);
        let second = send(&mut tracker, 1000);
        let late = Reply::Late {
            round_trip: 1500,
            is_newly_lost: false,
        };
        assert_eq!(tracker.received(&first, 1500), Arrival::Reply(1, late));
        let in_time = Reply::InTime {
            round_trip: 600,
            is_reordered: false,
        };
        assert_eq!(tracker.received(&second, 1600), Arrival::Reply(2, in_time));
    }

    #[test]
    fn the_number_before_the_first_is_of_no_datagram() {
        for size in [1, 7] {
            let mut tracker = tracker(size);
            send(&mut tracker, 0);
            let mut before = vec![0; size];
            tracker.payload.fill(FIRST - 1, &mut before);
            assert_eq!(tracker.echoed(&before), None);
            assert_eq!(tracker.received(&before, 10), Arrival::Foreign);
        }
    }

    #[test]
    fn empty_replies_are_counted() {
        let mut tracker = tracker(0);
        assert_eq!(tracker.received(&[], 0), Arrival::Foreign);
        for at in [0, 10, 20] {
            send(&mut tracker, at);
        }
        for at in [30, 40] {
            tracker.received(&[], at);
        }
        assert_eq!(tracker.reply_log.expire(5000), [3]);
        for _ in 0..2 {
            tracker.received(&[], 6000);
        }
        // A byte was not sent.
        assert_eq!(tracker.received(&[1], 6000), Arrival::Foreign);
        let counts = tracker.reply_log.counts();
        assert_eq!((counts.received, counts.lost, counts.late), (2, 1, 1));
        assert_eq!((counts.duplicates, counts.foreign), (1, 2));
    }

    #[test]
    fn a_reply_that_lost_its_bytes_is_foreign() {
        let mut tracker = tracker(64);
        send(&mut tracker, 0);
        assert_eq!(tracker.received(&[], 10), Arrival::Foreign);
    }

    #[test]
    fn of_short_ones_no_more_have_room_than_are_told_apart() {
        for (size, most) in [(1, 256), (2, 65_536)] {
            let mut tracker = tracker(size);
            let mut first = vec![];
            for number in 1..=most {
                assert!(tracker.is_told_apart(), "{size}: {number}");
                let bytes = send(&mut tracker, 0);
                if number == 1 {
                    first = bytes;
                }
            }
            assert!(!tracker.is_told_apart(), "{size}");
            let arrival = tracker.received(&first, 10);
            assert!(matches!(arrival, Arrival::Reply(1, _)), "{arrival:?}");
            assert!(tracker.is_told_apart(), "{size}");
        }
        for size in [0, 3, 64] {
            let mut tracker = tracker(size);
            for _ in 0..70_000 {
                assert!(tracker.is_told_apart(), "{size}");
                tracker.reply_log.sent(0);
            }
        }
    }

    #[test]
    fn a_quoted_part_names_its_datagram() {
        let mut tracker = tracker(64);
        let bytes = send(&mut tracker, 0);
        assert_eq!(tracker.quoted(&bytes[..8]), Some(1));
        assert_eq!(tracker.quoted(&[0; 64]), None);
    }

    #[test]
    fn too_few_bytes_name_no_datagram() {
        for (size, few) in [(64, 0), (64, 1), (64, 7), (7, 1), (1, 0), (0, 1)] {
            let mut tracker = tracker(size);
            for at in 0..300 {
                send(&mut tracker, at);
            }
            // With one byte each value is that of a datagram of the last 256.
            for byte in 0..=255 {
                let bytes = vec![byte; few];
                assert_eq!(tracker.quoted(&bytes), None, "{few} of {size}");
                assert_eq!(tracker.echoed(&bytes), None, "{few} of {size}");
            }
        }
    }

    #[test]
    fn a_whole_datagram_is_named_also_a_short_one() {
        for size in [1, 7, 8, 64] {
            let mut tracker = tracker(size);
            let bytes = send(&mut tracker, 0);
            assert_eq!(tracker.quoted(&bytes), Some(1), "{size}");
            assert_eq!(tracker.echoed(&bytes), Some(1), "{size}");
        }
        let mut tracker = tracker(0);
        send(&mut tracker, 0);
        // It quotes nothing, and may be of any.
        assert_eq!((tracker.quoted(&[]), tracker.echoed(&[])), (None, Some(1)));
    }
}
