//! The log lines about datagrams, which all workers of a server share.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::refusal::Refusal;
use crate::base::address::canonical;
use crate::base::error::cause;
use crate::base::not_sent::not_sent;
use crate::base::sys::datagram::Received;
use crate::base::throttle::SharedThrottle;
use crate::base::units;

/// One line of a kind is logged in this time, with the number of those left out.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// A system call on a socket for datagrams that can fail.
#[derive(Clone, Copy, Debug)]
enum Call {
    Receive,
    Answer,
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

    pub(super) fn not_received(&self, socket: &impl fmt::Display, error: &io::Error, now: Instant) {
        if let Some(others) = self.failed[Call::Receive as usize].admit(now) {
            let cause = cause(error);
            let others = units::plain_count(others, "failure", "failures");
            log::warn!(
                "could not receive on {socket}: {cause} ({others} since the last such line)"
            );
        }
    }

    /// An answer to this client, if its address is known, was not sent.
    pub(super) fn not_answered(
        &self,
        to: Option<SocketAddr>,
        socket: &impl fmt::Display,
        error: &io::Error,
        now: Instant,
    ) {
        if let Some(others) = self.failed[Call::Answer as usize].admit(now) {
            let to = to.map_or_else(String::new, |to| format!("{} ", canonical(to)));
            let why = not_sent(error);
            let others = units::plain_count(others, "failure", "failures");
            log::warn!(
                "could not answer {to}on {socket}: {why} ({others} since the last such line)"
            );
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
        for (call, to_do) in [(Call::Receive, "receive on"), (Call::Answer, "answer on")] {
            let others = self.failed[call as usize].take_suppressed();
            if others > 0 {
                let others = units::plain_count(others, "more failure", "more failures");
                log::warn!("{others} to {to_do} a socket since the last such line");
            }
        }
    }
}
