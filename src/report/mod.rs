//! What a run saw, told: as text, as a row, as a page, beside other runs, or
//! merged with them into one.

mod chart;
pub mod compare;
pub mod csv;
mod describe;
pub mod error;
pub mod html;
pub mod merge;
mod plots;
pub mod read;
mod run;
mod table;
pub mod text;

pub use run::Run;
