//! After how many bytes, or at which age, a connection ends: a fast stream and a slow one
//! tell one from the other.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::setting::{Setting, letters};
use crate::check::findings::{Ending, Streams};

/// What the clauses saw: where to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    /// The most bytes that had come back on a connection that ended early.
    pub(super) bytes: u64,
    /// The age of the oldest of these.
    pub(super) age: Duration,
}

/// How one stream ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    bytes: u64,
    age: Duration,
    by: Ending,
}

/// The longest that a stream is followed.
const LONGEST: Duration = Duration::from_secs(7);

/// The pause between the messages of a slow stream.
const PAUSE: Duration = Duration::from_millis(20);

/// Two ends are the same that differ by less than this share of the greater, and a fixed
/// part for what is on its way and for timers.
const SHARE: f64 = 0.25;
const BYTES: u64 = 16 * 1024;
const TIME: Duration = Duration::from_millis(150);

/// Streams fast, and slowly, and each that ends a second time.
pub(super) fn streams(setting: &Setting<'_>, hint: Hint) -> Option<Streams> {
    let most = hint.bytes.saturating_mul(3) + (1 << 20);
    let fast = fast(setting, most, hint.bytes)?;
    // A slow one of the same age carries a fourth, or less.
    let oldest = (hint.age.mul_f64(1.5) + Duration::from_millis(500)).min(LONGEST);
    let (oldest, bytes) = match fast {
        Some(end) => (
            (end.age.mul_f64(1.6) + Duration::from_millis(300)).min(LONGEST),
            end.bytes / 4,
        ),
        None => (oldest, hint.bytes / 4),
    };
    let slow = slow(setting, oldest, bytes)?;
    match (fast, slow) {
        // The slow one lives on, or ends where the fast one did, later.
        (Some(end), None) => {
            let again = self::fast(setting, most, hint.bytes)??;
            is_same(end.bytes, again.bytes).then_some(Streams::AfterBytes {
                bytes: end.bytes.max(again.bytes),
                by: again.by,
            })
        }
        // One that carried nothing did not end by its age.
        (_, Some(end)) if end.bytes == 0 => None,
        (first, Some(end)) => {
            let again = self::slow(setting, oldest, bytes)??;
            let other = first.map_or(again.age, |first| first.age);
            let ages = [end.age, again.age, other];
            let (least, most) = (ages.iter().min()?, ages.iter().max()?);
            let is_same = *most <= least.mul_f64(1.0 + SHARE) + TIME;
            is_same.then_some(Streams::AtAge {
                age: end.age.max(again.age),
                by: again.by,
            })
        }
        (None, None) => Some(Streams::Endless),
    }
}

fn is_same(one: u64, other: u64) -> bool {
    let (less, more) = (one.min(other), one.max(other));
    (more - less) as f64 <= SHARE * more as f64 + BYTES as f64
}

/// Streams with little on its way, until it ends or so many bytes came back. `None` if no
/// connection was made, or the check was stopped.
fn fast(setting: &Setting<'_>, most: u64, expected: u64) -> Option<Option<Ended>> {
    let connection = setting.open().ok()?;
    // Little on its way: the end is found as exactly as this.
    let ahead = (expected / 8).clamp(4 * 1024, 256 * 1024);
    let block = letters(16 * 1024);
    let (mut sent, mut bytes) = (0_u64, 0_u64);
    let mut moved = Instant::now();
    let mut into = vec![0; 64 * 1024];
    let silence = setting.patience() + Duration::from_millis(500);
    while bytes < most && connection.age() < LONGEST {
        if setting.is_stopped() {
            return None;
        }
        let room = (ahead.saturating_sub(sent - bytes) as usize).min(block.len());
        let went = match room {
            0 => Ok(0),
            _ => connection.send_some(&block[..room]),
        };
        let came = connection.receive_some(&mut into);
        let (went, came) = match (went, came) {
            (Ok(went), Ok(came)) => (went, came),
            // What came before the end still counts.
            (Err(by), Ok(came)) => {
                bytes += came as u64 + drain(&connection);
                return Some(Some(ended(&connection, bytes, moved, by)));
            }
            // After a reset the system tells the end only.
            (Err(Ending::Reset), Err(_)) => {
                return Some(Some(ended(&connection, bytes, moved, Ending::Reset)));
            }
            (_, Err(by)) => return Some(Some(ended(&connection, bytes, moved, by))),
        };
        sent += went as u64;
        bytes += came as u64;
        if went + came > 0 {
            moved = Instant::now();
        } else if moved.elapsed() > silence {
            return Some(Some(ended(&connection, bytes, moved, Ending::Silence)));
        } else {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Some(None)
}

fn drain(connection: &Connection<'_>) -> u64 {
    connection.receive(1 << 20, Duration::ZERO).0.len() as u64
}

fn ended(connection: &Connection<'_>, bytes: u64, moved: Instant, by: Ending) -> Ended {
    let age = match by {
        Ending::Silence => moved.duration_since(connection.made),
        _ => connection.age(),
    };
    Ended { bytes, age, by }
}

/// Exchanges messages with pauses up to that age, which carry so many bytes in all.
fn slow(setting: &Setting<'_>, oldest: Duration, bytes: u64) -> Option<Option<Ended>> {
    let connection = setting.open().ok()?;
    let step = PAUSE.max(setting.round_trip);
    let steps = (oldest.as_secs_f64() / step.as_secs_f64()).ceil().max(1.0);
    let size = (bytes as f64 / steps).clamp(1.0, 8192.0) as usize;
    let message = letters(size);
    let (mut back, mut moved) = (0, Instant::now());
    let silence = setting.patience() + Duration::from_millis(500);
    while connection.age() < oldest {
        if setting.is_stopped() {
            return None;
        }
        if let Some(by) = connection.send(&message, silence) {
            return Some(Some(ended(&connection, back, moved, by)));
        }
        let (came, end) = connection.receive(size, silence);
        back += came.len() as u64;
        if let Some(by) = end {
            return Some(Some(ended(&connection, back, moved, by)));
        }
        moved = Instant::now();
        if let Some((by, _)) = connection.wait_for_end(step.min(PAUSE)) {
            return Some(Some(ended(&connection, back, moved, by)));
        }
    }
    Some(None)
}
