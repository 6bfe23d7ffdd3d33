//! The lines of a command that reports what happens: text, or an object of JSON each.

use std::io;
use std::time::Instant;

use serde::Serialize;

use super::error::Error;
use crate::base;
use crate::base::output::write_standard;

/// An event and when it was written, in nanoseconds from the start.
#[derive(Serialize)]
struct Stamped<'a, E> {
    at_ns: u128,
    #[serde(flatten)]
    event: &'a E,
}

/// The line in place of all others where nothing could be sent.
#[derive(Serialize)]
struct Failed {
    at_ns: u128,
    event: &'static str,
    error: String,
}

/// Writes an event as a line of JSON.
pub(super) fn write_json(event: &impl Serialize, started: Instant) -> io::Result<()> {
    let at_ns = started.elapsed().as_nanos();
    write_line(&serde_json::to_string(&Stamped { at_ns, event })?)
}

/// Writes in JSON why nothing could be sent. If that fails, `error` is the one to tell.
pub(super) fn write_failed(error: &Error) {
    let failed = Failed {
        at_ns: 0,
        event: "failed",
        error: error.to_string(),
    };
    let _ = serde_json::to_string(&failed).map(|line| write_line(&line));
}

/// Writes a line that is no event.
pub(super) fn print(line: &str) -> Result<(), Error> {
    write_line(line).map_err(|error| base::error::Error::Output(error).into())
}

pub(super) fn write_line(line: &str) -> io::Result<()> {
    write_standard(format!("{line}\n").as_bytes())
}
