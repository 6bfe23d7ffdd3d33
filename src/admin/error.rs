//! Why the admin socket could not be opened.

use std::io;

use crate::base::error::{self, cause};

/// An operation of the admin socket that failed, and why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its address could not be resolved or listened on.
    #[error(transparent)]
    Base(#[from] error::Error),
    /// Its thread could not be started.
    #[error("could not start the admin thread: {}", cause(.0))]
    Start(io::Error),
}
