//! The whoami protocol: the address that the server sees, and the end.

use super::clause::Clause;
use super::crowd;
use super::ended::Ended;
use super::line::Line;
use super::probe::Probe;
use crate::base::address::canonical;
use crate::base::units::{count, whole};
use crate::proto;

/// The longest line that is read, in bytes; an address takes less.
const LONGEST: usize = 128;

pub(super) const SOURCE_ADDRESS: Clause = Clause {
    name: "source-address",
    proves: "the server sees the address and port that each connection comes from",
    usually: "a proxy or an address translation stands between; a proxy that sends the PROXY \
              protocol needs a server with --proxy-protocol",
    rfc: "RFC 6302 section 2",
    run: source_address,
};

fn source_address(probe: &Probe<'_>) -> Result<String, Ended> {
    let number = probe.plan.connections;
    let each = crowd::in_threads(number, crowd::FEW, || {
        let line = probe.open()?;
        let (_, local) = line.ends()?;
        line.talk()?;
        line.finish().map(|()| local)
    })?;
    let number = whole(number as u64);
    Ok(format!(
        "the server sees {number} connections as they are here, {} the last",
        each[each.len() - 1]
    ))
}

/// The line must tell the connection's own address, and nothing may follow.
pub(super) fn hear(line: &Line<'_>) -> Result<(), Ended> {
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
