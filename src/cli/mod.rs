//! The command line: what is asked of which part.

mod bench;
mod check;
mod completions;
mod error;
mod exit;
mod json;
mod manual;
mod ping;
mod program;
mod report;
mod serve;
mod talk;
mod values;
mod variable;

pub use program::main;
