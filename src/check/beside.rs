//! How many connections the server serves beside each other.

use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Connection, MESSAGE};
use super::protocol::round_trip;
use super::room;
use super::target::Target;

/// The most connections that are tried at once.
const MOST: usize = 32;

/// How long they may take: so many round trips, and this part of the time-out, in which a busy
/// server comes to serve them.
const ROUND_TRIPS: u32 = 8;
const PART: u32 = 10;

/// On a path that carries little, no more are tried than those whose messages it carries soon,
/// but as many as clauses have open that run beside all others.
const LEAST: usize = 6;

/// Where some were denied, all are gone after so many round trips and that time.
const GONE_ROUND_TRIPS: u32 = 2;
const GONE: Duration = Duration::from_millis(20);

/// Opens some connections at once and sees how many are served while all are open. Returns
/// how many clauses may have open without waiting for each other.
///
/// Where none is served, clauses fail for another reason, and sooner beside each other.
pub(super) fn width(target: &Target<'_>) -> usize {
    let carried = room::messages_at_once(target).max(LEAST);
    let most = MOST.min(carried).min(target.plan().connections);
    if target.shared.round_trip().is_none()
        && let Ok(first) = target.open()
    {
        // It has told its time; what else it tells is for the clauses.
        let _ = first.finish();
    }
    let Some(time) = target.shared.round_trip() else {
        return most;
    };
    let patience = (time * ROUND_TRIPS).max(target.plan().timeout / PART);
    // Twice: each has its handshake and its headers, too, and the last echo has to come back.
    let patience = patience + room::time(target, 2 * most as u64 * MESSAGE);
    match served(target, most, patience) {
        0 => most,
        all if all == most => most,
        some => {
            // What counts them sees the last acknowledgement of their end.
            let _ = target.context.pause(time * GONE_ROUND_TRIPS + GONE);
            // One that has just ended may still count at the server.
            some.div_ceil(2)
        }
    }
}

/// How many of `number` connections are made and served within `patience` each.
fn served(target: &Target<'_>, number: usize, patience: Duration) -> usize {
    let mut connections = Vec::new();
    // Those that are made count, whatever becomes of the others.
    let _ = target.connect_many(number, patience, &mut |stream, time| {
        let made = target.adopt(stream, time);
        connections.extend(made.map(|made| made.with_timeout(patience)));
    });
    let is_served = |connection: &Connection<'_>| {
        let begun = Instant::now();
        let served = round_trip(connection);
        if served.is_ok() {
            target.shared.saw_echo(begun.elapsed());
        }
        served.is_ok()
    };
    let served: Vec<bool> = thread::scope(|scope| {
        let serve = |connection| {
            let serve = move || is_served(connection);
            thread::Builder::new().spawn_scoped(scope, serve).ok()
        };
        let threads: Vec<_> = connections.iter().map_while(serve).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|served| served.unwrap_or(false)).collect()
    });
    for (connection, is_served) in connections.into_iter().zip(&served) {
        if *is_served {
            let _ = connection.finish();
        }
    }
    served.into_iter().filter(|is_served| *is_served).count()
}
