//! Writes JSON for several commands.

use std::io::{self, Write};

use serde::Serialize;

use super::error::Error;

/// The JSON of a command that failed and has no results.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    /// The format of the results that are missing.
    format: &'static str,
    /// The error, as on standard error.
    error: String,
}

impl Failure {
    pub(super) fn new(format: &'static str, error: &Error) -> Self {
        Self {
            format,
            error: error.to_string(),
        }
    }
}

/// Writes one value, indented, and a newline.
pub(super) fn write_json(results: &impl Serialize, to: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *to, results)?;
    writeln!(to)
}
