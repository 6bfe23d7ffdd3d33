//! Who is refused by ICMP, after some had echoes.

use std::time::Duration;

use crate::check::datagram::findings::Refusal;
use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::port::Port;
use crate::check::datagram::reachable::SMALL;
use crate::check::datagram::target::{TRIES, Target};
use crate::probe::datagram::socket::Options;

/// Linux sends one ICMP message a second to each address, and six at once.
const AGAIN: Duration = Duration::from_millis(1100);

/// Asks again from the socket that had the first echo, and from a new one.
pub(super) fn refusal(target: &mut Target<'_>) -> Result<Refusal, NotPassed> {
    let mut new = target.open_any(Options::default())?;
    if is_served(target, &mut new)? {
        return Ok(Refusal::Over);
    }
    let Some(mut first) = target.first.take() else {
        return Ok(Refusal::All);
    };
    Ok(match is_served(target, &mut first)? {
        true => Refusal::Others,
        false => Refusal::All,
    })
}

fn is_served(target: &mut Target<'_>, port: &mut Port) -> Result<bool, NotPassed> {
    for number in 1..=TRIES {
        let bytes = target.content(SMALL);
        let at = target.ask(port, bytes, 1)?;
        if port.sent[at].is_answered() {
            return Ok(true);
        }
        if number < TRIES && port.sent[at].refused.is_none() {
            target.pause(AGAIN)?;
        }
    }
    Ok(false)
}
