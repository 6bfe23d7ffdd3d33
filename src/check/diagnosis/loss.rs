//! Packets are lost at random.

use crate::check::cause::Diagnosis;
use crate::check::facts::{Facts, Failure};
use crate::check::findings::Findings;
use crate::check::lost::Proves;
use crate::check::observation::{End, NotMade};

/// Where fewer are lost, what is sent again arrives before anything is given up, in percent.
const SILENT: f64 = 10.0;

/// `loss`: more packets are lost than a sound path loses.
pub(super) fn loss(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    // The clause measures it as well.
    let seen = facts.failures.iter().find_map(|at| match at.observed.end {
        End::Lost(loss) => Some(loss),
        _ => None,
    });
    let Some(loss) = seen.or(findings.loss) else {
        return guess(facts).filter(|_| findings.is_open("loss"));
    };
    let percent = loss.worst();
    if !loss.seems_lossy() {
        return None;
    }
    let explains = facts.clauses(|at| {
        if is_slow(at) {
            return true;
        }
        let is_odd = at.observed.urgent || at.observed.half_closed || at.observed.held_silent;
        match at.observed.end {
            End::Lost(_) => true,
            End::Silence => percent >= SILENT && !is_odd,
            _ => false,
        }
    });
    let [to_server, to_client, percent] =
        [loss.to_server(), loss.to_client(), percent].map(rounded);
    let text = format!(
        "packets are lost: about {to_server} % on the way to the server and {to_client} % on the \
         way back"
    );
    let diagnosis = Diagnosis::certain("loss", text, ADVICE, explains)
        .with("percent", percent)
        .with("percent_to_server", to_server)
        .with("percent_to_client", to_client)
        .with("packets", loss.packets);
    Some(match loss.proves() {
        Proves::Lossy => diagnosis,
        Proves::Sound | Proves::Nothing => diagnosis.likely(),
    })
}

const ADVICE: &str = "find the hop that drops them (mtr --tcp, ethtool -S for errors, tc -s qdisc \
                      for full queues): a bad cable or radio link, a duplex mismatch, or a link \
                      that is full";

/// What takes longer where packets are lost, however few.
fn is_slow(failure: &Failure) -> bool {
    match failure.observed.end {
        End::Late { .. } => failure.clause != "small-writes",
        End::NotMade(NotMade::Unanswered) | End::Slow => true,
        _ => false,
    }
}

/// Several clauses were slow or late, and the one that counts lost packets was not tested.
fn guess(facts: &Facts) -> Option<Diagnosis> {
    let slow = facts.clauses(is_slow);
    let is_counted = facts.passed.contains(&"loss") || facts.has_failed("loss");
    (slow.len() >= 2 && facts.made > 0 && !is_counted).then(|| {
        let text = "several clauses are slow or late: packets seem to be lost, or the path carries \
                    less than any should";
        Diagnosis::certain("loss", text, ADVICE, slow).likely()
    })
}

/// To a tenth.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::facts::made::{facts, failure};
    use crate::check::lost::Loss;

    #[test]
    fn little_loss_is_no_cause_and_more_explains_what_is_late() {
        let late = End::Late {
            late: 80,
            of: 800,
            by: Duration::from_secs(1),
        };
        let facts = facts(
            &[
                failure("connect-storm", late),
                failure("bytes", End::Silence),
                failure("urgent", End::Reset),
            ],
            &[],
        );
        let of = |packets, there, back| {
            let loss = Loss {
                packets,
                there,
                back,
            };
            let findings = Findings {
                loss: Some(loss),
                ..Findings::default()
            };
            super::loss(&facts, &findings)
        };
        assert_eq!(of(400, 5, 4), None);
        let few = of(400, 0, 12).unwrap();
        assert_eq!(few.explains, ["connect-storm"]);
        assert_eq!(few.confidence, Confidence::Likely);
        let many = of(4000, 0, 202).unwrap();
        assert_eq!(many.evidence["percent"], 5.1);
        assert_eq!(many.evidence["percent_to_client"], 5.1);
        assert_eq!(many.confidence, Confidence::Certain);
        let much = of(400, 60, 34).unwrap();
        assert_eq!(much.explains, ["connect-storm", "bytes"]);
        assert_eq!(much.evidence["percent"], 15.0);
        assert_eq!(much.evidence["percent_to_client"], 10.0);
    }

    #[test]
    fn what_the_clause_measured_needs_no_experiment() {
        let measured = Loss {
            packets: 640,
            there: 32,
            back: 1,
        };
        let facts = facts(&[failure("loss", End::Lost(measured))], &["bytes"]);
        let diagnosis = loss(&facts, &Findings::default()).unwrap();
        assert_eq!(diagnosis.explains, ["loss"]);
        assert_eq!(diagnosis.evidence["percent_to_server"], 5.0);
    }
    #[test]
    fn without_experiments_several_that_are_slow_are_a_guess() {
        let untried = Findings {
            is_untried: true,
            ..Findings::default()
        };
        let slow = failure("message-16m", End::Slow);
        let both = [slow.clone(), failure("full-duplex", End::Slow)];
        let of = |failures: &[_], passed: &[&'static str], findings| {
            let mut facts = facts(failures, passed);
            facts.made = 3;
            loss(&facts, findings)
        };
        let guess = of(&both, &["bytes"], &untried).unwrap();
        assert_eq!(guess.confidence, Confidence::Likely);
        assert_eq!(guess.explains, ["message-16m", "full-duplex"]);
        assert_eq!(of(&[slow], &["bytes"], &untried), None);
        assert_eq!(of(&both, &["bytes", "loss"], &untried), None);
        assert_eq!(of(&both, &["bytes"], &Findings::default()), None);
    }
}
