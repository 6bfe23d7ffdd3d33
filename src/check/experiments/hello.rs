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

/// Waits for a greeting, says hello, and keeps what comes. Then a second connection says
/// nothing: what comes or ends there is no answer. Both are followed for as long as those of the
/// clauses lived that were ended without a byte.
pub(super) fn hello(setting: &Setting<'_>, ended_at: Duration) -> Option<Hello> {
    // A proxy that does not reach its server ends each connection after as long.
    let ended_at = (ended_at + ended_at / 4 + GREETING).max(setting.patience());
    let (mut hello, age) = spoken(setting, ended_at)?;
    let is_answered = !hello.answer.is_empty() || !hello.greeting.is_empty();
    if !is_answered {
        hello.silent = Some(match hello.end {
            Some(Ending::Silence) | None => silent(setting, LATE_GREETING)?,
            // If it ends without our bytes, it does so about as soon; later on a busy machine.
            _ => silent_often(setting, age + age / 2 + GREETING)?,
        });
    }
    Some(hello)
}

/// One of several silent connections: the first one on which something happened.
fn silent_often(setting: &Setting<'_>, time: Duration) -> Option<Silent> {
    let mut one = silent(setting, time)?;
    for _ in 1..SILENT {
        if one.end != Some(Ending::Silence) || !one.greeting.is_empty() {
            break;
        }
        one = silent(setting, time)?;
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
