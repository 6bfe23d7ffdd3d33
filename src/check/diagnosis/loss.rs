//! Packets are lost at random.

use crate::check::cause::Diagnosis;
use crate::check::facts::Facts;
use crate::check::findings::Findings;
use crate::check::observation::{End, NotMade};

/// Less is what any long path may lose, in percent.
const LEAST: f64 = 2.0;

/// `loss`: more packets are lost than a sound path loses.
pub(super) fn loss(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let loss = findings.loss?;
    let percent = loss.to_server.max(loss.to_client);
    if percent < LEAST {
        return None;
    }
    let explains = facts.clauses(|at| {
        let late = matches!(
            at.observed.end,
            End::Late { .. } | End::NotMade(NotMade::Unanswered)
        );
        late || at.is_silent()
    });
    let [to_server, to_client, percent] = [loss.to_server, loss.to_client, percent].map(rounded);
    let text = format!(
        "packets are lost: about {to_server} % on the way to the server and {to_client} % on the way \
         back"
    );
    let advice = "find the hop that drops them (mtr --tcp, ethtool -S for errors, tc -s qdisc for \
                  full queues): a bad cable or radio link, a duplex mismatch, or a link that is full";
    let diagnosis = Diagnosis::certain("loss", text, advice, explains);
    let diagnosis = diagnosis.with("percent", percent);
    let diagnosis = diagnosis.with("percent_to_server", to_server);
    let diagnosis = diagnosis.with("percent_to_client", to_client);
    Some(diagnosis.with("packets", loss.packets))
}

/// To a tenth.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::facts::made::{facts, failure};
    use crate::check::findings::Loss;

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
                failure("urgent", End::Reset),
            ],
            &[],
        );
        let of = |to_server, to_client| {
            let findings = Findings {
                loss: Some(Loss {
                    to_server,
                    to_client,
                    packets: 400,
                }),
                ..Findings::default()
            };
            loss(&facts, &findings)
        };
        assert_eq!(of(1.2, 0.9), None);
        let diagnosis = of(0.0, 5.04).unwrap();
        assert_eq!(diagnosis.evidence["percent"], 5.0);
        assert_eq!(diagnosis.explains, ["connect-storm"]);
    }
}
