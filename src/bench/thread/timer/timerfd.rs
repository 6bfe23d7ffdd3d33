//! A timer on timerfd(2), precise to the microsecond: the poller's own time-outs
//! are whole milliseconds, rounded up.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// The token of its events, which only wake the poller: the loop looks at the clock.
pub(crate) const TIMER: Token = Token(usize::MAX);

/// A timerfd(2) in the poller. Unlike a time-out it has no slack, and it is
/// never read: with edges, to arm it again is enough.
#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    pub(crate) fn new(registry: &Registry) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self(timer))
    }

    /// Wakes the poller once, `after` this time. Returns the time-out for the
    /// poller: none.
    pub(crate) fn arm(&self, after: Duration) -> io::Result<Option<Duration>> {
        // Zero would disarm it.
        let after = after.max(Duration::from_nanos(1));
        let time = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(after).map_err(io::Error::other)?,
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &time)?;
        Ok(None)
    }
}
