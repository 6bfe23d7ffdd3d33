//! Why a load run could not start or could not go on.

use std::io;

use crate::base::error::cause;
use crate::probe::error;

/// An operation of the load generator that failed, and why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None of the addresses answers.
    #[error(transparent)]
    Probe(#[from] error::Error),
    /// The system refused what the generator itself needs.
    #[error("could not {operation}: {}", cause(source))]
    SetUp {
        /// What was tried, as it reads after "could not".
        operation: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}
