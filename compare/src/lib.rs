//! Measures echopool beside its rivals.
pub mod rival;
