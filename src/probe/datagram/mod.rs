//! Probing with datagrams: what is in them, and what became of each. No sockets.

pub mod ledger;
pub mod payload;
pub mod tracker;
pub mod variation;
