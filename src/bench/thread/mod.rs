//! What every thread of a load generator has, whatever it sends: its clock, its schedule, its
//! timer, its waits, and what it shares with the thread that started it.

pub(super) mod processor_time;
pub(super) mod run_clock;
pub(super) mod schedule;
pub(super) mod shared;
pub(super) mod timer;
pub(super) mod waiter;
