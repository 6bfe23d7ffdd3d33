//! Tests whether a path carries datagrams faithfully: clauses as those of TCP's check, each
//! tested by itself, on sockets of its own.

mod age;
mod burst;
mod bytes;
mod clause;
mod clauses;
mod content;
mod diagnosis;
mod experiments;
mod facts;
mod findings;
mod load;
mod marks;
mod missing;
mod mtu;
mod not_passed;
mod past;
mod plan;
mod port;
mod ports;
mod reachable;
mod run;
mod sizes;
mod target;
mod trouble;
mod usually;

pub use clause::Clause;
pub use clauses::clauses;
pub use plan::Plan;
pub use run::run;
