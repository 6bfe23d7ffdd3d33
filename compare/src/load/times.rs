//! How long a measurement takes, and how long a server may keep it waiting.

use std::time::Duration;

/// The parts of one measurement.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Not counted, before each measurement.
    pub warm_up: Duration,
    /// Counted.
    pub measure: Duration,
}

impl Times {
    /// How long nothing may come back to one of so many clients before the server
    /// is given up. It is several measurements long, and at least as long as a busy
    /// machine may keep any process waiting. With many threads or processes each
    /// has its turn late.
    #[must_use]
    pub fn timeout(self, clients: usize) -> Duration {
        let turns = Duration::from_secs(clients as u64 / 1_000);
        (self.measure * 5).max(Duration::from_secs(2)) + turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_grows_with_the_measured_time_and_the_clients() {
        let times = |measure| Times {
            warm_up: Duration::ZERO,
            measure,
        };
        let brief = times(Duration::from_millis(50));
        assert_eq!(brief.timeout(999), Duration::from_secs(2));
        let long = times(Duration::from_secs(1));
        assert_eq!(long.timeout(1), Duration::from_secs(5));
        assert_eq!(long.timeout(10_000), Duration::from_secs(15));
    }
}
