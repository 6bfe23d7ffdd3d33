//! What was measured, and how it is reported.

pub mod limit;
pub mod markdown;
pub mod metric;
pub mod outcome;
pub mod overview;
pub mod plot;
pub mod stats;
pub mod versions;
