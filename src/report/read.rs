//! Reads the results that a run wrote.

use std::io::{self, Read};

use serde::Deserialize;

use super::error::{Error, ReadError};
use crate::bench::results::{FORMAT, Results};

/// The name that stands for standard input.
pub const STANDARD_INPUT: &str = "-";

/// Reads the results in a file, or those on standard input where `file` is `-`.
///
/// # Errors
/// [`Error::Results`], which names the file, the cause and what to do.
pub fn read(file: &str) -> Result<Results, Error> {
    contents(file)
        .map_err(ReadError::from)
        .and_then(|text| parse(&text))
        .map_err(|fault| Error::Results {
            file: match file {
                STANDARD_INPUT => String::from("standard input"),
                _ => file.to_owned(),
            },
            fault,
        })
}

fn contents(file: &str) -> io::Result<Vec<u8>> {
    match file {
        STANDARD_INPUT => {
            let mut text = Vec::new();
            io::stdin().lock().read_to_end(&mut text)?;
            Ok(text)
        }
        _ => std::fs::read(file),
    }
}

/// Reads results in JSON.
///
/// # Errors
/// [`ReadError`] if the text is not of the format [`FORMAT`].
pub fn parse(text: &[u8]) -> Result<Results, ReadError> {
    if text.trim_ascii().is_empty() {
        return Err(ReadError::Empty);
    }
    let Head { format, error } = head(text)?;
    match (&*format, error) {
        (FORMAT, Some(error)) => Err(ReadError::Failed(error)),
        (FORMAT, None) => serde_json::from_slice(text).map_err(ReadError::Shape),
        _ if family(&format) == family(FORMAT) => Err(ReadError::Version(format)),
        _ => Err(ReadError::Foreign),
    }
}

/// The name of a format, without its version.
fn family(format: &str) -> Option<&str> {
    Some(format.rsplit_once('/')?.0)
}

/// The field that identifies the format of a file.
#[derive(Deserialize)]
struct Head {
    format: String,
    /// In place of results.
    error: Option<String>,
}

/// Whether an error is at the very end of a text: a number that is cut off after its sign is
/// a wrong one.
fn is_at_end(error: &serde_json::Error, text: &[u8]) -> bool {
    let lines = text.split(|byte| *byte == b'\n');
    let (line, column) = lines.fold((0, 0), |(line, _), last| (line + 1, last.len()));
    error.is_syntax() && error.line() == line && error.column() >= column && text[0] == b'{'
}

fn head(text: &[u8]) -> Result<Head, ReadError> {
    let head: Result<Head, _> = serde_json::from_slice(text);
    match head {
        Ok(head) => Ok(head),
        Err(error) if error.is_eof() || is_at_end(&error, text) => Err(ReadError::CutOff {
            line: error.line(),
            column: error.column(),
        }),
        Err(error) if error.is_data() => Err(ReadError::Foreign),
        Err(error) => Err(ReadError::Syntax(error)),
    }
}
