//! Why the admin socket could not be opened or asked.

use std::io;
use std::net::SocketAddr;

use crate::base::error::{self, cause};

/// An operation of the admin socket that failed, and why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its address could not be resolved or listened on.
    #[error(transparent)]
    Base(#[from] error::Error),
    /// It did not answer, or not as one.
    #[error("could not ask {address} for its health: {}", cause(source))]
    Ask {
        /// Where it was asked.
        address: SocketAddr,
        /// Why it failed.
        source: io::Error,
    },
    /// Its server is not healthy.
    #[error("the server of {address} is not healthy: {why}")]
    Unhealthy {
        /// Where it was asked.
        address: SocketAddr,
        /// What it says.
        why: String,
    },
    /// Its thread could not be started.
    #[error("could not start the admin thread: {}", cause(.0))]
    Start(io::Error),
}
