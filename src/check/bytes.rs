//! Bytes of every value.

use super::clause::{Clause, Load};
use super::not_passed::NotPassed;
use super::target::Target;
use crate::base::units::whole;

pub(super) const BYTES: Clause = Clause {
    name: "bytes",
    proves: "every byte value comes back, and behind every other: no pair means anything",
    usually: "something takes the stream for text: it changes ends of lines, telnet's 0xff, \
              XON and XOFF, or stops at a NUL",
    rfc: "RFC 862",
    load: Load::sends(PART as u64),
    run: bytes,
};

/// The size of a message in bytes: it fits the buffers of any path.
const PART: usize = 16 * 1024;

fn bytes(target: &Target<'_>) -> Result<String, NotPassed> {
    let connection = target.open()?;
    let pairs = pairs();
    for part in pairs.chunks(PART) {
        connection.send_bytes(part)?;
        connection.receive_bytes(part)?;
    }
    connection.finish()?;
    let length = whole(pairs.len() as u64);
    Ok(format!(
        "all 65,536 pairs of byte values came back, {length} bytes"
    ))
}

/// Every byte value followed by every byte value.
fn pairs() -> Vec<u8> {
    let values = || 0..=u8::MAX;
    let pairs = values().flat_map(|first| values().map(move |second| [first, second]));
    pairs.flatten().collect()
}
