//! Tests whether a path carries TCP faithfully: a list of clauses, each tested by itself.

mod beside;
mod bytes;
mod clause;
mod clauses;
mod connect;
mod connection;
mod connections;
mod connector;
mod context;
mod counted;
mod duplex;
mod half_close;
mod idle;
mod messages;
mod nagle;
mod not_passed;
mod observation;
mod options;
mod pace;
mod parallel;
mod plan;
mod protocol;
pub mod report;
mod reset;
mod run;
mod schedule;
mod segments;
mod shared;
mod source_address;
mod target;
mod urgent;

pub use clause::Clause;
pub use clauses::clauses;
pub use plan::Plan;
pub use run::{Doing, run};
