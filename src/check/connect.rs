//! Clauses about the connection itself, before a byte is sent.

use std::time::Duration;

use socket2::SockRef;

use super::clause::{Clause, Load};
use super::not_passed::NotPassed;
use super::observation::{End, NotMade};
use super::target::{NO_CONNECTION, Target, UNREACHABLE};
use crate::base::units::duration;
use crate::probe::connect::Connected;
use crate::proto::Protocol;

pub(super) const CONNECT: Clause = Clause {
    name: "connect",
    proves: "a connection is made within the time-out",
    usually: NO_CONNECTION,
    rfc: "RFC 9293 section 3.5",
    load: Load::First,
    run: connect,
};

pub(super) const SELF_CONNECT: Clause = Clause {
    name: "self-connect",
    proves: "the connection does not reach itself, which would echo perfectly",
    usually: "nothing listens there, and the port is of the range that connections get theirs \
              from (TCP's simultaneous open)",
    rfc: "RFC 9293 section 3.5",
    load: Load::waits(1),
    run: self_connect,
};

/// Other source ports that are tried, and for how long: a SYN that is lost is sent again after a
/// second.
const OTHER_PORTS: usize = 4;
const OTHER_PORTS_TIME: Duration = Duration::from_secs(2);

fn connect(target: &Target<'_>) -> Result<String, NotPassed> {
    let connected = target
        .reach()
        .map_err(|why| from_other_ports(target, why))?;
    let Connected {
        stream,
        address,
        took,
        others,
    } = connected;
    let connection = target.adopt(stream, took)?;
    let time = duration(connection.connect_time);
    match target.plan().protocol {
        // The server sends first in this protocol.
        Protocol::Whoami => connection.finish_unchecked(),
        _ => connection.finish()?,
    }
    let others = others.iter().map(|(at, why)| format!("; {at}: {why}"));
    let others = others.collect::<String>();
    Ok(format!("connected to {address} in {time}{others}"))
}

/// Tries other source ports where nothing answered one: a link of several, which a hash of the
/// ports chooses, may be dead. One that was reset was made, and ended before we were told so: the
/// clauses after it see how others end.
fn from_other_ports(target: &Target<'_>, why: NotPassed) -> NotPassed {
    let how = match &why {
        NotPassed::Failed { observed, .. } => &observed.end,
        _ => &End::Other,
    };
    if *how == End::NotMade(NotMade::Reset) {
        return why;
    }
    let mut made = 0;
    if *how == End::NotMade(NotMade::Unanswered) {
        let time = target.plan().timeout.min(OTHER_PORTS_TIME);
        let mut finish = |stream, took| {
            made += 1;
            if let Ok(connection) = target.adopt(stream, took) {
                connection.finish_unchecked();
            }
        };
        // Whatever becomes of the others.
        let _ = target.connect_many(OTHER_PORTS, time, &mut finish);
    }
    if made == 0 {
        target.shared.mark_unreachable();
        return why;
    }
    target.shared.set_last_address(target.address());
    why.followed_by(&format!(
        "; from other source ports {made} of {OTHER_PORTS} are made"
    ))
}

fn self_connect(target: &Target<'_>) -> Result<String, NotPassed> {
    // `Target::open` refuses such a connection in every other clause.
    let connected = target.connect(&|_| Ok(()));
    let connected = connected.map_err(|why| match why {
        // The clause before has reported it.
        NotPassed::Failed { .. } if target.shared.is_unreachable() => {
            NotPassed::Skipped(String::from(UNREACHABLE))
        }
        other => other,
    })?;
    let stream = connected.stream;
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) if local != peer => Ok(format!("{local} reached {peer}")),
        (Ok(local), Ok(_)) => {
            // A FIN would leave the port in TIME-WAIT, and a server could not bind it.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            let end = End::NotMade(NotMade::ReachedItself);
            Err(NotPassed::ended(format!("{local} reached itself"), end))
        }
        (Err(_), _) | (_, Err(_)) => {
            let end = End::NotMade(NotMade::Reset);
            Err(NotPassed::ended("lost as soon as it was made", end))
        }
    }
}
