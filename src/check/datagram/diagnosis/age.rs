//! Sockets are forgotten.

use std::time::Duration;

use crate::base::units::count;
use crate::check::cause::Diagnosis;
use crate::check::datagram::facts::{Facts, Failure};
use crate::check::datagram::findings::{Findings, Silences};
use crate::check::datagram::trouble::Trouble;

/// The clauses that an old socket failed.
fn forgotten(facts: &Facts) -> Vec<&'static str> {
    facts.clauses(|at| at.trouble == Trouble::Forgotten)
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// `idle-limit`: so long a silence a socket survives, and so long a one not.
pub(super) fn idle(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Some(Silences::Forgotten { alive, dead }) = findings.silences else {
        return None;
    };
    let (alive, dead) = (seconds(alive), seconds(dead));
    let text = format!(
        "a socket that is silent for {dead} s gets nothing any more, and after {alive} s it does; \
         a busy one lives on, and a new one is served"
    );
    let advice = "raise the time-out for UDP where flows are remembered (net.netfilter.\
                  nf_conntrack_udp_timeout_stream, a NAT's, a load balancer's), or send something \
                  sooner than that (RFC 8085: not more often than every 15 s); a client that gets \
                  nothing should open a new socket";
    let diagnosis = Diagnosis::certain("idle-limit", text, advice, forgotten(facts));
    Some(
        diagnosis
            .with("alive_s", alive)
            .with("dead_s", dead)
            .with("ends_by", "silence"),
    )
}

/// `lifetime-limit`: a socket ends at an age, however busy it is.
pub(super) fn lifetime(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Some(Silences::Busy { age }) = findings.silences else {
        return None;
    };
    let seconds = seconds(age);
    let text = format!(
        "a socket gets nothing any more after {seconds} s, a busy one as well, and a new one is \
         served"
    );
    let advice = "look for what remembers flows and does not renew them (a load balancer's table, \
                  connection tracking with a stale entry: conntrack -D -p udp), and have clients \
                  open a new socket";
    // The clauses use one port again and again, which has that age sooner or later.
    let explains = facts.clauses(Failure::is_silent);
    let diagnosis = Diagnosis::certain("lifetime-limit", text, advice, explains);
    Some(
        diagnosis
            .with("seconds", seconds)
            .with("ends_by", "silence"),
    )
}

/// `message-limit`: a socket is served so many datagrams, however fast they come.
pub(super) fn messages(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let number = findings.messages?;
    let text = format!(
        "a socket is answered {}, at any pace, and nothing more; a new one is served",
        count(number as u64, "datagram", "datagrams")
    );
    let advice = "look for a server, a helper of a firewall or a balancer that takes a flow for one \
                  request (proxy_requests and proxy_responses of nginx, a DNS helper), or that \
                  leaves its loop; else have clients open a new socket for each";
    // The clauses use one port again and again.
    let explains = facts.clauses(Failure::is_silent);
    let diagnosis = Diagnosis::certain("message-limit", text, advice, explains);
    Some(
        diagnosis
            .with("messages", number)
            .with("ends_by", "silence"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::datagram::facts::made::facts;

    #[test]
    fn a_silence_and_an_age_have_names_of_their_own() {
        let facts = facts(&[("idle", Trouble::Forgotten)], &["old-socket"]);
        let with = |silences| Findings {
            silences: Some(silences),
            ..Findings::default()
        };
        let (alive, dead) = (Duration::from_secs(2), Duration::from_secs(3));
        let forgotten = idle(&facts, &with(Silences::Forgotten { alive, dead })).unwrap();
        assert_eq!(forgotten.explains, ["idle"]);
        assert_eq!(
            (
                &forgotten.evidence["alive_s"],
                &forgotten.evidence["dead_s"]
            ),
            (&2.0.into(), &3.0.into())
        );
        let aged = lifetime(&facts, &with(Silences::Busy { age: dead })).unwrap();
        assert_eq!(aged.evidence["seconds"], 3.0);
        assert_eq!(idle(&facts, &with(Silences::Alive)), None);
    }
}
