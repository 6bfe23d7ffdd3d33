//! Sockets that were used before: NAT, connection tracking and load balancers remember them.

use std::time::Duration;

use super::clause::Clause;
use super::not_passed::NotPassed;
use super::plan::Plan;
use super::port::Port;
use super::reachable::{SMALL, unanswered};
use super::target::{TRIES, Target};
use super::trouble::Trouble;
use crate::probe::datagram::socket::Options;

pub(super) const OLD_SOCKET: Clause = Clause {
    name: "old-socket",
    proves: "the socket that was used first still gets an echo at the end, as a new one does",
    usually: "connection tracking or a load balancer keeps an old socket with a server that is \
              gone, or forgets it and drops what it sends",
    rfc: "RFC 4787 section 4.3",
    run: old_socket,
};

pub(super) const IDLE: Clause = Clause {
    name: "idle",
    proves: "a socket that is silent for --idle gets an echo afterwards, as a new one does",
    usually: "a firewall, a NAT or a load balancer forgets sockets that are silent for so long, \
              and drops or misdirects what they send then",
    rfc: "RFC 4787 section 4.3, RFC 8085 section 3.5",
    run: idle,
};

/// How long a clause is to last, if the plan says.
pub(super) fn lasts(clause: &Clause, plan: &Plan) -> Option<Duration> {
    plan.idle.filter(|_| clause.name == IDLE.name)
}

fn old_socket(target: &mut Target<'_>) -> Result<String, NotPassed> {
    let Some(mut old) = target.first.take() else {
        let why = "reachable was not tested, whose socket it is";
        return Err(NotPassed::Skipped(String::from(why)));
    };
    let number = old.number();
    let compared = compare(target, &mut old);
    target.first = Some(old);
    compared?;
    Ok(format!("port {number} got it again"))
}

fn idle(target: &mut Target<'_>) -> Result<String, NotPassed> {
    let Some(time) = target.plan.idle else {
        let why = "not asked for: --idle 5m keeps a socket silent for five minutes";
        return Err(NotPassed::Skipped(String::from(why)));
    };
    let mut old = target.open()?;
    let bytes = target.content(SMALL);
    let at = target.ask(&mut old, bytes, TRIES)?;
    if !old.sent[at].is_answered() {
        return Err(unanswered(&old, at));
    }
    target.pause(time)?;
    compare(target, &mut old)?;
    let silence = humantime::format_duration(time);
    Ok(format!("echo after {silence} of silence"))
}

/// Asks from an old socket and a new one.
fn compare(target: &mut Target<'_>, old: &mut Port) -> Result<(), NotPassed> {
    let bytes = target.content(SMALL);
    let at = target.ask(old, bytes, TRIES)?;
    if old.sent[at].is_answered() {
        return Ok(());
    }
    let mut new = target.open_any(Options::default())?;
    let bytes = target.content(SMALL);
    let asked = target.ask(&mut new, bytes, TRIES)?;
    match new.sent[asked].is_answered() {
        true => Err(NotPassed::failed(
            format!(
                "port {} gets no echo any more, and a new one does",
                old.number()
            ),
            Trouble::Forgotten,
        )),
        false => Err(unanswered(&new, asked)),
    }
}
