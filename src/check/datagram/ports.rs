//! Many source ports.

use std::time::{Duration, Instant};

use super::clause::Clause;
use super::not_passed::NotPassed;
use super::port::{Port, Sent};
use super::reachable::SMALL;
use super::target::{TRIES, Target};
use super::trouble::{Portion, Trouble};
use crate::base::units::listed;
use crate::probe::datagram::socket::Options;

pub(super) const PORTS: Clause = Clause {
    name: "ports",
    proves: "each of 32 source ports in a row gets its echoes: every member of a bundle carries",
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

/// The time from one port to the next: none at first, and then so much as a relay needs that makes
/// a process or a socket for each new one, and loses what comes from others meanwhile.
const AT_ONCE: Duration = Duration::ZERO;
pub(super) const IN_TURN: Duration = Duration::from_millis(20);

fn ports(target: &mut Target<'_>) -> Result<String, NotPassed> {
    let mut all = open_in_a_row(target)?;
    let of = all.len();
    let mut silent = ask_each(target, &mut all, TRIES, AT_ONCE)?;
    if !silent.is_empty() && silent.len() < of {
        silent = ask_each(target, &mut all, MORE_TRIES, IN_TURN)?;
    }
    let (first, last) = (all[0].number(), all[of - 1].number());
    if silent.is_empty() {
        portions(target, &mut all)?;
    }
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

/// How many more each port sends, and of how many that are lost it is looked at closely.
const PORTION: usize = 4;
const SUSPICIOUS: usize = 2;

/// How many those send then, and beside them as many others that lost none, or so many: one in ten
/// that is lost on any port is not seen on few.
const CLOSELY: usize = 16;
const OTHERS: usize = 8;

/// A port loses a part, if it is so many of those, and the others lose no more than one in so many.
const PART: usize = 4;
const BY_CHANCE: usize = 32;

/// The time between two datagrams.
const INTERVAL: Duration = Duration::from_millis(2);

/// Whether no port loses more than others: a member of a bundle may lose a part.
fn portions(target: &mut Target<'_>, all: &mut [Port]) -> Result<(), NotPassed> {
    let of = all.len();
    let lost = lose(target, all.iter_mut(), PORTION)?;
    let suspects: Vec<_> = (0..of).filter(|at| lost[*at] >= SUSPICIOUS).collect();
    let wanted = suspects.len().max(OTHERS);
    let sound = (0..of).filter(|at| lost[*at] == 0).take(wanted);
    let sound: Vec<_> = sound.collect();
    // Where most lose some, it is not for the port.
    if suspects.is_empty() || sound.len() < wanted {
        return Ok(());
    }
    let mut chosen = Vec::new();
    for (at, port) in all.iter_mut().enumerate() {
        if suspects.contains(&at) || sound.contains(&at) {
            chosen.push((suspects.contains(&at), port));
        }
    }
    let is_suspect: Vec<_> = chosen.iter().map(|(is_it, _)| *is_it).collect();
    let numbers: Vec<_> = chosen.iter().map(|(_, port)| port.number()).collect();
    let lost = lose(target, chosen.into_iter().map(|(_, port)| port), CLOSELY)?;
    let Some(bad) = lossy(&is_suspect, &lost) else {
        return Ok(());
    };
    let ports: Vec<_> = bad.iter().map(|at| numbers[*at]).collect();
    let others = (0..numbers.len()).filter(|at| !is_suspect[*at]);
    let (by_them, by_others) = (portion(bad.into_iter(), &lost), portion(others, &lost));
    Err(NotPassed::failed(
        format!(
            "{} of {of} lost {} of {}, and others beside them {} of {}: {}",
            ports.len(),
            by_them.lost,
            by_them.sent,
            by_others.lost,
            by_others.sent,
            listed(&ports)
        ),
        Trouble::PortsLose {
            ports,
            of,
            by_them,
            by_others,
        },
    ))
}

/// What these lost of what they sent, where each lost so many.
fn portion(ports: impl Iterator<Item = usize>, lost: &[usize]) -> Portion {
    let nothing = Portion { lost: 0, sent: 0 };
    ports.fold(nothing, |all, at| Portion {
        lost: all.lost + lost[at],
        sent: all.sent + CLOSELY,
    })
}

/// Those that lose a part, of ports that are suspected and others, which lost so many.
fn lossy(is_suspect: &[bool], lost: &[usize]) -> Option<Vec<usize>> {
    let all = || is_suspect.iter().zip(lost).enumerate();
    let others = all().filter(|(_, (is_it, _))| !**is_it);
    let by_others: usize = others.clone().map(|(_, (_, lost))| *lost).sum();
    let by_chance = others.count() * CLOSELY / BY_CHANCE;
    let bad = all().filter(|(_, (is_it, lost))| **is_it && **lost >= PART);
    let bad: Vec<_> = bad.map(|(at, _)| at).collect();
    (by_others <= by_chance && !bad.is_empty()).then_some(bad)
}

/// Sends so many more from each, in turn. Returns how many each has lost.
fn lose<'a>(
    target: &mut Target<'_>,
    ports: impl Iterator<Item = &'a mut Port>,
    number: usize,
) -> Result<Vec<usize>, NotPassed> {
    let mut ports: Vec<_> = ports.map(|port| (port.sent.len(), port)).collect();
    let mut due = Instant::now();
    for _ in 0..number {
        for (_, port) in &mut ports {
            let bytes = target.content(SMALL);
            target.listen(port, due, &|_| false)?;
            port.send(bytes);
            due = due.max(Instant::now()) + target.pace.max(INTERVAL);
        }
    }
    let until = Instant::now() + target.wait();
    let is_open = |port: &Port, at: usize| !port.sent[at].is_answered();
    let mut lost = Vec::new();
    for (first, port) in &mut ports {
        let all = *first..port.sent.len();
        target.listen(port, until, &|port| {
            !all.clone().any(|at| is_open(port, at))
        })?;
        port.own_fault(all.clone()).map_or(Ok(()), Err)?;
        lost.push(all.filter(|at| is_open(port, *at)).count());
    }
    Ok(lost)
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

/// Asks from each that has no answer yet, so many times and with this time between two. Returns the
/// ports that then have none.
/// Where that is this machine's own fault, nothing can be tested.
pub(super) fn ask_each(
    target: &mut Target<'_>,
    all: &mut [Port],
    tries: usize,
    apart: Duration,
) -> Result<Vec<u16>, NotPassed> {
    for _ in 0..tries {
        let is_open = |port: &Port| !port.sent.iter().any(Sent::is_answered);
        let mut begun = Instant::now();
        for port in all.iter_mut().filter(|port| is_open(port)) {
            let bytes = target.content(SMALL);
            target.listen(port, begun, &|_| false)?;
            port.send(bytes);
            begun += target.pace.max(apart);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ports_lost_together_is_of_all_that_they_sent() {
        let whole = portion([0, 2].into_iter(), &[8, 1, 4, 0]);
        assert_eq!(whole, Portion { lost: 12, sent: 32 });
    }

    #[test]
    fn a_port_that_loses_a_part_is_told_from_a_loss() {
        let is_suspect = [true, false, true, false];
        assert_eq!(lossy(&is_suspect, &[8, 0, 3, 1]), Some(vec![0]));
        assert_eq!(lossy(&is_suspect, &[8, 0, 9, 0]), Some(vec![0, 2]));
        assert_eq!(
            lossy(&is_suspect, &[8, 1, 9, 1]),
            None,
            "others lose as well"
        );
        assert_eq!(lossy(&is_suspect, &[1, 0, 2, 0]), None, "by chance");
        let one_of_nine: Vec<_> = (0..9).map(|at| at == 0).collect();
        assert_eq!(
            lossy(&one_of_nine, &[4, 1, 0, 0, 2, 1, 0, 0, 0]),
            Some(vec![0])
        );
        let alike = [4, 2, 1, 1, 2, 0, 3, 1, 2];
        assert_eq!(lossy(&one_of_nine, &alike), None, "one in ten on any port");
    }
}
