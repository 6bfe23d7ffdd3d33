//! One connection of a check: sends its byte stream and compares the echo. The first file has what
//! it is, and each of the others a part of what it does.

mod ending;
mod error;
mod exchange;
mod failure;
mod fill;
mod state;
mod timer;
mod transfer;

pub(super) use fill::Filled;
pub(super) use state::{Connection, MESSAGE};
