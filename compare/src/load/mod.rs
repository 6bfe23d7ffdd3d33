//! The load: what the clients of a server send and receive while it is measured.

pub mod beside;
pub mod connection;
pub mod datagram;
pub mod engine;
pub mod mixed;
pub mod poller;
pub mod socket;
pub mod stream;
pub mod threads;
pub mod times;
pub mod usage;
