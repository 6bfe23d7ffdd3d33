//! How many CPUs this process may use: one count for the pool and for the load generator.

use std::thread::available_parallelism;

/// The number of CPUs that this process may use, at least 1: the least of those of the
/// machine, of its affinity mask, and of the quota of its cgroup and of each cgroup above.
/// Part of a CPU does not count: with a quota of 1.5, two threads would use it up in three
/// quarters of each period, and nobody would run in the last.
pub(crate) fn count() -> usize {
    // num_cpus knows the own cgroup alone, and rounds a part up. The standard library knows
    // the cgroups above, but asks the system anew each time and may fail.
    least(
        num_cpus::get(),
        available_parallelism().ok().map(usize::from),
    )
}

fn least(own: usize, of_chain: Option<usize>) -> usize {
    of_chain.map_or(own, |most| most.min(own)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_knows_of_the_lower_limit_is_believed() {
        assert_eq!(least(8, Some(8)), 8);
        assert_eq!(least(8, Some(2)), 2, "the quota of a cgroup above");
        assert_eq!(least(2, Some(8)), 2, "a quota that only one of them reads");
        assert_eq!(least(3, None), 3, "the system does not tell");
        assert_eq!(least(0, None), 1);
        assert!((1..=num_cpus::get()).contains(&count()));
    }
}
