//! The admin socket: metrics, health and a live page.

mod accept;
mod answers;
mod client;
mod connection;
pub mod error;
mod http;
mod metrics;
mod page;
mod thread;

pub use client::ask_health;
pub use thread::{Admin, AdminThread, DEFAULT_PORT, DESCRIPTORS};
