//! Whether anything comes back, and from whom.

use std::time::{Duration, Instant};

use super::clause::Clause;
use super::not_passed::NotPassed;
use super::port::{Port, Sent};
use super::target::{TRIES, Target, trouble};
use super::trouble::Trouble;
use crate::base::units::{count, duration};
use crate::probe::datagram::socket::Options;

pub(super) const REACHABLE: Clause = Clause {
    name: "reachable",
    proves: "a datagram comes back within the time-out",
    usually: "no program has the UDP port open, a firewall drops or refuses datagrams, or \
              the address or a route is wrong",
    rfc: "RFC 862, RFC 792, RFC 4443",
    run: reachable,
};

pub(super) const REPLY_ADDRESS: Clause = Clause {
    name: "reply-address",
    proves: "the echo comes from the address and port that were asked",
    usually: "a server with several addresses listens on all of them, and answers from that of \
              its route back; or an address translation changes one direction alone",
    rfc: "RFC 1122 section 4.1.3.5",
    run: reply_address,
};

/// The bytes of a datagram that any path carries.
pub(super) const SMALL: usize = 64;

/// The time from one try to the next, where nothing is known of the path.
const AGAIN: Duration = Duration::from_secs(1);

/// The round trip that is taken of one who answers otherwise.
const FOREIGN: Duration = Duration::from_millis(250);

/// How long one of several sockets is listened to.
const TURN: Duration = Duration::from_millis(10);

/// The time until the next try after one that was refused.
const PAUSE: Duration = Duration::from_millis(100);

fn reachable(target: &mut Target<'_>) -> Result<String, NotPassed> {
    let asked = ask_from_several(target);
    let asked = asked.inspect_err(|_| target.is_unreachable = true)?;
    let (mut ports, answered) = asked;
    if let Some(answered) = answered {
        let port = ports.swap_remove(answered);
        // Of which time the answer is can't be told: it may be late by more than the last.
        let time = port.sent[0].answers[0].since_first;
        target.presume(time);
        let (address, time) = (target.address, duration(time));
        let seen = match (trouble(&port, 0), port.sent[0].times) {
            (Some((changed, _)), _) => format!("{address} answers; {changed}"),
            (None, 1) => format!("{address} answers in {time}"),
            (None, times) => {
                format!("{address} answers in {time} at the most, asked {times} times")
            }
        };
        drop(ports);
        target.first = Some(port);
        target.port = find_port(target)?;
        return Ok(seen);
    }
    target.is_unreachable = true;
    let strange = ports.iter().find_map(|port| port.strange.first());
    if let Some(came) = strange {
        target.presume(FOREIGN);
        return Err(NotPassed::failed(
            format!(
                "what came is not what was sent: \"{}\"",
                came.escape_ascii()
            ),
            Trouble::Foreign(came.clone()),
        ));
    }
    let told = ports.iter().filter_map(|port| trouble(port, 0));
    let told = told.max_by_key(|(_, trouble)| *trouble != Trouble::Unanswered);
    let (seen, trouble) = match told {
        Some((seen, trouble)) if trouble != Trouble::Unanswered => (seen, trouble),
        _ => {
            let times = ports.iter().map(|port| port.sent[0].times).sum::<usize>();
            let datagrams = count(times as u64, "datagram", "datagrams");
            let from = count(ports.len() as u64, "source port", "source ports");
            (
                format!("no echo of {datagrams} from {from}"),
                Trouble::Unanswered,
            )
        }
    };
    Err(NotPassed::failed(seen, trouble))
}

/// Asks from a port, and then from others as well: one of them may have a way of its own that
/// loses everything. Returns the ports, and which of them has an answer.
fn ask_from_several(target: &mut Target<'_>) -> Result<(Vec<Port>, Option<usize>), NotPassed> {
    let timeout = target.plan.timeout;
    let again = AGAIN.min(timeout / TRIES as u32);
    let until = Instant::now() + timeout;
    let mut ports: Vec<Port> = Vec::new();
    let mut wait_until = Instant::now();
    while ports.len() < TRIES {
        ports.iter_mut().for_each(|port| port.send_again(0));
        let mut port = target.open_any(Options::default())?;
        port.send(target.content(SMALL));
        ports.push(port);
        wait_until = match ports.len() {
            TRIES => until,
            _ => wait_until + again,
        };
        let answered = listen_to_all(target, &mut ports, wait_until)?;
        let is_foreign = ports.iter().any(|port| !port.strange.is_empty());
        if answered.is_some() || is_foreign {
            return Ok((ports, answered));
        }
    }
    Ok((ports, None))
}

/// The first that has an answer by then.
fn listen_to_all(
    target: &Target<'_>,
    ports: &mut [Port],
    until: Instant,
) -> Result<Option<usize>, NotPassed> {
    loop {
        for (at, port) in ports.iter_mut().enumerate() {
            let until = until.min(Instant::now() + TURN);
            target.listen(port, until, &|port| !port.awaits())?;
            if port.sent[0].is_answered() {
                return Ok(Some(at));
            }
        }
        if ports.iter().all(|port| !port.awaits()) {
            // One that was refused is tried again, a while after.
            target.pause(PAUSE)?;
            return Ok(None);
        }
        if Instant::now() >= until {
            return Ok(None);
        }
    }
}

/// So many are answered, each at its first try, by a port that is used for the clauses, if there
/// is one: another may lose a part.
const ANSWERED: usize = 3;

/// The time between two of them. They don't wait for each other: that would add a round trip each.
const APART: Duration = Duration::from_millis(2);

/// A second port that gets an echo, if one of some does: the first that loses none of some.
fn find_port(target: &mut Target<'_>) -> Result<Option<u16>, NotPassed> {
    let mut first = None;
    for _ in 0..2 * TRIES {
        let mut port = target.open_any(Options::default())?;
        let datagrams = (0..ANSWERED).map(|_| target.content(SMALL)).collect();
        let all = match target.ask_all(&mut port, datagrams, APART, TRIES) {
            Ok(all) => all,
            // Another port is as good.
            Err(NotPassed::Skipped(_)) => continue,
            Err(other) => return Err(other),
        };
        let sent = &port.sent[all];
        let is_at_once = |sent: &Sent| sent.is_answered() && sent.times == 1;
        if sent.iter().all(is_at_once) {
            return Ok(Some(port.number()));
        }
        if sent.iter().any(Sent::is_answered) {
            first = first.or(Some(port.number()));
        }
    }
    Ok(first)
}

fn reply_address(target: &mut Target<'_>) -> Result<String, NotPassed> {
    let mut port = target.open()?;
    let bytes = target.content(SMALL);
    let at = target.ask(&mut port, bytes, TRIES)?;
    let asked = target.address;
    let Some(answer) = port.sent[at].answers.first() else {
        return Err(unanswered(&port, at));
    };
    match answer.from {
        None => Ok(format!("it came from {asked}")),
        Some(seen) => Err(NotPassed::failed(
            format!("{asked} was asked, and {seen} answered"),
            Trouble::Elsewhere { asked, seen },
        )),
    }
}

/// That a datagram has no answer at all.
pub(super) fn unanswered(port: &Port, at: usize) -> NotPassed {
    match trouble(port, at) {
        Some((seen, trouble)) => NotPassed::failed(seen, trouble),
        None => NotPassed::failed("no echo", Trouble::Unanswered),
    }
}
