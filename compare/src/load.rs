//! The load: the engine of `echopool bench` in this process, on a CPU of its own.
//!
//! Its threads inherit the CPU of the thread that asks for it. Only pingers
//! beside a firehose have a loop of their own, [`fleet`]: of two runs at once the
//! one's bytes would be in the other's latencies for as long as the scheduler
//! likes, and a loop bounds that.

pub mod client;
pub mod fleet;
pub mod hose;
pub mod poller;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use echopool::bench::plan::{Arrivals, Load, Plan};
use echopool::bench::progress::{Progress, Watch};
use echopool::bench::results::Results;
use echopool::bench::run_quiesced;
use rustix::time::{ClockId, clock_gettime};

use crate::process;
use crate::scenario::Times;
use crate::server::Running;

/// How long a server has to fall asleep, which brings its clocks up to date.
const SETTLE: Duration = Duration::from_millis(2);

/// What so many clients do, with messages of `size` bytes. A server is given up
/// when nothing came back to one of them for [`Times::patience`].
#[must_use]
pub fn plan(server: &Running, load: Load, clients: usize, size: usize, times: Times) -> Plan {
    Plan {
        load,
        connections: clients,
        size_bytes: size..=size,
        depth: 1,
        rate_per_s: None,
        arrivals: Arrivals::Uniform,
        duration: Some(times.measure),
        count: None,
        warmup: times.warm_up,
        threads: 1,
        reconnect: false,
        sources: vec![server.sources()],
        timeout: times.patience(clients),
        seed: 0,
    }
}

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
        let results = run(server, plan, || readings.push(Reading::take(server)))?;
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

/// Makes the load; calls `at_rest` before what is measured and after it.
///
/// # Errors
/// A connection failed, a byte was wrong, or nothing came back.
pub fn run(server: &Running, plan: &Plan, mut at_rest: impl FnMut()) -> io::Result<Results> {
    let stop = Arc::new(AtomicBool::new(false));
    let addresses = [server.address().into()];
    let results = run_quiesced(&addresses, plan, &stop, &mut Nobody, &mut at_rest);
    let results = results.map_err(io::Error::other)?;
    let totals = &results.totals;
    if let Some(example) = results.examples.first() {
        return Err(io::Error::other(example.clone()));
    }
    if totals.echoed_bytes == 0 || totals.echoed_bytes < totals.sent_bytes {
        let (echoed, sent) = (totals.echoed_bytes, totals.sent_bytes);
        let error = format!("of {sent} bytes only {echoed} came back");
        return Err(io::Error::other(error));
    }
    Ok(results)
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

/// Watches nothing.
struct Nobody;

impl Watch for Nobody {
    fn progress(&mut self, _: &Progress<'_>) {}
}
