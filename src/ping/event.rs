//! The events of a ping; each is a line of text or an object of JSON.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use super::summary::Summary;
use crate::base::units;

/// An event of a ping. In JSON the key `event` has its name in snake case; its fields are
/// keys of the same object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A connection was established.
    Connected {
        /// The server's address.
        address: SocketAddr,
        /// How long that took, in nanoseconds.
        time_ns: u64,
        /// Whether there was a connection before.
        again: bool,
    },
    /// The connection was lost, and its messages in flight with it.
    Disconnected {
        /// The server's address.
        address: SocketAddr,
        /// The cause.
        reason: String,
    },
    /// A message came back complete and unchanged within the time-out.
    Reply {
        /// The server's address.
        address: SocketAddr,
        /// The message's number, from 1.
        seq: u64,
        /// The message's size, in bytes.
        size_bytes: usize,
        /// The time from just before the message was sent until its last byte came back, in
        /// nanoseconds.
        time_ns: u64,
    },
    /// A message came back unchanged after it was reported lost.
    Late {
        /// The server's address.
        address: SocketAddr,
        /// The message's number.
        seq: u64,
        /// The message's size, in bytes.
        size_bytes: usize,
        /// The time from just before the message was sent until its last byte came back, in
        /// nanoseconds.
        time_ns: u64,
    },
    /// A message did not come back within the time-out, or no longer can.
    Lost {
        /// The message's number.
        seq: u64,
        /// The cause.
        reason: String,
    },
    /// A message came back changed.
    Corrupted {
        /// The server's address.
        address: SocketAddr,
        /// The message's number.
        seq: u64,
        /// The offset of the first wrong byte in the message.
        offset_bytes: usize,
        /// The byte that was sent there.
        expected: u8,
        /// The byte that was received there.
        received: u8,
        /// A description of the damage.
        damage: String,
        /// The service that the bytes look like, if it is known.
        looks_like: Option<&'static str>,
    },
    /// Bytes arrived while no message was in flight.
    Unasked {
        /// The server's address.
        address: SocketAddr,
        /// How many arrived at once.
        size_bytes: usize,
        /// A description of the bytes.
        damage: String,
        /// The service that they look like, if it is known.
        looks_like: Option<&'static str>,
    },
    /// The last event: all counts.
    Summary(Box<Summary>),
}

impl Event {
    /// Whether a message has failed, or bytes came that nothing was sent for.
    pub const fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::Lost { .. } | Self::Late { .. } | Self::Corrupted { .. } | Self::Unasked { .. }
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected {
                address,
                time_ns,
                again,
            } => {
                let again = if *again { "again " } else { "" };
                let time = units::time(*time_ns as f64);
                write!(f, "connected to {address} {again}in {time}")
            }
            Self::Disconnected { address, reason } => {
                write!(f, "connection to {address} lost: {reason}")
            }
            Self::Reply {
                address,
                seq,
                size_bytes,
                time_ns,
            } => {
                let time = units::time(*time_ns as f64);
                let size = bytes(*size_bytes);
                write!(f, "{size} from {address}: seq={seq} time={time}")
            }
            Self::Late {
                address,
                seq,
                size_bytes,
                time_ns,
            } => {
                let time = units::time(*time_ns as f64);
                let size = bytes(*size_bytes);
                write!(f, "{size} from {address}: seq={seq} time={time}, too late")
            }
            Self::Lost { seq, reason } => write!(f, "seq={seq} lost: {reason}"),
            Self::Corrupted {
                address,
                seq,
                offset_bytes,
                expected,
                received,
                damage,
                looks_like,
            } => write!(
                f,
                "seq={seq} corrupted by {address}: byte {offset_bytes}: expected {expected:#04x}, \
                 received {received:#04x}; {}",
                explanation(damage, *looks_like)
            ),
            Self::Unasked {
                address,
                size_bytes,
                damage,
                looks_like,
            } => write!(
                f,
                "{} from {address} that nothing was sent for: {}",
                bytes(*size_bytes),
                explanation(damage, *looks_like)
            ),
            Self::Summary(summary) => summary.fmt(f),
        }
    }
}

/// A number of bytes, as a line begins.
fn bytes(number: usize) -> String {
    units::plain_count(number as u64, "byte", "bytes")
}

/// The explanation of wrong bytes, as part of a message.
fn explanation(damage: &str, looks_like: Option<&str>) -> String {
    looks_like.map_or_else(
        || damage.to_owned(),
        |service| format!("this looks like {service}"),
    )
}
