//! Many connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::unbounded;

use super::clause::Clause;
use super::ended::Ended;
use super::line::Line;
use super::parallel::{FEW, each, in_threads, place, together};
use super::probe::Probe;
use super::protocol::{receive_reply, round_trip, send_request};
use crate::base::open_files::open_files;
use crate::base::units::{duration, whole};
use crate::proto::Protocol;

pub(super) const CONNECTIONS: Clause = Clause {
    name: "connections",
    proves: "--connections of them are open at once and each is served: choose more than a pool \
             has workers",
    usually: "a worker serves one connection until it ends, or a limit on connections is reached: \
              the next ones wait, or are refused",
    rfc: "RFC 862, RFC 9293 section 3.3.1",
    run: connections,
};

pub(super) const STORM: Clause = Clause {
    name: "connect-storm",
    proves: "four times --connections of them, all begun before the first is awaited, are made \
             at once and served",
    usually: "the listen queue is short and overflows, so that a SYN is dropped and sent again \
              after a second; or the rate of connections is limited, or the path loses several \
              packets in a hundred",
    rfc: "RFC 9293 section 3.10.7.2, RFC 6298 section 2",
    run: storm,
};

/// A storm has so many connections for each one that is open at once elsewhere, as
/// far as there are descriptors beside so many for all else.
const STORM_FACTOR: usize = 4;
const OTHER_FILES: usize = 64;

/// Threads that talk on what has been made of a storm.
const TALKERS: usize = 256;

/// Late connections are no fault of the server's as long as they are so few, or one of
/// so many: a path that loses one packet in a hundred loses the SYN or its answer of one
/// connection in fifty. What is near that is tried twice.
const LOST: usize = 2;
const LOST_OF: usize = 25;
const STORMS: u32 = 2;

/// A connection that took so much longer than the fastest one had to send its SYN
/// again: systems wait a second for that, less what timers are off by.
const SYN_AGAIN: Duration = Duration::from_millis(900);

fn connections(probe: &Probe<'_>) -> Result<String, Ended> {
    let number = probe.plan().connections;
    let lines = in_threads(number, FEW, || {
        let line = probe.open().map_err(Ended::by_clause)?;
        if probe.plan().protocol == Protocol::Echo {
            // In the other protocols it would be over then.
            round_trip(&line)?;
        }
        Ok(line)
    })?;
    // The last one alone: a worker that waits for another does not come to it.
    let last = number - 1;
    let talked = round_trip(&lines[last]);
    talked.map_err(|ended| ended.at(&place(last, number)))?;
    each(&lines[..last], number, send_request)?;
    each(&lines[..last], number, receive_reply)?;
    lines.into_iter().try_for_each(Line::finish)?;
    let number = whole(number as u64);
    Ok(format!("{number} at once, each was served"))
}

fn storm(probe: &Probe<'_>) -> Result<String, Ended> {
    // Of several addresses, it comes to the one that answers.
    probe.open()?.finish()?;
    let most = open_files().saturating_sub(OTHER_FILES).max(1);
    let number = (probe.plan().connections * STORM_FACTOR).min(most);
    let all = whole(number as u64);
    let mut seen = Vec::new();
    for _ in 0..STORMS {
        let mut times = blow(probe, number)?;
        times.sort();
        let late = times.partition_point(|time| *time < times[0] + SYN_AGAIN);
        let (late, slowest) = (number - late, duration(times[number - 1]));
        if late <= (number / LOST_OF).max(LOST) {
            let lost = match late {
                0 => String::new(),
                _ => format!(", {} a second late as by a lost packet", whole(late as u64)),
            };
            return Ok(format!(
                "{all} connections begun at once, the slowest was made in {slowest}{lost}"
            ));
        }
        seen.push(format!("{} (the slowest {slowest})", whole(late as u64)));
    }
    Err(Ended::failed(format!(
        "{} of {all} connections begun at once took a second longer than the fastest",
        seen.join(" and then ")
    )))
}

/// Begins so many connections at once; each has one message, and leaves as soon as it
/// has its echo, should there be a limit. Returns how long each took to be made.
fn blow(probe: &Probe<'_>, number: usize) -> Result<Vec<Duration>, Ended> {
    let (made, next) = unbounded();
    let has_failed = AtomicBool::new(false);
    let talk = || {
        let mut times = Vec::new();
        for (stream, took) in &next {
            if has_failed.load(Ordering::SeqCst) {
                break;
            }
            let talked = probe.line(stream, took).and_then(|line| {
                round_trip(&line)?;
                line.finish()
            });
            talked.map_err(|ended| {
                has_failed.store(true, Ordering::SeqCst);
                ended.at(&format!("one of {} connections", whole(number as u64)))
            })?;
            times.push(took);
        }
        Ok(times)
    };
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().spawn_scoped(scope, talk).ok();
        let others: Vec<_> = (0..TALKERS.min(number)).map_while(start).collect();
        let rushed = probe.rush(number, &mut |stream, took| {
            let _ = made.send((stream, took));
        });
        drop(made);
        // Should the system have no more threads.
        let done = together(talk(), others);
        rushed.map_err(Ended::by_clause)?;
        done
    })
}
