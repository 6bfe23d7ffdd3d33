//! Whether it is certain source ports that get nothing.

use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::port::Port;
use crate::check::datagram::ports::{IN_TURN, ask_each};
use crate::check::datagram::target::{TRIES, Target};
use crate::probe::datagram::socket::Options;

/// How many datagrams each port sends.
const EACH: usize = 6;

/// How many new ports are tried.
const NEW: usize = 16;

/// What was found of source ports.
#[derive(Clone, Debug, Default)]
pub(super) struct Ports {
    /// Those that again got nothing.
    pub(super) silent: Vec<u16>,
    /// Whether no new one got anything either.
    pub(super) is_full: bool,
}

/// Of the ports that got nothing, those that get nothing again, each tried in turn, and not at
/// once; none where that port which got echoes gets none now.
pub(super) fn ports(target: &mut Target<'_>, silent: &[u16]) -> Result<Ports, NotPassed> {
    let on = |number: u16| Options {
        port: Some(number),
        ..Options::default()
    };
    // One that another program has now is not proved.
    let again = silent.iter().map(|number| target.open_any(on(*number)));
    let mut again: Vec<Port> = again.filter_map(Result::ok).collect();
    let again = ask_each(target, &mut again, EACH, IN_TURN)?;
    let mut other = [match target.port {
        Some(number) => target.open_any(on(number))?,
        None => target.open_any(Options::default())?,
    }];
    if !ask_each(target, &mut other, EACH, IN_TURN)?.is_empty() {
        return Ok(Ports::default());
    }
    // A table that is full takes no new flow, whatever its port.
    let new = (0..NEW).map(|_| target.open_any(Options::default()));
    let mut new: Vec<Port> = new.collect::<Result<_, _>>()?;
    let is_full = !again.is_empty() && ask_each(target, &mut new, TRIES, IN_TURN)?.len() == NEW;
    Ok(Ports {
        silent: again,
        is_full,
    })
}
