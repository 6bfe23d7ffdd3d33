//! After how many messages a connection ends, where these are more than a slow stream carries: two
//! streams with one message on its way at a time, of other sizes and at other paces.

use std::thread;
use std::time::{Duration, Instant};

use super::setting::{Setting, letters};
use crate::check::findings::{Ending, Streams};

/// The bytes of a message of the first stream, and of the other.
const SIZES: [usize; 2] = [16, 96];

/// The most messages of a stream, and the longest that the first lasts; the other takes as long
/// once more, and so much longer.
const MOST: u64 = 20_000;
const LONGEST: Duration = Duration::from_secs(3);
const LONGER: Duration = Duration::from_millis(400);

/// Shorter pauses are saved up: timers are no finer on each system.
const PAUSE: Duration = Duration::from_millis(5);

/// How a stream ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    /// Those that came back whole.
    messages: u64,
    /// When the last one had.
    took: Duration,
    by: Ending,
}

/// Whether both end after as many messages. `None` where they don't, or don't end.
pub(super) fn by_number(setting: &Setting<'_>) -> Option<Streams> {
    let [small, large] = SIZES;
    let first = exchange(setting, small, Duration::ZERO)?;
    let other = exchange(setting, large, first.each_later())?;
    first.is_same(&other).then_some(Streams::AfterMessages {
        messages: first.messages,
        by: first.by,
        is_proved: true,
    })
}

impl Ended {
    /// How long each message of another stream takes at the least, for that to be much older when
    /// it has carried as many.
    fn each_later(&self) -> Duration {
        let number = u32::try_from(self.messages.max(1)).unwrap_or(u32::MAX);
        (2 * self.took + LONGER) / number
    }

    /// Whether the other one, of larger messages and at a slower pace, ended after as many: neither
    /// for its bytes nor for its age.
    fn is_same(&self, other: &Self) -> bool {
        let is_later = other.took >= self.took + self.took / 2 + LONGER / 2;
        self.messages > 1 && self.messages == other.messages && is_later
    }
}

/// Exchanges messages, each of which takes so long at the least, until the connection ends.
fn exchange(setting: &Setting<'_>, size: usize, each: Duration) -> Option<Ended> {
    let connection = setting.open_stream().ok()?;
    let (message, silence) = (
        letters(size),
        setting.patience() + Duration::from_millis(500),
    );
    let longest = match each.is_zero() {
        true => LONGEST.min(setting.left() / 4),
        false => 3 * LONGEST,
    };
    let began = Instant::now();
    let (mut messages, mut took) = (0, Duration::ZERO);
    while messages < MOST && began.elapsed() < longest && !setting.is_stopped() {
        let ended = connection.send(&message, silence);
        let ended = ended.or_else(|| connection.receive(size, silence).1);
        if let Some(by) = ended {
            return Some(Ended { messages, took, by });
        }
        messages += 1;
        took = began.elapsed();
        let due = each.saturating_mul(u32::try_from(messages).unwrap_or(u32::MAX));
        let early = due.saturating_sub(took);
        if early >= PAUSE {
            thread::sleep(early);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_messages_at_another_age_are_what_ends_both() {
        let ended = |messages, took| Ended {
            messages,
            took: Duration::from_millis(took),
            by: Ending::Close,
        };
        let first = ended(1000, 50);
        assert_eq!(first.each_later(), Duration::from_micros(500));
        assert!(first.is_same(&ended(1000, 500)));
        // As old, or one more.
        assert!(!first.is_same(&ended(1000, 60)));
        assert!(!first.is_same(&ended(1001, 500)));
        assert!(!ended(1, 1).is_same(&ended(1, 500)));
    }
}
