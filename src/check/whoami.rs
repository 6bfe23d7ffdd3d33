//! The address that the server sees.

use super::clause::Clause;
use super::ended::Ended;
use super::parallel::{FEW, in_threads};
use super::probe::Probe;
use super::protocol::round_trip;
use crate::base::units::whole;

pub(super) const SOURCE_ADDRESS: Clause = Clause {
    name: "source-address",
    proves: "the server sees the address and port that each connection comes from",
    usually: "a proxy or an address translation stands between; a proxy that sends the PROXY \
              protocol needs a server with --proxy-protocol",
    rfc: "RFC 6302 section 2",
    run: source_address,
};

pub(super) const SOURCE_UNTOLD: Clause = Clause {
    run: source_untold,
    ..SOURCE_ADDRESS
};

fn source_address(probe: &Probe<'_>) -> Result<String, Ended> {
    let number = probe.plan().connections;
    let each = in_threads(number, FEW, || {
        let line = probe.open()?;
        let (_, local) = line.ends()?;
        round_trip(&line)?;
        line.finish().map(|()| local)
    })?;
    let number = whole(number as u64);
    Ok(format!(
        "the server sees {number} connections as they are here, {} the last",
        each[each.len() - 1]
    ))
}

/// The protocol has no words for whom the server sees.
fn source_untold(probe: &Probe<'_>) -> Result<String, Ended> {
    let line = probe.open()?;
    let (_, local) = line.ends()?;
    round_trip(&line)?;
    line.finish()?;
    Err(Ended::Skipped(format!(
        "the protocol can't tell: this was {local}, compare that with the server's log, or check \
         its --whoami port"
    )))
}
