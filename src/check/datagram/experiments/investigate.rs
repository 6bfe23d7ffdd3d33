//! Chooses the experiments by what is suspected, and makes them.

use std::time::{Duration, Instant};

use super::{again, bursts, content, filter, identify, kinds, late, messages, ports};
use super::{rate, refusal, silences, sizes};
use crate::check::datagram::facts::{Facts, Failure};
use crate::check::datagram::findings::{Findings, Loss, Rate, Refusal, Silences};
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
    let is_silent = facts.passed.is_empty()
        && facts.failures.first().map(|at| &at.trouble) == Some(&Trouble::Unanswered);
    if facts.failures.is_empty() || (target.is_unreachable && !is_foreign && !is_silent) {
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
    if is_foreign || is_silent {
        show("identify", &mut || {
            found.speaks = identify::identify(target).ok().flatten();
        });
    }
    if is_silent {
        return found;
    }
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
    if loses_all(facts) {
        show("ban", &mut || {
            found.ban = bursts::ban(target).ok().flatten()
        });
    }
    // Nothing more can be tried of one that is not served for what was tried.
    if found.ban.is_some() {
        return found;
    }
    special(target, facts, &mut found, show);
    // What is lost for its kind is no loss.
    let facts = &facts.without(&explained(&found));
    if facts.failures.is_empty() {
        return found;
    }
    if is_forgotten || is_lossy(facts) && !has_served_many(facts) {
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
    if is_lossy(facts) && is_open(&found) {
        show("again", &mut || {
            found.again = again::again(target, facts).unwrap_or_default();
        });
    }
    found
}

/// Tries whether those that were lost are lost each time for what they are.
fn special(target: &mut Target<'_>, facts: &Facts, found: &mut Findings, show: &mut Show<'_>) {
    let is_silent = |clause| facts.failure(clause).is_some_and(Failure::is_silent);
    if is_silent("empty") {
        show("empty", &mut || found.empty = kinds::empty(target).ok());
    }
    if is_silent("marks") {
        show("marks", &mut || {
            found.marks = kinds::marks(target).ok().flatten()
        });
    }
    if is_silent("bytes") && !takes_of_all(facts) {
        filter(target, found, show);
    }
}

/// Whether some of everything may be lost, by a loss or a limit.
fn takes_of_all(facts: &Facts) -> bool {
    let mut counted = facts.failures.iter().filter(|at| at.is_silent());
    counted.any(|at| matches!(at.clause, "loss" | "rate"))
}

/// Whether one socket had more answers than are asked for to find after how many it has none. Some
/// clauses send on two sockets.
fn has_served_many(facts: &Facts) -> bool {
    let answered = |clause| match facts.failure(clause).map(|at| &at.trouble) {
        Some(Trouble::Lost { lost, of }) => of - lost,
        _ => 0,
    };
    let many = 2 * messages::MOST;
    ["loss", "rate"]
        .into_iter()
        .any(|clause| answered(clause) > many)
}

/// Whether only the longest datagram had no answer where packets are lost at random: it is of so
/// many that this is no wonder, and no size is told from it.
fn is_longest_by_chance(facts: &Facts, found: &Findings) -> bool {
    let mut of_size = facts.failures.iter().filter(|at| at.is_of_size());
    found.loss.is_some_and(Loss::is_one) && of_size.all(|at| at.clause == "longest")
}

/// Whether several clauses got nothing at all.
fn loses_all(facts: &Facts) -> bool {
    let lost = facts.failures.iter().filter(|at| at.trouble.is_of_all());
    lost.filter(|at| !at.is_of_size()).count() > 1
}

/// Whether nothing was found of what is lost.
fn is_open(found: &Findings) -> bool {
    let is_sound = found.rate == Some(Rate::Alike) && found.silences.is_none();
    is_sound
        && found.filtered.is_none()
        && found.burst.is_none()
        && !found.loss.is_some_and(Loss::is_one)
}

fn filter(target: &mut Target<'_>, found: &mut Findings, show: &mut Show<'_>) {
    show("content", &mut || {
        found.filtered = filter::filtered(target).ok().flatten();
    });
}

/// The clauses that what was found of certain datagrams explains.
fn explained(found: &Findings) -> Vec<&'static str> {
    let kinds = [
        ("empty", found.empty == Some(true)),
        ("marks", found.marks.is_some()),
        ("bytes", found.filtered.is_some()),
    ];
    let some = kinds.into_iter().filter(|(_, is_it)| *is_it);
    some.map(|(clause, _)| clause).collect()
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
    let is_of_size = facts.failures.iter().any(is_of_size);
    let is_limited = matches!(found.rate, Some(Rate::Limited { .. }));
    if (is_lossy(facts) || is_of_size) && !is_limited {
        show("burst", &mut || {
            found.burst = bursts::limit(target).ok().flatten();
        });
    }
    // Before what takes long where much is lost.
    let is_open = found.burst.is_none();
    if is_open && is_lossy(facts) && found.rate == Some(Rate::Alike) {
        show("loss", &mut || found.loss = rate::loss(target).ok());
    }
    // A burst is what all fragments of a long datagram are.
    let is_burst = found.burst.is_some() && facts.passed.contains(&"full-packet");
    let is_chance = is_longest_by_chance(facts, found);
    if is_of_size && !is_burst && !is_chance && !found.filtered.as_ref().is_some_and(|it| it.is_all)
    {
        show("sizes", &mut || found.sizes = sizes::sizes(target).ok());
    }
    if let Some(Trouble::Ports { silent, .. }) = facts.failure("ports").map(|at| &at.trouble) {
        show("ports", &mut || {
            let ports = ports::ports(target, silent).ok();
            found.is_full_of_flows = ports.as_ref().is_some_and(|ports| ports.is_full);
            found.ports = ports.map(|ports| ports.silent);
        });
    }
    let is_of_bytes = facts.failure("bytes").is_some_and(Failure::is_silent);
    if is_of_bytes && takes_of_all(facts) && found.rate == Some(Rate::Alike) {
        filter(target, found, show);
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
    fn what_is_known_of_a_loss_is_not_tried_again() {
        let lost = |lost, of| Trouble::Lost { lost, of };
        let served = |clause, trouble| has_served_many(&facts(&[(clause, trouble)], &[]));
        assert!(served("rate", lost(60, 500)));
        assert!(!served("rate", lost(300, 500)));
        assert!(!served("loss", lost(30, 250)));
        assert!(!served("order", lost(0, 500)));
        let chance = |failed: &[&'static str], lost| {
            let failed: Vec<_> = failed.iter().map(|at| (*at, Trouble::Unanswered)).collect();
            let found = Findings {
                loss: lost,
                ..Findings::default()
            };
            is_longest_by_chance(&facts(&failed, &[]), &found)
        };
        let lossy = Some(Loss { lost: 30, of: 300 });
        assert!(chance(&["longest", "loss"], lossy));
        assert!(!chance(&["longest", "fragments"], lossy));
        assert!(!chance(&["longest"], Some(Loss { lost: 1, of: 300 })));
        assert!(!chance(&["longest"], None));
    }

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
