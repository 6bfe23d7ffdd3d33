//! One measurement of the engine: what was done, and the CPU time that it took.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use echopool::bench::plan::Plan;
use echopool::bench::results::Results;
use rustix::time::{ClockId, clock_gettime};

use super::engine;
use crate::server::running::Running;
use crate::system::process;

/// How long a server has to fall asleep, which brings its clocks up to date.
const SETTLE: Duration = Duration::from_millis(2);

/// What one measurement counted. Before it and after it nothing was on its way,
/// so the CPU time belongs to what was done and to nothing else.
#[derive(Debug)]
pub struct Window {
    /// What the load generator saw.
    pub results: Results,
    /// The time with the drain.
    pub time: Duration,
    /// The server's CPU time within that.
    pub server_cpu: Duration,
    /// The load generator's.
    pub load_cpu: Duration,
    /// That of all processes of the machine.
    pub machine_cpu: Duration,
}

impl Window {
    /// Makes the load against the server.
    ///
    /// # Errors
    /// A connection failed, a byte was wrong, or nothing came back.
    pub fn measure(server: &Running, plan: &Plan) -> io::Result<Self> {
        let mut readings = Vec::new();
        let results = engine::run(server, plan, || readings.push(Reading::take(server)))?;
        let [before, after] = &readings[..] else {
            return Err(io::Error::other("the load did not rest before and after"));
        };
        Ok(Self {
            results,
            time: after.at - before.at,
            server_cpu: after.server.saturating_sub(before.server),
            load_cpu: after.load.saturating_sub(before.load),
            machine_cpu: after.machine.saturating_sub(before.machine),
        })
    }
}

/// Clocks at one moment.
struct Reading {
    at: Instant,
    load: Duration,
    machine: Duration,
    server: Duration,
}

impl Reading {
    fn take(server: &Running) -> Self {
        let (at, machine) = (Instant::now(), process::machine_time());
        let load = clock_gettime(ClockId::ProcessCPUTime);
        thread::sleep(SETTLE);
        Self {
            at,
            load: Duration::try_from(load).unwrap_or_default(),
            machine,
            server: server.cpu_time(),
        }
    }
}
