//! Datagrams: the sockets of each worker, who is answered, and the answers.

mod buckets;
pub(crate) mod counters;
mod drops;
pub(crate) mod log;
mod own;
mod polled;
mod polling;
pub mod protocol;
mod reflector;
pub mod refusal;
mod rules;
mod service;
mod sessions;
pub(crate) mod setup;

pub(super) use service::Datagrams;
