//! The servers that are compared: how each is built, started and ended.

pub mod definition;
pub mod list;
pub mod options;
pub mod programs;
pub mod running;
pub mod transport;

mod command;
