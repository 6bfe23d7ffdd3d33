//! Waits for events or for a point in time.

use std::io;
use std::time::Duration;

use mio::{Events, Poll, Registry};

use super::processor_time::ProcessorTime;
use super::run_clock::RunClock;
use super::timer::Timer;
use crate::base::sys;

/// How long it polls before it sleeps, if a processor is free: a wake-up takes about
/// as long, and would be measured as the server's time.
const POLL_TIME: u64 = 50_000;

/// In a shorter wait the event was ready before.
const BRIEF: u64 = 2_000;

/// Until when a wait lasts at the most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: u64,
    /// Whether it is to be met to the microsecond.
    pub(crate) precise: bool,
}

/// One thread's poller and timer.
#[derive(Debug)]
pub(crate) struct Waiter {
    poller: Poll,
    timer: Timer,
    /// The last wait had no event ready.
    slept: bool,
    pub(crate) time: ProcessorTime,
}

impl Waiter {
    /// # Errors
    /// Those of the poller and of the timer.
    pub(crate) fn new() -> io::Result<Self> {
        let poller = Poll::new()?;
        let timer = Timer::new(poller.registry())?;
        Ok(Self {
            poller,
            timer,
            slept: false,
            time: ProcessorTime::default(),
        })
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.poller.registry()
    }

    /// Takes the events that are ready. Returns whether the loop can go on without a
    /// wait: there are events, or there is other work.
    ///
    /// # Errors
    /// The poller's.
    pub(crate) fn poll_once(&mut self, events: &mut Events, has_work: bool) -> io::Result<bool> {
        // Under load, events that are ready cost no read of the clock. After a wait
        // without ready events, this first call would most likely find none.
        if !has_work && self.slept {
            return Ok(false);
        }
        self.poll(events, Some(Duration::ZERO))?;
        Ok(has_work || !events.is_empty())
    }

    /// Waits for an event or the deadline from when the clock was looked at last, and looks at
    /// it again.
    /// The time without an event counts as idle.
    ///
    /// # Errors
    /// The poller's and the timer's.
    pub(crate) fn wait(
        &mut self,
        events: &mut Events,
        deadline: Deadline,
        clock: &mut RunClock<'_>,
    ) -> io::Result<()> {
        let Deadline { at, precise } = deadline;
        let since = clock.now;
        let may_poll = clock.shared.may_poll;
        events.clear();
        while events.is_empty() && clock.now < at {
            let left = at - clock.now;
            let polls = may_poll && (clock.now - since < POLL_TIME || precise && left < POLL_TIME);
            let timeout = match left {
                _ if polls => Some(Duration::ZERO),
                left if !precise => Some(Duration::from_nanos(left)),
                left if may_poll => self.arm(left - POLL_TIME)?,
                left => self.arm(left)?,
            };
            self.poll(events, timeout)?;
            clock.look_at_clock();
            if polls && events.is_empty() {
                self.yield_processor(clock);
            }
        }
        self.slept = clock.now - since > BRIEF;
        let (from, to) = (clock.times.measured_from, clock.times.end);
        let waited = clock.now.min(to).saturating_sub(since.max(from));
        self.time.add_waited(waited);
        Ok(())
    }

    /// Lets other threads run that need this processor, such as the server's.
    fn yield_processor(&mut self, clock: &mut RunClock<'_>) {
        let since = clock.now;
        std::thread::yield_now();
        clock.look_at_clock();
        if clock.measuring {
            self.time.add_yielded(clock.now - since);
        }
    }

    fn arm(&self, after: u64) -> io::Result<Option<Duration>> {
        self.timer.arm(Duration::from_nanos(after))
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        sys::poll(&mut self.poller, events, timeout)
    }
}
