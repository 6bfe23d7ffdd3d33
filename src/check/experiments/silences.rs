//! After which silence a connection is forgotten: silent ones of several ages side by side,
//! and two busy ones beside them.

use std::thread;
use std::time::Duration;

use super::connection::Connection;
use super::setting::Setting;
use crate::check::findings::{Ending, Silences};

/// Silent connections: the ages are so many parts of the longest, and halves of the shortest
/// of these down to the least.
const PARTS: u32 = 12;
const LEAST: Duration = Duration::from_millis(500);

/// The pause between the messages of the busy ones, which is much less than the shortest
/// silence: two pauses, so that a count of messages ends them at different ages.
const BUSY: Duration = Duration::from_millis(100);
const BUSIER: Duration = Duration::from_millis(40);

/// Two ages are the same that differ by less than this share, and a fixed part for timers.
const SHARE: f64 = 0.1;
const TIME: Duration = Duration::from_millis(200);

/// How one ended: after which silence, or age of a busy one; `None` where it lived on.
type Dead = Option<(Duration, Ending)>;

/// The same of one that may not have been served at all, of which nothing is known.
type Served = Option<Dead>;

/// Holds connections silent for parts of `longest`, all at once.
pub(super) fn silences(setting: &Setting<'_>, longest: Duration) -> Option<Silences> {
    // The busy ones first: where few are served at once, the silent ones take no place of theirs.
    let opened = [BUSY, BUSIER].map(|pause| (pause, setting.open_served().ok()));
    // Where the system starts no more threads, fewer ages are tried.
    let (silent, busy) = thread::scope(|scope| {
        let busy = opened.map(|(pause, connection)| {
            let keep = move || busy(setting, &connection?, longest, pause);
            thread::Builder::new().spawn_scoped(scope, keep)
        });
        let start = |silence| {
            let hold = move || silent(setting, silence);
            let thread = thread::Builder::new().spawn_scoped(scope, hold);
            thread.ok().map(|thread| (silence, thread))
        };
        let silent: Vec<_> = ages(longest).into_iter().filter_map(start).collect();
        let ended = silent.into_iter().map(|(silence, thread)| {
            let dead = thread.join().ok().flatten();
            dead.map(|dead| (silence, dead))
        });
        let ended = ended.collect::<Vec<_>>();
        let busy = busy.map(|busy| busy.ok().and_then(|thread| thread.join().ok().flatten()));
        (ended, busy)
    });
    if setting.is_stopped() {
        return None;
    }
    let silent: Vec<_> = silent.into_iter().flatten().collect();
    of(&silent, busy)
}

/// The silences that are tried.
fn ages(longest: Duration) -> Vec<Duration> {
    let mut ages: Vec<_> = (1..=PARTS).map(|part| longest * part / PARTS).collect();
    let halves = std::iter::successors(Some(ages[0] / 2), |age| Some(*age / 2));
    ages.extend(halves.take_while(|age| *age >= LEAST));
    ages
}

/// What it means how silent ones, each with its silence, and busy ones ended. `None` where no
/// busy one was served: what ends silent ones may have ended those as well.
fn of(silent: &[(Duration, Dead)], busy: [Served; 2]) -> Option<Silences> {
    let is_same = |more: Duration, less: Duration| more <= less.mul_f64(1.0 + SHARE) + TIME;
    let alive = silent.iter().filter(|(_, dead)| dead.is_none());
    let alive = alive.map(|(silence, _)| *silence).max().unwrap_or_default();
    let served: Vec<Dead> = busy.into_iter().flatten().collect();
    // All end at one age, however busy, and none gets older.
    if let [Some((one, by)), Some((other, _))] = served[..]
        && is_same(one.max(other), one.min(other))
        && is_same(alive, one.min(other))
    {
        let age = one.max(other);
        return Some(Silences::Busy { age, by });
    }
    if served.is_empty() {
        return None;
    }
    let dead = silent.iter().filter_map(|(_, dead)| *dead);
    let ends_busy = |age| {
        let mut ages = served.iter().flatten().map(|(age, _)| *age);
        ages.any(|busy| is_same(busy, age))
    };
    Some(match dead.min_by_key(|(silence, _)| *silence) {
        // A busy one ends as soon: it is no silence that ends them.
        Some((dead, _)) if ends_busy(dead) => Silences::Alive,
        // The end may have been seen a little before one of the same age was tried.
        Some((dead, by)) if is_same(alive, dead) => Silences::Forgotten {
            alive: alive.min(dead),
            dead,
            by,
        },
        _ => Silences::Alive,
    })
}

/// Holds one silent, then exchanges a few bytes. `None` if it was not served before.
fn silent(setting: &Setting<'_>, silence: Duration) -> Served {
    let connection = setting.open_served().ok()?;
    if let Some((by, after)) = connection.wait_for_end(silence) {
        return Some(Some((after, by)));
    }
    Some(setting.is_served(&connection).map(|by| (silence, by)))
}

/// Exchanges a few bytes often. `None` if the check was stopped.
fn busy(
    setting: &Setting<'_>,
    connection: &Connection<'_>,
    longest: Duration,
    pause: Duration,
) -> Served {
    while connection.age() < longest {
        let before = connection.age();
        if let Some((by, _)) = connection.wait_for_end(pause) {
            return Some(Some((connection.age(), by)));
        }
        if let Some(by) = setting.is_served(connection) {
            return Some(Some((before, by)));
        }
        if setting.is_stopped() {
            return None;
        }
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSE: Ending = Ending::Close;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn dead(at: u64) -> Dead {
        Some((seconds(at), CLOSE))
    }

    #[test]
    fn short_silences_are_tried_as_well() {
        let ages = ages(seconds(300));
        assert_eq!(ages.iter().max(), Some(&seconds(300)));
        assert!(ages.iter().min() < Some(&seconds(1)), "{ages:?}");
        assert_eq!(super::ages(seconds(5)).len(), PARTS as usize);
    }

    /// What busy ones that were served mean.
    fn served(silent: &[(Duration, Dead)], busy: [Dead; 2]) -> Silences {
        of(silent, busy.map(Some)).unwrap()
    }

    #[test]
    fn a_lifetime_ends_two_busy_ones_at_one_age_and_no_silent_one_is_older() {
        let silent = [(seconds(1), None), (seconds(25), dead(3))];
        let busy = Silences::Busy {
            age: seconds(3),
            by: CLOSE,
        };
        assert_eq!(served(&silent, [dead(3), dead(3)]), busy);
        // By a count of messages, or for no reason that is known.
        assert_eq!(served(&silent, [dead(3), dead(9)]), Silences::Alive);
        assert_eq!(served(&silent, [dead(3), None]), Silences::Alive);
        let older = [(seconds(25), None), (seconds(50), dead(30))];
        assert_eq!(served(&older, [dead(3), dead(3)]), Silences::Alive);
    }

    #[test]
    fn a_silence_ends_only_the_silent() {
        let silent = [(seconds(1), None), (seconds(25), dead(3))];
        let forgotten = Silences::Forgotten {
            alive: seconds(1),
            dead: seconds(3),
            by: CLOSE,
        };
        assert_eq!(served(&silent, [None, None]), forgotten);
        // What ends a busy one later is another fault.
        assert_eq!(served(&silent, [dead(9), None]), forgotten);
        let no_rule = [(seconds(50), None), (seconds(25), dead(3))];
        assert_eq!(served(&no_rule, [None, None]), Silences::Alive);
    }

    #[test]
    fn a_busy_one_that_was_not_served_has_not_lived_on() {
        let silent = [(seconds(1), None), (seconds(25), dead(3))];
        assert_eq!(of(&silent, [None, None]), None);
        let forgotten = served(&silent, [None, None]);
        assert_eq!(of(&silent, [Some(None), None]), Some(forgotten));
        // One alone is no proof that all end at that age, and that it is no silence.
        assert_eq!(of(&silent, [Some(dead(3)), None]), Some(Silences::Alive));
    }
}
