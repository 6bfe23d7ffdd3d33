//! The load generator: what it is asked for, what it saw.

pub mod latency;
pub mod lines;
pub mod live;
pub mod plan;
pub mod progress;
pub mod results;
