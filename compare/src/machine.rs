//! What was measured, and where: versions, commit, kernel and CPU.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;

use crate::roster::Options;

/// The crates that rivals are built on, as locked.
const CRATES: [&str; 4] = ["mio", "monoio", "smol", "tokio"];

/// Programs that may take part, and how they tell their version.
const PROGRAMS: [(&str, &str); 6] = [
    ("rustc", "--version"),
    ("gcc", "--version"),
    ("go", "version"),
    ("ncat", "--version"),
    ("socat", "-V"),
    ("xinetd", "-version"),
];

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Such as `6.12.1`.
    pub kernel: String,
    /// The model's name.
    pub cpu: String,
    /// CPUs that this run may use.
    pub cpus: usize,
    /// The limit on open files, of each process.
    pub open_files: u64,
}

impl Machine {
    /// This one, with `cpus` to be used.
    #[must_use]
    pub fn here(cpus: usize) -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(": "));
        let name = rustix::system::uname();
        Self {
            kernel: name.release().to_string_lossy().into_owned(),
            cpu: model.map_or_else(
                || name.machine().to_string_lossy().into_owned(),
                |(_, name)| name.trim().to_owned(),
            ),
            cpus,
            open_files: raise_open_files(),
        }
    }

    /// The name of results of this machine: `DATE-KERNEL-CPU`.
    #[must_use]
    pub fn stem(&self, date: &str) -> String {
        let name = format!("{date}-{}-{}", self.kernel, self.cpu);
        let words = name.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.');
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        words.join("-")
    }
}

/// Takes as many open files as the hard limit allows. Returns their number.
fn raise_open_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What was there before stays where the kernel refuses.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Today in UTC, such as `2026-01-31`.
#[must_use]
pub fn date() -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    now.split('T').next().unwrap_or_default().to_owned()
}

/// The commit of the work tree, with `+` where something differs from it.
#[must_use]
pub fn commit() -> String {
    let folder = env!("CARGO_MANIFEST_DIR");
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        let output = command.args(["-C", folder]).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return String::from("unknown");
    };
    let tracked = ["status", "--porcelain", "--untracked-files=no"];
    match git(&tracked).is_none_or(|changes| changes.is_empty()) {
        true => commit,
        false => format!("{commit}+"),
    }
}

/// The versions of what takes part, by name.
#[must_use]
pub fn versions(options: &Options) -> BTreeMap<String, String> {
    let lock = include_str!("../../Cargo.lock");
    let crates = CRATES.map(|name| (name, locked(lock, name)));
    let programs = PROGRAMS.map(|(name, flag)| (name, first_line(Path::new(name), flag)));
    let echopool = [("echopool", first_line(&options.echopool, "--version"))];
    echopool
        .into_iter()
        .chain(crates)
        .chain(programs)
        .filter_map(|(name, version)| Some((name.to_owned(), version?)))
        .collect()
}

/// The newest version of a crate in a `Cargo.lock`, which lists them in order.
fn locked(lock: &str, name: &str) -> Option<String> {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let rest = &lock[lock.rfind(&entry)? + entry.len()..];
    rest.split('"').next().map(str::to_owned)
}

/// The first line that `program flag` prints that has a digit in it.
fn first_line(program: &Path, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| line.contains(|letter: char| letter.is_ascii_digit()))?;
    Some(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_named_by_date_kernel_and_cpu() {
        let machine = Machine {
            kernel: String::from("6.12.1-arch_x"),
            cpu: String::from("Some(R) CPU @ 2.00GHz"),
            cpus: 2,
            open_files: 1024,
        };
        assert_eq!(
            machine.stem("2026-01-31"),
            "2026-01-31-6.12.1-arch-x-Some-R-CPU-2.00GHz"
        );
    }

    #[test]
    fn the_newest_locked_version_is_told() {
        let lock = "[[package]]\nname = \"mio\"\nversion = \"0.8.1\"\n\n\
                    [[package]]\nname = \"mio\"\nversion = \"1.2.4\"\n";
        assert_eq!(locked(lock, "mio").as_deref(), Some("1.2.4"));
        assert_eq!(locked(lock, "tokio"), None);
    }

    #[test]
    fn a_date_has_ten_characters() {
        assert_eq!(date().len(), 10);
    }
}
