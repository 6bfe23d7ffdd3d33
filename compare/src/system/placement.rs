//! Which CPU runs what.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// CPUs for the server, and others for the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The server's, one a worker where there are enough.
    pub server: Vec<usize>,
    /// The load's, one a thread where there are enough.
    pub load: Vec<usize>,
}

impl Placement {
    /// Shares out `cpus`, of which there is at least one: the first ones to the
    /// server, the next ones to the load. Where there are too few, the load shares
    /// the last one.
    #[must_use]
    pub fn new(workers: usize, load_threads: usize, cpus: &[usize]) -> Self {
        let (server, rest) = cpus.split_at(workers.clamp(1, cpus.len()));
        let load = match rest {
            [] => &cpus[cpus.len() - 1..],
            _ => &rest[..load_threads.clamp(1, rest.len())],
        };
        Self {
            server: server.to_vec(),
            load: load.to_vec(),
        }
    }

    /// Runs `action` on the server's CPUs, which a process or thread that it
    /// starts inherits, then goes to the load's.
    ///
    /// # Errors
    /// Those of `sched_setaffinity`.
    pub fn on_server<T>(&self, action: impl FnOnce() -> T) -> io::Result<T> {
        pin(&self.server)?;
        let result = action();
        pin(&self.load)?;
        Ok(result)
    }

    /// Such as `server on CPU 0, load on CPU 1`.
    #[must_use]
    pub fn describe(&self) -> String {
        let shared = match self.load.iter().any(|cpu| self.server.contains(cpu)) {
            true => ", which it shares with the server",
            false => "",
        };
        let (server, load) = (name(&self.server), name(&self.load));
        format!("server on {server}, load on {load}{shared}")
    }
}

/// Such as `CPU 0` or `CPUs 0 and 1`.
fn name(cpus: &[usize]) -> String {
    let names: Vec<String> = cpus.iter().map(ToString::to_string).collect();
    let plural = if names.len() > 1 { "s" } else { "" };
    format!("CPU{plural} {}", names.join(" and "))
}

/// The CPUs that this process may use, in order.
///
/// # Errors
/// Those of `sched_getaffinity`.
pub fn allowed() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect())
}

fn pin(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_has_a_cpu_of_its_own_where_there_are_enough() {
        let placement = Placement::new(1, 1, &[0, 1]);
        assert_eq!((&placement.server, &placement.load), (&vec![0], &vec![1]));
        assert_eq!(placement.describe(), "server on CPU 0, load on CPU 1");
        let placement = Placement::new(2, 1, &[4, 5, 9]);
        assert_eq!(
            (&placement.server, &placement.load),
            (&vec![4, 5], &vec![9])
        );
    }

    #[test]
    fn each_thread_of_the_load_has_a_cpu_where_there_are_enough() {
        let placement = Placement::new(1, 2, &[0, 1, 2, 3]);
        assert_eq!(
            placement.describe(),
            "server on CPU 0, load on CPUs 1 and 2"
        );
        assert_eq!(Placement::new(1, 4, &[0, 1]).load, [1]);
    }

    #[test]
    fn the_load_shares_the_last_cpu_where_there_are_too_few() {
        let placement = Placement::new(2, 1, &[0, 1]);
        assert_eq!(
            (&placement.server, &placement.load),
            (&vec![0, 1], &vec![1])
        );
        assert_eq!(
            placement.describe(),
            "server on CPUs 0 and 1, load on CPU 1, which it shares with the server"
        );
        let placement = Placement::new(1, 1, &[3]);
        assert_eq!((&placement.server, &placement.load), (&vec![3], &vec![3]));
    }
}
