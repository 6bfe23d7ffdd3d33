//! Like ping(8), over TCP echo: a message now and then, and how long each took.

pub mod error;
pub mod event;
mod link;
mod pinger;
pub mod summary;
mod tally;

pub use pinger::{Ping, Plan};
