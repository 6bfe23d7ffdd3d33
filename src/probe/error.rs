//! Why a probe got no connection, or no faithful echo.

use std::io;
use std::net::SocketAddr;

use crate::base::error::{self, cause};

/// What failed between a probe and the server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address could not be resolved, or the echo not be written to standard output.
    #[error(transparent)]
    Base(#[from] error::Error),
    /// No address of the server could be connected to.
    #[error("could not connect to {}", attempts(.0))]
    Connect(
        /// Every address tried, with why it failed.
        Vec<(SocketAddr, io::Error)>,
    ),
    /// Bytes could not be sent to the server.
    #[error("could not send to {address}: {}", cause(source))]
    Send {
        /// The server.
        address: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Bytes could not be received from the server.
    #[error("could not receive from {address}: {}", cause(source))]
    Receive {
        /// The server.
        address: String,
        /// Why it failed.
        source: io::Error,
    },
    /// What came back is not what was sent.
    #[error("bad echo from {address}: {fault}")]
    Echo {
        /// The server.
        address: String,
        /// What differs, and at which offset.
        fault: String,
    },
    /// Standard input could not be read.
    #[error("could not read standard input: {}", cause(.0))]
    Input(io::Error),
}

fn attempts(failed: &[(SocketAddr, io::Error)]) -> String {
    let each = failed
        .iter()
        .map(|(to, why)| format!("{to}: {}", cause(why)));
    each.collect::<Vec<_>>().join("; nor to ")
}
