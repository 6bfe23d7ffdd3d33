//! A ping over TCP echo: sends messages at an interval and measures each round trip.

mod connection;
mod counts;
pub mod error;
pub mod event;
mod pinger;
pub mod summary;

pub use pinger::{Ping, Plan};
