//! Chooses the experiments by what is suspected, and makes them.

use std::time::Instant;

use super::ban::Guarded;
use super::connection::{Failed, Stop};
use super::setting::Setting;
use super::suspicion::{Suspicion, under_way};
use super::{
    ban, changes, content, half_close, held, hello, loss, rate, says, several, silences, sizes,
    steps, streams, urgent,
};
use crate::check::facts::{Facts, Failure};
use crate::check::findings::{Denied, Ending, Findings, Gone, Held, Says, Sizes, Steps};
use crate::check::target::Target;
use crate::proto::Protocol;

/// Makes one experiment of that name, which is shown as long as it lasts.
type Show<'a> = dyn FnMut(&'static str, &mut (dyn FnMut() + Send)) + 'a;

/// Tries what the failed clauses give reason to suspect.
pub(in crate::check) fn investigate(
    target: &Target<'_>,
    facts: &Facts,
    show: &mut Show<'_>,
) -> Findings {
    let untried = Findings {
        is_untried: true,
        ..Findings::default()
    };
    if facts.failures.is_empty() || target.shared.is_interrupted() {
        return untried;
    }
    let until = Instant::now() + target.shared.left_in_all();
    let stop = || target.shared.is_interrupted() || Instant::now() >= until;
    if facts.is_unconnected() {
        let found = Findings {
            says: who_says(target, facts.is_answered(), &stop, show),
            ..Findings::default()
        };
        // One that is made now tells more.
        if found.says != Some(Says::Made) {
            return found;
        }
    }
    // In the other protocols a connection carries one answer.
    if target.plan().protocol != Protocol::Echo {
        return untried;
    }
    let (started, mut setting) = (Instant::now(), Err(Failed::Here));
    show("round trip", &mut || {
        setting = Setting::new(target.address(), target.shared.width(), until, &stop);
    });
    let setting = match setting {
        Ok(setting) => setting,
        Err(failed) => {
            // One that was stopped tells nothing of the server.
            let gone = failed.denied().filter(|_| !stop());
            let time = started.elapsed();
            let is_said = gone == Some(Denied::Prohibited);
            let says = who_says(target, is_said, &stop, show);
            return Findings {
                gone: gone.map(|by| Gone { time, by, says }),
                ..untried
            };
        }
    };
    // Those of the clauses that failed were reset with what was under way.
    if facts.failures.iter().any(Failure::is_silent) {
        setting.note_left_behind();
    }
    let mut first = Trial {
        setting: &setting,
        suspicion: Suspicion { facts },
        show,
        found: Findings::default(),
    };
    if first.is_blind(target) {
        return first.found;
    }
    // Those after it would wait in vain for each large packet that is lost.
    first.of_sizes();
    if first.is_unread() {
        return first.found;
    }
    first.of_values();
    let Trial { show, found, .. } = first;
    // What these bytes end gives reason for no other suspicion.
    let is_ended = |at: &Failure| found.content.as_ref().is_some_and(|it| it.explains(at));
    let rest = facts.without(is_ended);
    let mut trial = Trial {
        setting: &setting,
        suspicion: Suspicion { facts: &rest },
        show,
        found,
    };
    trial.all(target);
    trial.found
}

/// Who says that no connection is made, where somebody may have done so.
fn who_says(
    target: &Target<'_>,
    is_said: bool,
    stop: Stop<'_>,
    show: &mut Show<'_>,
) -> Option<Says> {
    let mut says = None;
    if is_said {
        show("who says so", &mut || {
            says = says::says(target.address(), stop);
        });
    }
    says
}

/// The experiments, and what they have found so far.
struct Trial<'a, 'b> {
    setting: &'a Setting<'a>,
    suspicion: Suspicion<'a>,
    show: &'a mut Show<'b>,
    found: Findings,
}

impl Trial<'_, '_> {
    /// Makes one. What it found when its time was over is no finding: it may have waited for
    /// what was still to come.
    fn make<T: Send>(
        &mut self,
        name: &'static str,
        experiment: impl Fn(&Setting<'_>) -> Option<T> + Sync,
    ) -> Option<T> {
        let (setting, found) = (self.setting, self.make_in_parts(name, experiment));
        found.filter(|_| !setting.is_stopped())
    }

    /// Makes one that leaves out by itself what it could not wait for.
    fn make_in_parts<T: Send>(
        &mut self,
        name: &'static str,
        experiment: impl Fn(&Setting<'_>) -> Option<T> + Sync,
    ) -> Option<T> {
        let (setting, mut found) = (self.setting, None);
        if !setting.is_stopped() {
            (self.show)(name, &mut || found = experiment(setting));
        }
        if setting.has_given_up() || setting.is_stopped() {
            self.found.cut_short.push(name);
        }
        found
    }

    /// Whether all others would be blind: these take every connection for the same.
    fn is_blind(&mut self, target: &Target<'_>) -> bool {
        self.is_another_server()
            || self.is_one_of_several()
            || self.is_withheld()
            || self.is_banned(target)
    }

    /// Sees whether this client is banned for a while once it has begun many connections.
    fn is_banned(&mut self, target: &Target<'_>) -> bool {
        if !self.suspicion.is_denied() {
            return false;
        }
        // What still counts connections that are gone denies all for a while, too.
        let connections = target.plan().connections;
        self.of_number(connections);
        if matches!(self.found.steps, Some(Steps::UpTo { .. })) {
            return false;
        }
        let most = 4 * connections;
        match self.make_in_parts("ban", |at| ban::ban(at, most)) {
            Some(Guarded::Banned(banned)) => self.found.banned = Some(banned),
            Some(Guarded::Still { time, by }) => {
                let says = None;
                self.found.gone = Some(Gone { time, by, says });
            }
            None => return false,
        }
        true
    }

    /// Sees whether the server forgets that there is more to read.
    fn is_unread(&mut self) -> bool {
        if self.suspicion.is_large() && !self.is_held() && !self.is_hole() {
            let unread = self.make("unread", held::unread);
            self.found.held = unread.or(self.found.held);
        }
        matches!(self.found.held, Some(Held::Unread(_)))
    }

    /// Makes the others that are suspected.
    fn all(&mut self, target: &Target<'_>) {
        self.of_bytes();
        self.of_connections(target.plan().connections);
        if let Some(idle) = target.plan().idle
            && self.suspicion.is_forgotten()
        {
            self.found.silences = self.make("silences", |at| silences::silences(at, idle));
        }
    }

    /// Sees who answers where nothing came back; whether it is no echo server.
    fn is_another_server(&mut self) -> bool {
        if !self.suspicion.facts.is_mute() {
            return false;
        }
        let ended_at = self.suspicion.ended_at();
        let hello = self.make("hello", |at| hello::hello(at, ended_at));
        let is_other = hello.as_ref().is_some_and(|hello| {
            let is_ended = matches!(hello.end, Some(end) if end != Ending::Silence);
            let is_other = !hello.answer.is_empty() && !hello.is_echoed();
            is_other || !hello.greeting().is_empty() || is_ended || hello.is_lost()
        });
        self.found.hello = hello;
        is_other
    }

    /// Sees whether only some connections fail.
    fn is_one_of_several(&mut self) -> bool {
        if self.suspicion.is_mixed() {
            self.found.several = self.make("several", several::several);
        }
        if let Some(bytes) = self.suspicion.is_mixed_behind()
            && self.found.several.is_none()
        {
            self.found.several = self.make("several", |at| several::carrying(at, bytes));
        }
        self.found.several.is_some()
    }

    /// Sees whether something is held back; whether so much is that all others would wait for
    /// nothing.
    fn is_withheld(&mut self) -> bool {
        if self.suspicion.is_held() {
            self.found.held = self.make("held", held::held);
        }
        match self.found.held {
            Some(Held::Lines | Held::Blocks | Held::UntilEnd | Held::Last(_)) => true,
            Some(Held::Never) => self.suspicion.facts.is_mute(),
            Some(Held::Nothing | Held::Collected(_) | Held::Unread(_)) | None => false,
        }
    }

    /// What becomes of bytes for what they are.
    fn of_values(&mut self) {
        // What is held back comes back short, and is not changed.
        if self.is_held() {
            return;
        }
        if self.suspicion.is_changed() {
            let more = self.suspicion.wrong_values();
            let changes = |at: &Setting<'_>| changes::changes(at, &more);
            self.found.changes = self.make_in_parts("changes", changes);
        }
        let changes = self.found.changes.as_ref();
        if changes.is_none_or(|changes| changes.changed.is_empty()) {
            let windows = under_way(self.suspicion.facts);
            if !windows.is_empty() && !self.is_hole() {
                self.found.content = self.make("content", |at| content::content(at, &windows));
            }
        }
    }

    /// Finds the largest packets that pass.
    fn of_sizes(&mut self) {
        if self.suspicion.is_large() {
            self.found.sizes = self.make("sizes", sizes::sizes);
        }
        if let Some(Sizes::UpTo { bytes, .. }) = self.found.sizes {
            self.setting.keep_below(bytes);
        }
    }

    /// Whether larger packets are lost.
    const fn is_hole(&self) -> bool {
        matches!(self.found.sizes, Some(Sizes::UpTo { .. }))
    }

    fn is_held(&self) -> bool {
        !matches!(self.found.held, None | Some(Held::Nothing))
    }

    /// What becomes of the bytes of one connection.
    fn of_bytes(&mut self) {
        let is_held = self.is_held();
        // Connections of the clauses that still counted may have left no room for the first try.
        if self.found.sizes.is_none() {
            self.of_sizes();
        }
        if self.suspicion.is_half_close() {
            self.found.half_close = self.make("half-close", half_close::half_close);
        }
        if self.suspicion.facts.has_failed("urgent") {
            self.found.urgent = self.make("urgent", urgent::urgent);
        }
        if let Some(hint) = self.suspicion.cut(&self.found)
            && !is_held
        {
            self.found.streams = self.make("streams", |at| streams::streams(at, hint));
        }
    }

    /// How many connections are served at once.
    fn of_number(&mut self, connections: usize) {
        let before = steps::Before {
            served: self.suspicion.least_served(),
            left_full: self.suspicion.facts.borne.left_full,
        };
        self.found.steps = self.make("steps", |at| steps::steps(at, connections, before));
    }

    /// What becomes of several connections, and of packets.
    fn of_connections(&mut self, connections: usize) {
        // Those that were denied have been counted.
        if self.suspicion.is_crowded() && !self.suspicion.is_denied() {
            self.of_number(connections);
        }
        if self.suspicion.is_late(&self.found) {
            self.found.rate = self.make("rate", |at| rate::rate(at, 4 * connections));
        }
        if self.suspicion.is_mixed_crowd(&self.found) {
            self.found.several = self.make("several", several::several);
        }
        if self.suspicion.is_lossy(&self.found) && self.found.several.is_none() {
            self.found.loss = self.make("loss", loss::loss);
        }
    }
}
