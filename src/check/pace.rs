//! Ends that are slower than the path.

use std::time::Duration;

use super::clause::Clause;
use super::ended::Ended;
use super::line::MESSAGE;
use super::probe::Probe;
use crate::base::units::{duration, whole};

pub(super) const SLOW_READER: Clause = Clause {
    name: "slow-reader",
    proves: "what is not read waits, and nothing is lost once it is",
    usually: "something drops or ends what its peer does not take, instead of reading less of it",
    rfc: "RFC 9293 section 3.8.6",
    run: slow_reader,
};

pub(super) const SLOW_WRITER: Clause = Clause {
    name: "slow-writer",
    proves: "a message sent bit by bit with pauses comes back bit by bit, none held back",
    usually: "something waits for a whole line or a full buffer, or ends connections that pause",
    rfc: "RFC 9293 section 3.9.1, RFC 862",
    run: slow_writer,
};

/// The most that is sent unread, in bytes: beyond any buffer that is bounded.
const MOST: u64 = 64 << 20;

/// The slow part of the reading: so many bytes at a time, with a pause before each.
const SIPS: u32 = 50;
const SIP: u64 = 4096;
const SIP_PAUSE: Duration = Duration::from_millis(4);

/// The bits of the slow writer, their bytes, and the pause before each.
const BITS: u64 = 12;
const BIT: u64 = 3;
const BIT_PAUSE: Duration = Duration::from_millis(25);

fn slow_reader(probe: &Probe<'_>) -> Result<String, Ended> {
    let line = probe.open()?;
    let taken = line.flood(MOST)?;
    let mut left = taken;
    for _ in 0..SIPS {
        probe.context.pause(SIP_PAUSE)?;
        let sip = SIP.min(left);
        line.receive(sip)?;
        left -= sip;
    }
    line.receive(left)?;
    line.send(MESSAGE)?;
    line.receive(MESSAGE)?;
    line.finish()?;
    let bound = match taken < MOST {
        true => "",
        false => " without bound",
    };
    let taken = whole(taken);
    Ok(format!("{taken} bytes waited{bound}, and came back"))
}

fn slow_writer(probe: &Probe<'_>) -> Result<String, Ended> {
    let line = probe.open()?;
    for _ in 0..BITS {
        probe.context.pause(BIT_PAUSE)?;
        line.send(BIT)?;
        line.receive(BIT)?;
    }
    line.finish()?;
    let pause = duration(BIT_PAUSE);
    Ok(format!(
        "{BITS} times {BIT} bytes, {pause} apart, came back bit by bit"
    ))
}
