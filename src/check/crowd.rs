//! Many connections.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::clause::Clause;
use super::ended::Ended;
use super::line::Line;
use super::probe::Probe;
use crate::proto::Protocol;
use crate::units::{duration, whole};

pub(super) const CONNECTIONS: Clause = Clause {
    name: "connections",
    proves: "--connections of them are open at once and each is served, more than a pool has \
             workers",
    usually: "a worker serves one connection until it ends, or a limit on connections is reached: \
              the next ones wait, or are refused",
    rfc: "RFC 862, RFC 9293 section 3.3.1",
    run: connections,
};

pub(super) const STORM: Clause = Clause {
    name: "connect-storm",
    proves: "four times --connections of them that come at once are taken at once and served",
    usually: "the listen queue is short and overflows, so that a SYN is dropped and sent again \
              after a second; or the rate of connections is limited",
    rfc: "RFC 9293 section 3.10.7.2, RFC 6298 section 2",
    run: storm,
};

/// Threads that connect where it is not a storm: less than the shortest listen
/// queues hold, and on a path of 100 ms 64 connections take three seconds.
pub(super) const FEW: usize = 4;

/// A storm has so many connections for each one that is open at once elsewhere,
/// and up to so many at the same moment.
const STORM_FACTOR: usize = 4;
const MANY: usize = 256;

/// A connection that took so much longer than the fastest one had to send its SYN
/// again: systems wait a second for that, less what timers are off by.
const SYN_AGAIN: Duration = Duration::from_millis(900);

fn connections(probe: &Probe<'_>) -> Result<String, Ended> {
    let number = probe.plan.connections;
    let lines = in_threads(number, FEW, || {
        let line = probe.open().map_err(Ended::by_clause)?;
        if probe.plan.protocol == Protocol::Echo {
            // In the other protocols it would be over then.
            line.talk()?;
        }
        Ok(line)
    })?;
    // The last one alone: a worker that waits for another does not come to it.
    let last = number - 1;
    let talked = lines[last].talk();
    talked.map_err(|ended| ended.at(&place(last, number)))?;
    each(&lines[..last], number, Line::say)?;
    each(&lines[..last], number, Line::hear)?;
    lines.into_iter().try_for_each(Line::finish)?;
    let number = whole(number as u64);
    Ok(format!("{number} at once, each was served"))
}

fn storm(probe: &Probe<'_>) -> Result<String, Ended> {
    let number = probe.plan.connections * STORM_FACTOR;
    // Each leaves as soon as it has its echo, should there be a limit.
    let mut times = in_threads(number, MANY, || {
        let line = probe.open().map_err(Ended::by_clause)?;
        line.talk()?;
        let took = line.took;
        line.finish().map(|()| took)
    })?;
    times.sort();
    let (fastest, slowest) = (times[0], times[number - 1]);
    let late = times.iter().filter(|time| **time >= fastest + SYN_AGAIN);
    let (late, slowest) = (late.count() as u64, duration(slowest));
    let number = whole(number as u64);
    match late {
        0 => Ok(format!(
            "{number} connections, the slowest was made in {slowest}"
        )),
        _ => Err(Ended::failed(format!(
            "{} of {number} connections took a second longer than the fastest, the slowest {slowest}",
            whole(late)
        ))),
    }
}

/// Acts so many times, in up to so many threads at once. Returns what came of each,
/// or of the first that failed.
pub(super) fn in_threads<T: Send>(
    number: usize,
    threads: usize,
    act: impl Fn() -> Result<T, Ended> + Sync,
) -> Result<Vec<T>, Ended> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::SeqCst);
            if at >= number {
                return Ok(done);
            }
            done.push(act().map_err(|ended| {
                // The others need not go on.
                next.store(number, Ordering::SeqCst);
                ended.at(&place(at, number))
            })?);
        }
    };
    thread::scope(|scope| {
        // Where the system has no more threads, the work is done by fewer.
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads.min(number)).map_while(start).collect();
        let mut done = work();
        for other in others {
            let more = other.join().unwrap_or_else(|panic| resume_unwind(panic));
            done = done.and_then(|mut done| {
                done.extend(more?);
                Ok(done)
            });
        }
        done
    })
}

/// Does the same on every line, in turn; they are the first of so many.
pub(super) fn each<'a>(
    lines: &[Line<'a>],
    of: usize,
    act: impl Fn(&Line<'a>) -> Result<(), Ended>,
) -> Result<(), Ended> {
    for (at, line) in lines.iter().enumerate() {
        act(line).map_err(|ended| ended.at(&place(at, of)))?;
    }
    Ok(())
}

fn place(at: usize, number: usize) -> String {
    format!(
        "connection {} of {}",
        whole(at as u64 + 1),
        whole(number as u64)
    )
}
