//! Why a ping could not start or could not go on.

use std::io;

use crate::base::error::{self, cause};

/// An operation of a ping that failed, and why. A lost message is not an error but an event.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address could not be resolved, or standard output not be written.
    #[error(transparent)]
    Base(#[from] error::Error),
    /// The system refused what the ping itself needs.
    #[error("could not {operation}: {}", cause(source))]
    SetUp {
        /// The operation, as it reads after "could not".
        operation: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}
