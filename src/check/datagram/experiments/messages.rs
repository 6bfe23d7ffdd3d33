//! Whether a socket is served so many datagrams, and no more.

use std::time::{Duration, Instant};

use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::port::Port;
use crate::check::datagram::reachable::SMALL;
use crate::check::datagram::target::{TRIES, Target};
use crate::probe::datagram::socket::Options;

/// The most that one socket sends, and in how long.
pub(super) const MOST: usize = 200;
const LONGEST: Duration = Duration::from_secs(4);

/// The least time between two of the slow socket.
const PAUSE: Duration = Duration::from_millis(20);

/// Such a limit is told from one of the rate: the socket gets nothing after so long either.
const REST: Duration = Duration::from_millis(1500);

/// How many datagrams a socket is served, if a fast one and a slow one are served as many and
/// nothing afterwards, while a new one is.
pub(super) fn messages(target: &mut Target<'_>) -> Result<Option<usize>, NotPassed> {
    let mut fast = target.open_any(Options::default())?;
    let begun = Instant::now();
    let Some(number) =
        served(target, &mut fast, Duration::ZERO, MOST)?.filter(|number| *number > 0)
    else {
        return Ok(None);
    };
    let age = begun.elapsed();
    // Where some of all are lost this one is answered again: that is known at once, and the slow
    // one takes long.
    if ask(target, &mut fast)? {
        return Ok(None);
    }
    let pause = PAUSE.max(age * 2 / u32::try_from(number).unwrap_or(1));
    let mut slow = target.open_any(Options::default())?;
    if served(target, &mut slow, pause, number + 1)? != Some(number) {
        return Ok(None);
    }
    target.pause(REST)?;
    let mut new = target.open_any(Options::default())?;
    let is_it = !ask(target, &mut fast)? && !ask(target, &mut slow)? && ask(target, &mut new)?;
    Ok(is_it.then_some(number))
}

/// How many of its datagrams, of `most`, have an answer before one has none; `None` where all have.
fn served(
    target: &mut Target<'_>,
    port: &mut Port,
    pause: Duration,
    most: usize,
) -> Result<Option<usize>, NotPassed> {
    let begun = Instant::now();
    for number in 0..most {
        if !ask(target, port)? {
            return Ok(Some(number));
        }
        if pause.is_zero() && begun.elapsed() > LONGEST {
            break;
        }
        target.pause(pause)?;
    }
    Ok(None)
}

fn ask(target: &mut Target<'_>, port: &mut Port) -> Result<bool, NotPassed> {
    let bytes = target.content(SMALL);
    let at = target.ask(port, bytes, TRIES)?;
    Ok(port.sent[at].is_answered())
}
