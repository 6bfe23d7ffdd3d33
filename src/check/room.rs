//! How many bytes may be under way at once on the path without others waiting long behind
//! them.

use std::time::{Duration, Instant};

use super::connection::{Connection, MESSAGE};
use super::not_passed::NotPassed;
use super::observation::End;
use super::target::Target;
use crate::proto::Protocol;

/// What is under way at once takes no longer than this part of the time-out, or a round trip:
/// so long the others wait behind it at the most.
const WAIT_PART: u32 = 10;

/// The bytes that are sent at once to measure the path: first as many as every system sends
/// before it waits for an answer (RFC 6928), then twice as many each time, since a token bucket
/// passes some without a delay. No more than the last, nor longer than this part of the
/// time-out; nor than so many round trips where no bound was seen by then.
const FIRST: u64 = 8 * 1024;
const LAST: u64 = 64 * 1024;
const TIME_PART: u32 = 50;
const UNBOUNDED_ROUND_TRIPS: u32 = 6;

/// How long the first byte and the next ones are waited for, in round trips, and no less than
/// these parts of the time-out.
const ROUND_TRIPS: u32 = 8;
const FIRST_PART: u32 = 10;
const NEXT_PART: u32 = 3;

/// All of it ends soon behind this part of the time that is left for all clauses, and a train
/// of which less comes than must move.
const LEFT_PART: u32 = 4;

/// As many as all clauses that wait have under way together, and some.
const ALL: u64 = 640 * 1024;

/// Where a protocol has no bytes to measure the path with: a message of each of some clauses.
const UNMEASURED: u64 = 12 * MESSAGE;

/// Measures the path with one connection. Nothing bounds what may be under way where it does
/// not answer: then clauses fail for another reason, and sooner beside each other.
pub(super) fn room(target: &Target<'_>) -> u64 {
    if target.plan().protocol != Protocol::Echo {
        return UNMEASURED;
    }
    match rate(target) {
        Ok(rate) => carried(target, rate),
        Err(_) => u64::MAX,
    }
}

/// How long so many bytes take at most on a path that has room for as many as was measured.
pub(super) fn time(target: &Target<'_>, bytes: u64) -> Duration {
    let room = target.shared.room().max(1) as f64;
    wait(target).mul_f64((bytes as f64 / room).min(f64::from(WAIT_PART)))
}

/// The bytes a second that it was measured to carry, if a bound was seen.
pub(super) fn carries(target: &Target<'_>) -> Option<u64> {
    let room = Some(target.shared.room()).filter(|room| *room < u64::MAX);
    room.map(|room| (room as f64 / wait(target).as_secs_f64()) as u64)
}

/// How many connections with a message each may be served at once so that it is no more than
/// that; at least one. In other protocols than echo a message is a few bytes.
pub(super) fn messages_at_once(target: &Target<'_>) -> usize {
    let messages = target.shared.room() / MESSAGE;
    match target.plan().protocol {
        Protocol::Echo => usize::try_from(messages).unwrap_or(usize::MAX).max(1),
        Protocol::Counted | Protocol::Whoami => usize::MAX,
    }
}

/// How long the others may wait.
fn wait(target: &Target<'_>) -> Duration {
    let part = target.plan().timeout / WAIT_PART;
    part.max(target.context.round_trip())
}

/// As many bytes as the path carries meanwhile.
fn carried(target: &Target<'_>, rate: f64) -> u64 {
    (rate * wait(target).as_secs_f64()) as u64
}

/// The bytes a second that come back of those that are sent at once.
fn rate(target: &Target<'_>) -> Result<f64, NotPassed> {
    let plan = target.plan();
    let connection = target.open()?;
    let begun = Instant::now();
    let least = connection.connect_time * ROUND_TRIPS;
    let connection = connection.with_timeout(least.max(plan.timeout / FIRST_PART));
    connection.send(FIRST)?;
    connection.receive(1)?;
    target.shared.saw_echo(begun.elapsed());
    let most = target.shared.left() / LEFT_PART;
    let connection = connection.with_timeout(least.max(plan.timeout / NEXT_PART).min(most));
    let (mut size, mut rate) = (FIRST, rest(&connection, FIRST)?);
    loop {
        if carried(target, rate) < ALL {
            // What was lost and sent again came late, too, and what had to wait for a larger
            // congestion window.
            rate = rate.max(train(target, &connection, size)?);
        }
        if size == LAST || begun.elapsed() >= longest(target, rate) {
            break;
        }
        size *= 2;
        rate = train(target, &connection, size)?;
    }
    // What is still to come on a path that is too slow is for nobody.
    let _ = connection.finish();
    Ok(rate)
}

/// How long longer trains are sent, where the last one came back at that rate.
fn longest(target: &Target<'_>, rate: f64) -> Duration {
    let near = target.plan().timeout / TIME_PART;
    let longest = match carried(target, rate) < ALL {
        true => near,
        false => near.max(target.context.round_trip() * UNBOUNDED_ROUND_TRIPS),
    };
    longest.min(target.shared.left() / LEFT_PART)
}

/// Sends so many bytes at once, and returns how many of them came back a second. What a connection
/// sends first may be answered later than what it sends next, which tells the round trip then.
fn train(target: &Target<'_>, connection: &Connection<'_>, size: u64) -> Result<f64, NotPassed> {
    let begun = Instant::now();
    connection.send(size)?;
    connection.receive(1)?;
    target.shared.saw_echo(begun.elapsed());
    rest(connection, size)
}

/// Receives those of a train behind its first byte.
fn rest(connection: &Connection<'_>, size: u64) -> Result<f64, NotPassed> {
    let (first, before) = (Instant::now(), connection.received());
    match connection.receive(size - 1) {
        Ok(()) => {}
        Err(NotPassed::Failed { observed, .. }) if observed.end == End::Slow => {}
        Err(other) => return Err(other),
    }
    let came = (connection.received() - before) as f64;
    Ok(came / first.elapsed().as_secs_f64().max(1e-9))
}
