//! Fills a path whose echo is not received.

use std::io::{ErrorKind, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::error::TransferError;
use super::state::Connection;
use super::transfer::BLOCK;
use crate::check::context::TICK;
use crate::check::not_passed::NotPassed;
use crate::probe::exchange::is_timeout;

/// The size of the system's buffers where a path is to be filled, in bytes, and the largest
/// segment of a path between machines: Ethernet's with jumbo frames.
#[cfg(unix)]
const SMALL_BUFFER: usize = 64 * 1024;
const LARGE_BUFFER: usize = 4 << 20;
#[cfg(unix)]
const LARGE_MSS: u32 = 9000;

/// What became of a path that was to be filled.
pub(in crate::check) enum Filled {
    /// It accepts no more after so many bytes.
    Full(u64),
    /// It took the most that was to be sent.
    Most,
    /// It still took more when the time was over, after so many bytes.
    NotYet(u64),
}

impl Connection<'_> {
    /// Sends, without receiving, until the path accepts no more, `most` bytes are sent, or
    /// `within` is over.
    pub(in crate::check) fn send_until_full(
        &self,
        most: u64,
        within: Option<Duration>,
    ) -> Result<Filled, NotPassed> {
        let mut block = vec![0; BLOCK];
        let (begun, full_after) = (Instant::now(), self.context.full_after());
        let (mut sent, mut refused) = (0, Duration::ZERO);
        while sent < most && refused < full_after {
            if self.context.is_stopped() {
                return Err(NotPassed::Stopped);
            }
            if within.is_some_and(|within| refused.is_zero() && begun.elapsed() >= within) {
                return Ok(Filled::NotYet(sent));
            }
            let at = self.sent.load(Ordering::SeqCst);
            let room = block.len().min((most - sent) as usize);
            self.context
                .pattern
                .fill(self.number, at, &mut block[..room]);
            let called = Instant::now();
            match (&self.stream).write(&block[..room]) {
                Ok(length) => {
                    self.expect(length as u64);
                    self.count_sent(length);
                    sent += length as u64;
                    refused = Duration::ZERO;
                }
                // A machine that is too busy to run this thread is not the path's fault.
                Err(error) if is_timeout(&error) => refused += called.elapsed().min(TICK),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure(TransferError::Io(error))),
            }
        }
        Ok(match sent < most {
            true => Filled::Full(sent),
            false => Filled::Most,
        })
    }

    /// Makes the system's buffers small, so that they are full soon: on a path that is slow they
    /// would hold seconds. Not within one machine, where a segment is as large.
    #[cfg(unix)]
    pub(in crate::check) fn shrink_buffers(&self) {
        if self.socket().tcp_mss().is_ok_and(|mss| mss <= LARGE_MSS) {
            // If it fails, it only takes longer.
            let _ = self.socket().set_send_buffer_size(SMALL_BUFFER);
            let _ = self.socket().set_recv_buffer_size(SMALL_BUFFER);
        }
    }

    #[cfg(not(unix))]
    pub(in crate::check) const fn shrink_buffers(&self) {}

    /// Makes the receive buffer large, once the path is full: a small one empties it by no
    /// more than that in a round trip.
    pub(in crate::check) fn grow_buffer(&self) {
        // The system takes no more than it allows.
        let _ = self.socket().set_recv_buffer_size(LARGE_BUFFER);
    }
}
