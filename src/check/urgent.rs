//! Urgent data.

use super::clause::Clause;
use super::ended::Ended;
use super::line::MESSAGE;
use super::probe::Probe;
use crate::base::units::whole;

pub(super) const URGENT: Clause = Clause {
    name: "urgent",
    proves: "a byte sent as urgent comes back in its place: TCP has no other channel for it",
    usually: "the server or a proxy reads without SO_OOBINLINE, which takes the byte out of the \
              stream",
    rfc: "RFC 6093, RFC 9293 section 3.8.5",
    run: urgent,
};

/// What is sent before and after an urgent byte, in bytes: a message, and a stream.
const AROUND: [u64; 2] = [MESSAGE, 1 << 20];

fn urgent(probe: &Probe<'_>) -> Result<String, Ended> {
    let line = probe.open()?;
    for around in AROUND {
        line.exchange(around, usize::MAX)?;
        line.send_urgent()?;
        line.exchange(around, usize::MAX)?;
    }
    line.finish()?;
    let [message, stream] = AROUND.map(|around| whole(2 * around));
    Ok(format!(
        "an urgent byte came back in its place, among {message} bytes and among {stream}"
    ))
}
