//! What a run saw, told: as text, as a row, as a page, beside other runs, or
//! merged with them into one.

pub mod compare;
pub mod csv;
pub mod html;
pub mod merge;
pub mod read;
pub mod text;

mod chart;
mod describe;
mod plots;
mod table;

use crate::bench::results::Results;

/// A run among others, with the name that tells it from them.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The name of its file, mostly.
    pub name: String,
    /// What it saw.
    pub results: Results,
}
