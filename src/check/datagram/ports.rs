//! Many source ports.

use std::time::Instant;

use super::clause::Clause;
use super::not_passed::NotPassed;
use super::port::{Port, Sent};
use super::reachable::SMALL;
use super::target::{TRIES, Target};
use super::trouble::Trouble;
use crate::base::units::listed;
use crate::probe::datagram::socket::Options;

pub(super) const PORTS: Clause = Clause {
    name: "ports",
    proves: "each of 32 source ports in a row gets its echo: every member of a bundle carries",
    usually: "one link of a bundle, or one server behind an address, loses all of its flows, and \
              addresses and ports choose it",
    rfc: "RFC 2992, RFC 6438",
    run: ports,
};

/// How many ports: more than a bundle has members.
const PORTS_IN_A_ROW: u16 = 32;

/// The range of the first one, which leaves room behind it: RFC 6335 section 6.
const FIRST: std::ops::Range<u16> = 49_152..65_000;

/// More tries for those that are silent where others are not: one of so many loses three in a
/// row by chance sooner than a single one.
const MORE_TRIES: usize = 3;

fn ports(target: &mut Target<'_>) -> Result<String, NotPassed> {
    let mut all = open_in_a_row(target)?;
    let of = all.len();
    let mut silent = ask_each(target, &mut all, TRIES)?;
    if !silent.is_empty() && silent.len() < of {
        silent = ask_each(target, &mut all, MORE_TRIES)?;
    }
    let (first, last) = (all[0].number(), all[of - 1].number());
    match silent.len() {
        0 => Ok(format!("all {of} got it, from {first} to {last}")),
        silent if silent == of => {
            let refused = all.iter().flat_map(|port| &port.sent);
            let refused = refused.rev().find_map(|sent| sent.refused.clone());
            let (why, trouble) = match refused {
                Some(refused) => (refused.words.clone(), Trouble::Refused(refused)),
                None => (
                    format!("from {first} to {last}"),
                    Trouble::Lost { lost: of, of },
                ),
            };
            let seen = format!("none of {of} got an echo: {why}");
            Err(NotPassed::failed(seen, trouble))
        }
        some => Err(NotPassed::failed(
            format!("{some} of {of} got no echo: {}", listed(&silent)),
            Trouble::Ports { silent, of },
        )),
    }
}

/// Sockets on ports in a row, as far as they are free: a hash of the port spreads those over
/// all members of a bundle.
fn open_in_a_row(target: &Target<'_>) -> Result<Vec<Port>, NotPassed> {
    let mut all = Vec::new();
    let room = u64::from(FIRST.end - FIRST.start);
    let first = FIRST.start + u16::try_from(target.plan.seed % room).unwrap_or(0);
    for port in first..first + 4 * PORTS_IN_A_ROW {
        let options = Options {
            port: Some(port),
            ..Options::default()
        };
        match Port::new(target.address, options) {
            Ok(port) => all.push(port),
            // Another program has it.
            Err(_) => continue,
        }
        if all.len() == usize::from(PORTS_IN_A_ROW) {
            break;
        }
    }
    match all.len() {
        0 | 1 => Err(NotPassed::Skipped(String::from(
            "this machine has no room for sockets on ports of the check's choice",
        ))),
        _ => Ok(all),
    }
}

/// Asks from each that has no answer yet, so many times. Returns the ports that then have none.
/// Where that is this machine's own fault, nothing can be tested.
pub(super) fn ask_each(
    target: &mut Target<'_>,
    all: &mut [Port],
    tries: usize,
) -> Result<Vec<u16>, NotPassed> {
    for _ in 0..tries {
        let is_open = |port: &Port| !port.sent.iter().any(Sent::is_answered);
        let mut begun = Instant::now();
        for port in all.iter_mut().filter(|port| is_open(port)) {
            let bytes = target.content(SMALL);
            target.listen(port, begun, &|_| false)?;
            port.send(bytes);
            begun += target.pace;
        }
        let until = Instant::now() + target.wait();
        for port in all.iter_mut().filter(|port| is_open(port)) {
            target.listen(port, until, &|port| port.sent.iter().any(Sent::is_answered))?;
        }
        if !all.iter().any(is_open) {
            break;
        }
    }
    let mut silent = Vec::new();
    for port in all {
        if !port.sent.iter().any(Sent::is_answered) {
            let sent = 0..port.sent.len();
            port.own_fault(sent).map_or(Ok(()), Err)?;
            silent.push(port.number());
        }
    }
    Ok(silent)
}
