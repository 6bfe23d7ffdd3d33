//! Both directions full at once.

use super::clause::Clause;
use super::ended::Ended;
use super::probe::Probe;
use crate::base::units::whole;

pub(super) const FULL_DUPLEX: Clause = Clause {
    name: "full-duplex",
    proves: "a stream comes back while it is sent, even with every buffer on the way full",
    usually: "the server or a proxy waits to have written before it reads, and the two ends wait \
              for each other",
    rfc: "RFC 862, RFC 9293 section 3.8",
    run: full_duplex,
};

/// What is sent unread at the first, in bytes, unless the path is full before.
const AHEAD: u64 = 16 << 20;

/// What is sent after that, while all comes back.
const STREAM: u64 = 16 << 20;

fn full_duplex(probe: &Probe<'_>) -> Result<String, Ended> {
    let line = probe.open()?;
    // With every buffer full on the way there and back, none gives way by itself.
    let ahead = line.flood(AHEAD)?;
    line.exchange(STREAM, usize::MAX)?;
    line.finish()?;
    let (all, ahead) = (whole(ahead + STREAM), whole(ahead));
    Ok(format!(
        "{all} bytes came back, the first {ahead} of them sent ahead"
    ))
}
