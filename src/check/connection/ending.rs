//! Half-closes and ends, expected and unexpected.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use super::error::{TransferError, is_reset};
use super::state::Connection;
use super::timer::TransferTimer;
use crate::base::error::cause;
use crate::base::units::duration;
use crate::check::not_passed::NotPassed;
use crate::check::observation::{End, Observation};
use crate::probe::exchange::{is_timeout, no_data};

impl Connection<'_> {
    /// Closes the sending side; the peer's stays open.
    pub(in crate::check) fn half_close(&self) -> Result<(), NotPassed> {
        self.shut_down().map_err(|error| self.failure(error))
    }

    /// Waits until the peer closes its side, before which nothing may arrive.
    pub(in crate::check) fn expect_end(&self) -> Result<(), NotPassed> {
        self.receive_to_end(0).map(drop)
    }

    /// Receives up to `most` bytes, behind which the peer closes its side.
    pub(in crate::check) fn receive_to_end(&self, most: usize) -> Result<Vec<u8>, NotPassed> {
        let mut block = vec![0; most + 1];
        let (mut rest, mut timer) = (Vec::new(), TransferTimer::new(self));
        let after = self.received_text();
        loop {
            match self.read_some(&mut block, &mut timer) {
                Err(error) if self.is_reset(&error) => {
                    let seen = format!("reset, not ended, after {after}");
                    return Err(self.observed(seen, End::Reset));
                }
                Err(TransferError::Eof) => return Ok(rest),
                Err(TransferError::Slow(_)) => {
                    let still = no_data(self.timeout);
                    let seen = format!("no end after {after}: {still}");
                    return Err(self.observed(seen, End::Silence));
                }
                Err(other) => return Err(self.failure(other)),
                Ok(length) => rest.extend_from_slice(&block[..length]),
            }
            if rest.len() > most {
                return Err(self.unexpected(&rest));
            }
        }
    }

    /// Keeps the connection idle for `time`, in which nothing may arrive.
    pub(in crate::check) fn hold_idle(&self, time: Duration) -> Result<(), NotPassed> {
        let started = Instant::now();
        let mut byte = [0];
        while started.elapsed() < time {
            let (how, end) = match (&self.stream).read(&mut byte) {
                Ok(0) => (String::from("closed"), End::Close),
                Ok(_) => return Err(self.unexpected(&byte)),
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {
                    match self.context.is_stopped() {
                        true => return Err(NotPassed::Stopped),
                        false => continue,
                    }
                }
                Err(error) if is_reset(&error) => (String::from("reset"), End::Reset),
                Err(error) => (cause(&error), End::Other),
            };
            let seen = format!("{how} after {} of silence", duration(started.elapsed()));
            let observed = Observation {
                held_silent: true,
                ..self.observation(end)
            };
            return Err(NotPassed::observed(seen, observed));
        }
        Ok(())
    }
}
