//! Infers causes from what the clauses saw and what the experiments found. Each file has a
//! family of causes: pure functions from facts and findings to a cause and what it
//! explains.

mod age;
mod burst;
mod content;
mod dropped;
mod infer;
mod late;
mod marks;
mod order;
mod ports;
mod rate;
mod reach;
mod size;

pub(super) use infer::infer;
