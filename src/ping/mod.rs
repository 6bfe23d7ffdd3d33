//! A ping over TCP or UDP echo: sends messages at an interval and measures each round trip.

mod connection;
mod counts;
pub mod datagram;
pub mod error;
pub mod event;
mod pinger;
mod round_trips;
pub mod stop;
pub mod summary;

pub use pinger::{Ping, Plan};
