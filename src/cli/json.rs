//! Writes JSON for several commands.

use std::io::{self, Write};

use serde::Serialize;

/// Writes one value, indented, and a newline.
pub(super) fn write_json(results: &impl Serialize, to: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *to, results)?;
    writeln!(to)
}
