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
mod flow;
mod generator;
mod outage;
mod recorder;
mod run;
mod schedule;
mod search;
mod slot;
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "timer/none.rs"
)]
mod timer;
mod verdict;

pub use run::{run, run_between_rests};
pub use search::find_rate;
