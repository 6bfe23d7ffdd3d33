//! After how many bytes or messages, or at which age, a connection ends: a fast stream, slow
//! ones of other messages at other paces, and a silent one tell one from the other.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::numbered::by_number;
use super::setting::{Setting, beside, letters};
use crate::check::findings::{Ending, Since, Streams};

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

/// One that falls silent is waited for until it is so old.
const SILENT: Duration = Duration::from_secs(12);

/// The pause between the messages of a slow stream.
const PAUSE: Duration = Duration::from_millis(20);

/// The most bytes of such a message: more may wait for each other both ways.
const LARGEST: usize = 65_536;

/// Two ends are the same that differ by less than this share of the greater, and a fixed
/// part for what is on its way and for timers.
const SHARE: f64 = 0.25;
const BYTES: u64 = 16 * 1024;
const TIME: Duration = Duration::from_millis(150);

/// The least and the most bytes that a fast stream has on its way, and no more than this part
/// of those after which it is expected to end: the end is found as exactly as that.
const AHEAD: (u64, u64) = (512, 256 * 1024);
const AHEAD_PART: u64 = 8;

/// The messages of another slow stream are so many times as large, or as small; its pause is so
/// many times as long where a path is too far for one without pauses.
const LARGER: usize = 4;
const RARER: u32 = 2;

/// A path is near on which so many exchanges take no longer than a pause.
const NEAR: u32 = 3;

/// Streams fast, and slowly, and each that ends a second time.
pub(super) fn streams(setting: &Setting<'_>, hint: Hint) -> Option<Streams> {
    let most = match hint.age < LONGEST {
        true => hint.bytes.saturating_mul(3) + (1 << 20),
        // One that ended so late hardly did for its bytes, and the time is for its age.
        false => hint.bytes.saturating_mul(2) + (1 << 16),
    };
    let connection = setting.open_stream().ok()?;
    match stream_on(&connection, setting, most, hint.bytes)? {
        Stream::Ended(end) => {
            let found = of_ended(setting, end, most).or_else(|| by_number(setting))?;
            let is_silence =
                end.by == Ending::Silence && matches!(found, Streams::AfterBytes { .. });
            (!is_silence || is_for_good(setting, &connection)?).then_some(found)
        }
        Stream::Lives(bytes) => match of_endless(setting, hint, bytes) {
            // Messages that came together were fewer, and those of slow ones may be.
            found @ (None | Some(Streams::Endless)) if hint.age < LONGEST => {
                by_number(setting).or(found)
            }
            found => found,
        },
    }
}

/// Whether nothing more comes on one that fell silent, for so long in all: what only pauses, or goes
/// on slowly, has no limit.
fn is_for_good(setting: &Setting<'_>, connection: &Connection<'_>) -> Option<bool> {
    let left = SILENT
        .saturating_sub(connection.age())
        .min(setting.left() / 2);
    setting.pause(left);
    let more = connection.receive_some(&mut [0; 64]);
    (!setting.is_stopped()).then_some(!matches!(more, Ok(1..)))
}

/// A fast stream ended: a slow one tells whether that was for its bytes, and another slow one,
/// of other messages at another pace, whether it was for their number or its age.
fn of_ended(setting: &Setting<'_>, first: Ended, most: u64) -> Option<Streams> {
    let slowly = Slowly::behind(&first);
    let messages = slowly.messages(setting.round_trip);
    let end = match slow(setting, slowly, messages)? {
        Stream::Ended(end) => end,
        // All that ended the fast one went by: it was something else, like how fast it went.
        Stream::Lives(bytes) if bytes > first.bytes && !is_same(bytes, first.bytes) => return None,
        Stream::Lives(_) => return of_bytes(setting, first, most, false),
    };
    if end.bytes == 0 {
        return None;
    }
    let others = messages.others(setting.round_trip);
    let older = end.age.mul_f64(1.0 + SHARE) + TIME;
    let silent = || lives_silent(setting, older);
    let (other, lives) = beside(setting, || slow(setting, slowly, others), silent);
    let Stream::Ended(other) = other? else {
        return None;
    };
    match same(&first, [&end, &other], &others)? {
        Same::Messages { is_proved } => Some(Streams::AfterMessages {
            messages: end.messages,
            by: other.by,
            is_proved,
        }),
        Same::Bytes => of_bytes(setting, first, most, true),
        Same::Age => at_age(&[first.age, end.age, other.age], lives?, other.by),
    }
}

/// Another fast stream ends after as many bytes; whether slow ones prove that it is for these.
fn of_bytes(setting: &Setting<'_>, first: Ended, most: u64, is_proved: bool) -> Option<Streams> {
    match fast(setting, most, first.bytes)? {
        Stream::Ended(again) if is_same(first.bytes, again.bytes) => Some(Streams::AfterBytes {
            bytes: first.bytes.max(again.bytes),
            by: again.by,
            is_proved,
        }),
        Stream::Lives(carried) if carried < first.bytes => {
            setting.give_up();
            None
        }
        Stream::Ended(_) | Stream::Lives(_) => None,
    }
}

/// What a fast stream and two slow ones, of which one had other messages at another pace, had in
/// common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Same {
    Bytes,
    /// Not proved where it may be their age as well.
    Messages {
        is_proved: bool,
    },
    Age,
}

/// Tells what ended the fast one and the slow ones, of which the `other` had such messages; `None`
/// where that was not the same, or two of these were.
fn same(fast: &Ended, [one, other]: [&Ended; 2], messages: &Messages) -> Option<Same> {
    // A part of the last message may be lost with the end.
    let (less, more) = (one.bytes.min(other.bytes), one.bytes.max(other.bytes));
    let is_as_many = more - less <= messages.size as u64 + more / 10;
    let is_of_bytes = is_as_many && is_same(one.bytes, fast.bytes);
    let is_of_age = is_aged(one.age.max(other.age), one.age.min(other.age));
    if one.messages == other.messages && one.messages > 0 {
        // Larger ones would have been fewer, had it been for their bytes.
        let is_proved = !is_of_age || messages.are_at_once(other);
        Some(Same::Messages { is_proved })
    } else if is_of_bytes && !(is_of_age && is_aged(one.age, fast.age)) {
        Some(Same::Bytes)
    } else if is_of_age && !is_of_bytes {
        Some(Same::Age)
    } else {
        None
    }
}

/// A fast stream did not end, and carried so many bytes: slow ones may end by their age.
fn of_endless(setting: &Setting<'_>, hint: Hint, carried: u64) -> Option<Streams> {
    let slowly = Slowly::to_age(hint, setting.left());
    let messages = slowly.messages(setting.round_trip);
    let others = messages.rarer();
    let silent = || lives_silent(setting, slowly.oldest);
    let one = || slow(setting, slowly, messages);
    let other = || slow(setting, slowly, others);
    let (one, other, lives) = match setting.is_wide() {
        true => {
            let ((one, other), lives) = beside(setting, || beside(setting, one, other), silent);
            (one?, other?, lives)
        }
        false => match one()? {
            // Others would only take as long again.
            Stream::Lives(bytes) => (Stream::Lives(bytes), Stream::Lives(bytes), None),
            one @ Stream::Ended(_) => (one, other()?, silent()),
        },
    };
    match (one, other) {
        // One that carried nothing did not end by its age.
        (Stream::Ended(one), Stream::Ended(other)) if one.bytes.min(other.bytes) > 0 => {
            let is_same_age = is_aged(one.age.max(other.age), one.age.min(other.age));
            match one.messages == other.messages && !is_same_age {
                true => Some(Streams::AfterMessages {
                    messages: one.messages,
                    by: one.by,
                    is_proved: true,
                }),
                // As many bytes are none that end it: the fast one carried more.
                false => at_age(&[one.age, other.age], lives?, one.by),
            }
        }
        (Stream::Lives(_), Stream::Lives(_)) => endless(setting, hint, slowly, carried),
        _ => None,
    }
}

/// None ended. Younger than those that did in the clauses, or with fewer bytes, they prove
/// nothing: there was no time for more.
fn endless(setting: &Setting<'_>, hint: Hint, slowly: Slowly, carried: u64) -> Option<Streams> {
    let is_beyond = carried > hint.bytes && !is_same(carried, hint.bytes);
    if slowly.outlives(hint) && is_beyond {
        return Some(Streams::Endless);
    }
    setting.give_up();
    None
}

/// All ended at one age. One on which nothing is sent either did not get older, or lives: then
/// it is counted from the first byte on.
fn at_age(ages: &[Duration], lives_silent: bool, by: Ending) -> Option<Streams> {
    let (least, most) = (*ages.iter().min()?, *ages.iter().max()?);
    let since = match lives_silent {
        true => Since::FirstByte,
        false => Since::Made,
    };
    is_aged(most, least).then_some(Streams::AtAge {
        age: most,
        by,
        since,
    })
}

/// Whether one on which nothing is sent is served once it is so old.
fn lives_silent(setting: &Setting<'_>, age: Duration) -> Option<bool> {
    let connection = setting.open().ok()?;
    if connection.wait_for_end(age).is_some() {
        return Some(false);
    }
    Some(setting.is_served(&connection).is_none())
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
    let connection = setting.open_stream().ok()?;
    stream_on(&connection, setting, most, expected)
}

/// The same, on that connection.
fn stream_on(
    connection: &Connection<'_>,
    setting: &Setting<'_>,
    most: u64,
    expected: u64,
) -> Option<Stream> {
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
                bytes += came as u64 + drain(connection);
                return Some(Stream::Ended(ended(connection, bytes, moved, by)));
            }
            // After a reset the system tells the end only.
            (Err(Ending::Reset), Err(_)) => {
                return Some(Stream::Ended(ended(
                    connection,
                    bytes,
                    moved,
                    Ending::Reset,
                )));
            }
            (_, Err(by)) => return Some(Stream::Ended(ended(connection, bytes, moved, by))),
        };
        sent += went as u64;
        bytes += came as u64;
        if went + came > 0 {
            moved = Instant::now();
        } else if moved.elapsed() > silence {
            return Some(Stream::Ended(ended(
                connection,
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

    /// Its messages.
    fn messages(self, round_trip: Duration) -> Messages {
        let step = PAUSE.max(round_trip);
        let steps = self.oldest.as_secs_f64() / step.as_secs_f64();
        let size = self.bytes as f64 / steps.ceil().max(1.0);
        let size = size.clamp(1.0, LARGEST as f64) as usize;
        Messages { size, step }
    }
}

/// The messages of a slow stream.
#[derive(Clone, Copy, Debug)]
struct Messages {
    /// In bytes.
    size: usize,
    /// From one to the next.
    step: Duration,
}

impl Messages {
    /// Those of another stream, which ends after as many bytes, after as many messages or at the
    /// same age, and not two of these.
    fn others(self, round_trip: Duration) -> Self {
        let size = match self.size * LARGER <= LARGEST {
            true => self.size * LARGER,
            false => self.size / LARGER,
        };
        let step = match round_trip * NEAR <= self.step {
            true => Duration::ZERO,
            false => self.step * RARER,
        };
        Self { size, step }
    }

    /// As many bytes in time, in messages that are as much larger as they are rarer.
    fn rarer(self) -> Self {
        Self {
            size: (self.size * RARER as usize).min(LARGEST),
            step: self.step * RARER,
        }
    }

    /// Whether the messages of a stream that ended so came so soon one after the other that many
    /// more would have come by the age of one with pauses.
    fn are_at_once(&self, ended: &Ended) -> bool {
        let each = ended.age / u32::try_from(ended.messages.max(1)).unwrap_or(u32::MAX);
        self.step.is_zero() && each * NEAR <= PAUSE
    }
}

/// Exchanges messages with pauses. `None` if no connection was made, or the check was stopped.
fn slow(setting: &Setting<'_>, slowly: Slowly, messages: Messages) -> Option<Stream> {
    let connection = setting.open_stream().ok()?;
    let Messages { size, step } = messages;
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
                let Messages { size, step } = Slowly::behind(&first).messages(round_trip);
                let messages = u32::try_from(bytes.div_ceil(size as u64)).unwrap();
                let then = step * messages;
                assert!(!is_aged(then, age), "{bytes} bytes: {then:?}, not {age:?}");
            }
        }
    }

    fn ended_at(bytes: u64, messages: u64, age: u64) -> Ended {
        Ended {
            bytes,
            messages,
            age: Duration::from_millis(age),
            by: Ending::Close,
        }
    }

    #[test]
    fn other_messages_at_another_pace_tell_what_ends_both() {
        let one = Messages {
            size: 100,
            step: PAUSE,
        };
        let near = one.others(Duration::from_micros(50));
        assert_eq!((near.size, near.step), (400, Duration::ZERO));
        let far = one.others(Duration::from_millis(20));
        assert_eq!((far.size, far.step), (400, 2 * PAUSE));
        let large = Messages {
            size: LARGEST,
            ..one
        };
        assert_eq!(large.others(Duration::ZERO).size, LARGEST / LARGER);
        let messages = |is_proved| Some(Same::Messages { is_proved });
        let of = |ends: [(u64, u64, u64); 3], messages: &Messages| {
            let [fast, one, other] = ends.map(|(a, b, c)| ended_at(a, b, c));
            same(&fast, [&one, &other], messages)
        };
        // 25 messages, 2,500 bytes, or half a second. The fast one had as many bytes.
        let first = (2_500, 25, 500);
        let many = (2_500, 0, 5);
        let of_many = |other, messages: &Messages| of([many, first, other], messages);
        assert_eq!(of_many((10_000, 25, 2), &near), messages(true));
        assert_eq!(of_many((2_500, 6, 1), &near), Some(Same::Bytes));
        assert_eq!(of_many((10_000, 25, 1_000), &far), messages(true));
        assert_eq!(of_many((2_400, 6, 240), &far), Some(Same::Bytes));
        // On a slow path one without pauses takes as long, and the fast one does not.
        assert_eq!(of_many((2_500, 6, 480), &near), Some(Same::Bytes));
        let aged = |other, messages: &Messages| of([(9_000_000, 0, 500), first, other], messages);
        assert_eq!(aged((4_000_000, 9_999, 500), &near), Some(Same::Age));
        assert_eq!(aged((5_200, 13, 520), &far), Some(Same::Age));
        assert_eq!(aged((2_000, 20, 90), &near), None);
        assert_eq!(of([(2_500, 0, 480), first, (2_500, 6, 480)], &near), None);
        // One message, or the age of one.
        let one = |one, other, messages: &Messages| of([(512, 0, 1), one, other], messages);
        assert_eq!(one((100, 1, 1), (400, 1, 1), &near), messages(true));
        assert_eq!(one((100, 1, 20), (400, 1, 20), &far), messages(false));
        // Few bytes, of which a message of the other one has more.
        let few = [(30, 0, 1), (30, 22, 450), (30, 0, 1)];
        assert_eq!(of(few, &near), Some(Same::Bytes));
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
