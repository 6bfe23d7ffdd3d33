//! Infers causes from what the clauses saw and what the experiments found. Each file has a
//! family of causes: pure functions from facts and findings to a cause and what it
//! explains.

mod answer;
mod begun;
mod crowd;
mod cut;
mod foreign;
mod full;
mod guard;
mod held;
mod infer;
mod loss;
mod other_end;
mod pick;
mod reach;
mod refute;
mod several;
mod size;
mod values;

pub(super) use infer::infer;
pub(super) use pick::pick;
pub(super) use values::{came_back_as, how, in_words};
