//! Many small segments in flight at once.

use super::clause::{Clause, Load};
use super::not_passed::NotPassed;
use super::target::Target;
use crate::base::units::whole;

pub(super) const TINY_SEGMENTS: Clause = Clause {
    name: "tiny-segments",
    proves: "a burst of 1-byte segments comes back whole and in order",
    usually: "something counts segments where it should count bytes: a pipe or a queue of \
              packets is full, and what comes then is lost or waits for ever",
    rfc: "RFC 9293 section 3.7",
    load: Load::sends(TINY * (HEADERS + 1)),
    run: tiny_segments,
};

pub(super) const PIPELINING: Clause = Clause {
    name: "pipelining",
    proves: "messages sent without waiting for the ones before come back whole and in order",
    usually: "the server takes a read for a message: what came with the first is thrown away",
    rfc: "RFC 9293 section 3.4",
    load: Load::sends(MESSAGES * MESSAGE as u64),
    run: pipelining,
};

/// The number of segments of one byte.
const TINY: u64 = 4096;

/// The bytes of a packet beside its data: the headers of Ethernet, IPv4 and TCP with
/// timestamps.
const HEADERS: u64 = 66;

/// Messages that are sent without waiting, and the bytes of each.
const MESSAGES: u64 = 1000;
const MESSAGE: usize = 100;

fn tiny_segments(target: &Target<'_>) -> Result<String, NotPassed> {
    let connection = target.open()?;
    connection.exchange(TINY, 1)?;
    connection.finish()?;
    Ok(format!("{} writes of 1 byte came back", whole(TINY)))
}

fn pipelining(target: &Target<'_>) -> Result<String, NotPassed> {
    let connection = target.open()?;
    connection.exchange(MESSAGES * MESSAGE as u64, MESSAGE)?;
    connection.finish()?;
    let messages = whole(MESSAGES);
    Ok(format!("{messages} messages of {MESSAGE} bytes came back"))
}
