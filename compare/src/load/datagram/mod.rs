//! The loads of datagrams: flows that wait for their echoes, and a flood that does not.

pub mod drops;
pub mod flood;
pub mod flow;
pub mod round_trips;
pub mod socket;
