//! Limits the memory of unread echo, and makes room when descriptors run out.
//!
//! Unread echo lies in socket buffers, which no limit on the process bounds: 300
//! clients that never read held 1.84 GiB. Each worker checks the connections that
//! accept none of their pending echo, and publishes how many bytes they hold. While
//! there are any, the main thread adds them up and reads from the kernel how much
//! memory TCP uses in all, and how much the sockets of its cgroups. Above a limit no
//! client is accepted, and the workers are asked to shed as many bytes as are too many.
//!
//! What a client holds is unknown between the time it was sent bytes and its first
//! check, and also where it sent bytes behind a gap in its stream, but it is no more
//! than TCP uses in all. While there are clients, the kernel's count is read once a
//! second, and near a limit they are checked.

use std::time::{Duration, Instant};

use super::cgroup::{Cgroups, Usage};
use super::memory_limit::MemoryLimit;
use crate::base::throttle::Throttle;
use crate::base::units;
use crate::pool::Pool;

/// The time between two checks while there is unread echo. Clients on the same machine
/// that never read fill some 100 MB in this time.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The time between two checks while a limit is near and the clients hold much of it.
const NEAR_INTERVAL: Duration = Duration::from_millis(10);

/// Clients hold much of a limit if they hold more than the limit divided by this.
const MUCH: usize = 4;

/// How many checks there are, at the least, while the workers echo as many bytes as the
/// limit has.
const CHECKS: usize = 16;

/// A worker asks for no check after fewer bytes: a check takes as long as some of a
/// stream's slices.
const LEAST_BYTES: usize = 256 * 1024;

/// When the clients hold the limit this many times, those that have just accepted some
/// echo are shed as well. Those that accepted nothing for the longest still come first.
const FAR_OVER: usize = 2;

/// Unread echo must fall to this part of the limit, as numerator and denominator, before
/// clients are accepted again.
const LOW_WATER: (usize, usize) = (7, 8);

/// After memory was short for this long, the clients that hold the most are shed although
/// they read: otherwise a few slow readers could keep all other clients out.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time between two checks while only unchecked clients may hold unread echo.
/// Reading the kernel's count takes less than 30 µs.
const UNCHECKED_INTERVAL: Duration = Duration::from_secs(1);

/// A limit is near when TCP uses more than the limit divided by this.
const NEAR: usize = 2;

/// A limit of the kernel's counts only if our clients hold all that it counts divided by
/// this: the server should not stop accepting because of another program.
const OWN_PART: usize = 8;

/// Clients that read are shed for it only if our clients hold that divided by this.
const MAIN_PART: usize = 2;

/// The time between two requests for room while descriptors run out and a client waits.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// The most clients that each worker sheds for one such request.
const ROOM_CLIENTS: usize = 16;

/// The limit on memory, and whether it is short now.
pub(crate) struct Memory {
    limit: Option<usize>,
    kernel_limit: Option<usize>,
    cgroups: Cgroups,
    /// Since when it is short, and the limit that is exceeded the most.
    short: Option<(Instant, MemoryLimit)>,
    check_at: Instant,
    unchecked_at: Instant,
    room_at: Instant,
    log_throttle: Throttle,
    /// The log says that memory is short, and not yet that it no longer is.
    logged_short: bool,
}

impl Memory {
    /// `limit`: the most bytes of unread echo, beside the kernel's own limits.
    pub(crate) fn new(limit: Option<usize>) -> Self {
        let now = Instant::now();
        Self {
            limit,
            kernel_limit: kernel_limit(),
            cgroups: Cgroups::own(),
            short: None,
            check_at: now,
            unchecked_at: now,
            room_at: now,
            log_throttle: Throttle::new(Duration::from_secs(1)),
            logged_short: false,
        }
    }

    /// The limit because of which memory is short, if it is.
    pub(crate) fn exceeded(&self) -> Option<MemoryLimit> {
        self.short.map(|(_, limit)| limit)
    }

    /// Whether no client may be accepted.
    pub(crate) const fn is_short(&self) -> bool {
        self.short.is_some()
    }

    /// How long until the next check, if there is something to check.
    pub(crate) fn timeout(&self, pool: &Pool) -> Option<Duration> {
        let at = match self.is_short() || pool.held() > 0 {
            true => self.check_at,
            false if pool.live() > 0 => self.unchecked_at.max(self.check_at),
            false => return None,
        };
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Checks memory, if a check is due, and asks the workers to shed what is too much.
    pub(crate) fn check(&mut self, pool: &Pool, now: Instant) {
        let much = pool.take_echoed_much();
        if !(pool.take_checked() || much || now >= self.check_at) {
            return;
        }
        let held = pool.held();
        let unchecked = (much || now >= self.unchecked_at) && pool.live() > 0;
        if held == 0 && !self.is_short() && !unchecked {
            return;
        }
        let kernels = self.kernels();
        let near = self.is_near(&kernels);
        if unchecked && near {
            pool.check_held();
        }
        let fast = near && self.is_much(held, &kernels);
        self.check_at = now + if fast { NEAR_INTERVAL } else { CHECK_INTERVAL };
        if fast {
            self.unchecked_at = self.check_at;
        } else if unchecked {
            self.unchecked_at = now + UNCHECKED_INTERVAL;
        }
        let (excess, limit) = self.excess(held, &kernels);
        self.log_change((excess > 0).then_some(limit), held, now);
        if excess > 0 {
            self.order(pool, excess, (held, &kernels), now);
        }
    }

    /// Asks the workers to shed `excess` of what is held.
    fn order(&self, pool: &Pool, excess: usize, (held, kernels): (usize, &Kernels), now: Instant) {
        if !self.spares_readers(now) && self.is_our_doing(held, kernels) {
            pool.shed_largest(excess, held);
        } else if self.is_far_over(held) {
            pool.shed_soon(excess, held);
        } else {
            pool.shed(excess, held);
        }
    }

    /// Reads the kernel's counts.
    fn kernels(&self) -> Kernels {
        let used = kernel_used();
        let mut usages = self.cgroups.usages();
        usages.extend(used.zip(self.kernel_limit).map(|(used, limit)| Usage {
            which: MemoryLimit::Tcp,
            used,
            limit,
        }));
        Kernels { used, usages }
    }

    /// Whether the limit is exceeded so far that no client is spared.
    fn is_far_over(&self, held: usize) -> bool {
        self.limit.is_some_and(|limit| held / FAR_OVER > limit)
    }

    /// Whether a limit may soon be reached by what the clients hold.
    fn is_much(&self, held: usize, kernels: &Kernels) -> bool {
        let theirs = kernels.usages.iter().map(|usage| usage.limit);
        let least = self.limit.into_iter().chain(theirs).min();
        least.is_some_and(|limit| held > limit / MUCH)
    }

    /// Whether sockets use so much in all that a limit may be reached soon.
    fn is_near(&self, kernels: &Kernels) -> bool {
        let own = self.limit.zip(kernels.used);
        let own = own.is_some_and(|(limit, used)| used > limit / NEAR);
        own || kernels
            .usages
            .iter()
            .any(|usage| usage.used > usage.limit / NEAR)
    }

    /// How many bytes of `held` are too many, and for which limit the most.
    fn excess(&self, held: usize, kernels: &Kernels) -> (usize, MemoryLimit) {
        let over = |has: usize, limit: usize| {
            let low = low_water(limit);
            let high = if self.is_short() { low } else { limit };
            if has > high { has - low } else { 0 }
        };
        let own = self.limit.map_or(0, |limit| over(held, limit));
        let theirs = kernels.usages.iter().map(|usage| {
            let counts = held >= usage.used / OWN_PART;
            let excess = if counts {
                over(usage.used, usage.limit)
            } else {
                0
            };
            (excess.min(held), usage.which)
        });
        let first = (own, MemoryLimit::Own);
        theirs.fold(
            first,
            |most, each| if each.0 > most.0 { each } else { most },
        )
    }

    /// Whether memory is short because of our own clients.
    fn is_our_doing(&self, held: usize, kernels: &Kernels) -> bool {
        let over_own = self.limit.is_some_and(|limit| held > low_water(limit));
        let over_theirs =
            |usage: &Usage| usage.used > low_water(usage.limit) && held >= usage.used / MAIN_PART;
        over_own || kernels.usages.iter().any(over_theirs)
    }

    /// Whether clients that read are spared still.
    fn spares_readers(&self, now: Instant) -> bool {
        self.short
            .is_none_or(|(since, _)| now.saturating_duration_since(since) < PATIENCE)
    }

    /// Records whether memory is short, and for which limit, and logs a change.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn log_change(&mut self, short: Option<MemoryLimit>, held: usize, now: Instant) {
        if let (Some((_, limit)), Some(other)) = (&mut self.short, short) {
            *limit = other;
        }
        if short.is_some() == self.is_short() {
            return;
        }
        self.short = short.map(|limit| (now, limit));
        let held = units::bytes(held as f64);
        let Some(limit) = short else {
            if std::mem::take(&mut self.logged_short) {
                log::info!("memory is no longer short: clients are accepted again");
            }
            return;
        };
        if let Some(others) = self.log_throttle.admit(now) {
            self.logged_short = true;
            log::warn!(
                "memory is short: clients have not accepted {held} of echo; no client is \
                 accepted, those that accepted nothing for the longest are reset, and after \
                 {PATIENCE:?} those with the most ({limit}); \
                 {} since the last such line",
                units::plain_count(others, "time", "times")
            );
        }
    }

    /// Asks the workers for room when descriptors run out and a client waits: they shed
    /// clients that have accepted none of their pending echo for a while.
    pub(crate) fn make_room(&mut self, pool: &Pool, now: Instant) {
        if now >= self.room_at {
            self.room_at = now + ROOM_INTERVAL;
            pool.shed_clients(ROOM_CLIENTS);
        }
    }

    /// How long until workers may be asked for room again.
    pub(crate) fn room_timeout(&self) -> Duration {
        self.room_at.saturating_duration_since(Instant::now())
    }
}

/// The kernel's counts of the sockets' memory at one moment.
#[derive(Default)]
struct Kernels {
    /// Of all TCP sockets of the system, in bytes.
    used: Option<usize>,
    /// Each usage with its limit: that of all TCP sockets, and those of the cgroups.
    usages: Vec<Usage>,
}

/// The part of a limit to which memory must fall before clients are accepted again.
const fn low_water(limit: usize) -> usize {
    limit / LOW_WATER.1 * LOW_WATER.0
}

/// After how many bytes echoed each of `workers` asks for a check, with `limit` beside
/// the kernel's.
pub(super) fn check_after(limit: Option<usize>, workers: usize) -> usize {
    let cgroups = Cgroups::own().usages();
    let theirs = cgroups
        .iter()
        .map(|usage| usage.limit)
        .chain(kernel_limit());
    let least = limit.into_iter().chain(theirs).min();
    least.map_or(usize::MAX, |limit| {
        (limit / CHECKS / workers.max(1)).max(LEAST_BYTES)
    })
}

/// The memory that TCP uses on the whole system, in bytes.
fn kernel_used() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/net/sockstat").ok()?;
    Some(tcp_pages(&text)?.saturating_mul(page_size()))
}

/// The first number of `tcp_mem`, in bytes: below it the kernel does not regulate TCP's
/// memory; some way above, it puts connections under memory pressure. See tcp(7).
fn kernel_limit() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").ok()?;
    first_pages(&text)
}

/// The first of the page counts in `tcp_mem`, in bytes. An administrator may set any.
fn first_pages(text: &str) -> Option<usize> {
    let pages: usize = text.split_whitespace().next()?.parse().ok()?;
    Some(pages.saturating_mul(page_size()))
}

/// The number of pages after `mem` in the line `TCP:`.
fn tcp_pages(sockstat: &str) -> Option<usize> {
    let line = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|&word| word == "mem")?;
    words.next()?.parse().ok()
}

#[cfg(unix)]
fn page_size() -> usize {
    rustix::param::page_size()
}

#[cfg(not(unix))]
fn page_size() -> usize {
    4096
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(limit: usize) -> Memory {
        Memory::new(Some(limit))
    }

    /// What TCP uses of its limit.
    fn tcp(used: usize, limit: usize) -> Kernels {
        let usage = Usage {
            which: MemoryLimit::Tcp,
            used,
            limit,
        };
        Kernels {
            used: Some(used),
            usages: vec![usage],
        }
    }

    /// The same, and what a cgroup's sockets use of theirs.
    fn beside(mut kernels: Kernels, used: usize, limit: usize) -> Kernels {
        kernels.usages.push(Usage {
            which: MemoryLimit::Cgroup,
            used,
            limit,
        });
        kernels
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
    fn bytes_above_the_limit_are_shed_down_to_the_low_water_mark() {
        let (mut memory, unknown) = (memory(8000), Kernels::default());
        assert_eq!(memory.excess(8000, &unknown).0, 0);
        assert_eq!(memory.excess(8001, &unknown), (1001, MemoryLimit::Own));
        memory.short = Some((Instant::now(), MemoryLimit::Own));
        assert_eq!(memory.excess(7500, &unknown).0, 500);
        assert_eq!(memory.excess(7000, &unknown).0, 0);
    }

    #[test]
    fn memory_is_checked_after_a_part_of_it_and_not_after_every_slice() {
        assert_eq!(check_after(Some(64 << 20), 2), 2 << 20);
        assert_eq!(check_after(Some(64 << 20), 4), 1 << 20);
        assert_eq!(check_after(Some(1), 1), LEAST_BYTES);
    }

    #[test]
    fn no_client_is_spared_where_the_own_limit_is_exceeded_twice() {
        let (memory, kernels) = (memory(8000), tcp(1, 8000));
        assert!(!memory.is_far_over(16_001));
        assert!(memory.is_far_over(16_002));
        assert!(!Memory::new(None).is_far_over(usize::MAX));
        assert!(!memory.is_much(2000, &kernels) && memory.is_much(2001, &kernels));
        let kernels = beside(kernels, 0, 4000);
        assert!(!memory.is_much(1000, &kernels) && memory.is_much(1001, &kernels));
    }

    #[test]
    fn clients_that_read_are_spared_for_a_while_only() {
        let (mut memory, short) = (memory(8000), Some(MemoryLimit::Own));
        let now = Instant::now();
        assert!(memory.spares_readers(now));
        memory.log_change(short, 8001, now);
        let later = now + PATIENCE;
        memory.log_change(short, 8001, later);
        assert!(memory.spares_readers(later - Duration::from_millis(1)));
        assert!(!memory.spares_readers(later));
        memory.log_change(Some(MemoryLimit::Tcp), 8001, later);
        assert_eq!(memory.exceeded(), Some(MemoryLimit::Tcp));
        assert!(!memory.spares_readers(later), "it is short all the time");
        memory.log_change(None, 7000, later);
        assert_eq!(memory.exceeded(), None);
        memory.log_change(short, 8001, later);
        assert!(
            memory.spares_readers(later),
            "it was not short all the time"
        );
    }

    #[test]
    fn clients_that_read_are_not_shed_for_what_other_programs_hold() {
        let memory = memory(8000);
        assert!(memory.is_our_doing(4000, &tcp(8001, 8000)));
        assert!(!memory.is_our_doing(4000, &tcp(9000, 8000)));
        assert!(!memory.is_our_doing(4000, &Kernels::default()));
        let two = beside(tcp(90_000, 8000), 5000, 5000);
        assert!(memory.is_our_doing(4000, &two), "of the cgroup");
        let two = beside(tcp(90_000, 8000), 4000, 5000);
        assert!(!memory.is_our_doing(4000, &two), "of which there is enough");
        let kernels = tcp(90_000, 8000);
        assert!(memory.is_our_doing(7001, &kernels), "over our own limit");
    }

    #[test]
    fn a_kernel_without_a_limit_is_understood() {
        assert_eq!(first_pages("2 3 4\n"), Some(2 * page_size()));
        assert_eq!(first_pages("9223372036854775807\t1\t1\n"), Some(usize::MAX));
        assert_eq!(first_pages(""), None);
    }

    #[test]
    fn a_limit_is_near_where_tcp_has_more_than_half_of_it() {
        for (own, limit) in [(8000, 9000), (9000, 8000)] {
            let memory = memory(own);
            assert!(memory.is_near(&tcp(4001, limit)));
            assert!(!memory.is_near(&tcp(4000, limit)));
            assert!(!memory.is_near(&Kernels::default()), "it is unknown");
            assert!(memory.is_near(&beside(tcp(4000, limit), 11, 20)));
            assert!(!memory.is_near(&beside(tcp(4000, limit), 10, 20)));
        }
    }

    #[test]
    fn the_kernels_limit_counts_if_our_clients_hold_much_of_its_memory() {
        let memory = memory(usize::MAX);
        let excess = |held, used| memory.excess(held, &tcp(used, 8000));
        assert_eq!(excess(4000, 9000), (2000, MemoryLimit::Tcp));
        assert_eq!(excess(1500, 9000).0, 1500, "no more than there is");
        assert_eq!(excess(1000, 9000).0, 0, "others hold the most");
        assert_eq!(excess(4000, 8000).0, 0);
        assert_eq!(memory.excess(4000, &Kernels::default()).0, 0, "unknown");
    }

    #[test]
    fn of_several_limits_the_one_that_is_exceeded_the_most_counts() {
        let memory = memory(8000);
        let excess = |held, kernels| memory.excess(held, &kernels);
        let cgroup = |used| beside(tcp(9000, 80_000), used, 800);
        assert_eq!(excess(4000, cgroup(801)), (101, MemoryLimit::Cgroup));
        assert_eq!(excess(4000, cgroup(800)).0, 0);
        assert_eq!(excess(9000, cgroup(801)), (2000, MemoryLimit::Own));
        let two = beside(tcp(9000, 8000), 900, 800);
        assert_eq!(excess(4000, two), (2000, MemoryLimit::Tcp));
        let none = beside(tcp(9000, 80_000), 900, 0);
        assert_eq!(
            excess(300, none),
            (300, MemoryLimit::Cgroup),
            "no room is left"
        );
    }
}
