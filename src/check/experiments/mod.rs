//! Experiments: what is suspected after the clauses is tried, on connections of its own,
//! each in a bounded time. Each would come out otherwise if the suspicion were wrong.

mod ban;
mod changes;
mod connection;
mod content;
mod each;
mod half_close;
mod held;
mod hello;
mod investigate;
mod left_behind;
mod loss;
mod newcomer;
mod numbered;
mod rate;
mod says;
mod setting;
mod several;
mod silences;
mod sizes;
mod steps;
mod streams;
mod suspicion;
mod urgent;

pub(super) use changes::TEXTS;
pub(super) use investigate::investigate;
pub(super) use loss::count_lost;
