//! How many packets are lost each way: messages of one packet each, one after another on
//! several connections.

use std::thread;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::setting::{Setting, letters};
use crate::check::findings::Loss;

/// Connections at once, and the messages of each.
const CONNECTIONS: usize = 16;
const MESSAGES: u64 = 40;

/// The most that it lasts.
const LONGEST: Duration = Duration::from_secs(6);

/// The size of a message in bytes.
const MESSAGE: usize = 100;

/// A message that takes so much longer than the fastest was sent again, or its echo was:
/// systems wait for 200 ms at the least.
const SENT_AGAIN: Duration = Duration::from_millis(150);

/// What one connection saw.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    messages: u64,
    late: u64,
    /// Those that were lost themselves, and not their echo.
    lost: u64,
}

/// Counts messages that come back late.
pub(super) fn loss(setting: &Setting<'_>) -> Option<Loss> {
    let until = Instant::now() + LONGEST;
    let counts: Vec<_> = thread::scope(|scope| {
        let start = |_| {
            let count = || count(setting, until);
            thread::Builder::new().spawn_scoped(scope, count).ok()
        };
        let threads: Vec<_> = (0..CONNECTIONS).map_while(start).collect();
        let done = threads
            .into_iter()
            .filter_map(|thread| thread.join().ok().flatten());
        done.collect()
    });
    let sum = |part: fn(&Count) -> u64| counts.iter().map(part).sum::<u64>();
    let packets = sum(|count| count.messages);
    if packets < MESSAGES || setting.is_stopped() {
        return None;
    }
    let (late, lost) = (sum(|count| count.late), sum(|count| count.lost));
    let percent = |of: u64| of as f64 * 100.0 / packets as f64;
    Some(Loss {
        to_server: percent(lost.min(late)),
        to_client: percent(late.saturating_sub(lost)),
        packets,
    })
}

/// Exchanges messages on one connection.
fn count(setting: &Setting<'_>, until: Instant) -> Option<Count> {
    let connection = setting.open().ok()?;
    let message = letters(MESSAGE);
    let mut count = Count::default();
    while count.messages < MESSAGES && Instant::now() < until && !setting.is_stopped() {
        let before = lost(&connection)?;
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
        count.messages += 1;
        if took >= setting.round_trip + SENT_AGAIN {
            count.late += 1;
            // The last acknowledgement may still be on its way.
            setting.pause(setting.round_trip + Duration::from_millis(5));
            count.lost += u64::from(lost(&connection)? > before);
        }
    }
    Some(count)
}

/// Segments that our system sent again, less those that the server then had twice: it
/// sends a message again also where its echo was lost, which has the acknowledgement.
fn lost(connection: &Connection<'_>) -> Option<u64> {
    let view = connection.view()?;
    Some(view.retransmits?.saturating_sub(view.duplicates?))
}
