//! How much each source may send: a token bucket a source, in a table of fixed size.
//!
//! An echo is its datagram and nothing else, so a server can't tell a client's datagram from
//! another echo server's answer. Two such servers answer each other for ever once one forged
//! datagram has named one to the other. What is over the rate is dropped, which ends a
//! loop that is faster.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::worker::source::Source;

/// The number of buckets. Sources are distributed over them by a hash that nobody outside can
/// compute, and sources with the same hash share one. So the memory is half a megabyte,
/// however many sources there are, and datagrams with forged random sources take little of
/// each bucket.
const BUCKETS: usize = 1 << 16;

/// A datagram costs a token for each started part of this size in bytes, about a packet on
/// its way: a loop of long ones would use more of the network otherwise.
const TOKEN_BYTES: usize = 1500;

/// A bucket holds what is allowed in a second, but at least this many tokens: more than the
/// longest datagram costs.
const LEAST_BURST: u64 = 64;

/// The buckets, which all workers share without a lock. Each is the time, in nanoseconds
/// since the start, at which it will be full again: GCRA, ITU-T I.371.
#[derive(Debug)]
pub(super) struct Buckets {
    full_at: Box<[AtomicU64]>,
    hashes: RandomState,
    started: Instant,
    /// The time in which a token comes, in nanoseconds.
    token_ns: u64,
    /// The time in which an empty bucket becomes full.
    burst_ns: u64,
}

impl Buckets {
    /// Allows each source this many tokens a second, at least 1.
    pub(super) fn new(rate: u32, now: Instant) -> Self {
        let rate = u64::from(rate.max(1));
        let token_ns = (1_000_000_000 / rate).max(1);
        Self {
            full_at: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            hashes: RandomState::new(),
            started: now,
            token_ns,
            burst_ns: token_ns * rate.max(LEAST_BURST),
        }
    }

    /// Whether `source` may send `bytes` more at `now`; takes the tokens if so.
    pub(super) fn admit(&self, source: SocketAddr, bytes: usize, now: Instant) -> bool {
        let tokens = bytes.div_ceil(TOKEN_BYTES).max(1) as u64;
        let since = now.saturating_duration_since(self.started).as_nanos();
        let now = u64::try_from(since).unwrap_or(u64::MAX / 2);
        let hash = self.hashes.hash_one(Source::of(source));
        let bucket = &self.full_at[hash as usize % BUCKETS];
        let taken = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let full_at = full_at.max(now) + tokens * self.token_ns;
            (full_at - now <= self.burst_ns).then_some(full_at)
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn source(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// How many datagrams of this size are admitted at once.
    fn admitted(buckets: &Buckets, from: &str, bytes: usize, now: Instant) -> usize {
        let from = source(from);
        (0..100_000)
            .take_while(|_| buckets.admit(from, bytes, now))
            .count()
    }

    #[test]
    fn a_source_may_send_a_second_of_its_rate_at_once_and_then_its_rate() {
        let start = Instant::now();
        let buckets = Buckets::new(1000, start);
        let one = "192.0.2.1:5000";
        assert_eq!(admitted(&buckets, one, 64, start), 1000);
        let later = start + Duration::from_millis(10);
        assert_eq!(admitted(&buckets, "192.0.2.1:9", 64, later), 10);
        let later = start + Duration::from_secs(3600);
        assert_eq!(admitted(&buckets, one, 0, later), 1000, "no more than full");
    }

    #[test]
    fn a_long_datagram_costs_as_much_as_its_parts_and_the_longest_is_never_too_long() {
        let start = Instant::now();
        let buckets = Buckets::new(1000, start);
        assert_eq!(admitted(&buckets, "192.0.2.1:1", 1500, start), 1000);
        let later = start + Duration::from_secs(60);
        assert_eq!(admitted(&buckets, "192.0.2.1:1", 1501, later), 500);
        let slow = Buckets::new(1, start);
        assert_eq!(admitted(&slow, "192.0.2.1:1", 65_507, start), 1);
    }

    #[test]
    fn sources_do_not_take_from_each_other_and_a_prefix_is_one() {
        let start = Instant::now();
        let buckets = Buckets::new(100, start);
        assert_eq!(admitted(&buckets, "[2001:db8::1]:9", 1, start), 100);
        assert_eq!(admitted(&buckets, "[2001:db8::2]:9", 1, start), 0);
        // Of so many others hardly one shares its bucket.
        let others = (0..100).map(|other| format!("[2001:db8:0:{other:x}1::1]:9"));
        let untouched = others.filter(|other| admitted(&buckets, other, 1, start) == 100);
        assert!(untouched.count() >= 95);
    }

    #[test]
    fn two_threads_together_get_no_more_than_one() {
        let start = Instant::now();
        let buckets = Buckets::new(1000, start);
        let got: usize = std::thread::scope(|scope| {
            let run = || admitted(&buckets, "192.0.2.1:1", 1, start);
            let threads = [scope.spawn(run), scope.spawn(run)];
            threads.map(|thread| thread.join().unwrap()).iter().sum()
        });
        assert_eq!(got, 1000);
    }
}
