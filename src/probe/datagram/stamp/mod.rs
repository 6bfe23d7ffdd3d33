//! Probing with STAMP, RFC 8762: what is in the packets, what the answers tell of each
//! direction, and the accounting.

pub mod directions;
pub mod one_way;
pub mod times;
pub mod tracker;
