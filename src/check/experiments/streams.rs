//! After how many bytes or messages, or at which age, a connection ends: a fast stream, slow
//! ones and a silent one tell one from the other.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::setting::{Setting, beside, letters};
use crate::check::findings::{Ending, Streams};

/// What the clauses saw: where to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    /// The most bytes that had come back on a connection that ended early.
    pub(super) bytes: u64,
    /// The age of the oldest of these.
    pub(super) age: Duration,
}

/// What became of a stream.
enum Stream {
    Ended(Ended),
    /// It lives, and so many bytes came back.
    Lives(u64),
}

/// How one stream ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    bytes: u64,
    /// Those of a slow stream that came back whole.
    messages: u64,
    age: Duration,
    by: Ending,
}

/// The longest that a stream is followed, unless the clauses saw one end later; and what is
/// left of the time of all experiments then.
const LONGEST: Duration = Duration::from_secs(7);
const RESERVED: Duration = Duration::from_secs(1);

/// The pause between the messages of a slow stream.
const PAUSE: Duration = Duration::from_millis(20);

/// The most bytes of such a message: more may wait for each other both ways.
const LARGEST: f64 = 65_536.0;

/// Two ends are the same that differ by less than this share of the greater, and a fixed
/// part for what is on its way and for timers.
const SHARE: f64 = 0.25;
const BYTES: u64 = 16 * 1024;
const TIME: Duration = Duration::from_millis(150);

/// The least and the most bytes that a fast stream has on its way, and no more than this part
/// of those after which it is expected to end: the end is found as exactly as that.
const AHEAD: (u64, u64) = (512, 256 * 1024);
const AHEAD_PART: u64 = 8;

/// The messages of another slow stream are so many times as large.
const LARGER: u64 = 3;

/// Streams fast, and slowly, and each that ends a second time.
pub(super) fn streams(setting: &Setting<'_>, hint: Hint) -> Option<Streams> {
    let most = match hint.age < LONGEST {
        true => hint.bytes.saturating_mul(3) + (1 << 20),
        // One that ended so late hardly did for its bytes, and the time is for its age.
        false => hint.bytes.saturating_mul(2) + (1 << 16),
    };
    match fast(setting, most, hint.bytes)? {
        Stream::Ended(end) => of_ended(setting, end, most),
        Stream::Lives(bytes) => of_endless(setting, hint, bytes),
    }
}

/// A fast stream ended: a slow one tells whether that was for its bytes or its age.
fn of_ended(setting: &Setting<'_>, first: Ended, most: u64) -> Option<Streams> {
    let slowly = Slowly::behind(&first);
    match slow(setting, slowly)? {
        Stream::Ended(end) if is_same(end.bytes, first.bytes) && !is_aged(end.age, first.age) => {
            of_bytes(setting, first.bytes, most, true)
        }
        Stream::Ended(end) if end.bytes > 0 && is_aged(end.age, first.age) => {
            let aged = of_aged(setting, slowly, &[first.age, end.age]);
            aged.or_else(|| of_messages(setting, slowly, end))
        }
        // It ended at another place and time.
        Stream::Ended(end) => of_messages(setting, slowly, end),
        // All that ended the fast one went by: it was something else, like how fast it went.
        Stream::Lives(bytes) if bytes > first.bytes && !is_same(bytes, first.bytes) => None,
        Stream::Lives(_) => of_bytes(setting, first.bytes, most, false),
    }
}

/// Another fast stream ends after as many bytes.
fn of_bytes(setting: &Setting<'_>, bytes: u64, most: u64, is_proved: bool) -> Option<Streams> {
    match fast(setting, most, bytes)? {
        Stream::Ended(again) if is_same(bytes, again.bytes) => Some(Streams::AfterBytes {
            bytes: bytes.max(again.bytes),
            by: again.by,
            is_proved,
        }),
        Stream::Lives(carried) if carried < bytes => {
            setting.give_up();
            None
        }
        Stream::Ended(_) | Stream::Lives(_) => None,
    }
}

/// A fast stream did not end, and carried so many bytes: a slow one may by its age.
fn of_endless(setting: &Setting<'_>, hint: Hint, carried: u64) -> Option<Streams> {
    let slowly = Slowly::to_age(hint, setting.left());
    // Younger than those that ended, or with fewer bytes, they prove nothing: there was no time
    // for more.
    let is_beyond = carried > hint.bytes && !is_same(carried, hint.bytes);
    let endless = || match slowly.outlives(hint) && is_beyond {
        true => Some(Streams::Endless),
        false => {
            setting.give_up();
            None
        }
    };
    if !setting.is_wide() {
        // Where one lives, others would only take as long again.
        return match slow(setting, slowly)? {
            Stream::Lives(_) => endless(),
            Stream::Ended(one) if one.bytes > 0 => of_aged(setting, slowly, &[one.age]),
            Stream::Ended(_) => None,
        };
    }
    let streams = || beside(setting, || slow(setting, slowly), || slow(setting, slowly));
    let silent = || lives_silent(setting, slowly.oldest);
    let ((one, other), lives) = beside(setting, streams, silent);
    match (one?, other?) {
        // One that carried nothing did not end by its age.
        (Stream::Ended(one), Stream::Ended(other)) if one.bytes.min(other.bytes) > 0 => {
            at_age(&[one.age, other.age], lives?, one.by)
        }
        (Stream::Lives(_), Stream::Lives(_)) => endless(),
        _ => None,
    }
}

/// Another slow stream ends at the age of those that were seen, and a silent one does not get
/// older: it carries nothing, so that no count of bytes or messages has ended it.
fn of_aged(setting: &Setting<'_>, slowly: Slowly, seen: &[Duration]) -> Option<Streams> {
    let older = seen.iter().max()?.mul_f64(1.0 + SHARE) + TIME;
    let silent = || lives_silent(setting, older);
    let (again, lives) = beside(setting, || slow(setting, slowly), silent);
    let Stream::Ended(again) = again? else {
        return None;
    };
    at_age(&[seen, &[again.age]].concat(), lives?, again.by)
}

fn at_age(ages: &[Duration], lives_silent: bool, by: Ending) -> Option<Streams> {
    let (least, most) = (*ages.iter().min()?, *ages.iter().max()?);
    let is_it = is_aged(most, least) && !lives_silent;
    is_it.then_some(Streams::AtAge { age: most, by })
}

/// Whether one on which nothing is sent is served once it is so old.
fn lives_silent(setting: &Setting<'_>, age: Duration) -> Option<bool> {
    let connection = setting.open().ok()?;
    if connection.wait_for_end(age).is_some() {
        return Some(false);
    }
    Some(setting.is_served(&connection).is_none())
}

/// A slow stream with larger messages ends after as many of them, and not for its age.
fn of_messages(setting: &Setting<'_>, slowly: Slowly, end: Ended) -> Option<Streams> {
    if end.messages == 0 {
        return None;
    }
    let larger = Slowly {
        bytes: slowly.bytes.saturating_mul(LARGER),
        ..slowly
    };
    let older = end.age.mul_f64(1.0 + SHARE) + TIME;
    let silent = || lives_silent(setting, older);
    let (again, lives) = beside(setting, || slow(setting, larger), silent);
    match again? {
        Stream::Ended(again) if again.messages == end.messages && lives? => {
            Some(Streams::AfterMessages {
                messages: end.messages,
                by: again.by,
            })
        }
        _ => None,
    }
}

/// Whether it is no older than the other one.
fn is_aged(age: Duration, other: Duration) -> bool {
    age <= other.mul_f64(1.0 + SHARE) + TIME
}

fn is_same(one: u64, other: u64) -> bool {
    let (less, more) = (one.min(other), one.max(other));
    let on_its_way = BYTES.min(AHEAD.0 + more / 8);
    (more - less) as f64 <= SHARE * more as f64 + on_its_way as f64
}

/// Streams with little on its way, until it ends or so many bytes came back, or for a while; for
/// longer where it has not carried as many as are expected. `None` if no connection was made, or
/// the check was stopped.
fn fast(setting: &Setting<'_>, most: u64, expected: u64) -> Option<Stream> {
    let connection = setting.open().ok()?;
    let longer = (setting.left() / 2).max(LONGEST);
    let is_over = |bytes: u64| match is_same(bytes, expected) || bytes < expected {
        true => connection.age() >= longer,
        false => connection.age() >= LONGEST,
    };
    let ahead = (expected / AHEAD_PART).clamp(AHEAD.0, AHEAD.1);
    let block = letters(16 * 1024);
    let (mut sent, mut bytes) = (0_u64, 0_u64);
    let mut moved = Instant::now();
    let mut into = vec![0; 64 * 1024];
    let silence = setting.patience() + Duration::from_millis(500);
    while bytes < most && !is_over(bytes) {
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
                return Some(Stream::Ended(ended(&connection, bytes, moved, by)));
            }
            // After a reset the system tells the end only.
            (Err(Ending::Reset), Err(_)) => {
                return Some(Stream::Ended(ended(
                    &connection,
                    bytes,
                    moved,
                    Ending::Reset,
                )));
            }
            (_, Err(by)) => return Some(Stream::Ended(ended(&connection, bytes, moved, by))),
        };
        sent += went as u64;
        bytes += came as u64;
        if went + came > 0 {
            moved = Instant::now();
        } else if moved.elapsed() > silence {
            return Some(Stream::Ended(ended(
                &connection,
                bytes,
                moved,
                Ending::Silence,
            )));
        } else {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Some(Stream::Lives(bytes))
}

fn drain(connection: &Connection<'_>) -> u64 {
    connection.receive(1 << 20, Duration::ZERO).0.len() as u64
}

fn ended(connection: &Connection<'_>, bytes: u64, moved: Instant, by: Ending) -> Ended {
    let age = match by {
        Ending::Silence => moved.duration_since(connection.made),
        _ => connection.age(),
    };
    Ended {
        bytes,
        messages: 0,
        age,
        by,
    }
}

/// How slow a stream is: up to that age it carries so many bytes.
#[derive(Clone, Copy, Debug)]
struct Slowly {
    oldest: Duration,
    bytes: u64,
    /// It is given up at that age though it has not carried as many.
    longest: Duration,
}

impl Slowly {
    /// One that is much older than another one was when so much of that one's bytes have
    /// come, and then goes on for more than that.
    fn behind(first: &Ended) -> Self {
        const PART: f64 = 0.6;
        const ALL: f64 = 1.5;
        let older = first.age.mul_f64(1.6) + Duration::from_millis(300);
        let oldest = older.mul_f64(ALL / PART);
        // Fewer beyond it where there are few: at that age it must not have carried as many.
        let beyond = (2 * BYTES).min(first.bytes / 6);
        let bytes = first.bytes as f64 * ALL + beyond as f64;
        let part = LONGEST.as_secs_f64() / oldest.as_secs_f64();
        Self {
            oldest: oldest.min(LONGEST),
            bytes: (bytes * part.min(1.0)) as u64,
            longest: LONGEST,
        }
    }

    /// One that gets older than those that the clauses saw end, in the time that is left.
    fn to_age(hint: Hint, left: Duration) -> Self {
        let oldest = hint.age.mul_f64(1.5) + Duration::from_millis(500);
        let longest = oldest.max(LONGEST).min(left.saturating_sub(RESERVED));
        Self {
            oldest: oldest.min(longest),
            bytes: hint.bytes / 4,
            longest,
        }
    }

    /// Whether it gets older than those that the clauses saw end.
    fn outlives(self, hint: Hint) -> bool {
        self.oldest > hint.age.mul_f64(1.0 + SHARE)
    }

    /// The pause from one message to the next, and the size of each.
    fn steps(self, round_trip: Duration) -> (Duration, usize) {
        let step = PAUSE.max(round_trip);
        let steps = self.oldest.as_secs_f64() / step.as_secs_f64();
        let size = self.bytes as f64 / steps.ceil().max(1.0);
        (step, size.clamp(1.0, LARGEST) as usize)
    }
}

/// Exchanges messages with pauses. `None` if no connection was made, or the check was stopped.
fn slow(setting: &Setting<'_>, slowly: Slowly) -> Option<Stream> {
    let connection = setting.open().ok()?;
    let (step, size) = slowly.steps(setting.round_trip);
    let message = letters(size);
    let (mut back, mut messages, mut moved) = (0, 0, Instant::now());
    let end = |back, messages, moved, by| {
        let end = ended(&connection, back, moved, by);
        Some(Stream::Ended(Ended { messages, ..end }))
    };
    let silence = setting.patience() + Duration::from_millis(500);
    let has_time = |back| match back < slowly.bytes {
        // On a path that is slower than that it takes longer.
        true => connection.age() < slowly.longest,
        false => connection.age() < slowly.oldest,
    };
    while has_time(back) {
        if setting.is_stopped() {
            return None;
        }
        let began = Instant::now();
        if let Some(by) = connection.send(&message, silence) {
            return end(back, messages, moved, by);
        }
        let (came, is_over) = connection.receive(size, silence);
        back += came.len() as u64;
        if let Some(by) = is_over {
            return end(back, messages, moved, by);
        }
        messages += 1;
        moved = Instant::now();
        // The pause is less by what the exchange took, so that the bytes come in time.
        let pause = step.saturating_sub(began.elapsed());
        if !pause.is_zero()
            && let Some((by, _)) = connection.wait_for_end(pause)
        {
            return end(back, messages, moved, by);
        }
    }
    Some(Stream::Lives(back))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_stream_is_much_older_when_it_has_carried_as_many() {
        for (bytes, age) in [
            (300, 1),
            (4_000, 2),
            (9_000, 400),
            (100_000, 30),
            (3 << 20, 500),
        ] {
            let age = Duration::from_millis(age);
            let first = Ended {
                bytes,
                messages: 0,
                age,
                by: Ending::Close,
            };
            for round_trip in [Duration::ZERO, Duration::from_millis(50)] {
                let (step, size) = Slowly::behind(&first).steps(round_trip);
                let messages = u32::try_from(bytes.div_ceil(size as u64)).unwrap();
                let then = step * messages;
                assert!(!is_aged(then, age), "{bytes} bytes: {then:?}, not {age:?}");
            }
        }
    }

    #[test]
    fn few_bytes_are_not_the_same_as_many_times_as_many() {
        assert!(!is_same(26, 4096));
        assert!(!is_same(1000, 3000));
        assert!(is_same(1000, 1400));
        assert!(is_same(100_000, 110_000));
    }

    #[test]
    fn who_ends_late_is_followed_for_longer_as_far_as_time_is_left() {
        let hint = Hint {
            bytes: 9_000,
            age: Duration::from_secs(10),
        };
        let long = Slowly::to_age(hint, Duration::from_secs(17));
        assert!(long.outlives(hint), "{long:?}");
        let short = Slowly::to_age(hint, Duration::from_secs(6));
        assert_eq!(short.longest, Duration::from_secs(5));
        assert!(!short.outlives(hint), "{short:?}");
    }
}
