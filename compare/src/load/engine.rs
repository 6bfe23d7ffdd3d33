//! The engine of `echopool bench` in this process, which compares every byte.
//!
//! Its threads inherit the CPUs of the thread that starts it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use echopool::bench::plan::{Arrivals, Load, Plan};
use echopool::bench::progress::{Progress, Watch};
use echopool::bench::results::Results;
use echopool::bench::run_quiesced;

use super::times::Times;
use crate::server::running::Running;

/// What so many clients do, with messages of `size` bytes. A server is given up
/// when nothing came back to one of them for [`Times::timeout`].
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
        timeout: times.timeout(clients),
        seed: 0,
    }
}

/// Makes the load; calls `at_rest` before what is measured and after it.
///
/// # Errors
/// A connection failed, a byte was wrong, or nothing came back.
pub fn run(server: &Running, plan: &Plan, at_rest: impl FnMut()) -> io::Result<Results> {
    let results = make(server, plan, at_rest)?;
    let totals = &results.totals;
    if totals.echoed_bytes == 0 || totals.echoed_bytes < totals.sent_bytes {
        let (echoed, sent) = (totals.echoed_bytes, totals.sent_bytes);
        let error = format!("given up, of {sent} bytes only {echoed} came back");
        return Err(io::Error::other(error));
    }
    Ok(results)
}

/// The same for datagrams, of which some may be lost, not be sent here, or have to wait.
///
/// # Errors
/// A flow failed, or a byte was wrong, in the warm-up as well.
pub fn make(server: &Running, plan: &Plan, mut at_rest: impl FnMut()) -> io::Result<Results> {
    let stop = Arc::new(AtomicBool::new(false));
    let addresses = [SocketAddr::from(server.address())];
    let results = run_quiesced(addresses, plan, &stop, &mut NoProgress, &mut at_rest);
    let results = results.map_err(io::Error::other)?;
    // Not every example is of an error: what was not sent, or waited, has counts.
    match results.totals.errors.total() + results.warmup_errors.total() {
        0 => Ok(results),
        count => {
            let example = results
                .examples
                .first()
                .map_or("no example", String::as_str);
            let error = format!("{count} went wrong, for instance: {example}");
            Err(io::Error::other(error))
        }
    }
}

/// Watches nothing.
struct NoProgress;

impl Watch for NoProgress {
    fn progress(&mut self, _: &Progress<'_>) {}
}
