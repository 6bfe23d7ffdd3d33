//! The limits on memory, and how often each acted.

use std::fmt;

/// A limit above which clients that do not accept their echo are shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// That of the configuration, `--memory-limit`.
    Own,
    /// The kernel's, for TCP on the whole system.
    Tcp,
    /// `memory.max` of the server's cgroup, or of one above it: cgroup version 2.
    Cgroup,
    /// The same of version 1, which limits the memory of TCP alone.
    CgroupTcp,
}

impl MemoryLimit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Own, Self::Tcp, Self::Cgroup, Self::CgroupTcp];

    /// The name in the log, the closing report and on the admin socket.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "--memory-limit",
            Self::Tcp => "net.ipv4.tcp_mem",
            Self::Cgroup => "memory.max of its cgroup",
            Self::CgroupTcp => "memory.kmem.tcp.limit_in_bytes of its cgroup",
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many times memory became short because of each limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortages(pub(super) [u64; MemoryLimit::ALL.len()]);

impl Shortages {
    /// Those because of one limit.
    pub const fn of(&self, limit: MemoryLimit) -> u64 {
        self.0[limit as usize]
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// The tail of a line in the closing report: `, memory short 3 times: 2 --memory-limit, 1
/// net.ipv4.tcp_mem`, or nothing if it never was.
impl fmt::Display for Shortages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = self.sum();
        let some = MemoryLimit::ALL.iter();
        let some = some.filter(|&&limit| self.of(limit) > 0);
        for (index, &limit) in some.enumerate() {
            if index == 0 {
                let times = if sum == 1 { "time" } else { "times" };
                write!(f, ", memory short {sum} {times}:")?;
            }
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma} {} {limit}", self.of(limit))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_how_often_each_limit_acted() {
        for (counts, want) in [
            ([0; 4], ""),
            ([1, 0, 0, 0], ", memory short 1 time: 1 --memory-limit"),
            (
                [2, 0, 3, 0],
                ", memory short 5 times: 2 --memory-limit, 3 memory.max of its cgroup",
            ),
        ] {
            assert_eq!(Shortages(counts).to_string(), want);
        }
    }
}
