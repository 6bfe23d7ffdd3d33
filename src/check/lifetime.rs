//! A connection that is busy, a little, for as long as the check takes.

use std::time::Duration;

use super::clause::{Clause, Load};
use super::not_passed::NotPassed;
use super::target::Target;
use crate::base::units::{count, duration};

pub(super) const LIFETIME: Clause = Clause {
    name: "lifetime",
    proves: "a connection that carries a message now and then lives as long as the other clauses \
             take, and no less than 1.5 s",
    usually: "the server, a proxy or a balancer ends each connection at an age, however busy it is",
    rfc: "RFC 9293 section 3.6",
    load: Load::Beside,
    run: lifetime,
};

/// It lives no less than so long, also where the others take less: shorter limits exist on
/// purpose only.
const LEAST: Duration = Duration::from_millis(1500);

/// The size of a message in bytes: hardly anything.
pub(super) const MESSAGE: u64 = 16;

/// The pause before each message, in round trips, and what it takes at the least, so that the
/// processors are free for the other clauses.
const PAUSE_ROUND_TRIPS: u32 = 2;
const PAUSE_LEAST: Duration = Duration::from_millis(20);

fn lifetime(target: &Target<'_>) -> Result<String, NotPassed> {
    let connection = target.open()?.beside_others();
    let mut messages = 0;
    while connection.age() < LEAST || !target.shared.is_rest_over() {
        connection.send(MESSAGE)?;
        connection.receive(MESSAGE)?;
        messages += 1;
        let pause = target.context.round_trip() * PAUSE_ROUND_TRIPS;
        target.context.pause(pause.max(PAUSE_LEAST))?;
    }
    connection.send(MESSAGE)?;
    connection.receive(MESSAGE)?;
    let (age, messages) = (connection.age(), messages + 1);
    connection.finish()?;
    target.shared.note_borne(|borne| {
        (borne.age, borne.messages) = (Some(age), messages);
    });
    let messages = count(messages, "message", "messages");
    Ok(format!("{messages} came back in {}", duration(age)))
}
