//! Whether a path carries TCP faithfully: a list of clauses, each tried by itself.

mod bytes;
mod clause;
mod clauses;
mod connect;
mod context;
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
mod parallel;
mod plan;
mod probe;
mod protocol;
pub mod report;
mod reset;
mod run;
mod segments;
mod urgent;
mod whoami;

pub use clause::Clause;
pub use clauses::clauses;
pub use plan::Plan;
pub use run::run;
