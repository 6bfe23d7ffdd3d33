//! Why the admin socket could not be opened.

use std::io;

use crate::base::error::{self, cause, listen_cause};

/// An operation of the admin socket that failed, and why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its address could not be resolved.
    #[error(transparent)]
    Base(#[from] error::Error),
    /// Its listening socket could not be made.
    #[error("could not listen on {address}: {}", listen_cause(address, source))]
    Listen {
        /// The address that was asked for.
        address: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Its thread could not be started.
    #[error("could not start the admin thread: {}", cause(.0))]
    Start(io::Error),
}
