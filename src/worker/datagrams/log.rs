//! The log lines about datagrams, which all workers of a server share.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::refusal::Refusal;
use crate::base::address::canonical;
use crate::base::error::cause;
use crate::base::sys::datagram::Received;
use crate::base::throttle::SharedThrottle;
use crate::base::units;

/// One line of a kind is logged in this time, with the number of those left out.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// A system call on a socket for datagrams that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Receive,
    Answer,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Receive => "receive on",
            Self::Answer => "answer on",
        })
    }
}

#[derive(Debug)]
pub(crate) struct DatagramLog {
    refused: [SharedThrottle; Refusal::ALL.len()],
    failed: [SharedThrottle; 2],
}

impl Default for DatagramLog {
    fn default() -> Self {
        Self {
            refused: std::array::from_fn(|_| SharedThrottle::new(LOG_EVERY)),
            failed: std::array::from_fn(|_| SharedThrottle::new(LOG_EVERY)),
        }
    }
}

impl DatagramLog {
    pub(super) fn refused(&self, received: &Received, why: Refusal, now: Instant) {
        if let Some(others) = self.refused[why as usize].admit(now) {
            let source = canonical(received.source);
            log::warn!(
                "a datagram of {source} is not answered: {why} (and {others} more since the last \
                 such line)"
            );
        }
    }

    pub(super) fn failed_to(
        &self,
        call: Call,
        socket: &impl fmt::Display,
        error: &io::Error,
        now: Instant,
    ) {
        if let Some(others) = self.failed[call as usize].admit(now) {
            let cause = cause(error);
            let others = units::plain_count(others, "failure", "failures");
            log::warn!("could not {call} {socket}: {cause} ({others} since the last such line)");
        }
    }

    /// Logs how many lines were left out, once the workers have stopped.
    pub(crate) fn finish(&self) {
        for why in Refusal::ALL {
            let others = self.refused[why as usize].take_suppressed();
            let were = match others {
                0 => continue,
                1 => "datagram was",
                _ => "datagrams were",
            };
            log::warn!("{others} more {were} not answered since the last such line: {why}");
        }
        for call in [Call::Receive, Call::Answer] {
            let others = self.failed[call as usize].take_suppressed();
            if others > 0 {
                let others = units::plain_count(others, "more failure", "more failures");
                log::warn!("{others} to {call} a socket since the last such line");
            }
        }
    }
}
