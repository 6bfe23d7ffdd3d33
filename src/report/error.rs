//! The errors of reading and merging results.

use std::io;

use crate::base::error::cause;
use crate::bench::results::FORMAT;

/// Why results could not be read or merged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file has no valid results.
    #[error("could not read results from {file}: {fault}")]
    Results {
        /// The path of the file.
        file: String,
        /// The cause, and what to do.
        fault: ReadError,
    },
    /// Runs can't be merged into one.
    #[error("could not merge {0}")]
    Merge(#[from] MergeError),
}

/// Why a file has no valid results. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("{}", cause(.0))]
    Read(#[from] io::Error),
    /// The file is empty.
    #[error("it is empty; make it with 'echopool bench --json FILE'")]
    Empty,
    /// The file is truncated.
    #[error("it is cut off after line {line}, column {column}; copy it again or run again")]
    CutOff {
        /// The last line.
        line: usize,
        /// Where that line ends.
        column: usize,
    },
    /// The file is not JSON.
    #[error("it is not JSON ({0}); give what 'echopool bench --json FILE' wrote")]
    Syntax(serde_json::Error),
    /// The file is JSON, but not of a load run.
    #[error(
        "it is JSON, but not of a load run: its \"format\" is not \"{FORMAT}\"; give what \
         'echopool bench --json FILE' wrote"
    )]
    Foreign,
    /// The file has another version of the format.
    #[error(
        "its format is {0}, and this echopool reads {FORMAT}; use the echopool that wrote it, or \
         run again"
    )]
    Version(
        /// The format that the file names.
        String,
    ),
    /// The file is of a run that failed before it had results.
    #[error("it holds no results, since the run failed: {0}")]
    Failed(
        /// The run's error.
        String,
    ),
    /// The file names the format but lacks fields of it, or has others in their place.
    #[error("it is damaged: {0}; copy it again or run again")]
    Shape(serde_json::Error),
}

/// Why runs can't be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// There are no runs.
    #[error("no runs: name at least one file")]
    None,
    /// The plans of the runs differ.
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
    /// Two files contain the same run.
    #[error("{other} with {first}: the same run is in both, and would count twice")]
    Twice {
        /// One of the files.
        first: String,
        /// The other.
        other: String,
    },
    /// A run is a search for a rate.
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
