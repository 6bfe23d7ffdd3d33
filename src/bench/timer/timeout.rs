//! Systems without timerfd(2): whole milliseconds are slept, the rest is polled.

use std::io;
use std::time::Duration;

use mio::{Registry, Token};

/// The token that no event has here.
pub(in crate::bench) const TIMER: Token = Token(usize::MAX);

/// Nothing: the time-out does it.
#[derive(Debug)]
pub(in crate::bench) struct Timer;

impl Timer {
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(in crate::bench) fn new(_: &Registry) -> io::Result<Self> {
        Ok(Self)
    }

    /// The time-out that the poller is to be given: rounded down, so that it
    /// wakes early rather than late.
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(in crate::bench) fn arm(&self, after: Duration) -> io::Result<Option<Duration>> {
        let milliseconds = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        Ok(Some(Duration::from_millis(milliseconds)))
    }
}
