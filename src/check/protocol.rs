//! One request and its reply in the protocol under check.

use super::connection::{Connection, MESSAGE};
use super::not_passed::NotPassed;
use super::observation::End;
use crate::base::address::canonical;
use crate::base::kernel::KernelView;
use crate::base::units::count;
use crate::proto::{self, Protocol};

/// The longest reply line of the whoami protocol that is read, in bytes; an address is
/// shorter.
const LONGEST: usize = 128;

/// Sends one message and receives its reply. In the counted and whoami protocols a
/// connection carries only one.
pub(super) fn round_trip(connection: &Connection<'_>) -> Result<(), NotPassed> {
    send_request(connection)?;
    receive_reply(connection)
}

/// The first half of a [`round_trip`].
pub(super) fn send_request(connection: &Connection<'_>) -> Result<(), NotPassed> {
    match connection.protocol() {
        Protocol::Echo => connection.send(MESSAGE),
        Protocol::Counted => {
            connection.send_bytes(&[connection.unique_text().as_bytes(), b"\0"].concat())
        }
        Protocol::Whoami => Ok(()),
    }
}

/// The second half of a [`round_trip`].
pub(super) fn receive_reply(connection: &Connection<'_>) -> Result<(), NotPassed> {
    match connection.protocol() {
        Protocol::Echo => connection.receive(MESSAGE),
        Protocol::Counted => {
            let text = connection.unique_text();
            connection.receive_bytes(&proto::answer(text.as_bytes()))?;
            connection.expect_end()
        }
        Protocol::Whoami => receive_address(connection).map(drop),
    }
}

/// Receives a line that must name the connection's local address, another one with what the
/// server's TCP knows of the connection if it tells that, and then the end.
pub(super) fn receive_address(
    connection: &Connection<'_>,
) -> Result<Option<KernelView>, NotPassed> {
    let reply = connection.receive_line(LONGEST)?;
    let Some(seen) = proto::seen(&reply) else {
        let bytes = count(reply.len() as u64, "byte", "bytes");
        let seen = format!(
            "the server told no address in {bytes}: nothing of ours, or not its --whoami port"
        );
        return Err(NotPassed::ended(seen, End::NoAddress));
    };
    let rest = connection.receive_to_end(proto::WHOAMI_TCP_MAX)?;
    let view = proto::seen_tcp(&[&reply[..], &rest].concat());
    if !rest.is_empty() && view.is_none() {
        return Err(connection.unexpected(&rest));
    }
    let (_, local) = connection.addresses()?;
    let (seen, local) = (canonical(seen), canonical(local));
    // The scope of an IPv6 address has a meaning on one machine only.
    match (seen.ip(), seen.port()) == (local.ip(), local.port()) {
        true => Ok(view),
        false => Err(NotPassed::ended(
            format!("the server sees {seen}, and here it is {local}"),
            End::Address { seen, own: local },
        )),
    }
}
