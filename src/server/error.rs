//! Why a server could not start or could not go on.

use std::io;

use crate::base::error::{self, cause};
use crate::base::units;

/// An operation of the server that failed, what it was done to, and why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address could not be resolved or listened on.
    #[error(transparent)]
    Base(#[from] error::Error),
    /// The server could not start or could not go on.
    #[error("could not {operation}: {}", cause(source))]
    Serve {
        /// The operation, as it reads after "could not".
        operation: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The descriptor limit leaves no room for a single client.
    #[error(
        "could not serve any client: the limit of {limit} open files is below the {needed} \
         that the listeners and {} need; raise it (ulimit -n) or lower --workers",
        units::plain_count(*workers as u64, "worker", "workers")
    )]
    Descriptors {
        /// The limit on open descriptors of this process.
        limit: usize,
        /// The descriptors that the server needs before its first client.
        needed: usize,
        /// How many workers were asked for.
        workers: usize,
    },
}

/// Makes an error of the failed operation out of the system's, as `map_err` wants it.
pub(super) fn failed_to(operation: &str) -> impl FnOnce(io::Error) -> Error {
    let operation = operation.to_owned();
    move |source| Error::Serve { operation, source }
}
