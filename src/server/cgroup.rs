//! The memory that the server's cgroup, and each one above it, leaves to sockets.
//!
//! A container is killed for what its cgroup holds above `memory.max`, and that includes its
//! sockets' buffers, which neither the memory of the process nor the limits of the machine
//! show. What other memory leaves of it is the sockets' room. Version 1 has a limit for
//! TCP's memory alone, `memory.kmem.tcp.limit_in_bytes`.

use std::fs;
use std::path::{Path, PathBuf};

use super::memory_limit::MemoryLimit;

/// Memory that the kernel reclaims before it kills a process for lack of memory: names in
/// `memory.stat`.
const RECLAIMABLE: [&str; 3] = ["active_file", "inactive_file", "slab_reclaimable"];

/// Sockets should use no more than their room divided by this. Checks come late, and what
/// others need grows.
const PART: usize = 2;

/// Version 1 shows a number of about this size, rounded down to pages, if there is no limit.
const UNLIMITED: usize = isize::MAX as usize / 2;

/// How much some memory is used, and what it should not exceed, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) which: MemoryLimit,
    pub(super) used: usize,
    pub(super) limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The folders of a process's cgroup and of those above it. They are read anew each time:
/// an orchestrator may change a limit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cgroups(Vec<(Version, PathBuf)>);

impl Cgroups {
    /// The cgroups of this process; none if the system has none or does not show them.
    pub(super) fn own() -> Self {
        let read = |name| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self::find(&read("cgroup"), &read("mountinfo"))
    }

    /// From the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`: cgroups(7), proc(5).
    fn find(memberships: &str, mounts: &str) -> Self {
        let mut all = Self::default();
        for line in memberships.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            let version = match controllers {
                "" => Version::Two,
                _ if controllers.split(',').any(|name| name == "memory") => Version::One,
                _ => continue,
            };
            let mut mounts = mounts.lines().filter_map(|mount| mounted(mount, version));
            let found = mounts.find_map(|(root, point)| {
                let below = Path::new(path).strip_prefix(root).ok()?;
                Some((below.to_owned(), PathBuf::from(point)))
            });
            if let Some((below, point)) = found {
                let each = below.ancestors();
                all.0.extend(each.map(|path| (version, point.join(path))));
            }
        }
        all
    }

    /// The usage of each cgroup that has a limit and shows how much of it is used.
    pub(super) fn usages(&self) -> Vec<Usage> {
        let usage = |(version, folder): &(Version, PathBuf)| match version {
            Version::One => usage_one(folder),
            Version::Two => usage_two(folder),
        };
        self.0.iter().filter_map(usage).collect()
    }
}

/// The root and the mount point of a line of `mountinfo`, if cgroups of that version and
/// their memory are mounted there.
fn mounted(line: &str, version: Version) -> Option<(&str, &str)> {
    let (place, system) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, point) = (place.next()?, place.next()?);
    let mut system = system.split(' ');
    let fits = match version {
        Version::One => {
            let options = system.clone().nth(2)?;
            system.next() == Some("cgroup") && options.split(',').any(|name| name == "memory")
        }
        Version::Two => system.next() == Some("cgroup2"),
    };
    fits.then_some((root, point))
}

fn usage_one(folder: &Path) -> Option<Usage> {
    let room = number(folder, "memory.kmem.tcp.limit_in_bytes")?;
    let used = number(folder, "memory.kmem.tcp.usage_in_bytes")?;
    (room < UNLIMITED).then_some(Usage {
        which: MemoryLimit::CgroupTcp,
        used,
        limit: room / PART,
    })
}

fn usage_two(folder: &Path) -> Option<Usage> {
    // "max" is no number.
    let max = number(folder, "memory.max")?;
    let current = number(folder, "memory.current")?;
    let stat = fs::read_to_string(folder.join("memory.stat")).ok()?;
    let used = stat_of(&stat, "sock")?;
    let reclaimable: usize = RECLAIMABLE
        .iter()
        .filter_map(|name| stat_of(&stat, name))
        .sum();
    let others = current.saturating_sub(used.saturating_add(reclaimable));
    Some(Usage {
        which: MemoryLimit::Cgroup,
        used,
        limit: max.saturating_sub(others) / PART,
    })
}

/// The only number of a file.
fn number(folder: &Path, file: &str) -> Option<usize> {
    let text = fs::read_to_string(folder.join(file)).ok()?;
    text.trim().parse().ok()
}

/// A number in the text of `memory.stat`.
fn stat_of(stat: &str, name: &str) -> Option<usize> {
    let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
    let (_, value) = lines.find(|(word, _)| *word == name)?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// A folder with these files in it.
    fn make(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    /// The cgroups of a process in `/a/b`, mounted at a folder.
    fn mounted_at(folder: &Path, memberships: &str, system: &str) -> Cgroups {
        let mounts = format!(
            "31 23 0:28 / /proc rw - proc proc rw\n\
             32 31 0:29 / {} rw,relatime shared:4 - {system}\n",
            folder.display()
        );
        Cgroups::find(memberships, &mounts)
    }

    #[test]
    fn what_other_memory_leaves_of_each_cgroups_limit_is_the_sockets_room() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        make(root, &[("memory.stat", "sock 1\n")]);
        let stat = "anon 10485760\nfile 50\nsock 41943040\nactive_file 8388608\n\
             inactive_file 4194304\nslab_reclaimable 1048576\nsocks 7\n";
        let above = [
            ("memory.max", "134217728\n"),
            // 40 MiB of sockets, 13 MiB that can be taken back, and 28 MiB.
            ("memory.current", "84934656\n"),
            ("memory.stat", stat),
        ];
        make(&root.join("a"), &above);
        let own = [("memory.max", "max\n"), ("memory.current", "5\n")];
        make(&root.join("a/b"), &own);
        let cgroups = mounted_at(root, "0::/a/b\n", "cgroup2 cgroup2 rw");
        let usage = |used, limit| Usage {
            which: MemoryLimit::Cgroup,
            used,
            limit,
        };
        assert_eq!(cgroups.usages(), [usage(40 * MIB, 50 * MIB)]);
        make(
            &root.join("a/b"),
            &[
                ("memory.max", "1048576\n"),
                ("memory.current", "4194304"),
                ("memory.stat", "anon 2097152\nsock 2097152\n"),
            ],
        );
        let full = usage(2 * MIB, 0);
        assert_eq!(cgroups.usages(), [full, usage(40 * MIB, 50 * MIB)]);
    }

    #[test]
    fn version_one_limits_the_memory_of_tcp_alone() {
        let folder = tempfile::tempdir().unwrap();
        let files = |limit: &'static str| {
            [
                ("memory.kmem.tcp.limit_in_bytes", limit),
                ("memory.kmem.tcp.usage_in_bytes", "3145728\n"),
                ("memory.limit_in_bytes", "1048576\n"),
            ]
        };
        make(&folder.path().join("a/b"), &files("8388608\n"));
        make(&folder.path().join("a"), &files("9223372036854771712\n"));
        let memberships = "5:cpu,cpuacct:/x\n4:hugetlb,memory:/a/b\n0::/\n";
        let system = "cgroup cgroup rw,hugetlb,memory";
        let cgroups = mounted_at(folder.path(), memberships, system);
        let usage = Usage {
            which: MemoryLimit::CgroupTcp,
            used: 3 * MIB,
            limit: 4 * MIB,
        };
        assert_eq!(cgroups.usages(), [usage]);
    }

    #[test]
    fn a_container_sees_the_part_of_the_tree_that_is_mounted() {
        let mounts = "40 31 0:40 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw,nsdelegate\n";
        let folders = |path: &str| {
            let found = Cgroups::find(&format!("0::{path}\n"), mounts);
            let each = found.0.into_iter();
            Vec::from_iter(each.map(|(_, path)| path.display().to_string()))
        };
        assert_eq!(folders("/docker/x"), ["/sys/fs/cgroup/"]);
        assert_eq!(
            folders("/docker/x/y"),
            ["/sys/fs/cgroup/y", "/sys/fs/cgroup/"]
        );
        assert!(folders("/docker/xy").is_empty(), "it is not mounted");
        assert!(folders("/../y").is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_no_limit() {
        for (memberships, mounts) in [
            ("", ""),
            ("0::/a\n", "nonsense\n- -\n1 2 3 4\n"),
            ("x\n1:memory\n", "1 2 3:4 / /nowhere rw - cgroup2 a b\n"),
        ] {
            assert_eq!(Cgroups::find(memberships, mounts), Cgroups::default());
        }
        let folder = tempfile::tempdir().unwrap();
        let cgroups = mounted_at(folder.path(), "0::/a\n", "cgroup2 cgroup2 rw");
        assert_eq!(cgroups.0.len(), 2);
        assert_eq!(cgroups.usages(), []);
        make(&folder.path().join("a"), &[("memory.max", "7\n")]);
        assert_eq!(cgroups.usages(), []);
    }
}
