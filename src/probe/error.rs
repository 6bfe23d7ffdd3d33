//! Why a probe failed.

use std::io;
use std::net::SocketAddr;

use super::datagram::refusal::explained;
use crate::base::error::{self, cause};

/// Why a probe failed: no connection, or no faithful echo.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address could not be resolved, or standard output could not be written.
    #[error(transparent)]
    Base(#[from] error::Error),
    /// No address of the server accepted a connection.
    #[error("could not connect to {}", attempts(.0))]
    Connect(
        /// Every address tried, with its error.
        Vec<(SocketAddr, io::Error)>,
    ),
    /// No address of the server took a datagram.
    #[error("no datagram reached {}", unanswered(.0))]
    Unanswered(
        /// Every address tried, with its error.
        Vec<(SocketAddr, io::Error)>,
    ),
    /// This machine did not send a datagram.
    #[error("could not send to {address}: {why}")]
    NotSent {
        /// The server's address.
        address: String,
        /// The cause, and what to do.
        why: String,
    },
    /// An error came by ICMP where an echo was awaited.
    #[error("no echo from {address}: {icmp}")]
    Unreachable {
        /// The server's address.
        address: String,
        /// The error, and what to do.
        icmp: String,
    },
    /// The probe was told to stop before a connection was made.
    #[error("interrupted before a connection was made")]
    Interrupted,
    /// Bytes could not be sent to the server.
    #[error("could not send to {address}: {}", cause(source))]
    Send {
        /// The server's address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// Bytes could not be received from the server.
    #[error("could not receive from {address}: {}", cause(source))]
    Receive {
        /// The server's address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// The echo differs from what was sent.
    #[error("bad echo from {address}: {fault}")]
    Echo {
        /// The server's address.
        address: String,
        /// The difference, with its offset.
        fault: String,
    },
    /// Standard input could not be read.
    #[error("could not read standard input: {}", cause(.0))]
    Input(io::Error),
}

fn unanswered(failed: &[(SocketAddr, io::Error)]) -> String {
    let each = failed
        .iter()
        .map(|(to, why)| format!("{to}: {}", explained(why, None)));
    each.collect::<Vec<_>>().join("; nor ")
}

fn attempts(failed: &[(SocketAddr, io::Error)]) -> String {
    let each = failed
        .iter()
        .map(|(to, why)| format!("{to}: {}", cause(why)));
    each.collect::<Vec<_>>().join("; nor to ")
}
