//! What is known once a connection is made, and before a byte is sent.

use std::time::Duration;

use socket2::SockRef;

use super::clause::Clause;
use super::ended::Ended;
use super::probe::{NO_CONNECTION, Probe, UNREACHABLE};
use crate::base::units::duration;
use crate::proto::Protocol;

pub(super) const CONNECT: Clause = Clause {
    name: "connect",
    proves: "a connection is made within the time-out",
    usually: NO_CONNECTION,
    rfc: "RFC 9293 section 3.5",
    run: connect,
};

pub(super) const SELF_CONNECT: Clause = Clause {
    name: "self-connect",
    proves: "the connection does not reach itself, which would echo perfectly",
    usually: "nothing listens there, and the port is of the range that connections get theirs \
              from (TCP's simultaneous open)",
    rfc: "RFC 9293 section 3.5",
    run: self_connect,
};

fn connect(probe: &Probe<'_>) -> Result<String, Ended> {
    let line = probe.open().inspect_err(|_| probe.give_up())?;
    let (peer, _) = line.ends()?;
    let time = duration(line.took);
    match probe.plan().protocol {
        // There the server speaks first.
        Protocol::Whoami => line.leave(),
        _ => line.finish()?,
    }
    Ok(format!("connected to {peer} in {time}"))
}

fn self_connect(probe: &Probe<'_>) -> Result<String, Ended> {
    // Every other clause refuses such a connection when it makes one.
    let made = probe.reach(|_| Ok(()));
    let (stream, _) = made.map_err(|ended| match ended {
        // That was said already.
        Ended::Failed { .. } if probe.has_given_up() => Ended::Skipped(String::from(UNREACHABLE)),
        other => other,
    })?;
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) if local != peer => Ok(format!("{local} reached {peer}")),
        (Ok(local), Ok(_)) => {
            // Ended in order, it would keep the port from a server that is yet to come.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            Err(Ended::failed(format!("{local} reached itself")))
        }
        (Err(_), _) | (_, Err(_)) => Err(Ended::failed("lost as soon as it was made")),
    }
}
