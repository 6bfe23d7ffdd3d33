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
    /// An error came that does not say of which of the awaited datagrams it is. They stay
    /// awaited.
    PathError {
        /// Our port that the datagram was sent from.
        source_port: u16,
        /// The cause.
        reason: String,
    },
    /// This machine's kernel dropped what came to our own socket: its queue was full, or the
    /// checksum was wrong.
    DroppedHere {
        /// How many datagrams.
        datagrams: u32,
        /// At most so many of them for a wrong checksum; `null` where the system does not say.
        wrong_checksums: Option<u32>,
        /// Our port that they came to.
        source_port: u16,
    },
    /// A datagram was due, and waits until its answer can be told from those that are awaited,
    /// or fewer have to be remembered. It is reported once.
    SendingWaits {
        /// The datagram's number.
        seq: u64,
        /// The cause, and what to do.
        reason: String,
    },
    /// The last event: all counts.
    Summary(Box<DatagramSummary>),
}

impl Event {
    /// Whether a datagram has failed, or something came that nothing was sent for.
    pub const fn is_failure(&self) -> bool {
        !matches!(
            self,
            Self::Reply(_) | Self::SendingWaits { .. } | Self::Summary(_)
        )
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

/// Why so many that came to our port were dropped by our own kernel.
fn why_dropped(datagrams: u32, wrong_checksums: Option<u32>, source_port: u16) -> String {
    let full = format!("by the full queue of our own port {source_port}");
    match wrong_checksums {
        Some(0) => full,
        Some(most) if most == datagrams => format!("for a wrong checksum, or {full}"),
        Some(most) => format!("{full}, or for a wrong checksum (at most {most})"),
        None => format!("{full}, or for a wrong checksum"),
    }
}

/// What is said of a loss of which the direction is known.
const fn on_way(way: Option<Way>) -> &'static str {
    match way {
        Some(Way::ToServer) => ", lost on the way to the server",
        Some(Way::ToClient) => ", lost on the way back",
        None => "",
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
                write!(f, "seq={seq} lost: {reason}{}", on_way(*way))
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
            Self::PathError { reason, .. } => {
                write!(f, "an error that names no datagram: {reason}")
            }
            Self::DroppedHere {
                datagrams,
                wrong_checksums,
                source_port,
            } => {
                let why = why_dropped(*datagrams, *wrong_checksums, *source_port);
                write!(f, "{datagrams} dropped here, {why}")
            }
            Self::SendingWaits { seq, reason } => write!(f, "seq={seq} waits: {reason}"),
            Self::Summary(summary) => summary.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_checksum_is_not_taken_for_a_full_queue() {
        for (wrong_checksums, words) in [
            (Some(0), "by the full queue of our own port 7"),
            (
                Some(2),
                "by the full queue of our own port 7, or for a wrong checksum (at most 2)",
            ),
            (
                Some(3),
                "for a wrong checksum, or by the full queue of our own port 7",
            ),
            (
                None,
                "by the full queue of our own port 7, or for a wrong checksum",
            ),
        ] {
            let event = Event::DroppedHere {
                datagrams: 3,
                wrong_checksums,
                source_port: 7,
            };
            assert_eq!(event.to_string(), format!("3 dropped here, {words}"));
        }
    }

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
