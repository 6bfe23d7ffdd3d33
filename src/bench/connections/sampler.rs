//! Reads what TCP knows of a thread's connections, without holding up their messages.
//!
//! Of each thread the first few connections are read, a few at a time, late in each second,
//! so that a reading holds what happened in that second. A connection that ends is read
//! before, too.

use std::ops::Range;

use crate::base::kernel::KernelView;
use crate::bench::clock::SECOND;
use crate::bench::recorder::Recorder;
use crate::bench::tcp::TcpCounts;

/// The connections of a thread that are read, and the most that are read as they end in a
/// second. A reading takes two system calls, 0.7 us together where they take the least.
pub(super) const SAMPLE: usize = 32;

/// How many are read at once: less work than a turn of the loop has with as many messages.
const AT_ONCE: usize = 8;

/// When in each second reading begins: with twenty ticks a second the whole sample is read
/// by its end.
const FROM: u64 = SECOND / 10 * 7;

/// The last view of a connection.
#[derive(Debug, Default)]
struct Reading {
    /// The connection's number.
    connection: u64,
    view: KernelView,
    /// It is among the connections of the measured part.
    counted: bool,
}

/// Which connections are to be read, and what they were when they were read last.
#[derive(Debug)]
pub(super) struct Sampler {
    /// By slot.
    readings: Vec<Option<Reading>>,
    /// The second whose reading has begun.
    second: u64,
    /// The slot that is read next.
    next: usize,
    /// How many connections that end may still be read in this second.
    endings: usize,
}

impl Sampler {
    pub(super) fn new(slots: usize) -> Self {
        let sample = slots.min(SAMPLE);
        Self {
            readings: std::iter::repeat_with(|| None).take(sample).collect(),
            second: u64::MAX,
            next: sample,
            endings: SAMPLE,
        }
    }

    /// The slots that are to be read now; whole seconds are those of the measured part.
    pub(super) fn due(&mut self, now: u64, measured_from: u64) -> Range<usize> {
        let since = now + SECOND - measured_from % SECOND;
        let (second, phase) = (since / SECOND, since % SECOND);
        if phase >= FROM && second != self.second {
            (self.second, self.next, self.endings) = (second, 0, SAMPLE);
        }
        let from = self.next;
        self.next = (from + AT_ONCE).min(self.readings.len());
        from..self.next
    }

    /// All slots that are read.
    pub(super) fn all(&self) -> Range<usize> {
        0..self.readings.len()
    }

    /// Whether a slot's connection, which ends, is to be read.
    pub(super) fn reads_ending(&mut self, slot: usize) -> bool {
        let reads = slot < self.readings.len() && self.endings > 0;
        self.endings -= usize::from(reads);
        reads
    }

    /// Records what has happened on a slot's connection since it was read last.
    pub(super) fn record(
        &mut self,
        slot: usize,
        connection: u64,
        view: KernelView,
        recorder: &mut Recorder,
        now: u64,
    ) {
        let known = self.readings[slot].take();
        let before = known.filter(|known| known.connection == connection);
        let before = before.unwrap_or_default();
        let counts = TcpCounts::between(&before.view, &view);
        let counted = recorder.counts(now);
        recorder.read_tcp(&counts, counted && !before.counted, now);
        self.readings[slot] = Some(Reading {
            connection,
            view,
            counted,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_of_the_sample_is_read_once_in_each_second() {
        let measured_from = 7 * SECOND + 123;
        for (slots, sample) in [(1, 1), (20, 20), (5000, SAMPLE)] {
            let mut sampler = Sampler::new(slots);
            let mut read = vec![0; sample];
            for tick in 0..100 {
                // Ticks come late.
                let now = 5 * SECOND + 123 + tick * (SECOND / 20 + 700_000);
                let due = sampler.due(now, measured_from);
                assert!(due.len() <= AT_ONCE);
                for slot in due {
                    read[slot] += 1;
                }
            }
            assert_eq!(read, vec![5; sample], "{slots}");
        }
    }

    #[test]
    fn connections_that_end_are_read_up_to_a_limit_a_second() {
        let mut sampler = Sampler::new(5000);
        let ended = |sampler: &mut Sampler| (0..100).filter(|_| sampler.reads_ending(3)).count();
        assert!(!sampler.reads_ending(SAMPLE), "none of the sample");
        assert_eq!(ended(&mut sampler), SAMPLE);
        assert_eq!(ended(&mut sampler), 0);
        sampler.due(SECOND - 1, 0);
        assert_eq!(ended(&mut sampler), SAMPLE);
    }
}
