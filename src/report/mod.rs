//! Reports of load runs: as text, CSV or HTML, compared with other runs or merged
//! with them.

mod chart;
pub mod compare;
pub mod csv;
mod datagrams;
mod describe;
pub mod error;
mod foreign;
pub mod html;
pub mod merge;
mod plots;
pub mod read;
mod run;
mod table;
mod tcp;
pub mod text;

pub use run::Run;
