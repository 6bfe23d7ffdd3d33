//! Urgent data.

use std::time::Duration;

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
    let within = target.budget(4);
    let mut all = [0; AROUND.len()];
    for (around, all) in AROUND.into_iter().zip(&mut all) {
        *all += connection.exchange_within(around, within, Duration::ZERO)?;
        connection.send_urgent()?;
        *all += connection.exchange_within(around, within, Duration::ZERO)?;
    }
    connection.finish()?;
    let shortened = target.shortened(all[1], 2 * AROUND[1]);
    let [message, stream] = all.map(whole);
    Ok(format!(
        "an urgent byte came back in its place, among {message} bytes and among {stream}{shortened}"
    ))
}
