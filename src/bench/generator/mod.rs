//! One thread's load: its connections, and the loop that sends and receives for them.

mod connector;
mod event_loop;
mod loss;
mod processor_time;
mod sampler;
mod shared;
mod state;
mod transfer;
mod waiter;
mod workload;

pub(super) use event_loop::Generator;
pub(super) use shared::{Shared, StartSignal, ThreadSummary};
