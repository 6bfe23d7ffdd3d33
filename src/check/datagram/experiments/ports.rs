//! Whether it is certain source ports that get nothing.

use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::port::Port;
use crate::check::datagram::ports::ask_each;
use crate::check::datagram::target::Target;
use crate::probe::datagram::socket::Options;

/// How many datagrams each port sends.
const EACH: usize = 6;

/// Of the ports that got nothing, those that get nothing again, each tried side by side with
/// the others; none where that port which got echoes gets none now.
pub(super) fn ports(target: &mut Target<'_>, silent: &[u16]) -> Result<Vec<u16>, NotPassed> {
    let on = |number: u16| Options {
        port: Some(number),
        ..Options::default()
    };
    // One that another program has now is not proved.
    let again = silent.iter().map(|number| target.open_any(on(*number)));
    let mut again: Vec<Port> = again.filter_map(Result::ok).collect();
    let again = ask_each(target, &mut again, EACH)?;
    let mut other = [match target.port {
        Some(number) => target.open_any(on(number))?,
        None => target.open_any(Options::default())?,
    }];
    match ask_each(target, &mut other, EACH)?.is_empty() {
        true => Ok(again),
        false => Ok(Vec::new()),
    }
}
