//! When connections must be looked at for their time limits: a binary heap.
//!
//! A connection has at most one entry that counts, for the first of its times. No
//! entry is touched while bytes flow: one that comes up early is put off to the
//! time that is then the first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Stale entries are kept up to about this number, and further ones as long as there
/// are no more of them than connections.
const STALE: usize = 64;

/// Entries by time. The key of a connection may be reused, so the owner tells which
/// entries still count.
#[derive(Default)]
pub(super) struct Deadlines(BinaryHeap<Reverse<(Instant, usize)>>);

impl Deadlines {
    /// When the first entry comes up; it may be stale.
    pub(super) fn soonest(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds an entry. With too many stale ones beside `connections`, those for which
    /// `counts` says no are removed.
    pub(super) fn push(
        &mut self,
        at: Instant,
        key: usize,
        connections: usize,
        counts: impl Fn(Instant, usize) -> bool,
    ) {
        self.0.push(Reverse((at, key)));
        if self.0.len() > STALE + 2 * connections {
            self.0.retain(|&Reverse((at, key))| counts(at, key));
        }
    }

    /// Takes the first entry if its time has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, usize)> {
        self.soonest().filter(|&at| at <= now)?;
        self.0.pop().map(|Reverse(entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_comes_up_when_its_time_is_over() {
        let now = Instant::now();
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.soonest(), None);
        let at = |ms| now + Duration::from_millis(ms);
        for (ms, key) in [(300, 1), (100, 2), (200, 3)] {
            deadlines.push(at(ms), key, 3, |_, _| true);
        }
        assert_eq!(deadlines.soonest(), Some(at(100)));
        assert_eq!(deadlines.pop_due(at(99)), None);
        assert_eq!(deadlines.pop_due(at(100)), Some((at(100), 2)));
        assert_eq!(deadlines.pop_due(at(400)), Some((at(200), 3)));
    }
}
