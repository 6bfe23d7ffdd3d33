//! The machine: kernel, CPU, open files and the date.

use std::fs;
use std::time::SystemTime;

use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;

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
    /// TCP's congestion control of the servers and the load.
    pub congestion_control: String,
}

impl Machine {
    /// This one, with `cpus` to be used, and this congestion control.
    #[must_use]
    pub fn here(cpus: usize, congestion_control: &str) -> Self {
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
            congestion_control: congestion_control.to_owned(),
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
            congestion_control: String::from("reno"),
        };
        assert_eq!(
            machine.stem("2026-01-31"),
            "2026-01-31-6.12.1-arch-x-Some-R-CPU-2.00GHz"
        );
    }

    #[test]
    fn a_date_has_ten_characters() {
        assert_eq!(date().len(), 10);
    }
}
