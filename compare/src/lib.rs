//! Measures echopool beside its rivals, in one run and on one machine.

pub mod cli;
pub mod load;
pub mod results;
pub mod rival;
pub mod run;
pub mod scenario;
pub mod server;
pub mod system;
