//! A ping over UDP, by echo or STAMP: datagrams on a schedule, and what became of each.

mod content;
pub mod event;
mod flow;
mod pinger;
mod plan;
pub mod ports;
pub mod reflector;
mod seen;
pub mod summary;

pub use pinger::DatagramPing;
pub use plan::{Carries, Plan};
