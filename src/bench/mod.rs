//! The load generator: what it is asked for, how it makes load, what it saw.
//!
//! [`run()`] starts the threads. Each has its own connections and its own
//! counters, and hands what it counted to the caller's thread a few times a
//! second, which puts it together and tells whoever watches.

pub mod error;
pub mod expect;
pub mod lines;
pub mod live;
pub mod plan;
pub mod progress;
pub mod results;
pub mod source;

mod clock;
mod collector;
mod counts;
mod fault;
mod flow;
mod generator;
mod machine;
mod message;
mod outage;
mod recorder;
mod run;
mod schedule;
mod search;
mod slot;
mod timer;
mod times;
mod verdict;

pub use run::{run, run_between_rests};
pub use search::find_rate;
