//! Why results could not be read or merged.

use std::io;

use crate::base::error::cause;
use crate::bench::results::FORMAT;

/// What a report could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file holds no results of a load run.
    #[error("could not read results from {file}: {fault}")]
    Results {
        /// Its path.
        file: String,
        /// What is wrong with it, and what to do.
        fault: Unreadable,
    },
    /// Runs can't be merged into one.
    #[error("could not merge {0}")]
    Merge(#[from] Unlike),
}

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

/// Why runs are not parts of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unlike {
    /// There is not a single run.
    #[error("no runs: name at least one file")]
    None,
    /// They were asked for different things.
    #[error(
        "{other} with {first}: they did not do the same: {}; merge runs that differ only in \
         connections, threads, rate, count and seed", differences(.settings)
    )]
    Plans {
        /// The run that the other is compared with.
        first: String,
        /// The run that differs.
        other: String,
        /// Each setting that differs, with both values.
        settings: Vec<(&'static str, String, String)>,
    },
    /// One run is in both.
    #[error("{other} with {first}: the same run is in both, and would count twice")]
    Twice {
        /// One of the files.
        first: String,
        /// The other.
        other: String,
    },
    /// One run looked for a rate.
    #[error("{0}: it searched for a rate; merge runs made at a fixed --rate")]
    Search(
        /// The file.
        String,
    ),
}

fn differences(settings: &[(&'static str, String, String)]) -> String {
    let each = settings
        .iter()
        .map(|(name, first, other)| format!("{name} {other} instead of {first}"));
    each.collect::<Vec<_>>().join(", ")
}
