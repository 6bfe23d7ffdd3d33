//! A connection that is reset beside others.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::clause::{Clause, Load};
use super::connection::{Connection, MESSAGE};
use super::not_passed::NotPassed;
use super::parallel::{for_each, join_all, open_together, together};
use super::protocol::{receive_reply, round_trip, send_request};
use super::room;
use super::target::Target;
use crate::proto::Protocol;

pub(super) const RESET: Clause = Clause {
    name: "reset",
    proves: "a connection that we reset in mid-stream harms no other, and the next one is served",
    usually: "the server ends, or a worker, on an error of one connection; or a buffer or a pipe \
              with one client's bytes in it is given to the next",
    rfc: "RFC 9293 section 3.5.3",
    load: Load::Alone,
    run: reset,
};

/// Connections that are reset, as many at once as are served with those beside them.
const RESETS: usize = 8;

/// Connections that stay open beside each.
const OTHERS: usize = 3;

/// What a connection has sent unread when it is reset, in bytes: a random number below
/// `PARTIAL`. One of every `FULL_EVERY` sends up to `FULL`, more than the path buffers, so
/// that the server holds bytes that it can't send.
const PARTIAL: u64 = 1 << 20;
const FULL: u64 = 64 << 20;
const FULL_EVERY: usize = 4;

/// What the other connections exchange in one piece, in bytes, and how late it is read.
/// Large pieces make a server use its path for streams, whose buffers may be shared.
const STREAM: u64 = 1 << 20;
const READ_DELAY: Duration = Duration::from_millis(10);

/// The least that one sends as a stream on a path that carries little, in bytes: more than a
/// server takes for a message, unless all that are open at once would wait long behind each
/// other.
const LEAST: u64 = 16 * 1024;

/// About how many round trips each takes.
const ROUND_TRIPS: u32 = 12;

/// The least time a server has to fail after a reset, which is its own and not the path's; a
/// round trip, if that is longer.
const REACTION: Duration = Duration::from_millis(10);

/// How long a connection that is to be reset may take until the path is full, in round trips.
const FILL_ROUND_TRIPS: u32 = 4;

fn reset(target: &Target<'_>) -> Result<String, NotPassed> {
    let mut random = fastrand::Rng::with_seed(target.plan().seed);
    let sizes = (1..=RESETS).map(|number| match number % FULL_EVERY {
        1 => FULL,
        _ => random.u64(1..PARTIAL),
    });
    let sizes: Vec<_> = sizes
        .map(|size: u64| size.min(most(target, FULL)))
        .collect();
    // One after another takes long where round trips do.
    let one_by_one = target.context.round_trip() * ROUND_TRIPS * RESETS as u32;
    let is_long = target.budget(1).is_some_and(|budget| one_by_one > budget);
    let together = match is_long || target.shared.is_lossy() {
        true => (target.shared.width() / (OTHERS + 2)).clamp(1, sizes.len()),
        false => 1,
    };
    let next = AtomicUsize::new(0);
    // Without a place among connections: there are several in each.
    let reset_some = || {
        loop {
            let at = next.fetch_add(1, Ordering::SeqCst);
            let Some(size) = sizes.get(at) else { break };
            if let Err(why) = reset_one(target, at + 1, *size) {
                next.store(sizes.len(), Ordering::SeqCst);
                return Err(why.with_cause_of_clause());
            }
        }
        Ok(Vec::<()>::new())
    };
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().spawn_scoped(scope, reset_some).ok();
        let others: Vec<_> = (1..together).map_while(start).collect();
        join_all(reset_some(), others)
    })?;
    Ok(format!(
        "{RESETS} connections were reset; {OTHERS} beside each and one after it lost nothing, \
         and got nothing of others"
    ))
}

/// Resets one connection while others have messages in flight, and opens one after it.
fn reset_one(target: &Target<'_>, number: usize, size: u64) -> Result<(), NotPassed> {
    let is_echo = target.plan().protocol == Protocol::Echo;
    let round_trip = target.context.round_trip();
    let mut others = open_together(target, OTHERS + 1)?;
    let Some(connection) = others.pop() else {
        return Ok(());
    };
    if is_echo {
        for_each(&others, 0, OTHERS, send_request)?;
    }
    let fill_time = round_trip * FILL_ROUND_TRIPS;
    let within = target.budget(4).map(|budget| budget.max(fill_time));
    match connection.send_until_full(size, within) {
        // A counted server may end a connection that sends too much. A server that does
        // not read fails slow-reader, not this clause.
        Ok(_) | Err(NotPassed::Failed { .. }) => {}
        Err(other) => return Err(other),
    }
    // Dropped unfinished, it is reset.
    drop(connection);
    target.context.pause(REACTION.max(round_trip))?;
    thread::scope(|scope| {
        let next = || {
            let connection = target.open()?;
            exchange(target, &connection)?;
            connection.finish()
        };
        let next = thread::Builder::new()
            .spawn_scoped(scope, next)
            .map_err(|_| next());
        let beside = together(&others, |at, connection| {
            let received = match is_echo {
                true => receive_reply(connection),
                false => Ok(()),
            };
            let exchanged = received.and_then(|()| exchange(target, connection));
            exchanged.map_err(|why| why.at_connection(at, OTHERS))
        });
        let next = match next {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(done) => done,
        };
        beside.map_err(|why| why.at(&format!("beside reset {number}")))?;
        next.map_err(|why| why.at(&format!("after reset {number}")))
    })?;
    others.into_iter().try_for_each(Connection::finish)
}

/// As many of so many bytes as one connection of this clause may have, for all to come back
/// within twice the budget.
fn most(target: &Target<'_>, bytes: u64) -> u64 {
    let all = RESETS as u64 * (OTHERS as u64 + 2);
    let least = (target.shared.room() / (OTHERS as u64 + 1)).clamp(MESSAGE, LEAST);
    let rate = target.shared.rate().or(room::carries(target));
    let carried = rate.zip(target.budget(1));
    let most = carried.map(|(rate, budget)| (rate as f64 * budget.as_secs_f64()) as u64 / all);
    most.map_or(bytes, |most| bytes.min(most.max(least)))
}

/// A round trip and, in the echo protocol, a stream after it.
fn exchange(target: &Target<'_>, connection: &Connection<'_>) -> Result<(), NotPassed> {
    round_trip(connection)?;
    if connection.protocol() == Protocol::Echo {
        connection.exchange_within(most(target, STREAM), target.budget(8), READ_DELAY)?;
    }
    Ok(())
}
