//! What the datagrams of a port carry: bytes that an echo sends back, or packets of STAMP.

use std::time::Duration;

use crate::probe::datagram::reply_log::{Reply, ReplyLog};
use crate::probe::datagram::stamp::times::Reflected;
use crate::probe::datagram::stamp::tracker::{StampArrival, StampTracker};
use crate::probe::datagram::tracker::{Arrival, Tracker};

/// What the datagrams of a port carry, and what became of each.
pub(super) enum Content {
    Echo(Box<Tracker>),
    Stamp(Box<StampTracker>),
}

/// What came.
pub(super) enum Came {
    /// A reply, with what a reflector says.
    Reply(u64, Reply, Option<Reflected>),
    /// A changed one, and how.
    Changed(u64, String),
    /// Nothing that belongs to this port.
    Foreign,
    /// What is not counted.
    Uncounted,
}

impl Content {
    pub(super) const fn reply_log(&self) -> &ReplyLog {
        match self {
            Self::Echo(tracker) => &tracker.reply_log,
            Self::Stamp(tracker) => &tracker.reply_log,
        }
    }

    pub(super) const fn reply_log_mut(&mut self) -> &mut ReplyLog {
        match self {
            Self::Echo(tracker) => &mut tracker.reply_log,
            Self::Stamp(tracker) => &mut tracker.reply_log,
        }
    }

    pub(super) fn stamp(&self) -> Option<&StampTracker> {
        match self {
            Self::Echo(_) => None,
            Self::Stamp(tracker) => Some(tracker),
        }
    }

    /// Whether an answer to one more datagram can be told from those that are awaited.
    pub(super) fn is_told_apart(&self) -> bool {
        match self {
            Self::Echo(tracker) => tracker.is_told_apart(),
            // Its 32 bits are more than is remembered.
            Self::Stamp(_) => true,
        }
    }

    /// Writes the next datagram, to be sent at this Unix time.
    pub(super) fn fill(&mut self, block: &mut [u8], now: Duration) {
        match self {
            Self::Echo(tracker) => tracker.fill(block),
            Self::Stamp(tracker) => tracker.fill(block, now),
        }
    }

    /// Records that the kernel did not take it. Returns its number.
    pub(super) fn not_sent(&mut self, at: u64) -> u64 {
        match self {
            Self::Echo(tracker) => tracker.reply_log.not_sent(at),
            Self::Stamp(tracker) => tracker.not_sent(at),
        }
    }

    /// The datagram whose beginning an error quotes.
    pub(super) fn quoted(&self, bytes: &[u8]) -> Option<u64> {
        match self {
            Self::Echo(tracker) => tracker.quoted(bytes),
            Self::Stamp(tracker) => tracker.quoted(bytes),
        }
    }

    /// Records what came from another address. Returns the datagram that it is a reply to.
    pub(super) fn strangers(&mut self, bytes: &[u8]) -> Option<u64> {
        match self {
            Self::Echo(tracker) => {
                tracker.foreign();
                tracker.echoed(bytes)
            }
            Self::Stamp(tracker) => {
                tracker.foreign();
                tracker.answered(bytes)
            }
        }
    }

    /// Records what came at this time, in nanoseconds from the start, which is this Unix time.
    pub(super) fn received(&mut self, bytes: &[u8], at: u64, unix: Duration) -> Came {
        match self {
            Self::Echo(tracker) => match tracker.received(bytes, at) {
                Arrival::Reply(number, reply) => Came::Reply(number, reply, None),
                Arrival::Changed(number, change) => Came::Changed(number, change.to_string()),
                Arrival::Foreign => Came::Foreign,
            },
            Self::Stamp(tracker) => match tracker.received(bytes, at, unix) {
                StampArrival::Reply(number, reply, read) => Came::Reply(number, reply, Some(read)),
                StampArrival::Changed(number, how) => Came::Changed(number, how),
                StampArrival::Foreign => Came::Foreign,
                StampArrival::Uncounted => Came::Uncounted,
            },
        }
    }
}
