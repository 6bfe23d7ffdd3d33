//! The load generator: what it is asked for, what it saw.

pub mod expect;
pub mod latency;
pub mod plan;
pub mod results;
