//! How many packets are lost each way: messages of one packet each, one after another on
//! several connections, of which our system tells how many it sent again.

use std::thread;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::setting::{Setting, letters};
use crate::check::findings::Loss;
use crate::check::target::Target;

/// Connections at once, if as many are served, and the messages of all: at the least, and at
/// the most.
const CONNECTIONS: usize = 16;
const LEAST: u64 = 320;
const MOST: u64 = 640;

/// The most that it lasts.
const LONGEST: Duration = Duration::from_secs(4);

/// The size of a message in bytes.
const MESSAGE: usize = 100;

/// A message that takes so much longer than the fastest of its connection waited for one that
/// was sent again: systems wait for 200 ms at the least.
const SENT_AGAIN: Duration = Duration::from_millis(150);

/// One that takes so much longer, and less than that, is late by itself: packets that wait
/// somewhere for long are sent again as well, without being lost. So many times as many must
/// have been sent again.
const LATE: Duration = Duration::from_millis(50);
const CLEAR: u64 = 4;

/// The share of lost packets for which what our system counts is proof enough.
const PROVED: f64 = 0.02;

/// What one connection saw.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    messages: u64,
    /// Those that were late, and not so late that they were sent again.
    late: u64,
    /// Those that were so late, and were sent again.
    sent_again: u64,
    /// Those of them that had not arrived before: they were lost themselves, and not their
    /// echo.
    lost: u64,
    /// The peer tells of what arrives twice.
    tells: bool,
}

/// One message: how long it took, and how many segments were sent again meanwhile, and how
/// many of those had arrived.
#[derive(Clone, Copy, Debug)]
struct Message {
    took: Duration,
    sent_again: u64,
    twice: u64,
}

/// Counts messages that were sent again.
pub(super) fn loss(setting: &Setting<'_>) -> Option<Loss> {
    let until = Instant::now() + LONGEST;
    let connections = setting.width.clamp(1, CONNECTIONS);
    let most = MOST / connections as u64;
    let counts: Vec<_> = thread::scope(|scope| {
        let start = |_| {
            let count = move || count(setting, most, until);
            thread::Builder::new().spawn_scoped(scope, count).ok()
        };
        let threads: Vec<_> = (0..connections).map_while(start).collect();
        let done = threads
            .into_iter()
            .filter_map(|thread| thread.join().ok().flatten());
        done.collect()
    });
    let sum = |part: fn(&Count) -> u64| counts.iter().map(part).sum::<u64>();
    let packets = sum(|count| count.messages);
    if packets < LEAST || setting.is_stopped() {
        return None;
    }
    let (again, lost) = (sum(|count| count.sent_again), sum(|count| count.lost));
    let percent = |of: u64| of as f64 * 100.0 / packets as f64;
    let is_clear = CLEAR * sum(|count| count.late) <= again;
    Some(Loss {
        to_server: percent(lost),
        to_client: percent(again.saturating_sub(lost)),
        packets,
        knows_direction: counts.iter().all(|count| count.tells),
        is_proved: is_clear || lost as f64 >= PROVED * packets as f64,
    })
}

/// The same, of a clause.
pub(in crate::check) fn count_lost(target: &Target<'_>) -> Option<Loss> {
    let stop = || target.context.is_stopped();
    let setting = Setting::new(target.address(), target.shared.width(), &stop)?;
    loss(&setting)
}

/// Exchanges messages on one connection.
fn count(setting: &Setting<'_>, most: u64, until: Instant) -> Option<Count> {
    let connection = setting.open().ok()?;
    let message = letters(MESSAGE);
    let (mut all, mut fastest) = (Vec::new(), Duration::MAX);
    while (all.len() as u64) < most && Instant::now() < until && !setting.is_stopped() {
        let before = resent(&connection)?;
        let started = Instant::now();
        let patience = 4 * setting.patience();
        if connection.send(&message, patience).is_some() {
            break;
        }
        let (_, end) = connection.receive(MESSAGE, patience);
        if end.is_some() {
            break;
        }
        let took = started.elapsed();
        fastest = fastest.min(took);
        if took >= fastest + LATE {
            // The last acknowledgement may still be on its way.
            setting.pause(setting.round_trip + Duration::from_millis(5));
        }
        let after = resent(&connection)?;
        all.push(Message {
            took,
            sent_again: after.0.saturating_sub(before.0),
            twice: after.1.saturating_sub(before.1),
        });
    }
    let tells = connection.view()?.options?.sack;
    Some(Count {
        tells,
        ..counted(&all)
    })
}

/// Counts by how much each is later than the fastest.
fn counted(all: &[Message]) -> Count {
    let fastest = all.iter().map(|one| one.took).min().unwrap_or_default();
    let mut count = Count::default();
    for one in all {
        count.messages += 1;
        let late = one.took - fastest;
        if late >= SENT_AGAIN && one.sent_again > 0 {
            count.sent_again += 1;
            count.lost += u64::from(one.sent_again > one.twice);
        } else if late >= LATE {
            count.late += 1;
        }
    }
    count
}

/// Segments that our system sent again, and those that the server then had twice: a message
/// is sent again also where its echo was lost, which has the acknowledgement.
fn resent(connection: &Connection<'_>) -> Option<(u64, u64)> {
    let view = connection.view()?;
    Some((view.retransmits?, view.duplicates?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(took: u64, sent_again: u64, twice: u64) -> Message {
        Message {
            took: Duration::from_millis(took),
            sent_again,
            twice,
        }
    }

    #[test]
    fn what_is_late_was_lost_only_if_it_was_sent_again() {
        let all = [
            message(200, 0, 0),
            message(201, 1, 1),
            message(270, 0, 0),
            message(900, 0, 0),
            message(420, 1, 0),
            message(430, 1, 1),
        ];
        let count = counted(&all);
        assert_eq!((count.messages, count.sent_again), (6, 2));
        assert_eq!((count.lost, count.late), (1, 2));
    }
}
