//! A client that reads or writes more slowly than the path carries.

use std::time::{Duration, Instant};

use super::clause::{Clause, Load};
use super::connection::{Connection, Filled, MESSAGE};
use super::not_passed::NotPassed;
use super::observation::End;
use super::target::Target;
use crate::base::units::{duration, whole};

pub(super) const SLOW_READER: Clause = Clause {
    name: "slow-reader",
    proves: "what is not read waits, and nothing is lost once it is",
    usually: "something drops or ends what its peer does not take, instead of reading less of it",
    rfc: "RFC 9293 section 3.8.6",
    load: Load::Streams,
    run: slow_reader,
};

pub(super) const SLOW_WRITER: Clause = Clause {
    name: "slow-writer",
    proves: "a message sent bit by bit with pauses comes back bit by bit, none held back",
    usually: "something waits for a whole line or a full buffer, or ends connections that pause",
    rfc: "RFC 9293 section 3.9.1, RFC 862",
    load: Load::waits(1),
    run: slow_writer,
};

/// The most that is sent unread, in bytes: more than any bounded buffer holds.
const MOST: u64 = 64 << 20;

/// The small reads of the slow reader, and their bytes. With the pause before each it reads
/// at this part of the rate that the path was seen to carry; all pauses take no longer than a
/// fourth of the budget.
const READS: u32 = 50;
const READ_SIZE: u64 = 4096;
const READ_PART: f64 = 8.0;

/// An answer that takes so much longer than three round trips was held, or has a long way
/// behind a proxy. It is the server's time and not the path's: more than a busy server takes,
/// and than a delayed acknowledgement (40 ms on Linux). How often what is held must come together with what follows it.
const LATE: Duration = Duration::from_millis(100);
const TOGETHER: u32 = 3;

/// A first answer that takes so much longer than three of the next ones is late: longer than a
/// busy server takes to start a process, or TCP to send again what was lost. How many more
/// connections must show it.
const LATE_FIRST: Duration = Duration::from_millis(400);
const LATE_FIRST_AGAIN: usize = 2;

/// The small writes of the slow writer, and their bytes. Each waits for the echo of the one
/// before, and on a path that is not far for as long again.
pub(super) const WRITES: u64 = 12;
pub(super) const WRITE_SIZE: u64 = 3;

fn slow_reader(target: &Target<'_>) -> Result<String, NotPassed> {
    let connection = target.open_to_fill()?;
    let (sent, bound) = match connection.send_until_full(MOST, target.fill_time())? {
        Filled::Full(sent) => (sent, ""),
        Filled::Most => (MOST, " without bound"),
        Filled::NotYet(sent) => return Err(target.not_full(sent)),
    };
    let (mut left, pause) = (sent, read_pause(target));
    for _ in 0..READS {
        target.context.pause(pause)?;
        let size = READ_SIZE.min(left);
        connection.receive(size)?;
        left -= size;
    }
    if target.is_far() {
        // The rest comes in a window that its round trips don't hold up.
        connection.grow_buffer();
    }
    connection.receive(left)?;
    connection.send(MESSAGE)?;
    connection.receive(MESSAGE)?;
    connection.finish()?;
    let sent = whole(sent);
    Ok(format!("{sent} bytes waited{bound}, and came back"))
}

fn slow_writer(target: &Target<'_>) -> Result<String, NotPassed> {
    let connection = target.open()?;
    let mut times = Vec::new();
    for _ in 0..WRITES {
        if !target.is_far() {
            target.context.pause(target.context.round_trip())?;
        }
        times.push(exchange(&connection)?);
    }
    let first = times.remove(0);
    times.sort();
    let typical = times[times.len() / 2];
    let is_late = typical > LATE + 3 * connection.connect_time;
    if is_late && is_collected(target, &connection, typical)? {
        let late = duration(typical);
        let seen = format!("what comes is held for {late} and comes back together");
        let (late, of) = (times.len(), times.len());
        let by = typical;
        return Err(NotPassed::ended(seen, End::Late { late, of, by }));
    }
    let usual = 3 * (typical + connection.connect_time);
    // A server with one worker comes to the next one then.
    connection.finish()?;
    if let Some(by) = late_first(target, first, usual)? {
        let next = typical;
        let seen = format!(
            "what a new connection sends first is answered after {}, and what it sends next after {}",
            duration(by),
            duration(next)
        );
        return Err(NotPassed::ended(seen, End::LateFirst { by, next }));
    }
    let typical = duration(typical);
    Ok(format!(
        "{WRITES} times {WRITE_SIZE} bytes came back bit by bit, each in {typical}"
    ))
}

/// Sends a small write, and returns how long its echo took.
fn exchange(connection: &Connection<'_>) -> Result<Duration, NotPassed> {
    let begun = Instant::now();
    connection.send(WRITE_SIZE)?;
    connection.receive(WRITE_SIZE)?;
    Ok(begun.elapsed())
}

/// The least time after which the first answer of each connection comes, if it is late: that of
/// this one, and those of others, where an answer `usual`ly takes less. What is late once, as
/// behind others or as it was lost, is not so again.
fn late_first(
    target: &Target<'_>,
    first: Duration,
    usual: Duration,
) -> Result<Option<Duration>, NotPassed> {
    let mut least = first;
    for _ in 0..LATE_FIRST_AGAIN {
        if least < LATE_FIRST + usual {
            return Ok(None);
        }
        let connection = target.open()?;
        let (first, next) = (exchange(&connection)?, exchange(&connection)?);
        if next > usual + LATE {
            return Ok(None);
        }
        least = least.min(first);
        connection.finish()?;
    }
    Ok((least >= LATE_FIRST + usual).then_some(least))
}

/// The pause of the slow reader before each read.
fn read_pause(target: &Target<'_>) -> Duration {
    let most = target.plan().budget.unwrap_or(target.plan().timeout) / (4 * READS);
    let of_rate = |rate: u64| Duration::from_secs_f64(READ_SIZE as f64 * READ_PART / rate as f64);
    let pause = target.shared.rate().map(of_rate);
    pause.unwrap_or(target.context.round_trip()).min(most)
}

/// Whether bytes that are sent while others are awaited come back together with these: a
/// server that is only far behind a proxy answers them later by as much.
fn is_collected(
    target: &Target<'_>,
    connection: &Connection<'_>,
    late: Duration,
) -> Result<bool, NotPassed> {
    for _ in 0..TOGETHER {
        connection.send(WRITE_SIZE)?;
        target.context.pause(late / 2)?;
        connection.send(WRITE_SIZE)?;
        let begun = Instant::now();
        connection.receive(WRITE_SIZE)?;
        let first = begun.elapsed();
        connection.receive(WRITE_SIZE)?;
        let second = begun.elapsed() - first;
        // What was there already was not held.
        if first < late / 4 || second >= late / 8 {
            return Ok(false);
        }
    }
    Ok(true)
}
