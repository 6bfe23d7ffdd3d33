//! The admin socket: metrics, health and a live page.

mod answers;
mod connection;
pub mod error;
mod http;
mod metrics;
mod page;
mod thread;

pub(crate) use thread::DESCRIPTORS;
#[cfg(test)]
pub(crate) use thread::tests;
pub use thread::{Admin, DEFAULT_PORT};
