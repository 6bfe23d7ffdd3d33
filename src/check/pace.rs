//! A client that reads or writes more slowly than the path carries.

use std::time::Duration;

use super::clause::{Clause, Load};
use super::connection::{Filled, MESSAGE};
use super::not_passed::NotPassed;
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
    load: Load::Waits(1),
    run: slow_writer,
};

/// The most that is sent unread, in bytes: more than any bounded buffer holds.
const MOST: u64 = 64 << 20;

/// The small reads of the slow reader, their bytes, and the pause before each.
const READS: u32 = 50;
const READ_SIZE: u64 = 4096;
const READ_PAUSE: Duration = Duration::from_millis(4);

/// The small writes of the slow writer, their bytes, and the pause before each.
const WRITES: u64 = 12;
const WRITE_SIZE: u64 = 3;
const WRITE_PAUSE: Duration = Duration::from_millis(25);

fn slow_reader(target: &Target<'_>) -> Result<String, NotPassed> {
    let connection = target.open_to_fill()?;
    let (sent, bound) = match connection.send_until_full(MOST, target.fill_time())? {
        Filled::Full(sent) => (sent, ""),
        Filled::Most => (MOST, " without bound"),
        Filled::NotYet(sent) => return Err(target.not_full(sent)),
    };
    let mut left = sent;
    for _ in 0..READS {
        target.context.pause(READ_PAUSE)?;
        let size = READ_SIZE.min(left);
        connection.receive(size)?;
        left -= size;
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
    for _ in 0..WRITES {
        // Each waits for the echo of the one before, which is a pause, too.
        let echo = target.context.round_trip();
        target.context.pause(WRITE_PAUSE.saturating_sub(echo))?;
        connection.send(WRITE_SIZE)?;
        connection.receive(WRITE_SIZE)?;
    }
    connection.finish()?;
    let pause = duration(WRITE_PAUSE.max(target.context.round_trip()));
    Ok(format!(
        "{WRITES} times {WRITE_SIZE} bytes, {pause} apart, came back bit by bit"
    ))
}
