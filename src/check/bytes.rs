//! Bytes of every value.

use super::clause::Clause;
use super::ended::Ended;
use super::probe::Probe;
use crate::base::units::whole;

pub(super) const BYTES: Clause = Clause {
    name: "bytes",
    proves: "every byte value comes back, and behind every other: no pair means anything",
    usually: "something takes the stream for text: it changes ends of lines, telnet's 0xff, \
              XON and XOFF, or stops at a NUL",
    rfc: "RFC 862",
    run: bytes,
};

/// A message, in bytes: it fits the buffers of any path.
const PART: usize = 16 * 1024;

fn bytes(probe: &Probe<'_>) -> Result<String, Ended> {
    let line = probe.open()?;
    let pairs = pairs();
    for part in pairs.chunks(PART) {
        line.send_these(part)?;
        line.receive_these(part)?;
    }
    line.finish()?;
    let length = whole(pairs.len() as u64);
    Ok(format!(
        "all 65,536 pairs of byte values came back, {length} bytes"
    ))
}

/// Every value behind every value.
fn pairs() -> Vec<u8> {
    let values = || 0..=u8::MAX;
    let pairs = values().flat_map(|first| values().map(move |second| [first, second]));
    pairs.flatten().collect()
}
