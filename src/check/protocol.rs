//! One exchange of the protocol that is checked.

use super::ended::Ended;
use super::line::{Line, MESSAGE};
use crate::base::address::canonical;
use crate::base::units::count;
use crate::proto::{self, Protocol};

/// The longest line that is read, in bytes; an address takes less.
const LONGEST: usize = 128;

/// One message there and back: in the echo protocol some bytes, in the counted
/// one all that a connection has.
pub(super) fn round_trip(line: &Line<'_>) -> Result<(), Ended> {
    send_request(line)?;
    receive_reply(line)
}

/// The first half of a [`round_trip`].
pub(super) fn send_request(line: &Line<'_>) -> Result<(), Ended> {
    match line.protocol() {
        Protocol::Echo => line.send(MESSAGE),
        Protocol::Counted => line.send_these(&[line.text().as_bytes(), b"\0"].concat()),
        Protocol::Whoami => Ok(()),
    }
}

/// The second half of a [`round_trip`].
pub(super) fn receive_reply(line: &Line<'_>) -> Result<(), Ended> {
    match line.protocol() {
        Protocol::Echo => line.receive(MESSAGE),
        Protocol::Counted => {
            line.receive_these(&proto::answer(line.text().as_bytes()))?;
            line.expect_end()
        }
        Protocol::Whoami => receive_address(line),
    }
}

/// The line must tell the connection's own address, and nothing may follow.
fn receive_address(line: &Line<'_>) -> Result<(), Ended> {
    let said = line.receive_line(LONGEST)?;
    let Some(seen) = proto::seen(&said) else {
        let bytes = count(said.len() as u64, "byte", "bytes");
        return Err(Ended::failed(format!(
            "the server told no address in {bytes}: nothing of ours, or not its --whoami port"
        )));
    };
    line.expect_end()?;
    let (_, local) = line.ends()?;
    let (seen, local) = (canonical(seen), canonical(local));
    // The scope of an IPv6 address is each machine's own.
    match (seen.ip(), seen.port()) == (local.ip(), local.port()) {
        true => Ok(()),
        false => Err(Ended::failed(format!(
            "the server sees {seen}, and here it is {local}"
        ))),
    }
}
