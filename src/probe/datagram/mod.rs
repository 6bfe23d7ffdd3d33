//! Probing with datagrams: what is in them, what became of each, and the sockets.

pub(crate) mod checksums;
pub(crate) mod choose;
pub(crate) mod conventions;
pub mod marks;
pub(crate) mod path_error;
pub mod payload;
pub(crate) mod refusal;
pub mod reply_log;
pub mod socket;
pub mod stamp;
pub mod tracker;
pub mod variation;
