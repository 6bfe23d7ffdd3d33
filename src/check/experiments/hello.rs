//! Who answers, where nothing that was sent has come back.

use std::time::Duration;

use super::setting::Setting;
use crate::check::findings::{Ending, HELLO, Hello};

/// How much of what comes is kept, in bytes.
const KEPT: usize = 64;

/// Waits for a greeting, says hello, and keeps what comes.
pub(super) fn hello(setting: &Setting<'_>) -> Option<Hello> {
    let connection = setting.open().ok()?;
    let greeting_time = Duration::from_millis(300) + 2 * setting.round_trip;
    let (greeting, end) = connection.receive(KEPT, greeting_time);
    let mut hello = Hello {
        greeting,
        ..Hello::default()
    };
    if matches!(end, Some(Ending::Close | Ending::Reset)) {
        hello.end = end;
        return Some(hello);
    }
    hello.end = connection.send(HELLO, setting.patience());
    if hello.end.is_none() {
        (hello.answer, hello.end) = connection.receive(KEPT, setting.patience());
    }
    Some(hello)
}
