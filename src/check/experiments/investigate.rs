//! Chooses the experiments by what is suspected, and makes them.

use std::time::{Duration, Instant};

use super::setting::Setting;
use super::suspicion::Suspicion;
use super::{
    changes, half_close, held, hello, loss, rate, silences, sizes, steps, streams, urgent,
};
use crate::check::facts::Facts;
use crate::check::findings::{Ending, Findings, Held};
use crate::check::target::Target;
use crate::proto::Protocol;

/// The time that all of them have: what the clauses have left and this, or at least that.
const MORE: Duration = Duration::from_secs(5);
const LEAST: Duration = Duration::from_secs(10);

/// Makes one experiment of that name, which is shown as long as it lasts.
type Show<'a> = dyn FnMut(&'static str, &mut (dyn FnMut() + Send)) + 'a;

/// Tries what the failed clauses give reason to suspect.
pub(in crate::check) fn investigate(
    target: &Target<'_>,
    facts: &Facts,
    show: &mut Show<'_>,
) -> Findings {
    let mut found = Findings::default();
    // In the other protocols a connection carries one answer.
    let is_echo = target.plan().protocol == Protocol::Echo;
    if !is_echo
        || facts.failures.is_empty()
        || target.shared.is_unreachable()
        || target.shared.is_interrupted()
    {
        return found;
    }
    let idle = target.plan().idle.unwrap_or_default();
    let until = Instant::now() + (target.shared.left() + MORE).max(LEAST) + idle;
    let stop = || target.shared.is_interrupted() || Instant::now() >= until;
    let Some(setting) = Setting::new(target.address(), &stop) else {
        return found;
    };
    if facts.is_mute() {
        show("hello", &mut || found.hello = hello::hello(&setting));
        let hello = found.hello.clone().unwrap_or_default();
        let is_other = !hello.answer.is_empty() && !hello.is_echoed();
        if is_other
            || !hello.greeting.is_empty()
            || matches!(hello.end, Some(end) if end != Ending::Silence)
        {
            return found;
        }
    }
    let suspicion = Suspicion { facts };
    if suspicion.is_held() {
        show("held", &mut || found.held = held::held(&setting));
    }
    let is_held = !matches!(found.held, None | Some(Held::Nothing));
    // What is held back comes back short, and is not changed.
    if suspicion.is_changed() && !is_held {
        show("changes", &mut || {
            found.changes = changes::changes(&setting)
        });
    }
    if suspicion.is_large() {
        show("sizes", &mut || found.sizes = sizes::sizes(&setting));
    }
    if suspicion.is_half_close() {
        show("half-close", &mut || {
            found.half_close = half_close::half_close(&setting);
        });
    }
    if facts.has_failed("urgent") {
        show("urgent", &mut || found.urgent = urgent::urgent(&setting));
    }
    if let Some(hint) = suspicion.cut(&found).filter(|_| !is_held) {
        show("streams", &mut || {
            found.streams = streams::streams(&setting, hint)
        });
    }
    let connections = target.plan().connections;
    let least = suspicion.least_served();
    if suspicion.is_crowded() {
        show("steps", &mut || {
            found.steps = steps::steps(&setting, connections, least)
        });
    }
    if suspicion.is_late(&found) {
        show("rate", &mut || {
            found.rate = rate::rate(&setting, 4 * connections)
        });
    }
    if suspicion.is_lossy(&found) {
        show("loss", &mut || found.loss = loss::loss(&setting));
    }
    if let Some(idle) = target.plan().idle.filter(|_| suspicion.is_forgotten()) {
        show("silences", &mut || {
            found.silences = silences::silences(&setting, idle);
        });
    }
    found
}
