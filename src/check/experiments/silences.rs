//! After which silence a connection is forgotten: silent ones of several ages side by side,
//! and a busy one beside them.

use std::thread;
use std::time::Duration;

use super::setting::Setting;
use crate::check::findings::{Ending, Silences};

/// Silent connections: the ages are so many parts of the longest.
const PARTS: u32 = 12;

/// How one ended: after which silence, or age of a busy one.
type Dead = Option<(Duration, Ending)>;

/// Holds connections silent for parts of `longest`, all at once.
pub(super) fn silences(setting: &Setting<'_>, longest: Duration) -> Option<Silences> {
    // Where the system starts no more threads, fewer ages are tried.
    let (silent, busy) = thread::scope(|scope| {
        let busy = thread::Builder::new().spawn_scoped(scope, || busy(setting, longest));
        let start = |part| {
            let silence = longest * part / PARTS;
            let hold = move || silent(setting, silence);
            let thread = thread::Builder::new().spawn_scoped(scope, hold);
            thread.ok().map(|thread| (silence, thread))
        };
        let silent: Vec<_> = (1..=PARTS).filter_map(start).collect();
        let ended = silent.into_iter().map(|(silence, thread)| {
            let dead = thread.join().ok().flatten();
            dead.map(|dead| (silence, dead))
        });
        let ended = ended.collect::<Vec<_>>();
        (
            ended,
            busy.ok().and_then(|thread| thread.join().ok().flatten()),
        )
    });
    if setting.is_stopped() {
        return None;
    }
    let silent: Vec<_> = silent.into_iter().flatten().collect();
    if let Some(Some((age, by))) = busy {
        return Some(Silences::Busy { age, by });
    }
    let alive = silent.iter().filter(|(_, dead)| dead.is_none());
    let alive = alive.map(|(silence, _)| *silence).max().unwrap_or_default();
    let dead = silent.iter().filter_map(|(_, dead)| *dead);
    Some(match dead.min_by_key(|(silence, _)| *silence) {
        // The end may have been seen a little before one of the same age was tried.
        Some((dead, by)) if alive <= dead + dead / 10 => Silences::Forgotten {
            alive: alive.min(dead),
            dead,
            by,
        },
        _ => Silences::Alive,
    })
}

/// Holds one silent, then exchanges a few bytes. `None` if it was not served before.
fn silent(setting: &Setting<'_>, silence: Duration) -> Option<Dead> {
    let connection = setting.open_served().ok()?;
    if let Some((by, after)) = connection.wait_for_end(silence) {
        return Some(Some((after, by)));
    }
    Some(setting.is_served(&connection).map(|by| (silence, by)))
}

/// Exchanges a few bytes often.
fn busy(setting: &Setting<'_>, longest: Duration) -> Option<Dead> {
    let connection = setting.open_served().ok()?;
    let pause = (longest / 60).clamp(Duration::from_millis(50), Duration::from_secs(5));
    while connection.age() < longest {
        let before = connection.age();
        if let Some((by, _)) = connection.wait_for_end(pause) {
            return Some(Some((connection.age(), by)));
        }
        if let Some(by) = setting.is_served(&connection) {
            return Some(Some((before, by)));
        }
        if setting.is_stopped() {
            return None;
        }
    }
    Some(None)
}
