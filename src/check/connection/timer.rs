//! The time-out of a transfer.

use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::error::{TransferError, is_reset};
use super::state::Connection;
use crate::check::context::TICK;
use crate::probe::exchange::is_timeout;

/// The rate at which a transfer must progress, in bytes a second: 16 kbit/s, a fourth of what the
/// slowest path has that is worth a check. Of that, headers and what a full queue loses take
/// their part, and only one direction may be moving.
const LEAST_RATE: u64 = 2 * 1024;

/// The part of the time-out for which a wait counts beside clauses that load the path: a full
/// queue drops packets of others, too, and each is sent again later than the one before.
const LOADED_PART: u32 = 3;

/// The time-out of a transfer. A path that moves nothing for the time-out is stuck. One
/// that moves a few bytes now and then would hold the check for ever, so in that time it
/// must move what [`LEAST_RATE`] demands, or all that is left.
///
/// Only the time spent in calls counts, and of each call at most a [`TICK`]: a machine
/// that is too busy to run this thread is not the path's fault.
pub(super) struct TransferTimer<'a> {
    connection: &'a Connection<'a>,
    /// Bytes moved when the current period began, and the time waited since.
    moved: u64,
    waited: Duration,
    /// Bytes moved at the last progress, and the time waited since.
    last: u64,
    silent: Duration,
}

impl<'a> TransferTimer<'a> {
    pub(super) fn new(connection: &'a Connection<'a>) -> Self {
        Self {
            connection,
            moved: connection.moved(),
            waited: Duration::ZERO,
            last: connection.moved(),
            silent: Duration::ZERO,
        }
    }

    /// Repeats a call until it succeeds, fails, or the time is over.
    pub(super) fn wait(
        &mut self,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> Result<usize, TransferError> {
        loop {
            self.check()?;
            let called = Instant::now();
            let result = call();
            let waited = called.elapsed().min(TICK);
            let waited = match self.connection.beside && self.connection.context.is_loaded() {
                true => waited / LOADED_PART,
                false => waited,
            };
            self.waited += waited;
            self.silent += waited;
            match result {
                Ok(length) => return Ok(length),
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    if is_reset(&error) {
                        self.connection.reset.store(true, Ordering::SeqCst);
                    }
                    return Err(TransferError::Io(error));
                }
            }
        }
    }

    /// Fails when the check was stopped or the time is over.
    fn check(&mut self) -> Result<(), TransferError> {
        let Connection {
            context, timeout, ..
        } = self.connection;
        if context.is_stopped() {
            return Err(TransferError::Stopped);
        }
        let moved = self.connection.moved();
        if moved != self.last {
            (self.last, self.silent) = (moved, Duration::ZERO);
        }
        context.is_silent_for(self.silent);
        // Clauses beside each other share the path. At least one byte, also where the product
        // is less.
        let rate = LEAST_RATE as f64 / context.running() as f64;
        let least = (timeout.as_secs_f64() * rate).max(1.0);
        let moved = moved - self.moved;
        if moved as f64 >= least {
            (self.moved, self.waited) = (self.last, Duration::ZERO);
        } else if self.silent >= *timeout {
            return Err(TransferError::Slow(0));
        // A path that may be stuck is given the whole time-out to show it.
        } else if self.waited >= *timeout && self.silent < *timeout / 2 {
            return Err(TransferError::Slow(moved));
        }
        Ok(())
    }
}
