//! Chooses the experiments by what is suspected, and makes them.

use std::time::{Duration, Instant};

use super::{content, late, messages, ports, rate, refusal, silences, sizes};
use crate::check::datagram::facts::{Facts, Failure};
use crate::check::datagram::findings::{Findings, Rate, Refusal, Silences};
use crate::check::datagram::target::Target;
use crate::check::datagram::trouble::Trouble;

/// The time that all of them have.
const ALL: Duration = Duration::from_secs(25);

/// The silences that are tried where no time was asked for: about as long as the clauses are.
const SILENCE: Duration = Duration::from_secs(6);

/// Makes one experiment of that name, which is shown as long as it lasts.
type Show<'a> = dyn FnMut(&'static str, &mut (dyn FnMut() + Send)) + 'a;

/// Tries what the failed clauses give reason to suspect.
pub(in crate::check::datagram) fn investigate(
    target: &mut Target<'_>,
    facts: &Facts,
    show: &mut Show<'_>,
) -> Findings {
    let mut found = Findings::default();
    let is_foreign = matches!(facts.find(foreign), Some(()));
    if facts.failures.is_empty() || (target.is_unreachable && !is_foreign) {
        return found;
    }
    let is_forgotten = facts
        .failures
        .iter()
        .any(|at| at.trouble == Trouble::Forgotten);
    let silence = target.plan.idle.unwrap_or(SILENCE);
    let more = if is_forgotten {
        silence
    } else {
        Duration::ZERO
    };
    target.end = Instant::now() + ALL + more;
    if is_foreign {
        show("hello", &mut || found.hello = content::hello(target).ok());
        return found;
    }
    if facts.find(refused).is_some() {
        show("refusal", &mut || {
            found.refusal = refusal::refusal(target).ok();
        });
        // Where nobody else is served, nothing else can be tried.
        if matches!(found.refusal, Some(Refusal::All | Refusal::Others)) {
            return found;
        }
    }
    if facts.find(changed).is_some() {
        show("changes", &mut || {
            found.changes = content::changes(target).ok()
        });
    }
    if is_lossy(facts) {
        show("late", &mut || {
            found.late = late::late(target).ok().flatten()
        });
    }
    // Behind a queue that is full nothing else can be told.
    if found.late.is_some() {
        return found;
    }
    if is_forgotten || is_lossy(facts) {
        show("messages", &mut || {
            found.messages = messages::messages(target).ok().flatten();
        });
    }
    if found.messages.is_some() {
        return found;
    }
    if is_forgotten {
        show("silences", &mut || {
            found.silences = silences::silences(target, silence).ok();
        });
    }
    // A socket that ends at an age is what all clauses meet.
    if !matches!(found.silences, Some(Silences::Busy { .. })) {
        losses(target, facts, &mut found, show);
    }
    found
}

/// Tries what may be the reason that datagrams are lost.
fn losses(target: &mut Target<'_>, facts: &Facts, found: &mut Findings, show: &mut Show<'_>) {
    if is_lossy(facts) {
        show("rate", &mut || found.rate = rate::rate(target).ok());
    }
    if let Some(Rate::Limited { per_s, slow }) = found.rate {
        // Where nothing comes back of many, that low rate is all that is known to pass.
        target.slow_down_to(match per_s {
            1.0.. => (per_s / 2.0).max(slow.per_s.into()),
            _ => slow.per_s.into(),
        });
    }
    let is_of_size = |at: &Failure| at.is_silent() && at.is_of_size();
    if facts.failures.iter().any(is_of_size) {
        show("sizes", &mut || found.sizes = sizes::sizes(target).ok());
    }
    if let Some(Trouble::Ports { silent, .. }) = facts.failure("ports").map(|at| &at.trouble) {
        show("ports", &mut || {
            found.ports = ports::ports(target, silent).ok()
        });
    }
    if is_lossy(facts) && found.rate == Some(Rate::Alike) {
        show("loss", &mut || found.loss = rate::loss(target).ok());
    }
}

const fn foreign(trouble: &Trouble) -> Option<()> {
    match trouble {
        Trouble::Foreign(_) => Some(()),
        _ => None,
    }
}

fn refused(trouble: &Trouble) -> Option<()> {
    match trouble {
        Trouble::Refused(refused) if refused.is_port => Some(()),
        _ => None,
    }
}

const fn changed(trouble: &Trouble) -> Option<()> {
    match trouble {
        Trouble::Changed(_) => Some(()),
        _ => None,
    }
}

/// Whether datagrams of a size that passes are lost.
fn is_lossy(facts: &Facts) -> bool {
    let is_it = |at: &Failure| {
        at.is_silent()
            && !at.is_of_size()
            && !matches!(at.trouble, Trouble::Ports { .. } | Trouble::Forgotten)
    };
    facts.failures.iter().any(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::datagram::facts::made::facts;

    #[test]
    fn what_is_too_long_or_of_one_port_is_no_loss() {
        let lost = Trouble::Lost { lost: 9, of: 10 };
        assert!(is_lossy(&facts(&[("loss", lost)], &[])));
        let ports = Trouble::Ports {
            silent: vec![1],
            of: 32,
        };
        let others = [("longest", Trouble::Unanswered), ("ports", ports)];
        assert!(!is_lossy(&facts(&others, &["loss"])));
    }
}
