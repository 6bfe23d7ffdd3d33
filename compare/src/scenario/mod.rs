//! The cases that servers are measured in.

pub mod definition;
pub mod list;
pub mod measure;
pub mod pace;

mod beside;
mod datagrams;
mod sides;

#[cfg(test)]
mod testing;
