//! What is known once a connection is made, and before a byte is sent.

use std::time::Duration;

use socket2::SockRef;

use super::clause::Clause;
use super::ended::Ended;
use super::probe::Probe;
use crate::units::duration;

pub(super) const CONNECT: Clause = Clause {
    name: "connect",
    proves: "a connection is made within the time-out",
    usually: "nothing listens there, a firewall drops or refuses it, or the listen queue is full",
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

pub(super) const SOURCE_ADDRESS: Clause = Clause {
    name: "source-address",
    proves: "the server sees the address that the connection comes from",
    usually: "a proxy or an address translation stands between, and the server takes it for the \
              client",
    rfc: "RFC 6302 section 2",
    run: source_address,
};

fn connect(probe: &Probe<'_>) -> Result<String, Ended> {
    let line = probe.open().inspect_err(|_| probe.give_up())?;
    let (peer, _) = line.ends()?;
    let time = duration(line.took);
    line.finish()?;
    Ok(format!("connected to {peer} in {time}"))
}

fn self_connect(probe: &Probe<'_>) -> Result<String, Ended> {
    // Every other clause refuses such a connection when it makes one.
    let made = probe.reach(|_| Ok(()));
    let (stream, _) = made.map_err(|ended| match ended {
        Ended::Failed { .. } => Ended::Skipped(String::from("no connection can be made")),
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

/// An echo carries back what was sent and has no words of its own.
fn source_address(probe: &Probe<'_>) -> Result<String, Ended> {
    let line = probe.open()?;
    let (_, local) = line.ends()?;
    line.talk()?;
    line.finish()?;
    Err(Ended::Skipped(format!(
        "the protocol can't tell; this was {local}, compare that with the server's log"
    )))
}
