//! Who answers, where nothing that was sent has come back.

use std::time::Duration;

use super::setting::Setting;
use crate::check::findings::{Ending, HELLO, Hello, Silent};

/// How much of what comes is kept, in bytes.
const KEPT: usize = 64;

/// A greeting is awaited for so long before anything is said, and for so long on a connection
/// on which nothing is: mail servers let their clients wait on purpose.
const GREETING: Duration = Duration::from_millis(300);
const LATE_GREETING: Duration = Duration::from_millis(3500);

/// So many silent connections are to live on where one that spoke was ended.
const SILENT: usize = 3;

/// Waits for a greeting, says hello, and keeps what comes. Then others say
/// nothing: what comes or ends there is no answer. Both are followed for as long as those of the
/// clauses lived that were ended without a byte.
pub(super) fn hello(setting: &Setting<'_>, ended_at: Duration) -> Option<Hello> {
    // A proxy that does not reach its server ends each connection after as long.
    let ended_at = (ended_at + ended_at / 4 + GREETING).max(setting.patience());
    let (mut hello, age) = spoken(setting, ended_at)?;
    let is_answered = !hello.answer.is_empty() || !hello.greeting.is_empty();
    if !is_answered {
        let (time, tries) = match hello.end {
            Some(Ending::Silence) | None => (LATE_GREETING, 1),
            // If it ends without our bytes, it does so about as soon; later on a busy machine.
            _ => (age + age / 2 + GREETING, SILENT),
        };
        hello.silent = Some(first_eventful(tries, || silent(setting, time))?);
    }
    Some(hello)
}

/// The first of so many silent connections on which anything happened, or else the last.
fn first_eventful(tries: usize, mut silent: impl FnMut() -> Option<Silent>) -> Option<Silent> {
    let mut one = silent()?;
    for _ in 1..tries {
        if one.end != Some(Ending::Silence) || !one.greeting.is_empty() {
            break;
        }
        one = silent()?;
    }
    Some(one)
}

/// What comes before and after hello is said, and how old the connection became.
fn spoken(setting: &Setting<'_>, patience: Duration) -> Option<(Hello, Duration)> {
    let connection = setting.open().ok()?;
    let (greeting, end) = connection.receive(KEPT, GREETING + 2 * setting.round_trip);
    let mut hello = Hello {
        greeting,
        ..Hello::default()
    };
    if matches!(end, Some(Ending::Close | Ending::Reset)) {
        (hello.end, hello.ended_at) = (end, Some(connection.age()));
        return Some((hello, connection.age()));
    }
    hello.end = connection.send(HELLO, setting.patience());
    if hello.end.is_none() {
        (hello.answer, hello.end) = connection.receive(1, patience);
        if hello.end.is_none() {
            let (rest, end) = connection.receive(KEPT - 1, setting.patience());
            hello.answer.extend(rest);
            hello.end = end;
        }
    }
    if hello.end == Some(Ending::Silence) {
        hello.is_taken = connection.is_acknowledged();
    }
    let age = connection.age();
    if matches!(hello.end, Some(Ending::Close | Ending::Reset)) {
        hello.ended_at = Some(age);
    }
    Some((hello, age))
}

/// What comes on a connection on which nothing is said.
fn silent(setting: &Setting<'_>, time: Duration) -> Option<Silent> {
    let connection = setting.open().ok()?;
    let (greeting, end) = connection.receive(KEPT, time + 2 * setting.round_trip);
    Some(Silent { greeting, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_silent_connection_that_lives_on_says_nothing_of_the_next() {
        let lives = (Ending::Silence, "");
        let first = |tries, seen: &[(Ending, &str)]| {
            let mut seen = seen.iter();
            let one = first_eventful(tries, || {
                let (end, greeting) = seen.next()?;
                Some(Silent {
                    greeting: greeting.as_bytes().to_vec(),
                    end: Some(*end),
                })
            });
            (one.and_then(|one| one.end), seen.len())
        };
        let ended = (Ending::Close, "");
        let of_last = [lives, lives, ended];
        assert_eq!(first(SILENT, &of_last), (Some(Ending::Close), 0));
        assert_eq!(first(1, &of_last), (Some(Ending::Silence), 2));
        assert_eq!(first(SILENT, &[ended, lives]), (Some(Ending::Close), 1));
        let greeted = (Ending::Silence, "220 ready");
        assert_eq!(first(SILENT, &[greeted, ended]), (Some(Ending::Silence), 1));
        let all_live = [lives, lives, lives];
        assert_eq!(first(SILENT, &all_live), (Some(Ending::Silence), 0));
        assert_eq!(first(SILENT, &all_live[..2]), (None, 0), "no connection");
    }
}
