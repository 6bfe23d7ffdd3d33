//! Clauses about many connections: open at once, and started at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::unbounded;

use super::begun::SYN_SENT_AGAIN;
use super::clause::{Clause, Load};
use super::connection::Connection;
use super::not_passed::NotPassed;
use super::observation::End;
use super::parallel::{connect_threads, count_at_once, for_each, join_all, until_one_fails};
use super::protocol::{receive_reply, round_trip, send_request};
use super::room;
use super::target::Target;
use crate::base::open_files::open_files;
use crate::base::units::{count, duration, whole};
use crate::proto::Protocol;

pub(super) const CONNECTIONS: Clause = Clause {
    name: "connections",
    proves: "--connections of them are open at once and each is served: choose more than a pool \
             has workers",
    usually: "a worker serves one connection until it ends, or a limit on connections is reached: \
              the next ones wait, or are refused",
    rfc: "RFC 862, RFC 9293 section 3.3.1",
    load: Load::Alone,
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
    load: Load::Alone,
    run: storm,
};

/// Connections of a storm for each of `--connections`, limited by the descriptors that
/// are left beside [`OTHER_FILES`].
const STORM_FACTOR: usize = 4;
const OTHER_FILES: usize = 64;

/// Connections that begin at once fill a queue on the path: no more than one for so many bytes
/// that it carries a second, which is a tenth of a second of SYNs, and no fewer than the least.
const STORM_RATE: u64 = 1000;
const STORM_LEAST: usize = 64;

/// Connections that are tried at once beside those that were served, where one was not: they tell
/// a limit from what happens to some.
const BEYOND: usize = 24;

/// Threads that exchange messages on the connections of a storm.
const STORM_THREADS: usize = 256;

/// Late connections that are allowed: this many, or one of every [`LATE_ONE_OF`]. A path
/// that loses one packet in a hundred loses the SYN or the SYN-ACK of one connection in
/// fifty. A storm that exceeds this is repeated once.
const LATE_ALLOWED: usize = 2;
const LATE_ONE_OF: usize = 25;
const STORMS: u32 = 2;

fn connections(target: &Target<'_>) -> Result<String, NotPassed> {
    // Another one may be open beside these.
    let all = target.plan().connections;
    let number = all.saturating_sub(target.shared.beside()).max(1);
    let open = || {
        let connection = target.open().map_err(NotPassed::with_cause_of_clause)?;
        if target.plan().protocol == Protocol::Echo {
            // In the other protocols a reply ends the connection.
            round_trip(&connection)?;
        }
        Ok(connection)
    };
    let threads = connect_threads(target, number);
    let (connections, failed) = until_one_fails(number, threads, open);
    if let Some(why) = failed {
        let beyond = |connection: Connection<'_>| round_trip(&connection).is_ok();
        let (tried, more) = count_at_once(BEYOND, || target.open().is_ok_and(beyond));
        // The one that may be open beside these takes a place as well.
        let beside = if connections.is_empty() {
            0
        } else {
            all - number
        };
        let served = connections.len() + beside;
        return Err(why.of_crowd(served, (tried, more)));
    }
    let silence = connections.iter().map(Connection::silent_for).max();
    // The last one alone: a worker that waits for another connection does not serve it.
    let last = number - 1;
    let served = round_trip(&connections[last]);
    served.map_err(|why| why.at_connection(last, number))?;
    // No more at once than the path carries soon.
    let messages = room::messages_at_once(target);
    for (at, some) in connections[..last].chunks(messages).enumerate() {
        for_each(some, at * messages, number, send_request)?;
        for_each(some, at * messages, number, receive_reply)?;
    }
    connections.into_iter().try_for_each(Connection::finish)?;
    target.shared.note_borne(|borne| {
        (borne.connections, borne.silence) = (number, silence);
    });
    let all = whole(all as u64);
    Ok(format!("{all} at once, each was served"))
}

fn storm(target: &Target<'_>) -> Result<String, NotPassed> {
    // Finds which of several addresses answers: the storm goes to that one.
    target.open()?.finish()?;
    let most = open_files().saturating_sub(OTHER_FILES).max(1);
    let rates = [target.shared.rate(), room::carries(target)];
    let carried = rates
        .into_iter()
        .flatten()
        .min()
        .map_or(usize::MAX, |rate| {
            (rate / STORM_RATE).try_into().unwrap_or(usize::MAX)
        });
    let connections = target.plan().connections;
    let wanted = (connections * STORM_FACTOR).min(carried.max(STORM_LEAST));
    if most < wanted.min(STORM_LEAST) {
        let room = count(most as u64, "connection", "connections");
        return Err(NotPassed::Skipped(format!(
            "this machine has room for {room} at once, which is no storm: raise its limits (ulimit -n)"
        )));
    }
    let number = wanted.min(most);
    let all = whole(number as u64);
    let (mut seen, mut last) = (Vec::new(), End::default());
    for _ in 0..STORMS {
        let mut times = connect_all(target, number)?;
        times.sort();
        // Where each SYN is sent again, the fastest took as long.
        let least = times[0].min(target.context.round_trip());
        let late = times.partition_point(|time| *time < least + SYN_SENT_AGAIN);
        let (late, slowest) = (number - late, duration(times[number - 1]));
        let end = || End::Late {
            late,
            of: number,
            by: times[number - 1 - late / 2].saturating_sub(least),
        };
        if late <= (number / LATE_ONE_OF).max(LATE_ALLOWED) {
            target.shared.note_borne(|borne| borne.storm = number);
            let lost = match late {
                0 => String::new(),
                _ => format!(", {} a second late as by a lost packet", whole(late as u64)),
            };
            return Ok(format!(
                "{all} connections begun at once, the slowest was made in {slowest}{lost}"
            ));
        }
        seen.push(format!("{} (the slowest {slowest})", whole(late as u64)));
        last = end();
    }
    let seen = seen.join(" and then ");
    let seen =
        format!("{seen} of {all} connections begun at once took a second longer than a round trip");
    Err(NotPassed::ended(seen, last))
}

/// Starts all connections at once. Each makes one round trip and closes at once, so that
/// a limit on open connections does not matter. Returns how long each took to connect.
fn connect_all(target: &Target<'_>, number: usize) -> Result<Vec<Duration>, NotPassed> {
    let (connected, next) = unbounded();
    let has_failed = AtomicBool::new(false);
    let serve = || {
        let mut times = Vec::new();
        for (stream, time) in &next {
            if has_failed.load(Ordering::SeqCst) {
                break;
            }
            let served = target.adopt(stream, time).and_then(|connection| {
                round_trip(&connection)?;
                connection.finish()
            });
            served.map_err(|why| {
                has_failed.store(true, Ordering::SeqCst);
                why.at(&format!("one of {} connections", whole(number as u64)))
            })?;
            times.push(time);
        }
        Ok(times)
    };
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().spawn_scoped(scope, serve).ok();
        // No more messages at once than the path carries soon.
        let threads = STORM_THREADS.min(number);
        let threads = threads.min(room::messages_at_once(target));
        let others: Vec<_> = (0..threads).map_while(start).collect();
        let result = target.connect_many(number, target.plan().timeout, &mut |stream, time| {
            let _ = connected.send((stream, time));
        });
        drop(connected);
        // This thread serves too: the system may have refused to start others.
        let done = join_all(serve(), others);
        result.map_err(NotPassed::with_cause_of_clause)?;
        done
    })
}
