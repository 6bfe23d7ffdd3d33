//! Whether it is certain source ports that get nothing.

use std::time::Duration;

use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::reachable::SMALL;
use crate::check::datagram::target::Target;
use crate::probe::datagram::socket::Options;

/// How many datagrams each port sends, and the time between two.
const EACH: usize = 6;
const INTERVAL: Duration = Duration::from_millis(5);

/// At most so many ports are tried again.
const MOST: usize = 8;

/// Of the ports that got nothing, those that get nothing again; none where that port which
/// got echoes gets none now.
pub(super) fn ports(target: &mut Target<'_>, silent: &[u16]) -> Result<Vec<u16>, NotPassed> {
    let mut again = Vec::new();
    for number in silent.iter().take(MOST) {
        let options = Options {
            port: Some(*number),
            ..Options::default()
        };
        if !is_answered(target, options)? {
            again.push(*number);
        }
    }
    let port = target.port;
    let other = Options {
        port,
        ..Options::default()
    };
    match is_answered(target, other)? {
        // What was not tried again is taken to be as it was.
        true if again.len() == silent.len().min(MOST) => Ok(silent.to_vec()),
        true => Ok(again),
        false => Ok(Vec::new()),
    }
}

fn is_answered(target: &mut Target<'_>, options: Options) -> Result<bool, NotPassed> {
    let mut port = target.open_any(options)?;
    let datagrams = (0..EACH).map(|_| target.content(SMALL)).collect();
    let mut all = target.ask_all(&mut port, datagrams, INTERVAL, 1)?;
    Ok(all.any(|at| port.sent[at].is_answered()))
}
