//! Which CPU runs what.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// CPUs for the server, and one for the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The server's, one a worker where there are enough.
    pub server: Vec<usize>,
    /// The load generator's.
    pub load: usize,
}

impl Placement {
    /// Shares out `cpus`, of which there is at least one: the first ones to the
    /// server, the next one to the load. Where there are too few, the load
    /// shares the last one.
    #[must_use]
    pub fn new(workers: usize, cpus: &[usize]) -> Self {
        let server = &cpus[..workers.clamp(1, cpus.len())];
        let load = cpus.get(workers).or(cpus.last()).copied();
        Self {
            server: server.to_vec(),
            load: load.unwrap_or_default(),
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
        pin(&[self.load])?;
        Ok(result)
    }

    /// Such as `server on CPU 0, load on CPU 1`.
    #[must_use]
    pub fn describe(&self) -> String {
        let names: Vec<String> = self.server.iter().map(ToString::to_string).collect();
        let plural = if names.len() > 1 { "s" } else { "" };
        let shared = if self.server.contains(&self.load) {
            ", which it shares with the server"
        } else {
            ""
        };
        let (names, load) = (names.join(" and "), self.load);
        format!("server on CPU{plural} {names}, load on CPU {load}{shared}")
    }
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
        let placement = Placement::new(1, &[0, 1]);
        assert_eq!((placement.server.as_slice(), placement.load), (&[0][..], 1));
        assert_eq!(placement.describe(), "server on CPU 0, load on CPU 1");
        let placement = Placement::new(2, &[4, 5, 9]);
        assert_eq!(
            (placement.server.as_slice(), placement.load),
            (&[4, 5][..], 9)
        );
    }

    #[test]
    fn the_load_shares_the_last_cpu_where_there_are_too_few() {
        let placement = Placement::new(2, &[0, 1]);
        assert_eq!(
            (placement.server.as_slice(), placement.load),
            (&[0, 1][..], 1)
        );
        assert_eq!(
            placement.describe(),
            "server on CPUs 0 and 1, load on CPU 1, which it shares with the server"
        );
        let placement = Placement::new(1, &[3]);
        assert_eq!((placement.server.as_slice(), placement.load), (&[3][..], 3));
    }
}
