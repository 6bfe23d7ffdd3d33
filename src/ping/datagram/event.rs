//! The events of a ping over UDP; each is a line of text or an object of JSON.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use super::reflector::signed;
use super::summary::DatagramSummary;
use crate::base::units;
use crate::probe::datagram::marks::Marks;
use crate::probe::datagram::stamp::directions::Way;
use crate::probe::datagram::stamp::times::Reflected;

/// An unchanged echo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Echo {
    /// The server's address.
    pub address: SocketAddr,
    /// The datagram's number, from 1.
    pub seq: u64,
    /// Our port that it was sent from.
    pub source_port: u16,
    /// Its size, in bytes.
    pub size_bytes: usize,
    /// From just before it was sent until the kernel received its echo, in nanoseconds, by
    /// STAMP without the server's own time.
    pub time_ns: u64,
    /// The TTL or hop limit that the echo arrived with, if the system says.
    pub ttl: Option<u8>,
    /// How many routers it passed, as the TTL tells: senders begin with 32, 64, 128 or 255.
    pub hops: Option<u8>,
    /// The DSCP and ECN that the echo arrived with, if the system says.
    #[serde(flatten)]
    pub marks: Option<Marks>,
    /// Whether it came after the echo of a later datagram.
    pub reordered: bool,
    /// By STAMP: what the answer says of its way.
    #[serde(flatten)]
    pub reflected: Option<Reflected>,
}

/// An event of a ping over UDP. In JSON the key `event` has its name in snake case; its
/// fields are keys of the same object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A datagram came back unchanged within the time-out.
    Reply(Echo),
    /// One came back unchanged after it was lost.
    Late(Echo),
    /// One came back again.
    Duplicate(Echo),
    /// One did not come back within the time-out, or an error says that it can't.
    Lost {
        /// The datagram's number.
        seq: u64,
        /// Our port that it was sent from.
        source_port: u16,
        /// The cause.
        reason: String,
        /// By STAMP: the direction, where it is known of this one.
        #[serde(skip_serializing_if = "Option::is_none")]
        way: Option<Way>,
    },
    /// This machine's kernel did not take one.
    NotSent {
        /// The datagram's number.
        seq: u64,
        /// Our port that it was to be sent from.
        source_port: u16,
        /// The cause, and what to do.
        reason: String,
    },
    /// One came back changed.
    Corrupted {
        /// The server's address.
        address: SocketAddr,
        /// The datagram's number.
        seq: u64,
        /// Our port that it was sent from.
        source_port: u16,
        /// How it differs.
        damage: String,
    },
    /// Something came that is no echo of ours, or from another address than was asked.
    Unasked {
        /// Who sent it.
        address: SocketAddr,
        /// Our port that it came to.
        source_port: u16,
        /// Its size, in bytes.
        size_bytes: usize,
        /// What it is.
        damage: String,
    },
    /// Our own socket's queue was full, and the kernel dropped what came.
    DroppedHere {
        /// How many datagrams.
        datagrams: u32,
        /// Our port that they came to.
        source_port: u16,
    },
    /// The last event: all counts.
    Summary(Box<DatagramSummary>),
}

impl Event {
    /// Whether a datagram has failed, or something came that nothing was sent for.
    pub const fn is_failure(&self) -> bool {
        !matches!(self, Self::Reply(_) | Self::Summary(_))
    }
}

/// How many routers a packet has passed that arrived with this TTL: senders begin with one of
/// few values.
pub(super) fn hops(ttl: u8) -> u8 {
    let first = [32, 64, 128, 255].into_iter().find(|first| *first >= ttl);
    first.unwrap_or(255) - ttl
}

impl Echo {
    /// As text. `sent` are the marks that it was sent with; others are named.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            seq,
            size_bytes,
            ..
        } = self;
        let size = units::plain_count(*size_bytes as u64, "byte", "bytes");
        write!(f, "{size} from {address}: seq={seq}")?;
        if let Some(ttl) = self.ttl {
            write!(f, " ttl={ttl}")?;
        }
        let time = units::time(self.time_ns as f64);
        write!(f, " time={time}")?;
        let Some(reflected) = &self.reflected else {
            return Ok(());
        };
        if let Some(server) = reflected.server_ns {
            write!(f, " server={}", units::time(server as f64))?;
        }
        if let (Some(there), Some(back)) = (reflected.to_server_ns, reflected.to_client_ns) {
            write!(f, " there={} back={}", signed(there), signed(back))?;
        }
        Ok(())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(echo) => {
                echo.write(f)?;
                f.write_str(if echo.reordered { ", reordered" } else { "" })
            }
            Self::Late(echo) => {
                echo.write(f)?;
                f.write_str(", too late")
            }
            Self::Duplicate(echo) => {
                echo.write(f)?;
                f.write_str(", again")
            }
            Self::Lost {
                seq, reason, way, ..
            } => {
                write!(f, "seq={seq} lost: {reason}")?;
                f.write_str(match way {
                    Some(Way::ToServer) => ", lost on the way to the server",
                    Some(Way::ToClient) => ", lost on the way back",
                    None => "",
                })
            }
            Self::NotSent { seq, reason, .. } => write!(f, "seq={seq} not sent: {reason}"),
            Self::Corrupted {
                address,
                seq,
                damage,
                ..
            } => write!(f, "seq={seq} corrupted by {address}: {damage}"),
            Self::Unasked {
                address,
                size_bytes,
                damage,
                ..
            } => {
                let size = units::plain_count(*size_bytes as u64, "byte", "bytes");
                write!(f, "{size} from {address}: {damage}")
            }
            Self::DroppedHere {
                datagrams,
                source_port,
            } => write!(
                f,
                "{datagrams} dropped here, by the full queue of our own port {source_port}"
            ),
            Self::Summary(summary) => summary.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_count_from_the_next_usual_start() {
        for (ttl, want) in [
            (64, 0),
            (63, 1),
            (33, 31),
            (32, 0),
            (128, 0),
            (65, 63),
            (255, 0),
            (0, 32),
        ] {
            assert_eq!(hops(ttl), want, "{ttl}");
        }
    }
}
