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

/// The most bytes of such a message: more may wait for each other both ways.
const LARGEST: f64 = 65_536.0;

/// Two ends are the same that differ by less than this share of the greater, and a fixed
/// part for what is on its way and for timers.
const SHARE: f64 = 0.25;
const BYTES: u64 = 16 * 1024;
const TIME: Duration = Duration::from_millis(150);

/// Streams fast, and slowly, and each that ends a second time.
pub(super) fn streams(setting: &Setting<'_>, hint: Hint) -> Option<Streams> {
    let most = hint.bytes.saturating_mul(3) + (1 << 20);
    match fast(setting, most, hint.bytes)? {
        Some(end) => of_ended(setting, end, most),
        None => of_endless(setting, hint),
    }
}

/// A fast stream ended: a slow one tells whether that was for its bytes or its age.
fn of_ended(setting: &Setting<'_>, first: Ended, most: u64) -> Option<Streams> {
    let slowly = Slowly::behind(&first);
    match slow(setting, slowly)? {
        Slow::Ended(end) if is_same(end.bytes, first.bytes) && !is_aged(end.age, first.age) => {
            let again = fast(setting, most, first.bytes)??;
            is_same(first.bytes, again.bytes).then_some(Streams::AfterBytes {
                bytes: first.bytes.max(again.bytes),
                by: again.by,
                is_proved: true,
            })
        }
        Slow::Ended(end) if end.bytes > 0 && is_aged(end.age, first.age) => {
            of_aged(setting, slowly, end, Some(first))
        }
        // It ended at another place and time: no rule that is known.
        Slow::Ended(_) => None,
        // All that ended the fast one went by: it was something else, like how fast it went.
        Slow::Lives(bytes) if bytes > first.bytes && !is_same(bytes, first.bytes) => None,
        Slow::Lives(_) => {
            let again = fast(setting, most, first.bytes)??;
            is_same(first.bytes, again.bytes).then_some(Streams::AfterBytes {
                bytes: first.bytes.max(again.bytes),
                by: again.by,
                is_proved: false,
            })
        }
    }
}

/// A fast stream did not end: a slow one may by its age.
fn of_endless(setting: &Setting<'_>, hint: Hint) -> Option<Streams> {
    let slowly = Slowly {
        oldest: (hint.age.mul_f64(1.5) + Duration::from_millis(500)).min(LONGEST),
        bytes: hint.bytes / 4,
    };
    match slow(setting, slowly)? {
        Slow::Lives(_) => Some(Streams::Endless),
        // One that carried nothing did not end by its age.
        Slow::Ended(end) if end.bytes == 0 => None,
        Slow::Ended(end) => of_aged(setting, slowly, end, None),
    }
}

/// Slow streams end at the same age.
fn of_aged(
    setting: &Setting<'_>,
    slowly: Slowly,
    end: Ended,
    first: Option<Ended>,
) -> Option<Streams> {
    let Slow::Ended(again) = slow(setting, slowly)? else {
        return None;
    };
    let other = first.map_or(again.age, |first| first.age);
    let ages = [end.age, again.age, other];
    let (least, most) = (ages.iter().min()?, ages.iter().max()?);
    is_aged(*most, *least).then_some(Streams::AtAge {
        age: end.age.max(again.age),
        by: again.by,
    })
}

/// Whether it is no older than the other one.
fn is_aged(age: Duration, other: Duration) -> bool {
    age <= other.mul_f64(1.0 + SHARE) + TIME
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
        // A server that sends more than it got has nothing on its way.
        let room = (ahead.saturating_sub(sent.saturating_sub(bytes)) as usize).min(block.len());
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

/// How slow a stream is: up to that age it carries so many bytes.
#[derive(Clone, Copy, Debug)]
struct Slowly {
    oldest: Duration,
    bytes: u64,
}

impl Slowly {
    /// One that is much older than another one was when so much of that one's bytes have
    /// come, and then goes on for more than that.
    fn behind(first: &Ended) -> Self {
        const PART: f64 = 0.6;
        const ALL: f64 = 1.5;
        let older = first.age.mul_f64(1.6) + Duration::from_millis(300);
        let oldest = older.mul_f64(ALL / PART);
        let bytes = first.bytes as f64 * ALL + 2.0 * BYTES as f64;
        let part = LONGEST.as_secs_f64() / oldest.as_secs_f64();
        Self {
            oldest: oldest.min(LONGEST),
            bytes: (bytes * part.min(1.0)) as u64,
        }
    }
}

/// What became of a slow stream.
enum Slow {
    Ended(Ended),
    /// It lives, and so many bytes came back.
    Lives(u64),
}

/// Exchanges messages with pauses. `None` if no connection was made, or the check was stopped.
fn slow(setting: &Setting<'_>, slowly: Slowly) -> Option<Slow> {
    let connection = setting.open().ok()?;
    let step = PAUSE.max(setting.round_trip);
    let steps = (slowly.oldest.as_secs_f64() / step.as_secs_f64())
        .ceil()
        .max(1.0);
    let size = (slowly.bytes as f64 / steps).clamp(1.0, LARGEST) as usize;
    let message = letters(size);
    let (mut back, mut moved) = (0, Instant::now());
    let silence = setting.patience() + Duration::from_millis(500);
    let has_time = |back| match back < slowly.bytes {
        // On a path that is slower than that it takes longer.
        true => connection.age() < LONGEST,
        false => connection.age() < slowly.oldest,
    };
    while has_time(back) {
        if setting.is_stopped() {
            return None;
        }
        let began = Instant::now();
        if let Some(by) = connection.send(&message, silence) {
            return Some(Slow::Ended(ended(&connection, back, moved, by)));
        }
        let (came, end) = connection.receive(size, silence);
        back += came.len() as u64;
        if let Some(by) = end {
            return Some(Slow::Ended(ended(&connection, back, moved, by)));
        }
        moved = Instant::now();
        // The pause is less by what the exchange took, so that the bytes come in time.
        let pause = step.saturating_sub(began.elapsed());
        if !pause.is_zero()
            && let Some((by, _)) = connection.wait_for_end(pause)
        {
            return Some(Slow::Ended(ended(&connection, back, moved, by)));
        }
    }
    Some(Slow::Lives(back))
}
