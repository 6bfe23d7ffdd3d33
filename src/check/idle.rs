//! Silence.

use super::clause::Clause;
use super::ended::Ended;
use super::probe::Probe;
use super::protocol::round_trip;
use crate::proto::Protocol;

pub(super) const IDLE: Clause = Clause {
    name: "idle",
    proves: "a connection on which nothing is sent for --idle is alive afterwards",
    usually: "a firewall, a load balancer or the server forgets connections that are silent for \
              so long; some tell by a reset, others drop what is sent then",
    rfc: "RFC 5382 section 5, RFC 1122 section 4.2.3.6",
    run: idle,
};

fn idle(probe: &Probe<'_>) -> Result<String, Ended> {
    let Some(time) = probe.plan().idle else {
        let why = "not asked for: --idle 5m holds a connection silent for five minutes";
        return Err(Ended::Skipped(String::from(why)));
    };
    let line = probe.open()?;
    if probe.plan().protocol == Protocol::Echo {
        round_trip(&line)?;
    }
    line.stay_silent(time)?;
    let silence = humantime::format_duration(time);
    let alive = round_trip(&line);
    alive.map_err(|ended| ended.at(&format!("after {silence} of silence")))?;
    line.finish()?;
    Ok(format!("alive after {silence} of silence"))
}
