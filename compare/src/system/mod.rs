//! The machine that a run measures on: its processors, processes and limits.

pub mod machine;
pub mod network;
pub mod placement;
pub mod process;
