//! The command line: its commands, their options, and their exit codes.

mod advice;
mod bench;
mod check;
mod clause_list;
mod client;
mod completions;
mod datagram_ping;
mod environment;
mod error;
mod exit;
mod family;
mod health;
mod json;
mod lines;
mod manual;
mod negative;
mod outputs;
mod page;
mod ping;
mod program;
#[cfg(doctest)]
mod readme;
mod report;
mod serve;
mod values;

pub use program::main;
