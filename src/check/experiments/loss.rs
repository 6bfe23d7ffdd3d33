//! How many packets are lost each way: messages of one packet each, one after another on
//! several connections, of which our system tells how many it sent again.

use std::collections::HashSet;
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

/// A path that stands still for a moment lets the messages of many connections through at
/// once: of this share of them, and of so many, within that time. On a path that is shorter than
/// the last of these, as many lose one within that time: nothing tells one from the other there.
const STALL: Duration = Duration::from_millis(30);
const STALLED: f64 = 0.5;
const STALLED_LEAST: usize = 4;
const STALLED_ROUND_TRIP: Duration = Duration::from_millis(10);

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
    /// Those of all that the peer told of that they arrived twice.
    twice: u64,
}

/// One message: how long it took, and how many segments were sent again meanwhile, and how
/// many of those had arrived.
#[derive(Clone, Copy, Debug)]
struct Message {
    ended: Instant,
    took: Duration,
    sent_again: u64,
    twice: u64,
}

/// Counts messages that were sent again.
pub(super) fn loss(setting: &Setting<'_>) -> Option<Loss> {
    let until = Instant::now() + LONGEST;
    let connections = setting.width.clamp(1, CONNECTIONS);
    let most = MOST / connections as u64;
    let all: Vec<_> = thread::scope(|scope| {
        let start = |_| {
            let exchange = move || exchange(setting, most, until);
            thread::Builder::new().spawn_scoped(scope, exchange).ok()
        };
        let threads: Vec<_> = (0..connections).map_while(start).collect();
        let done = threads
            .into_iter()
            .filter_map(|thread| thread.join().ok().flatten());
        done.collect()
    });
    let stalls = stalls(&all);
    let counts: Vec<_> = all.iter().map(|one| counted(one, &stalls)).collect();
    of(&counts).filter(|_| !setting.is_stopped())
}

/// What it means what the connections saw; `None` where they saw too little.
fn of(counts: &[Count]) -> Option<Loss> {
    let sum = |part: fn(&Count) -> u64| counts.iter().map(part).sum::<u64>();
    let packets = sum(|count| count.messages);
    if packets < LEAST {
        return None;
    }
    let (again, lost) = (sum(|count| count.sent_again), sum(|count| count.lost));
    let percent = |of: u64| of as f64 * 100.0 / packets as f64;
    let is_clear = CLEAR * sum(|count| count.late) <= again;
    // Not every system with SACK tells of what arrives twice (RFC 2883).
    let knows_direction = again == 0 || sum(|count| count.twice) > 0;
    Some(Loss {
        to_server: percent(lost),
        to_client: percent(again.saturating_sub(lost)),
        packets,
        knows_direction,
        is_proved: is_clear || lost as f64 >= PROVED * packets as f64,
    })
}

/// The same, of a clause.
pub(in crate::check) fn count_lost(target: &Target<'_>) -> Option<Loss> {
    let stop = || target.context.is_stopped();
    let until = Instant::now() + target.shared.left();
    let setting = Setting::new(target.address(), target.shared.width(), until, &stop).ok()?;
    loss(&setting)
}

/// Exchanges messages on one connection.
fn exchange(setting: &Setting<'_>, most: u64, until: Instant) -> Option<Vec<Message>> {
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
            ended: started + took,
            took,
            sent_again: after.0.saturating_sub(before.0),
            twice: after.1.saturating_sub(before.1),
        });
    }
    Some(all)
}

fn fastest(all: &[Message]) -> Duration {
    all.iter().map(|one| one.took).min().unwrap_or_default()
}

/// When messages of many connections that were late came at once, each with its connection.
fn stalls(all: &[Vec<Message>]) -> Vec<Instant> {
    let mut late = Vec::new();
    for (at, one) in all.iter().enumerate() {
        let fastest = fastest(one);
        if fastest < STALLED_ROUND_TRIP {
            continue;
        }
        let is_late = |message: &&Message| message.took >= fastest + SENT_AGAIN;
        late.extend(
            one.iter()
                .filter(is_late)
                .map(|message| (message.ended, at)),
        );
    }
    late.sort();
    let least = (all.len() as f64 * STALLED).ceil() as usize;
    let is_stall = |(begin, _): &&(Instant, usize)| {
        let at_once = late.iter().filter(|(ended, _)| ended >= begin);
        let at_once = at_once.take_while(|(ended, _)| *ended <= *begin + STALL);
        let connections: HashSet<_> = at_once.map(|(_, at)| at).collect();
        connections.len() >= least.max(STALLED_LEAST)
    };
    late.iter()
        .filter(is_stall)
        .map(|(begin, _)| *begin)
        .collect()
}

/// Counts by how much each is later than the fastest. What had arrived before it was sent again,
/// and came when the path went on, was late and not lost.
fn counted(all: &[Message], stalls: &[Instant]) -> Count {
    let fastest = fastest(all);
    let is_of_stall = |one: &Message| {
        let mut begins = stalls.iter();
        one.twice >= one.sent_again && begins.any(|at| (*at..=*at + STALL).contains(&one.ended))
    };
    let mut count = Count::default();
    for one in all {
        count.messages += 1;
        count.twice += one.twice;
        let late = one.took - fastest;
        if late >= SENT_AGAIN && one.sent_again > 0 && !is_of_stall(one) {
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
            ended: Instant::now(),
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
        let count = counted(&all, &[]);
        assert_eq!((count.messages, count.sent_again), (6, 2));
        assert_eq!((count.lost, count.late), (1, 2));
    }

    #[test]
    fn who_never_tells_of_what_came_twice_does_not_tell_the_direction() {
        let of = |lost, twice| {
            let count = Count {
                messages: 400,
                sent_again: 20,
                lost,
                twice,
                ..Count::default()
            };
            of(&[count]).unwrap()
        };
        let told = of(2, 18);
        assert!(told.knows_direction);
        assert_eq!((told.to_server, told.to_client), (0.5, 4.5));
        let untold = of(20, 0);
        assert!(!untold.knows_direction);
        assert_eq!(untold.worst(), 5.0);
    }

    #[test]
    fn a_path_that_stands_still_for_a_moment_has_lost_nothing() {
        let begun = Instant::now();
        let at = |ended: u64, took, sent_again, twice| Message {
            ended: begun + Duration::from_millis(ended),
            ..message(took, sent_again, twice)
        };
        let fast = |ended| at(ended, 50, 0, 0);
        let count = |all: &[Vec<Message>]| {
            let stalls = stalls(all);
            let counts = all.iter().map(|one| counted(one, &stalls));
            counts.map(|one| one.sent_again).sum::<u64>()
        };
        let still = |ended| vec![fast(50), at(ended, 450, 1, 1)];
        assert_eq!(count(&[500, 501, 503, 503, 505, 510].map(still)), 0);
        // Each at its own time: their echoes were lost.
        assert_eq!(count(&[500, 601, 703, 803, 905, 999].map(still)), 6);
        // On a short path they may wait at once by chance.
        let short = |ended| vec![at(1, 1, 0, 0), at(ended, 201, 1, 1)];
        assert_eq!(count(&[500, 501, 503, 503, 505, 510].map(short)), 6);
        // None of these had arrived.
        let lost = |ended| vec![fast(50), at(ended, 450, 1, 0)];
        assert_eq!(count(&[500, 501, 503, 503, 505, 510].map(lost)), 6);
    }
}
