//! Connections whose peers have not accepted all that was sent to them.
//!
//! Bytes that a peer does not accept stay in the kernel's send buffer, and what does not
//! fit there is the connection's pending output. Asking the kernel how much the peer
//! has acknowledged costs a system call, so it is done rarely, and only where it
//! matters. A connection with pending output is *behind*, and is checked often. One
//! that was sent something is *unchecked*; it is checked after some seconds, and is
//! behind if by then its peer has not accepted all. An idle connection is neither, and
//! a busy one costs a check every few seconds. Where memory may be short, unchecked
//! connections are checked sooner, and all others are checked for whether bytes from
//! their peers lie behind a gap, where they can't be read: no event tells of those.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::context::TimeLimits;
use super::metrics::WorkerMetrics;

/// How often a connection that is behind is checked, at the least; with a short limit
/// more often. An eviction is late by at most twice this time.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// After how long an unchecked connection is checked, at the most.
const CHECK_AFTER: Duration = Duration::from_secs(15);

/// No connection is checked more often.
const SOONEST: Duration = Duration::from_millis(10);

/// How closely a connection is watched for whether its peer accepts its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// Not at all: the peer had accepted everything, and was sent nothing since.
    None,
    /// It was sent something, and is checked later.
    Unchecked,
    /// Its peer had not accepted everything, and it is checked often.
    Behind,
}

/// A connection that is behind.
pub(super) struct Behind {
    pub(super) check_at: Instant,
    pub(super) key: usize,
    /// When the connection was opened: another one may have its key by now.
    pub(super) opened: Instant,
    /// How many bytes the peer had acknowledged at the last check.
    pub(super) acknowledged: u64,
    /// The check at which it had accepted more than before.
    pub(super) since: Instant,
    /// The memory of its bytes at the last check.
    pub(super) bytes: usize,
    /// Its peer had accepted everything at the last check, but bytes that it sent wait
    /// behind a gap in the stream; `since` is when it was last known to fill gaps.
    pub(super) has_gap: bool,
}

/// The connections that are watched, by their keys.
pub(super) struct Stalls {
    unchecked: Vec<u32>,
    /// By key, whether it is among the unchecked or the due ones: connections that come
    /// and go reuse one another's keys.
    listed: Vec<bool>,
    /// When the unchecked ones are due.
    unchecked_at: Instant,
    /// Unchecked ones that are due.
    due: Vec<u32>,
    /// The next key to be checked for a gap, if all are to be checked.
    gap_from: Option<usize>,
    /// In the order in which they are checked.
    behind: VecDeque<Behind>,
    /// The memory of all that are behind.
    bytes: usize,
    published_bytes: usize,
    check_every: Duration,
    check_after: Duration,
}

impl Stalls {
    pub(super) fn new(limits: &TimeLimits, now: Instant) -> Self {
        let shortest = limits.stall.into_iter().chain(limits.idle).min();
        let part = shortest.unwrap_or(Duration::MAX) / 4;
        Self {
            unchecked: Vec::new(),
            listed: Vec::new(),
            unchecked_at: now,
            due: Vec::new(),
            gap_from: None,
            behind: VecDeque::new(),
            bytes: 0,
            published_bytes: 0,
            check_every: part.clamp(SOONEST, CHECK_EVERY),
            check_after: part.clamp(SOONEST, CHECK_AFTER),
        }
    }

    /// Whether all that was ordered to be checked has been.
    pub(super) const fn is_checked(&self) -> bool {
        self.gap_from.is_none() && self.due.is_empty()
    }

    /// When the next connection is to be checked.
    pub(super) fn soonest(&self) -> Option<Instant> {
        let behind = self.behind.front().map(|behind| behind.check_at);
        let unchecked = self.has_unchecked().then_some(self.unchecked_at);
        let gaps = self.gap_from.map(|_| self.unchecked_at);
        behind.into_iter().chain(unchecked).chain(gaps).min()
    }

    /// When a connection that is behind is checked after a check at `now`.
    pub(super) fn next_check(&self, now: Instant) -> Instant {
        now + self.check_every
    }

    fn has_unchecked(&self) -> bool {
        !self.unchecked.is_empty() || !self.due.is_empty()
    }

    /// A connection was sent something.
    pub(super) fn mark_unchecked(&mut self, key: usize, now: Instant) {
        if !self.has_unchecked() {
            self.unchecked_at = now + self.check_after;
        }
        if self.listed.len() <= key {
            self.listed.resize(key + 1, false);
        }
        if !std::mem::replace(&mut self.listed[key], true) {
            // There are fewer than 2^32 descriptors, so its key fits.
            self.unchecked.extend(u32::try_from(key));
        }
    }

    /// The unchecked connections are due at `now`: memory may be short.
    pub(super) const fn check_now(&mut self, now: Instant) {
        self.unchecked_at = now;
    }

    /// All other connections are to be checked for a gap as well.
    pub(super) const fn check_gaps(&mut self, now: Instant) {
        self.check_now(now);
        if self.gap_from.is_none() {
            self.gap_from = Some(0);
        }
    }

    /// The next keys to be checked for a gap, at most so many; `end` is above all keys.
    pub(super) fn take_gap_keys(&mut self, most: usize, end: usize) -> Range<usize> {
        let Some(from) = self.gap_from else {
            return 0..0;
        };
        let to = end.min(from.saturating_add(most));
        self.gap_from = (to < end).then_some(to);
        from..to.max(from)
    }

    /// The next of the unchecked connections that are due.
    pub(super) fn pop_unchecked(&mut self, now: Instant) -> Option<usize> {
        if now < self.unchecked_at {
            return None;
        }
        if self.due.is_empty() {
            // Also frees the memory that many connections at once have taken.
            self.due = std::mem::take(&mut self.unchecked);
        }
        let key = self.due.pop()? as usize;
        self.listed[key] = false;
        if self.due.is_empty() {
            self.unchecked_at = now + self.check_after;
        }
        Some(key)
    }

    /// The next connection that is behind and due.
    pub(super) fn pop_behind(&mut self, now: Instant) -> Option<Behind> {
        self.behind
            .front()
            .filter(|behind| behind.check_at <= now)?;
        let behind = self.behind.pop_front()?;
        self.bytes -= behind.bytes;
        Some(behind)
    }

    pub(super) fn push_behind(&mut self, behind: Behind) {
        self.bytes += behind.bytes;
        self.behind.push_back(behind);
    }

    /// Takes all that are behind, and the memory that they had.
    pub(super) fn take_behind(&mut self) -> (VecDeque<Behind>, usize) {
        let all = std::mem::take(&mut self.behind);
        (all, std::mem::take(&mut self.bytes))
    }

    /// Publishes to the main thread how many bytes the connections hold.
    pub(super) fn publish(&mut self, metrics: &WorkerMetrics) {
        let bytes = self.bytes;
        if std::mem::replace(&mut self.published_bytes, bytes) != bytes {
            metrics.publish_held(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stalls with a limit of four seconds, and the time of their start.
    fn stalls() -> (Stalls, Instant) {
        let limits = TimeLimits {
            header: Duration::from_secs(5),
            message: Duration::from_secs(30),
            idle: None,
            stall: Some(Duration::from_secs(4)),
            lifetime: None,
        };
        let now = Instant::now();
        (Stalls::new(&limits, now), now)
    }

    fn pop_all_unchecked(stalls: &mut Stalls, now: Instant) -> Vec<usize> {
        let mut keys: Vec<_> = std::iter::from_fn(|| stalls.pop_unchecked(now)).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn an_unchecked_connection_is_due_once_when_its_time_is_over() {
        let (mut stalls, now) = stalls();
        let due = now + Duration::from_secs(1);
        assert_eq!(stalls.soonest(), None);
        stalls.mark_unchecked(3, now);
        stalls.mark_unchecked(3, now);
        stalls.mark_unchecked(0, now + Duration::from_millis(500));
        assert_eq!(stalls.soonest(), Some(due));
        let early = due - Duration::from_nanos(1);
        assert_eq!(stalls.pop_unchecked(early), None);
        assert_eq!(pop_all_unchecked(&mut stalls, due), [0, 3]);
        assert_eq!(stalls.soonest(), None);
        stalls.mark_unchecked(3, due);
        assert_eq!(stalls.soonest(), Some(due + Duration::from_secs(1)));
    }

    #[test]
    fn a_connection_marked_while_others_are_due_has_a_time_of_its_own() {
        let (mut stalls, now) = stalls();
        stalls.mark_unchecked(1, now);
        stalls.mark_unchecked(2, now);
        let due = now + Duration::from_secs(1);
        let first = stalls.pop_unchecked(due).unwrap();
        stalls.mark_unchecked(7, due);
        assert_eq!(stalls.soonest(), Some(due), "one is still due");
        assert_eq!(pop_all_unchecked(&mut stalls, due), [3 - first]);
        assert_eq!(stalls.soonest(), Some(due + Duration::from_secs(1)));
        let later = due + Duration::from_secs(1);
        assert_eq!(pop_all_unchecked(&mut stalls, later), [7]);
    }

    #[test]
    fn every_key_is_checked_for_a_gap_once_some_at_a_time() {
        let (mut stalls, now) = stalls();
        assert_eq!(stalls.take_gap_keys(4, 10), 0..0, "there was no order");
        stalls.check_gaps(now);
        assert_eq!(stalls.soonest(), Some(now));
        assert_eq!(stalls.take_gap_keys(4, 10), 0..4);
        stalls.check_gaps(now);
        assert_eq!(
            stalls.take_gap_keys(4, 10),
            4..8,
            "an order does not begin anew"
        );
        assert_eq!(stalls.take_gap_keys(4, 10), 8..10);
        assert_eq!(stalls.soonest(), None);
        stalls.check_gaps(now);
        stalls.take_gap_keys(4, 10);
        assert!(
            stalls.take_gap_keys(4, 2).is_empty(),
            "there are fewer by now"
        );
        assert_eq!(stalls.soonest(), None);
    }

    #[test]
    fn connections_that_are_behind_are_due_in_order_and_their_bytes_are_summed() {
        let (mut stalls, now) = stalls();
        let behind = |key, ms, bytes| Behind {
            check_at: now + Duration::from_millis(ms),
            key,
            opened: now,
            acknowledged: 0,
            since: now,
            bytes,
            has_gap: false,
        };
        stalls.push_behind(behind(1, 500, 1000));
        stalls.push_behind(behind(2, 600, 30));
        assert_eq!(stalls.bytes, 1030);
        stalls.mark_unchecked(3, now);
        let soonest = now + Duration::from_millis(500);
        assert_eq!(stalls.soonest(), Some(soonest));
        assert!(
            stalls
                .pop_behind(soonest - Duration::from_nanos(1))
                .is_none()
        );
        assert_eq!(stalls.pop_behind(soonest).map(|behind| behind.key), Some(1));
        assert_eq!(stalls.bytes, 30);
        assert!(stalls.pop_behind(soonest).is_none());
    }
}
