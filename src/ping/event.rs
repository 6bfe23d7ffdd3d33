//! What a ping tells: a line of text, or an object of JSON, each.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use super::summary::Summary;
use crate::base::units;

/// Something that happened. In JSON its name is the key `event`, in snake case;
/// the fields are keys of the same object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A connection was made.
    Connected {
        /// The server's end.
        address: SocketAddr,
        /// How long that took.
        time_ns: u64,
        /// Whether there was one before.
        again: bool,
    },
    /// The connection is no more. Messages on their way with it are lost.
    Disconnected {
        /// The server's end.
        address: SocketAddr,
        /// Why, in words.
        reason: String,
    },
    /// A message came back whole and unchanged, within the time-out.
    Reply {
        /// The server.
        address: SocketAddr,
        /// The message's number, from 1.
        seq: u64,
        /// Its size.
        size_bytes: usize,
        /// From just before it was sent to its last byte back.
        time_ns: u64,
    },
    /// A message came back unchanged after it had been given up as lost.
    Late {
        /// The server.
        address: SocketAddr,
        /// The message's number.
        seq: u64,
        /// Its size.
        size_bytes: usize,
        /// From just before it was sent to its last byte back.
        time_ns: u64,
    },
    /// A message did not come back within the time-out, or can't any more.
    Lost {
        /// The message's number.
        seq: u64,
        /// Why, in words.
        reason: String,
    },
    /// A message came back other than it was sent.
    Corrupted {
        /// The server.
        address: SocketAddr,
        /// The message's number.
        seq: u64,
        /// The first wrong byte, from the start of the message.
        offset_bytes: usize,
        /// What happened to it, in words.
        damage: String,
    },
    /// Bytes came while nothing was on its way.
    Unasked {
        /// The server.
        address: SocketAddr,
        /// How many came at once.
        size_bytes: usize,
        /// What they are, in words.
        damage: String,
    },
    /// The end: what was counted.
    Summary(Summary),
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
                write!(
                    f,
                    "{size_bytes} bytes from {address}: seq={seq} time={time}"
                )
            }
            Self::Late {
                address,
                seq,
                size_bytes,
                time_ns,
            } => {
                let time = units::time(*time_ns as f64);
                write!(
                    f,
                    "{size_bytes} bytes from {address}: seq={seq} time={time}, too late"
                )
            }
            Self::Lost { seq, reason } => write!(f, "seq={seq} lost: {reason}"),
            Self::Corrupted {
                address,
                seq,
                offset_bytes,
                damage,
            } => write!(
                f,
                "seq={seq} corrupted by {address}: {damage} at offset {offset_bytes}"
            ),
            Self::Unasked {
                address,
                size_bytes,
                damage,
            } => write!(
                f,
                "{size_bytes} bytes from {address} that nothing was sent for: {damage}"
            ),
            Self::Summary(summary) => summary.fmt(f),
        }
    }
}
