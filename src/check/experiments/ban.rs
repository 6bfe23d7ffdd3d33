//! Whether connections are denied for a while once many were begun in a short time, as by what
//! bans a client, or a service that is switched off for some seconds.

use std::time::{Duration, Instant};

use super::connection::Failed;
use super::each::{at_once, each};
use super::setting::{BANNED, RESERVED, Setting};
use crate::check::findings::{Banned, Denied, Ending};

/// The longest time in which connections are begun to be denied.
const BURST: Duration = Duration::from_secs(3);

/// The pause between tries while all are denied: a limit of a rate lets one through in that time,
/// or at twice that pace none when it is tried slowly.
const PAUSE: Duration = Duration::from_millis(300);

/// All are denied for so long at the least, and so many tries in a row.
const LEAST: Duration = Duration::from_secs(1);
const TRIES: usize = 2;

/// Before and behind it, so many are served with such pauses, without one that is denied.
const SERVED: usize = 4;

/// So long after a ban others are begun while half as many as it took are held; a guard counts
/// those no more. At least this part of as many as before is served then.
const UNCOUNTED: Duration = Duration::from_secs(2);
const AS_MANY: (usize, usize) = (3, 4);

/// What a guard does to this client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Guarded {
    /// It denies all for a while.
    Banned(Banned),
    /// All are denied, for as long as was waited.
    Still { time: Duration, by: Denied },
}

/// Waits until connections are served, and begins up to `most` until one is denied: whether all
/// are then, for a while, however seldom they are tried.
pub(super) fn ban(setting: &Setting<'_>, most: usize) -> Option<Guarded> {
    let longest = setting.left().saturating_sub(RESERVED).min(BANNED);
    if let Err((time, by)) = until_served(setting, longest)? {
        // What takes all and says nothing is no guard.
        let is_silent = by == Denied::Ended(Ending::Silence);
        return (!is_silent).then_some(Guarded::Still { time, by });
    }
    if !are_served(setting) {
        return None;
    }
    let begun = Instant::now();
    let (served, by) = begin(setting, most)?;
    let by = by?;
    let (within, denied) = (begun.elapsed(), Instant::now());
    let longest = setting.left().saturating_sub(RESERVED).min(BANNED);
    let tries = until_served(setting, longest)?;
    let lasted = denied.elapsed();
    let is_ban = lasted >= LEAST && tries.is_ok_and(|tries| tries >= TRIES) && are_served(setting);
    if !is_ban || setting.is_stopped() {
        return None;
    }
    Some(Guarded::Banned(Banned {
        served,
        within,
        lasted,
        by,
        is_proved: is_by_rate(setting, served, lasted, most),
    }))
}

/// Whether as many are served while some are held: a limit of those that are open, which counts
/// them for a while after their end, has room for fewer then.
fn is_by_rate(setting: &Setting<'_>, served: usize, lasted: Duration, most: usize) -> bool {
    let pause = lasted + UNCOUNTED;
    if setting.left() < pause + BURST + setting.patience() {
        return false;
    }
    let held = each(setting, &vec![(); served / 2], |()| setting.open_served());
    let held: Option<Vec<_>> = held.map(|all| all.into_iter().flatten().collect());
    let Some(held) = held.filter(|held| held.len() == served / 2) else {
        return false;
    };
    setting.pause(pause);
    if !held.iter().all(|one| setting.is_served(one).is_none()) {
        return false;
    }
    let Some((again, _)) = begin(setting, most) else {
        return false;
    };
    let (part, of) = AS_MANY;
    !held.is_empty() && again * of >= served * part && !setting.is_stopped()
}

/// Whether one is served, and not late; how it was denied otherwise. `None` where this machine
/// is the reason.
fn tried(setting: &Setting<'_>) -> Option<Result<(), Denied>> {
    match setting.open_served() {
        Ok(made) if setting.is_late(made.connect_time) => Some(Err(Denied::Ended(Ending::Silence))),
        Ok(_) => Some(Ok(())),
        Err(Failed::Here) => None,
        Err(failed) => failed.denied().map(Err),
    }
}

/// Tries one now and then until it is served: how many were denied before, or for how long all
/// were, and how the last one was.
fn until_served(
    setting: &Setting<'_>,
    longest: Duration,
) -> Option<Result<usize, (Duration, Denied)>> {
    let begun = Instant::now();
    let mut denied = 0;
    loop {
        let Err(by) = tried(setting)? else {
            return Some(Ok(denied));
        };
        denied += 1;
        if setting.is_stopped() {
            return None;
        }
        if begun.elapsed() >= longest {
            return Some(Err((begun.elapsed(), by)));
        }
        setting.pause(PAUSE);
    }
}

/// Whether some are served in a row, with pauses between.
fn are_served(setting: &Setting<'_>) -> bool {
    (0..SERVED).all(|_| {
        setting.pause(PAUSE);
        tried(setting) == Some(Ok(()))
    })
}

/// Begins some at a time until one is denied: how many were served, and how it was. `None` where
/// this machine is the reason.
fn begin(setting: &Setting<'_>, most: usize) -> Option<(usize, Option<Denied>)> {
    let begun = Instant::now();
    let together = vec![(); at_once(setting)];
    let mut served = 0;
    while served < most && begun.elapsed() < BURST {
        let all = each(setting, &together, |()| tried(setting))?;
        let all: Vec<_> = all.into_iter().collect::<Option<_>>()?;
        served += all.iter().filter(|one| one.is_ok()).count();
        if let Some(Err(by)) = all.into_iter().find(Result::is_err) {
            return Some((served, Some(by)));
        }
    }
    Some((served, None))
}
