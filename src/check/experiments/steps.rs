//! How many connections are served at once: opened in waves, until one is not served.

use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Connection, Failed};
use super::setting::{FORGOTTEN, Setting};
use crate::check::context::TICK;
use crate::check::findings::{Denied, Ending, Steps};

/// Connections of the first wave, and of the largest.
const FIRST: usize = 8;
const LARGEST: usize = 32;

/// The server needs a moment to see that the connections of the clauses are gone.
const SETTLED: Duration = Duration::from_millis(300);

/// The pause before another try where connections of the clauses still count.
const AGAIN: Duration = Duration::from_secs(2);

/// Opens connections until one is not served, `most` at most. `None` where that has
/// another reason than their number. Where the clauses had more than that served, `least`,
/// it waits until their connections are forgotten.
pub(super) fn steps(setting: &Setting<'_>, most: usize, least: usize) -> Option<Steps> {
    let started = Instant::now();
    loop {
        setting.pause(SETTLED + 2 * setting.round_trip);
        let found = climb(setting, most)?;
        let is_plausible = match found {
            Some(Steps::UpTo { connections, .. }) => connections >= least,
            Some(Steps::Enough) => true,
            None => false,
        };
        if is_plausible || setting.is_stopped() || started.elapsed() >= FORGOTTEN {
            return found;
        }
        setting.pause(AGAIN);
    }
}

/// Opens connections until one is not served. `None` where one is late.
fn climb(setting: &Setting<'_>, most: usize) -> Option<Option<Steps>> {
    let mut served: Vec<Connection<'_>> = Vec::new();
    let mut wave = FIRST;
    while served.len() < most {
        let all = open_wave(setting, wave.min(most - served.len()));
        let mut pending = Vec::new();
        let mut denied = None;
        for one in all {
            match one {
                // A lost SYN, or a rate: no limit of those that are open.
                Ok(connection) if setting.is_late(connection.connect_time) => return None,
                Ok(connection) => served.push(connection),
                Err((Some(connection), end)) => {
                    pending.push(connection);
                    denied = Some(end);
                }
                Err((None, end)) => denied = denied.or(Some(end)),
            }
        }
        if setting.is_stopped() {
            return None;
        }
        if let Some(failed) = denied {
            return Some(judge(setting, served, pending, failed));
        }
        wave = (2 * wave).min(LARGEST);
    }
    Some(Some(Steps::Enough))
}

/// A connection that was served, or one that was not, as far as it was made.
type Opened<'a> = Result<Connection<'a>, (Option<Connection<'a>>, Failed)>;

/// Opens some at once, each in a thread.
fn open_wave<'a>(setting: &'a Setting<'_>, number: usize) -> Vec<Opened<'a>> {
    let open = || match setting.open() {
        Ok(connection) => match setting.is_served(&connection) {
            None => Ok(connection),
            Some(end) => Err((Some(connection), Failed::Ended(end))),
        },
        Err(failed) => Err((None, failed)),
    };
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().spawn_scoped(scope, open).ok();
        let threads: Vec<_> = (0..number).map_while(start).collect();
        let opened = threads.into_iter().filter_map(|thread| thread.join().ok());
        opened.collect()
    })
}

/// Whether it is their number that denies the next one: another try is denied as well,
/// and once one of them has ended it is not.
fn judge(
    setting: &Setting<'_>,
    mut served: Vec<Connection<'_>>,
    pending: Vec<Connection<'_>>,
    failed: Failed,
) -> Option<Steps> {
    let by = match failed {
        Failed::Here => return None,
        Failed::Refused => Ending::Reset,
        Failed::Unanswered => Ending::Silence,
        Failed::Ended(end) => end,
    };
    let connections = served.len();
    // Nothing else is served either: something else is the matter.
    if connections == 0 {
        return None;
    }
    let up_to = |by| Some(Steps::UpTo { connections, by });
    if failed == Failed::Ended(Ending::Silence) {
        // One that is only slow is served though none of them has ended.
        if is_any_served(setting, &pending) {
            return None;
        }
        served.pop();
        if is_any_served(setting, &pending) {
            return up_to(Denied::Waits);
        }
    } else {
        served.pop();
    }
    drop(pending);
    setting.pause(SETTLED + 2 * setting.round_trip);
    let again = setting.open_served();
    let is_over = setting.open_served();
    match (again, is_over) {
        (Ok(_), Err(_)) => up_to(Denied::Ended(by)),
        _ => None,
    }
}

/// Whether something comes on one of them.
fn is_any_served(setting: &Setting<'_>, pending: &[Connection<'_>]) -> bool {
    let until = Instant::now() + setting.patience();
    while Instant::now() < until && !setting.is_stopped() {
        let is_served = |one: &Connection<'_>| matches!(one.receive_some(&mut [0; 64]), Ok(1..));
        if pending.iter().any(is_served) {
            return true;
        }
        thread::sleep(TICK / 10);
    }
    false
}
