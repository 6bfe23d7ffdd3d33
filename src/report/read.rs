//! Results that a run wrote, read again.

use std::io::{self, Read};

use serde::Deserialize;

use crate::base::error::{Error, cause};
use crate::bench::results::{FORMAT, Results};

/// The name that stands for standard input.
pub const STANDARD_INPUT: &str = "-";

/// Why a file holds no results that can be used, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It could not be read.
    #[error("{}", cause(.0))]
    Read(#[from] io::Error),
    /// There is nothing in it.
    #[error("it is empty; make it with 'echopool bench --json FILE'")]
    Empty,
    /// It ends in the middle.
    #[error("it is cut off after line {line}, column {column}; copy it again or run again")]
    CutOff {
        /// The last line.
        line: usize,
        /// Where that line ends.
        column: usize,
    },
    /// It is something else than JSON.
    #[error("it is not JSON ({0}); give what 'echopool bench --json FILE' wrote")]
    Syntax(serde_json::Error),
    /// It is some other program's JSON.
    #[error(
        "it is JSON, but not of a load run: its \"format\" is not \"{FORMAT}\"; give what \
         'echopool bench --json FILE' wrote"
    )]
    Foreign,
    /// It is of another version.
    #[error(
        "its format is {0}, and this echopool reads {FORMAT}; use the echopool that wrote it, or \
         run again"
    )]
    Version(
        /// Its format.
        String,
    ),
    /// It has the right format's name but not its shape.
    #[error("it is damaged: {0}; copy it again or run again")]
    Shape(serde_json::Error),
}

/// Reads the results in a file, or those on standard input where `file` is `-`.
///
/// # Errors
/// [`Error::Results`], which names the file, what is wrong with it and what to do.
pub fn read(file: &str) -> Result<Results, Error> {
    contents(file)
        .map_err(Unreadable::from)
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
/// It is not what [`FORMAT`] says.
pub fn parse(text: &[u8]) -> Result<Results, Unreadable> {
    if text.trim_ascii().is_empty() {
        return Err(Unreadable::Empty);
    }
    let format = format(text)?;
    match &*format {
        FORMAT => serde_json::from_slice(text).map_err(Unreadable::Shape),
        _ if family(&format) == family(FORMAT) => Err(Unreadable::Version(format)),
        _ => Err(Unreadable::Foreign),
    }
}

/// The name of a format, without its version.
fn family(format: &str) -> Option<&str> {
    Some(format.rsplit_once('/')?.0)
}

fn format(text: &[u8]) -> Result<String, Unreadable> {
    #[derive(Deserialize)]
    struct Head {
        format: String,
    }

    let head: Result<Head, _> = serde_json::from_slice(text);
    match head {
        Ok(head) => Ok(head.format),
        Err(error) if error.is_eof() => Err(Unreadable::CutOff {
            line: error.line(),
            column: error.column(),
        }),
        Err(error) if error.is_data() => Err(Unreadable::Foreign),
        Err(error) => Err(Unreadable::Syntax(error)),
    }
}
