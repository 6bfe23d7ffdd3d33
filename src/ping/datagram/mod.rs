//! A ping over UDP echo: datagrams on a schedule, and what became of each.

pub mod event;
mod flow;
mod pinger;
pub mod ports;
pub mod summary;

pub use pinger::{DatagramPing, Plan};
