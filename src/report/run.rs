//! A run among others.

use crate::bench::results::Results;

/// A run among others, with the name that tells it from them.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The name of its file, mostly.
    pub name: String,
    /// What it saw.
    pub results: Results,
}
