//! The load generator: its plan, its threads and its results.
//!
//! [`run()`] starts the threads. Each has its own connections and its own
//! counters. It sends its counters to the caller's thread ten times a second;
//! that thread adds them up and reports the progress to the caller's observer.

pub mod datagram_counts;
pub mod error;
pub mod expect;
pub mod lines;
pub mod live;
pub mod plan;
pub mod progress;
pub mod results;
pub mod source;
pub mod tcp;

mod cause;
mod clock;
mod collector;
mod connections;
mod counts;
mod datagrams;
mod machine;
mod message;
mod outage;
mod recorder;
mod run;
mod search;
mod targets;
mod thread;
mod times;
mod validity;

pub use run::{run, run_quiesced};
pub use search::find_rate;
