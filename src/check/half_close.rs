//! Our end before the peer's.

use std::time::Duration;

use super::clause::Clause;
use super::ended::Ended;
use super::line::MESSAGE;
use super::probe::Probe;
use crate::base::units::whole;

pub(super) const EARLY: Clause = Clause {
    name: "half-close-early",
    proves: "what was sent before a half-close comes back behind it, and then the end",
    usually: "the server or a proxy stops at the end of its input and drops what it has not \
              sent yet",
    rfc: "RFC 9293 section 3.6.1, RFC 1122 section 4.2.2.13",
    run: early,
};

pub(super) const LATE: Clause = Clause {
    name: "half-close-late",
    proves: "a half-close after the echo is answered with the end, and nothing else",
    usually: "a proxy does not pass the half-close on, or the server keeps connections that are \
              over",
    rfc: "RFC 9293 section 3.6",
    run: late,
};

pub(super) const EMPTY: Clause = Clause {
    name: "half-close-empty",
    proves: "a half-close with nothing sent is answered with the end",
    usually: "a proxy calls the server only when the first byte comes, or the server takes an \
              empty connection for an error",
    rfc: "RFC 9293 section 3.6",
    run: empty,
};

/// So few bytes are answered in one go, or not at all. Whether the end or the
/// bytes win is a race in some servers, so it is run several times.
const FEW: u64 = 10;
const TRIES: u32 = 10;

/// More than one read's worth, in bytes, and read late, so that much of it is
/// still on its way when the half-close has long arrived.
const MANY: u64 = 4 << 20;
const LATENESS: Duration = Duration::from_millis(100);

fn early(probe: &Probe<'_>) -> Result<String, Ended> {
    for _ in 0..TRIES {
        let line = probe.open()?;
        line.send(FEW)?;
        line.half_close()?;
        line.receive(FEW)?;
        line.expect_end()?;
        line.finish()?;
    }
    let line = probe.open()?;
    line.exchange_to_end(MANY, LATENESS)?;
    line.finish()?;
    let many = whole(MANY);
    Ok(format!(
        "{TRIES} times {FEW} bytes and once {many} came back, each time with the end behind"
    ))
}

fn late(probe: &Probe<'_>) -> Result<String, Ended> {
    let line = probe.open()?;
    line.send(MESSAGE)?;
    line.receive(MESSAGE)?;
    line.half_close()?;
    line.expect_end()?;
    line.finish()?;
    Ok(format!("the end came behind {} bytes", whole(MESSAGE)))
}

fn empty(probe: &Probe<'_>) -> Result<String, Ended> {
    let line = probe.open()?;
    line.half_close()?;
    line.expect_end()?;
    line.finish()?;
    Ok(String::from("the end came, and no byte before it"))
}
