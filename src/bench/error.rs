//! The errors of a load run.

use std::io;

use crate::base::error::cause;
use crate::probe::error;

/// Why a load run could not start or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No address of the server answers.
    #[error(transparent)]
    Probe(#[from] error::Error),
    /// An operation of the generator itself failed.
    #[error("could not {operation}: {}", cause(source))]
    SetUp {
        /// The operation, as it reads after "could not".
        operation: &'static str,
        /// The cause.
        source: io::Error,
    },
}
