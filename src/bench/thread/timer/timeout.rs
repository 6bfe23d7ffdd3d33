//! A timer on systems without timerfd(2): it sleeps whole milliseconds, and the
//! caller polls for the rest.

use std::io;
use std::time::Duration;

use mio::{Registry, Token};

/// The token that no event has here.
pub(crate) const TIMER: Token = Token(usize::MAX);

/// Has no state: the poller's time-out is the timer.
#[derive(Debug)]
pub(crate) struct Timer;

impl Timer {
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn new(_: &Registry) -> io::Result<Self> {
        Ok(Self)
    }

    /// Returns the time-out for the poller, rounded down so that it wakes early
    /// rather than late.
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn arm(&self, after: Duration) -> io::Result<Option<Duration>> {
        let milliseconds = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        Ok(Some(Duration::from_millis(milliseconds)))
    }
}
