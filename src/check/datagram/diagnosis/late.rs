//! Echoes come when nobody waits for them any more.

use crate::base::units::{count, duration};
use crate::check::cause::Diagnosis;
use crate::check::datagram::facts::{Facts, Failure};
use crate::check::datagram::findings::{Findings, Late};

/// Fewer late echoes may be of one that was held up on the way.
const PROVED: usize = 3;

/// `answers-late`: what was taken for lost comes later.
pub(super) fn answers(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Late {
        came,
        slowest,
        per_s,
    } = findings.late?;
    let text = format!(
        "{} came when nobody waited any more, the slowest after {}: about {per_s:.1} a second are \
         answered, and the others wait in a queue",
        count(came as u64, "echo", "echoes"),
        duration(slowest)
    );
    let advice = "see what the server does for each datagram and how many it answers at once (top, \
                  ss -lun: Recv-Q), and on the way for a queue that holds so much (ip -s link, tc \
                  -s qdisc)";
    let explains = facts.clauses(Failure::is_silent);
    let diagnosis = Diagnosis::certain("answers-late", text, advice, explains);
    let diagnosis = match came < PROVED {
        true => diagnosis.likely(),
        false => diagnosis,
    };
    let diagnosis = diagnosis.with("per_s", (per_s * 10.0).round() / 10.0);
    Some(diagnosis.with("seconds", (slowest.as_secs_f64() * 1000.0).round() / 1000.0))
}
