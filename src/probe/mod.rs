//! What all probes share: connections, their errors, the keyed byte pattern, the exchange of a
//! stream, the latency histogram.

pub mod addresses;
pub(crate) mod answer;
pub(crate) mod connect;
pub mod datagram;
pub mod error;
pub(crate) mod exchange;
pub mod latency;
pub mod pattern;
pub(crate) mod race;
pub(crate) mod service;
