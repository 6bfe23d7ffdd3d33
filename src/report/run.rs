//! A run with its name.

use crate::bench::results::Results;

/// A run with a name that distinguishes it from other runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Usually the name of its file.
    pub name: String,
    /// The results of the run.
    pub results: Results,
}
