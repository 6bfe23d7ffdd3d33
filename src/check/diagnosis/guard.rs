//! This client is denied for a while, as it began many connections.

use crate::base::units::{count, duration};
use crate::check::cause::Diagnosis;
use crate::check::facts::{Facts, Failure};
use crate::check::findings::{Banned, Denied, Ending, Findings};
use crate::check::observation::{End, NotMade};

/// `banned`: all connections are denied for a while, once many were begun in a short time.
pub(super) fn banned(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Banned {
        served,
        within,
        lasted,
        by,
        is_proved,
    } = findings.banned?;
    let are = match by {
        Denied::Ended(Ending::Silence) | Denied::Waits => "get no answer",
        Denied::Ended(Ending::Close) => "are closed",
        Denied::Ended(Ending::Reset) => "are refused or reset",
        Denied::Prohibited => "are rejected by an ICMP message",
    };
    let number = count(served as u64, "connection", "connections");
    let why = match is_proved {
        true => "a guard bans this client, or the service is switched off for a while",
        false => {
            "a guard bans this client, or a limit of connections counts them for a while after \
             their end"
        }
    };
    let text = format!(
        "after {number} in {} all {are} for {}, however seldom they are tried, and then they are \
         served again: {why}",
        duration(within),
        duration(lasted)
    );
    let advice = "raise the number of connections in a time above which it does so (HAProxy: \
                  stick-table conn_rate; xinetd: cps; nft: a dynamic set; fail2ban), except this \
                  client from it, or keep connections open and use them again";
    let explains = facts.clauses(|at| is_denied(at, by));
    let seconds = |time: std::time::Duration| (time.as_secs_f64() * 10.0).round() / 10.0;
    let diagnosis = Diagnosis::certain("banned", text, advice, explains)
        .with("connections", served)
        .with("within_s", seconds(within))
        .with("seconds", seconds(lasted));
    let diagnosis = diagnosis.with("ends_by", by.word());
    Some(match is_proved {
        true => diagnosis,
        false => diagnosis.likely(),
    })
}

/// Whether its connection was denied, or ended by that.
fn is_denied(failure: &Failure, by: Denied) -> bool {
    let seen = &failure.observed;
    match &seen.end {
        End::NotMade(NotMade::Refused | NotMade::Unanswered | NotMade::Reset) => true,
        End::NotMade(how) => how.is_by_icmp(),
        End::Close | End::Reset => seen.received == 0,
        End::Late { .. } => failure.clause == "connect-storm",
        // What drops a client's packets drops those of its other connections, too.
        _ => failure.is_silent() && (by == Denied::Ended(Ending::Silence) || seen.received == 0),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::facts::made::{facts, failure};

    #[test]
    fn a_ban_explains_what_was_denied_and_says_how_many_began_it() {
        let mut carried = failure("bytes", End::Reset);
        carried.observed.received = 700;
        let mut silent = failure("lifetime", End::Silence);
        silent.observed.received = 700;
        let failures = [
            failure("connections", End::Reset),
            failure("reset", End::NotMade(NotMade::Unanswered)),
            carried,
            silent,
        ];
        let of = |by, is_proved| {
            let findings = Findings {
                banned: Some(Banned {
                    served: 100,
                    within: Duration::from_millis(2_040),
                    lasted: Duration::from_secs(6),
                    by,
                    is_proved,
                }),
                ..Findings::default()
            };
            banned(&facts(&failures, &[]), &findings).unwrap()
        };
        let reset = of(Denied::Ended(Ending::Reset), true);
        assert_eq!(reset.explains, ["connections", "reset"]);
        assert_eq!(reset.confidence, Confidence::Certain);
        assert_eq!(reset.evidence["connections"], 100);
        assert_eq!(reset.evidence["within_s"], 2.0);
        assert_eq!(reset.evidence["seconds"], 6.0);
        assert_eq!(reset.evidence["ends_by"], "reset");
        let dropped = of(Denied::Ended(Ending::Silence), false);
        assert_eq!(dropped.explains, ["connections", "reset", "lifetime"]);
        assert_eq!(dropped.confidence, Confidence::Likely);
    }
}
