//! The CPU time that server, load and machine used during one measurement.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::server::running::Running;
use crate::system::process;

/// How long a server has to fall asleep, which brings its clocks up to date.
const SETTLE: Duration = Duration::from_millis(2);

/// Clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    at: Instant,
    load: Duration,
    machine: Duration,
    server: Duration,
}

impl Reading {
    /// Reads the clocks of a server that has nothing to do, so that they are exact.
    #[must_use]
    pub fn at_rest(server: &Running) -> Self {
        let reading = Self::now(server);
        thread::sleep(SETTLE);
        Self {
            server: server.cpu_time(),
            ..reading
        }
    }

    /// Reads the clocks of a server that may be at work. Then the kernel has not
    /// counted its last milliseconds yet.
    #[must_use]
    pub fn now(server: &Running) -> Self {
        Self {
            at: Instant::now(),
            load: cpu_time(ClockId::ProcessCPUTime),
            machine: process::machine_time(),
            server: server.cpu_time(),
        }
    }

    /// What was used from this reading to a later one.
    #[must_use]
    pub fn usage_until(&self, after: &Self) -> Usage {
        Usage {
            time: after.at - self.at,
            server: after.server.saturating_sub(self.server),
            load: after.load.saturating_sub(self.load),
            machine: after.machine.saturating_sub(self.machine),
        }
    }
}

/// The CPU time of the calling thread.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    cpu_time(ClockId::ThreadCPUTime)
}

fn cpu_time(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// CPU time that was used between two readings.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// From the one to the other.
    pub time: Duration,
    /// The server's CPU time, with its children.
    pub server: Duration,
    /// The CPU time of all threads of the load.
    pub load: Duration,
    /// That of all processes of the machine.
    pub machine: Duration,
}

impl Usage {
    /// From the first to the second of two readings.
    ///
    /// # Errors
    /// There are not two.
    pub fn between(readings: &[Reading]) -> io::Result<Self> {
        match readings {
            [before, after] => Ok(before.usage_until(after)),
            _ => Err(io::Error::other("the load did not rest before and after")),
        }
    }

    /// The part of CPU time in the time, of one CPU.
    #[must_use]
    pub fn share(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() / self.time.as_secs_f64()
    }

    /// What neither server nor load used.
    #[must_use]
    pub fn other(&self) -> Duration {
        self.machine.saturating_sub(self.server + self.load)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_one_cpu() {
        let [second, half] = [1000, 500].map(Duration::from_millis);
        let usage = Usage {
            time: second,
            server: second + half,
            load: half,
            machine: second * 3,
        };
        assert!((usage.share(usage.server) - 1.5).abs() < 1e-9);
        assert_eq!(usage.other(), second);
    }

    #[test]
    fn a_thread_that_works_uses_cpu_time() {
        let before = thread_cpu_time();
        while thread_cpu_time() == before {
            std::hint::spin_loop();
        }
    }
}
