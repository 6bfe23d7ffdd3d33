//! Experiments: what is suspected after the clauses is tried, each in a bounded time. Each
//! would come out otherwise if the suspicion were wrong.

mod again;
mod bursts;
mod content;
mod direction;
mod edge;
mod filter;
mod identify;
mod investigate;
mod kinds;
mod late;
mod messages;
mod ports;
mod rate;
mod refusal;
mod silences;
mod sizes;

pub(super) use investigate::investigate;
