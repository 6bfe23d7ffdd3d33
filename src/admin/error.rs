//! Why the admin socket could not be opened or asked.

use std::io;
use std::net::SocketAddr;

use crate::base::error::{self, cause};

/// An operation of the admin socket that failed, and why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the admin socket could not be resolved or listened on.
    #[error(transparent)]
    Base(#[from] error::Error),
    /// No answer came, or one that no admin socket gives.
    #[error("could not ask {address} for its health: {}", cause(source))]
    Ask {
        /// The address of the admin socket.
        address: SocketAddr,
        /// Why it failed.
        source: io::Error,
    },
    /// The server answered that it is not healthy.
    #[error("the server of {address} is not healthy: {why}")]
    Unhealthy {
        /// The address of the admin socket.
        address: SocketAddr,
        /// The reason, as it answered.
        why: String,
    },
    /// The admin thread could not be started.
    #[error("could not start the admin thread: {}", cause(.0))]
    Start(io::Error),
}
