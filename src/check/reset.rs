//! A connection that is reset beside others.

use std::time::Duration;

use super::clause::{Clause, Load};
use super::connection::Connection;
use super::not_passed::NotPassed;
use super::parallel::for_each;
use super::protocol::{receive_reply, round_trip, send_request};
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

/// Connections that are reset, one after another.
const RESETS: u64 = 8;

/// Connections that stay open beside each.
const OTHERS: usize = 3;

/// What a connection has sent unread when it is reset, in bytes: a random number below
/// `PARTIAL`. One of every `FULL_EVERY` sends up to `FULL`, more than the path buffers, so
/// that the server holds bytes that it can't send.
const PARTIAL: u64 = 1 << 20;
const FULL: u64 = 64 << 20;
const FULL_EVERY: u64 = 4;

/// What the other connections exchange in one piece, in bytes, and how late it is read.
/// Large pieces make a server use its path for streams, whose buffers may be shared.
const STREAM: u64 = 1 << 20;
const READ_DELAY: Duration = Duration::from_millis(10);

/// The time a server has to fail after a reset.
const REACTION: Duration = Duration::from_millis(10);

fn reset(target: &Target<'_>) -> Result<String, NotPassed> {
    let mut random = fastrand::Rng::with_seed(target.plan().seed);
    for number in 1..=RESETS {
        let most = match number % FULL_EVERY {
            1 => FULL,
            _ => random.u64(1..PARTIAL),
        };
        let beside = reset_one(target, most).map_err(NotPassed::with_cause_of_clause);
        beside.map_err(|why| why.at(&format!("beside reset {number}")))?;
        let next = target.open().map_err(NotPassed::with_cause_of_clause);
        let next = next.and_then(|connection| {
            exchange(&connection)?;
            connection.finish()
        });
        next.map_err(|why| why.at(&format!("after reset {number}")))?;
    }
    Ok(format!(
        "{RESETS} connections were reset; {OTHERS} beside each and one after it lost nothing, \
         and got nothing of others"
    ))
}

/// Resets one connection while others have messages in flight.
fn reset_one(target: &Target<'_>, most: u64) -> Result<(), NotPassed> {
    let is_echo = target.plan().protocol == Protocol::Echo;
    let others: Vec<_> = (0..OTHERS)
        .map(|_| target.open())
        .collect::<Result<_, _>>()?;
    let connection = target.open()?;
    if is_echo {
        for_each(&others, OTHERS, send_request)?;
    }
    match connection.send_until_full(most) {
        // A counted server may end a connection that sends too much. A server that does
        // not read fails slow-reader, not this clause.
        Err(NotPassed::Failed { .. }) => {}
        sent => drop(sent?),
    }
    // Dropped unfinished, it is reset.
    drop(connection);
    target.context.pause(REACTION)?;
    if is_echo {
        for_each(&others, OTHERS, receive_reply)?;
    }
    for_each(&others, OTHERS, exchange)?;
    others.into_iter().try_for_each(Connection::finish)
}

/// A round trip and, in the echo protocol, a stream after it.
fn exchange(connection: &Connection<'_>) -> Result<(), NotPassed> {
    round_trip(connection)?;
    match connection.protocol() {
        Protocol::Echo => connection.exchange_delayed(STREAM, READ_DELAY),
        _ => Ok(()),
    }
}
