//! Whether a path carries TCP faithfully: a list of clauses, each tried by itself.

mod bytes;
pub mod clause;
mod connect;
mod counted;
mod crowd;
mod dial;
mod duplex;
mod ended;
mod half_close;
mod idle;
mod line;
mod messages;
mod nagle;
mod pace;
mod probe;
pub mod report;
mod reset;
mod run;
mod segments;
mod urgent;
mod whoami;

pub use run::{Plan, run};
