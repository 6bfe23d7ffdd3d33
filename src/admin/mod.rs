//! The admin socket: metrics, health and a live page.

mod answers;
mod connection;
pub mod error;
mod http;
mod metrics;
mod page;
mod thread;

pub use thread::{Admin, AdminThread, DEFAULT_PORT, DESCRIPTORS};
