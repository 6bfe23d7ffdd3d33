//! Whether what clients do not take leaves enough memory and descriptors.
//!
//! Such bytes lie in socket buffers, which no limit on the process bounds: 300
//! clients that never read held 1.84 GiB of them. Workers look at connections
//! that do not take their bytes anyway, and tell how much those hold; the main
//! thread adds it up while there is any, and asks the kernel how much TCP has in
//! all. Above the limit nobody is accepted, and the workers are told how much is
//! to be shed. Of clients that were sent bytes and not looked at yet, and of those
//! that sent bytes behind a gap, nobody knows what they hold, but it is no more
//! than TCP has in all: while there are clients, the kernel is asked now and then,
//! and where it has much they are looked at.

use std::time::{Duration, Instant};

use crate::base::throttle::Throttle;
use crate::base::units;
use crate::pool::Pool;

/// How often it is looked at while clients hold anything. Never-readers on the
/// same machine fill some 100 MB in this time.
const EVERY: Duration = Duration::from_millis(100);

/// The same while a limit is near, and the clients hold this part of it or more.
const NEAR_EVERY: Duration = Duration::from_millis(10);
const MUCH: usize = 4;

/// How often, at the least, the workers have it looked at while they echo as many bytes
/// as the limit has.
const LOOKS: usize = 16;

/// A worker does not have it looked at after fewer bytes: a look takes as long as some of
/// a stream's slices.
const LEAST_LOOK: usize = 256 * 1024;

/// When the clients hold the limit so many times, those who have just taken some are shed
/// as well. Those who took nothing for the longest still come first.
const FAR_OVER: usize = 2;

/// What is held must fall to so much of the limit before clients are accepted again.
const LOW: (usize, usize) = (7, 8);

/// After so long without memory for anybody else, those that hold the most must go,
/// although they take some: otherwise a few that read could keep all others out.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked at while clients may hold something unseen: to read the
/// kernel's count takes less than 30 µs.
const UNCHECKED_EVERY: Duration = Duration::from_secs(1);

/// Above this part of a limit, TCP may soon have so much of what is unseen that it
/// is reached.
const NEAR: usize = 2;

/// Of all of TCP's memory this part must be our clients' for its limit to be
/// our affair: a server should not close because of another program.
const OURS: usize = 8;

/// And this part for those to go, too, who take their bytes.
const MOSTLY_OURS: usize = 2;

/// How often room is made while all descriptors are in use and a client waits.
const PLACES_EVERY: Duration = Duration::from_secs(1);

/// How many clients each worker may shed for that at a time.
const PLACES: usize = 16;

/// The limit on memory, and whether it is short now.
pub(crate) struct Memory {
    limit: Option<usize>,
    kernel_limit: Option<usize>,
    short_since: Option<Instant>,
    look_at: Instant,
    unchecked_at: Instant,
    places_at: Instant,
    told: Throttle,
    /// It was said that memory is short, and not yet that it no longer is.
    logged_short: bool,
}

impl Memory {
    /// With a limit on the bytes held, beside the kernel's.
    pub(crate) fn new(limit: Option<usize>) -> Self {
        let now = Instant::now();
        Self {
            limit,
            kernel_limit: kernel_limit(),
            short_since: None,
            look_at: now,
            unchecked_at: now,
            places_at: now,
            told: Throttle::new(Duration::from_secs(1)),
            logged_short: false,
        }
    }

    /// Whether nobody must be accepted.
    pub(crate) const fn is_short(&self) -> bool {
        self.short_since.is_some()
    }

    /// How long until the next look, if there is something to look at.
    pub(crate) fn timeout(&self, pool: &Pool) -> Option<Duration> {
        let at = match self.is_short() || pool.held() > 0 {
            true => self.look_at,
            false if pool.live() > 0 => self.unchecked_at.max(self.look_at),
            false => return None,
        };
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Looks, if it is time, and tells the workers what to shed.
    pub(crate) fn look(&mut self, pool: &Pool, now: Instant) {
        let much = pool.take_echoed_much();
        if !(pool.take_checked() || much || now >= self.look_at) {
            return;
        }
        let held = pool.held();
        let unseen = (much || now >= self.unchecked_at) && pool.live() > 0;
        if held == 0 && !self.is_short() && !unseen {
            return;
        }
        let used = kernel_used();
        let near = self.is_near(used);
        if unseen && near {
            pool.check_held();
        }
        let fast = near && self.is_much(held);
        self.look_at = now + if fast { NEAR_EVERY } else { EVERY };
        if fast {
            self.unchecked_at = self.look_at;
        } else if unseen {
            self.unchecked_at = now + UNCHECKED_EVERY;
        }
        let excess = self.excess(held, used);
        self.tell(excess > 0, held, now);
        if excess > 0 {
            self.order(pool, excess, (held, used), now);
        }
    }

    /// Has `excess` shed of what is held.
    fn order(
        &self,
        pool: &Pool,
        excess: usize,
        (held, used): (usize, Option<usize>),
        now: Instant,
    ) {
        if !self.is_patient(now) && self.is_our_doing(held, used) {
            pool.shed_largest(excess, held);
        } else if self.is_far_over(held) {
            pool.shed_soon(excess, held);
        } else {
            pool.shed(excess, held);
        }
    }

    /// Whether the limit is exceeded by so much that nobody can be spared.
    fn is_far_over(&self, held: usize) -> bool {
        self.limit.is_some_and(|limit| held / FAR_OVER > limit)
    }

    /// Whether a limit may soon be reached by what the clients hold.
    fn is_much(&self, held: usize) -> bool {
        let least = self.limit.into_iter().chain(self.kernel_limit).min();
        least.is_some_and(|limit| held > limit / MUCH)
    }

    /// Whether TCP has so much in all that a limit may be reached.
    fn is_near(&self, used: Option<usize>) -> bool {
        let least = self.limit.into_iter().chain(self.kernel_limit).min();
        used.zip(least)
            .is_some_and(|(used, limit)| used > limit / NEAR)
    }

    /// How much of `held` is too much, while TCP has `used` in all.
    fn excess(&self, held: usize, used: Option<usize>) -> usize {
        let over = |has: usize, limit: usize| {
            let low = limit / LOW.1 * LOW.0;
            let high = if self.is_short() { low } else { limit };
            if has > high { has - low } else { 0 }
        };
        let own = self.limit.map_or(0, |limit| over(held, limit));
        let of_all = match (used, self.kernel_limit) {
            (Some(used), Some(limit)) if held >= used / OURS => over(used, limit).min(held),
            _ => 0,
        };
        own.max(of_all)
    }

    /// Whether it is our clients who make memory short.
    fn is_our_doing(&self, held: usize, used: Option<usize>) -> bool {
        let over_own = self.limit.is_some_and(|limit| held > limit / LOW.1 * LOW.0);
        over_own || used.is_some_and(|used| held >= used / MOSTLY_OURS)
    }

    /// Whether those that take their bytes are spared still.
    fn is_patient(&self, now: Instant) -> bool {
        self.short_since
            .is_none_or(|since| now.saturating_duration_since(since) < PATIENCE)
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn tell(&mut self, short: bool, held: usize, now: Instant) {
        if short == self.is_short() {
            return;
        }
        self.short_since = short.then_some(now);
        let held = units::bytes(held as f64);
        if !short {
            if std::mem::take(&mut self.logged_short) {
                log::info!("memory is no longer short: clients are accepted again");
            }
        } else if let Some(others) = self.told.admit(now) {
            self.logged_short = true;
            log::warn!(
                "memory is short: clients hold {held} that they have not taken; none is \
                 accepted, and those that took nothing for the longest are reset, after \
                 {PATIENCE:?} those that hold the most (--memory-limit, net.ipv4.tcp_mem); \
                 {others} times since the last such line"
            );
        }
    }

    /// All descriptors are in use and a client waits: those that have taken
    /// nothing for a while make room.
    pub(crate) fn make_room(&mut self, pool: &Pool, now: Instant) {
        if now >= self.places_at {
            self.places_at = now + PLACES_EVERY;
            pool.shed_clients(PLACES);
        }
    }

    /// How long until room may be made again.
    pub(crate) fn room_timeout(&self) -> Duration {
        self.places_at.saturating_duration_since(Instant::now())
    }
}

/// After how many bytes echoed each of `workers` has the memory looked at, with `limit`
/// beside the kernel's.
pub(super) fn look_after(limit: Option<usize>, workers: usize) -> usize {
    let least = limit.into_iter().chain(kernel_limit()).min();
    least.map_or(usize::MAX, |limit| {
        (limit / LOOKS / workers.max(1)).max(LEAST_LOOK)
    })
}

/// TCP's memory in bytes, of the whole system.
fn kernel_used() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/net/sockstat").ok()?;
    Some(tcp_pages(&text)?.saturating_mul(page()))
}

/// The kernel does nothing about TCP's memory below this many bytes, and begins
/// to press connections some way above: the first number of `tcp_mem`, tcp(7).
fn kernel_limit() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").ok()?;
    first_pages(&text)
}

/// The first of the numbers of pages in `tcp_mem`, in bytes; any number can be set.
fn first_pages(text: &str) -> Option<usize> {
    let pages: usize = text.split_whitespace().next()?.parse().ok()?;
    Some(pages.saturating_mul(page()))
}

/// The pages after `mem` in the line of `TCP:`.
fn tcp_pages(sockstat: &str) -> Option<usize> {
    let line = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|&word| word == "mem")?;
    words.next()?.parse().ok()
}

#[cfg(unix)]
fn page() -> usize {
    rustix::param::page_size()
}

#[cfg(not(unix))]
fn page() -> usize {
    4096
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(limit: usize, kernel_limit: usize) -> Memory {
        Memory {
            limit: Some(limit),
            kernel_limit: Some(kernel_limit),
            ..Memory::new(None)
        }
    }

    #[test]
    fn the_kernels_page_count_is_found_in_its_table() {
        let table =
            "sockets: used 24\nTCP: inuse 4 orphan 0 tw 3 alloc 5 mem 239\nUDP: inuse 0 mem 7\n";
        assert_eq!(tcp_pages(table), Some(239));
        assert_eq!(tcp_pages("UDP: inuse 0 mem 7\n"), None);
        assert_eq!(tcp_pages(""), None);
    }

    #[test]
    fn what_is_above_the_limit_is_shed_until_it_is_well_below() {
        let mut memory = memory(8000, usize::MAX);
        assert_eq!(memory.excess(8000, None), 0);
        assert_eq!(memory.excess(8001, None), 1001);
        memory.short_since = Some(Instant::now());
        assert_eq!(memory.excess(7500, None), 500);
        assert_eq!(memory.excess(7000, None), 0);
    }

    #[test]
    fn a_limit_is_looked_at_after_a_part_of_it_and_not_after_every_slice() {
        assert_eq!(look_after(Some(64 << 20), 2), 2 << 20);
        assert_eq!(look_after(Some(64 << 20), 4), 1 << 20);
        assert_eq!(look_after(Some(1), 1), LEAST_LOOK);
    }

    #[test]
    fn nobody_is_spared_where_the_own_limit_is_exceeded_twice() {
        let memory = memory(8000, 8000);
        assert!(!memory.is_far_over(16_001));
        assert!(memory.is_far_over(16_002));
        assert!(!Memory::new(None).is_far_over(usize::MAX));
        assert!(!memory.is_much(2000) && memory.is_much(2001));
    }

    #[test]
    fn those_that_take_some_are_spared_for_a_while_only() {
        let mut memory = memory(8000, usize::MAX);
        let now = Instant::now();
        assert!(memory.is_patient(now));
        memory.tell(true, 8001, now);
        let later = now + PATIENCE;
        memory.tell(true, 8001, later);
        assert!(memory.is_patient(later - Duration::from_millis(1)));
        assert!(!memory.is_patient(later));
        memory.tell(false, 7000, later);
        memory.tell(true, 8001, later);
        assert!(memory.is_patient(later), "it was not short all the time");
    }

    #[test]
    fn those_that_take_some_do_not_go_for_what_other_programs_hold() {
        let memory = memory(8000, 8000);
        assert!(memory.is_our_doing(4000, Some(8001)));
        assert!(!memory.is_our_doing(4000, Some(9000)));
        assert!(!memory.is_our_doing(4000, None));
        assert!(
            memory.is_our_doing(7001, Some(90_000)),
            "over our own limit"
        );
    }

    #[test]
    fn a_kernel_without_a_limit_is_understood() {
        assert_eq!(first_pages("2 3 4\n"), Some(2 * page()));
        assert_eq!(first_pages("9223372036854775807\t1\t1\n"), Some(usize::MAX));
        assert_eq!(first_pages(""), None);
    }

    #[test]
    fn a_limit_is_near_where_tcp_has_more_than_half_of_it() {
        for memory in [memory(8000, 9000), memory(9000, 8000)] {
            assert!(memory.is_near(Some(4001)));
            assert!(!memory.is_near(Some(4000)));
            assert!(!memory.is_near(None), "it can't be told");
        }
    }

    #[test]
    fn the_kernels_memory_counts_if_much_of_it_is_our_clients() {
        let memory = memory(usize::MAX, 8000);
        assert_eq!(memory.excess(4000, Some(9000)), 2000);
        assert_eq!(
            memory.excess(1500, Some(9000)),
            1500,
            "no more than there is"
        );
        assert_eq!(memory.excess(1000, Some(9000)), 0, "others hold the most");
        assert_eq!(memory.excess(4000, Some(8000)), 0);
        assert_eq!(memory.excess(4000, None), 0, "it can't be told");
    }
}
