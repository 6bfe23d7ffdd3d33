//! The cases that servers are measured in.

pub mod definition;
pub mod list;
pub mod measure;
