//! One thread's load on connections: its slots for them, and the loop that sends and receives.

mod connector;
mod event_loop;
mod fault;
mod flow;
mod generator;
mod loss;
mod sampler;
mod slot;
mod state;
mod transfer;
mod workload;

pub(super) use generator::{first, targets, works};
