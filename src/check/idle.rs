//! A connection that is idle for a long time.

use std::time::Duration;

use super::clause::{Clause, Load};
use super::not_passed::NotPassed;
use super::plan::Plan;
use super::protocol::round_trip;
use super::target::Target;
use crate::proto::Protocol;

pub(super) const IDLE: Clause = Clause {
    name: "idle",
    proves: "a connection on which nothing is sent for --idle is alive afterwards",
    usually: "a firewall, a load balancer or the server forgets connections that are silent for \
              so long; some tell by a reset, others drop what is sent then",
    rfc: "RFC 5382 section 5, RFC 1122 section 4.2.3.6",
    load: Load::Alone,
    run: idle,
};

/// How long a clause is to last, if the plan says.
pub(super) fn lasts(clause: &Clause, plan: &Plan) -> Option<Duration> {
    plan.idle.filter(|_| clause.name == IDLE.name)
}

fn idle(target: &Target<'_>) -> Result<String, NotPassed> {
    let Some(time) = target.plan().idle else {
        let why = "not asked for: --idle 5m holds a connection silent for five minutes";
        return Err(NotPassed::Skipped(String::from(why)));
    };
    let connection = target.open()?;
    if target.plan().protocol == Protocol::Echo {
        round_trip(&connection)?;
    }
    connection.hold_idle(time)?;
    let silence = humantime::format_duration(time);
    let alive = round_trip(&connection);
    alive.map_err(|why| why.after_silence(time))?;
    connection.finish()?;
    Ok(format!("alive after {silence} of silence"))
}
