//! Urgent data.

use super::clause::{Clause, Load};
use super::connection::MESSAGE;
use super::not_passed::NotPassed;
use super::target::Target;
use crate::base::units::whole;

pub(super) const URGENT: Clause = Clause {
    name: "urgent",
    proves: "a byte sent as urgent comes back in its place: TCP has no other channel for it",
    usually: "the server or a proxy reads without SO_OOBINLINE, which takes the byte out of the \
              stream",
    rfc: "RFC 6093, RFC 9293 section 3.8.5",
    load: Load::Streams,
    run: urgent,
};

/// What is sent before and after the urgent byte, in bytes: a message, then a stream.
const AROUND: [u64; 2] = [MESSAGE, 1 << 20];

fn urgent(target: &Target<'_>) -> Result<String, NotPassed> {
    let connection = target.open()?;
    for around in AROUND {
        connection.exchange(around, usize::MAX)?;
        connection.send_urgent()?;
        connection.exchange(around, usize::MAX)?;
    }
    connection.finish()?;
    let [message, stream] = AROUND.map(|around| whole(2 * around));
    Ok(format!(
        "an urgent byte came back in its place, among {message} bytes and among {stream}"
    ))
}
