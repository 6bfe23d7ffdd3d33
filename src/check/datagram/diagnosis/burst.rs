//! Many that are sent at once are lost, or nothing is answered for a while.

use crate::base::units::count;
use crate::check::cause::Diagnosis;
use crate::check::datagram::facts::{Facts, Failure};
use crate::check::datagram::findings::{Ban, Findings};
use crate::check::datagram::trouble::Trouble;

/// The packets of the longest datagram over Ethernet, at the least.
const FRAGMENTS: usize = 44;

/// `burst-limit`: so many of those sent at once come back, and of more the end is lost.
pub(super) fn limit(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let number = findings.burst?;
    let text = format!(
        "of datagrams that are sent at once {} before one is lost, and the same number sent one \
         after another all do: a short queue, or a limit that allows no longer burst",
        match number {
            1 => String::from("1 comes back"),
            _ => format!("{number} come back"),
        }
    );
    let advice = "raise the burst of the limit (nft limit burst, a policer's bucket), the queue on \
                  the way (tc -s qdisc, ethtool -g) or the receive buffer of the server \
                  (net.core.rmem_max, SO_RCVBUF; nstat UdpRcvbufErrors), or pace what is sent (RFC \
                  8085 section 3.1)";
    let is_whole = facts.passed.contains(&"full-packet");
    let is_long = |at: &Failure| is_whole && number < FRAGMENTS && at.is_of_size();
    // A sender that waited for a processor sends at once what was due meanwhile.
    let is_burst = |at: &Failure| {
        matches!(at.clause, "order" | "duplicates" | "ports")
            || matches!(at.trouble, Trouble::Lost { .. })
    };
    let explains = facts.clauses(|at| at.is_silent() && (is_burst(at) || is_long(at)));
    let diagnosis = Diagnosis::certain("burst-limit", text, advice, explains);
    Some(diagnosis.with("datagrams", number))
}

/// `banned`: a source that sends many at once is not served for a while.
pub(super) fn banned(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Ban::After { silence, came } = findings.ban? else {
        return None;
    };
    let seconds = (silence.as_secs_f64() * 10.0).round() / 10.0;
    let text = format!(
        "after {} of a burst no datagram of this machine is answered for {seconds} s, from any of \
         its ports; at a low rate before all were: something takes a burst for an attack, and bans \
         its source",
        count(came as u64, "echo", "echoes")
    );
    let advice = "look for a rule that remembers sources (nft: set with a timeout, fail2ban, the \
                  flood protection of a firewall or of the provider), and raise its limit or have \
                  it leave this source alone";
    let explains = facts.clauses(Failure::is_silent);
    let diagnosis = Diagnosis::certain("banned", text, advice, explains);
    Some(diagnosis.with("seconds", seconds))
}

/// `gone`: there were echoes, and then nothing more, without a word.
pub(super) fn gone(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Ban::Gone { since } = findings.ban? else {
        return None;
    };
    if facts.passed.is_empty() {
        return None;
    }
    let first = facts.failures.iter().find(|at| at.is_silent())?;
    let text = format!(
        "echoes came until the clause {}, and nothing comes any more for {} s, from any port and \
         without a word: the server or the way to it has ended, or this source is banned",
        first.clause,
        since.as_secs()
    );
    let advice = "see whether the server still runs and is not stopped, whether its host answers, \
                  and whether a rule remembers this source; check again after a while";
    let explains = facts.clauses(Failure::is_silent);
    let diagnosis = Diagnosis::certain("gone", text, advice, explains);
    Some(diagnosis.with("ends_by", "silence").likely())
}

/// `interrupted`: what was lost is not lost now.
pub(super) fn interrupted(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let silent = facts.clauses(Failure::is_silent);
    let again = &findings.again;
    let (first, last) = (again.first()?, again.last()?);
    let clauses = match first == last {
        true => format!("the clause {first}"),
        false => format!("the clauses from {first} to {last}"),
    };
    let text = format!(
        "for a while nothing came back, during {clauses}, and now the same passes: the server or the \
         way to it was away, or did not keep up"
    );
    let advice = "look what happened then: a restart of the server or of a machine on the way, a \
                  change of routes, a link that went down, a machine that stood still";
    let explains = silent.iter().filter(|clause| again.contains(clause));
    let explains: Vec<_> = explains.copied().collect();
    let is_all = |at: &Failure| explains.contains(&at.clause) && at.trouble.is_of_all();
    let is_certain = !facts.clauses(is_all).is_empty() && explains.len() == silent.len();
    let diagnosis = Diagnosis::certain("interrupted", text, advice, explains);
    Some(match is_certain {
        true => diagnosis,
        false => diagnosis.likely(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::datagram::facts::made::facts;

    #[test]
    fn a_burst_explains_the_fragments_of_what_is_long() {
        let failed = [
            ("longest", Trouble::Unanswered),
            ("order", Trouble::Lost { lost: 40, of: 64 }),
            ("marks", Trouble::Unanswered),
        ];
        let with = |burst| Findings {
            burst: Some(burst),
            ..Findings::default()
        };
        let explains = |burst, passed: &[&'static str]| {
            limit(&facts(&failed, passed), &with(burst))
                .unwrap()
                .explains
        };
        assert_eq!(explains(20, &["full-packet"]), ["longest", "order"]);
        assert_eq!(explains(50, &["full-packet"]), ["order"]);
        assert_eq!(explains(20, &[]), ["order"]);
    }

    #[test]
    fn a_ban_an_end_and_an_interruption_are_told_apart() {
        let failed = [
            ("order", Trouble::Lost { lost: 64, of: 64 }),
            ("marks", Trouble::Unanswered),
        ];
        let facts = facts(&failed, &["reachable"]);
        let with = |ban| Findings {
            ban: Some(ban),
            ..Findings::default()
        };
        let silence = Duration::from_millis(4250);
        let after = with(Ban::After { silence, came: 60 });
        let banned = banned(&facts, &after).unwrap();
        assert_eq!(banned.explains, ["order", "marks"]);
        assert_eq!(banned.evidence["seconds"], 4.3);
        assert_eq!(gone(&facts, &after), None);
        let since = Duration::from_secs(10);
        let gone = gone(&facts, &with(Ban::Gone { since })).unwrap();
        assert_eq!(gone.confidence, Confidence::Likely);
        let over = |again: &[&'static str]| Findings {
            again: again.to_vec(),
            ..Findings::default()
        };
        let all = interrupted(&facts, &over(&["order", "marks"])).unwrap();
        assert_eq!(all.confidence, Confidence::Certain);
        let some = interrupted(&facts, &over(&["marks"])).unwrap();
        assert_eq!(
            (some.confidence, &some.explains[..]),
            (Confidence::Likely, &["marks"][..])
        );
        assert_eq!(interrupted(&facts, &over(&[])), None);
    }
}
