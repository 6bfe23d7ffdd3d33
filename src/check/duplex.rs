//! Both directions full at once.

use std::time::Duration;

use super::clause::{Clause, Load};
use super::connection::Filled;
use super::not_passed::NotPassed;
use super::target::Target;
use crate::base::units::whole;

pub(super) const FULL_DUPLEX: Clause = Clause {
    name: "full-duplex",
    proves: "a stream comes back while it is sent, even with every buffer on the way full",
    usually: "the server or a proxy waits to have written before it reads, and the two ends wait \
              for each other",
    rfc: "RFC 862, RFC 9293 section 3.8",
    load: Load::Streams,
    run: full_duplex,
};

/// What is sent first without being read, in bytes, unless the path is full before.
const AHEAD: u64 = 16 << 20;

/// What is sent after that while everything is received, in bytes.
const STREAM: u64 = 16 << 20;

fn full_duplex(target: &Target<'_>) -> Result<String, NotPassed> {
    let connection = target.open_to_fill()?;
    // With every buffer full in both directions, no write succeeds unless somebody reads.
    let ahead = match connection.send_until_full(AHEAD, target.fill_time())? {
        Filled::Full(ahead) => ahead,
        Filled::Most => AHEAD,
        Filled::NotYet(sent) => return Err(target.not_full(sent)),
    };
    if target.is_far() {
        connection.grow_buffer();
    }
    let sent = connection.exchange_within(STREAM, target.budget(2), Duration::ZERO)?;
    connection.finish()?;
    let shortened = target.shortened(sent, STREAM);
    let (all, ahead) = (whole(ahead + sent), whole(ahead));
    Ok(format!(
        "{all} bytes came back, the first {ahead} of them sent ahead{shortened}"
    ))
}
