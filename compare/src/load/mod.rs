//! The load: what the clients of a server send and receive while it is measured.

pub mod connection;
pub mod engine;
pub mod mixed;
pub mod poller;
pub mod socket;
pub mod stream;
pub mod streams;
pub mod times;
pub mod usage;
