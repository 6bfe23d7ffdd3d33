//! What a running server has used: CPU time and memory, its children's too.

use std::fs;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// The process and all its living descendants, parents first.
#[must_use]
pub fn tree(root: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let families: Vec<(u32, u32)> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|process| Some((process, parent(&stat(process))?)))
        .collect();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&process) = tree.get(next) {
        let children = families.iter().filter(|family| family.1 == process);
        tree.extend(children.map(|family| family.0));
        next += 1;
    }
    tree
}

fn stat(process: u32) -> String {
    fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default()
}

/// A field of `/proc/PID/stat`, counted from 1 as proc(5) does; from the third on.
fn field(stat: &str, number: usize) -> Option<&str> {
    // The second field is a name in parentheses, which may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(number - 3)
}

fn parent(stat: &str) -> Option<u32> {
    field(stat, 4)?.parse().ok()
}

/// The CPU time of the whole tree, of threads and processes that ended too.
///
/// A living process has a clock that counts nanoseconds over all its threads,
/// those that ended included; the scheduler feeds it as it does
/// `/proc/PID/task/*/schedstat`. Children that ended are counted by their
/// parent, in ticks of 10 ms a process.
#[must_use]
pub fn cpu_time(root: u32) -> Duration {
    tree(root)
        .into_iter()
        .map(|process| own_time(process) + reaped_time(process))
        .sum()
}

fn own_time(process: u32) -> Duration {
    let process = Pid::from_raw(process.cast_signed());
    clock_getcpuclockid(process)
        .and_then(clock_gettime)
        .map_or(Duration::ZERO, Duration::from)
}

fn reaped_time(process: u32) -> Duration {
    from_ticks(reaped_ticks(&stat(process)).unwrap_or_default())
}

fn from_ticks(ticks: u64) -> Duration {
    let a_second = rustix::param::clock_ticks_per_second();
    Duration::from_secs(ticks) / u32::try_from(a_second).unwrap_or(100)
}

/// The fields `cutime` and `cstime`, added.
fn reaped_ticks(stat: &str) -> Option<u64> {
    let user: u64 = field(stat, 16)?.parse().ok()?;
    let system: u64 = field(stat, 17)?.parse().ok()?;
    Some(user + system)
}

/// The time that all CPUs of the machine together were not idle, in ticks of 10 ms.
#[must_use]
pub fn machine_time() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    from_ticks(busy_ticks(&stat).unwrap_or_default())
}

/// The first line of `/proc/stat` without idle and iowait, its fourth and fifth
/// number, and without those after the eighth, which are parts of others.
fn busy_ticks(stat: &str) -> Option<u64> {
    let numbers = stat.lines().next()?.strip_prefix("cpu ")?;
    let numbers = numbers.split_ascii_whitespace().take(8).enumerate();
    numbers
        .filter(|(index, _)| ![3, 4].contains(index))
        .map(|(_, number)| number.parse::<u64>().ok())
        .sum()
}

/// The memory of the tree in bytes, pages that several processes have in common
/// counted once.
///
/// For one process it grows as `VmRSS` does, but `smaps_rollup` walks the pages;
/// `VmRSS` is a sum of counters that the kernel brings up to date in batches, and
/// a connection is smaller than a batch.
#[must_use]
pub fn memory(root: u32) -> u64 {
    tree(root)
        .into_iter()
        .map(|process| {
            let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"));
            kilobytes(&rollup.unwrap_or_default(), "Pss:").unwrap_or_default() * 1024
        })
        .sum()
}

/// The number on the line that begins with `key`.
fn kilobytes(rollup: &str, key: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_stat_are_read_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 200 0 0 11 12 13 14 20 0 1 0";
        assert_eq!(parent(stat), Some(1));
        assert_eq!(reaped_ticks(stat), Some(27));
        assert_eq!(reaped_ticks("7 (cut off) S 1 7"), None);
    }

    #[test]
    fn idle_time_is_not_busy() {
        let stat = "cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(busy_ticks(stat), Some(63));
        assert_eq!(busy_ticks("intr 1"), None);
    }

    #[test]
    fn kilobytes_are_read_from_their_line() {
        let rollup = "5000-9000 ---p 0 0:0 0 [rollup]\nRss:      2048 kB\nPss:       7 kB\n";
        assert_eq!(kilobytes(rollup, "Rss:"), Some(2048));
        assert_eq!(kilobytes(rollup, "Pss:"), Some(7));
        assert_eq!(kilobytes(rollup, "Swap:"), None);
    }

    #[test]
    fn this_process_uses_time_and_memory() {
        let own = std::process::id();
        assert_eq!(tree(own)[0], own);
        assert!(memory(own) > 0);
        assert!(own_time(own) > Duration::ZERO);
    }
}
