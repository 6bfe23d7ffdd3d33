//! Half-closes: the client closes its sending side first.

use std::time::Duration;

use super::clause::{Clause, Load};
use super::connection::{Connection, MESSAGE};
use super::not_passed::NotPassed;
use super::parallel::{open_together, together};
use super::target::Target;
use crate::base::units::whole;

pub(super) const EARLY: Clause = Clause {
    name: "half-close-early",
    proves: "what was sent before a half-close comes back behind it, and then the end",
    usually: "the server or a proxy stops at the end of its input and drops what it has not \
              sent yet",
    rfc: "RFC 9293 section 3.6.1, RFC 1122 section 4.2.2.13",
    load: Load::Streams,
    run: early,
};

pub(super) const LATE: Clause = Clause {
    name: "half-close-late",
    proves: "a half-close after the echo is answered with the end, and nothing else",
    usually: "a proxy does not pass the half-close on, or the server keeps connections that are \
              over",
    rfc: "RFC 9293 section 3.6",
    load: Load::waits(1),
    run: late,
};

pub(super) const EMPTY: Clause = Clause {
    name: "half-close-empty",
    proves: "a half-close with nothing sent is answered with the end",
    usually: "a proxy calls the server only when the first byte comes, or the server takes an \
              empty connection for an error",
    rfc: "RFC 9293 section 3.6",
    load: Load::waits(1),
    run: empty,
};

/// A few bytes are echoed in one write or lost as a whole. In some servers the echo races
/// with the close, so this is repeated.
const FEW: u64 = 10;
const TRIES: usize = 10;

/// More bytes than one read returns, received late: most are still in flight when the
/// half-close arrives. So late that the path has filled its buffers meanwhile, as it was seen
/// to carry them: some round trips, and this part of the budget at the most.
const MANY: u64 = 4 << 20;
const READ_ROUND_TRIPS: u32 = 2;
const READ_PART: u32 = 20;

fn early(target: &Target<'_>) -> Result<String, NotPassed> {
    let mut left = TRIES;
    while left > 0 {
        let number = left.min(target.shared.width());
        let connections = open_together(target, number)?;
        together(&connections, |_, connection| {
            connection.send(FEW)?;
            connection.half_close()?;
            connection.receive(FEW)?;
            connection.expect_end()
        })?;
        connections.into_iter().try_for_each(Connection::finish)?;
        left -= number;
    }
    let connection = target.open()?;
    let delay = read_delay(target);
    let sent = connection.exchange_to_end(MANY, target.budget(2), delay)?;
    connection.finish()?;
    let (many, shortened) = (whole(sent), target.shortened(sent, MANY));
    Ok(format!(
        "{TRIES} times {FEW} bytes and once {many} came back, each time with the end behind\
         {shortened}"
    ))
}

/// How long the bytes that come back are not received.
fn read_delay(target: &Target<'_>) -> Duration {
    let round_trips = target.context.round_trip() * READ_ROUND_TRIPS;
    let most = target.plan().budget.unwrap_or(target.plan().timeout) / READ_PART;
    let of_rate = |rate: u64| Duration::from_secs_f64(MANY as f64 / rate as f64);
    let carried = target.shared.rate().map_or(most, of_rate);
    round_trips.max(carried.min(most))
}

fn late(target: &Target<'_>) -> Result<String, NotPassed> {
    let connection = target.open()?;
    connection.send(MESSAGE)?;
    connection.receive(MESSAGE)?;
    connection.half_close()?;
    connection.expect_end()?;
    connection.finish()?;
    Ok(format!("the end came behind {} bytes", whole(MESSAGE)))
}

fn empty(target: &Target<'_>) -> Result<String, NotPassed> {
    let connection = target.open()?;
    connection.half_close()?;
    connection.expect_end()?;
    connection.finish()?;
    Ok(String::from("the end came, and no byte before it"))
}
