//! Experiments: what is suspected after the clauses is tried, each in a bounded time. Each
//! would come out otherwise if the suspicion were wrong.

mod content;
mod direction;
mod investigate;
mod late;
mod messages;
mod ports;
mod rate;
mod refusal;
mod silences;
mod sizes;

pub(super) use investigate::investigate;
