//! The errors of a load run.

use std::io;

use crate::base::error::cause;
use crate::probe::error;

/// The error of an operation of the generator itself.
pub(super) fn failed(operation: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::SetUp { operation, source }
}

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
