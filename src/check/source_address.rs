//! Clauses about the client's address as the server sees it.

use super::clause::{Clause, Load};
use super::not_passed::NotPassed;
use super::parallel::{connect_threads, in_threads};
use super::protocol::{receive_address, round_trip};
use super::target::Target;
use crate::base::kernel::KernelView;
use crate::base::units::count;

pub(super) const SOURCE_ADDRESS: Clause = Clause {
    name: "source-address",
    proves: "the server sees the address and port that each connection comes from",
    usually: "a proxy or an address translation stands between; a proxy that sends the PROXY \
              protocol needs a server with --proxy-protocol",
    rfc: "RFC 6302 section 2",
    load: Load::Alone,
    run: source_address,
};

/// The same clause in the protocols that can't report the address.
pub(super) const SOURCE_NOT_REPORTED: Clause = Clause {
    load: Load::waits(1),
    run: source_not_reported,
    ..SOURCE_ADDRESS
};

fn source_address(target: &Target<'_>) -> Result<String, NotPassed> {
    let number = target.plan().connections;
    let sources = in_threads(number, connect_threads(target, number), || {
        let connection = target.open()?;
        let (_, local) = connection.addresses()?;
        let told = receive_address(&connection)?;
        let views = told.zip(KernelView::read(&*connection.socket()));
        connection.finish().map(|()| (local, views))
    })?;
    let number = count(
        number as u64,
        "connection as it is",
        "connections as they are",
    );
    let (last, views) = &sources[sources.len() - 1];
    let views = views.map_or_else(String::new, |(server, own)| {
        let [server, own] = [server, own].map(|view| view.all_figures());
        format!("; there {server}; here {own}")
    });
    Ok(format!(
        "the server sees {number} here, {last} the last{views}"
    ))
}

fn source_not_reported(target: &Target<'_>) -> Result<String, NotPassed> {
    let connection = target.open()?;
    let (_, local) = connection.addresses()?;
    round_trip(&connection)?;
    connection.finish()?;
    Err(NotPassed::Skipped(format!(
        "the protocol can't tell: this was {local}, compare that with the server's log, or check \
         its --whoami port"
    )))
}
