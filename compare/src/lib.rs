//! Measures echopool beside its rivals, in one run and on one machine.

pub mod cli;
pub mod cpu;
pub mod load;
pub mod machine;
pub mod metric;
pub mod plot;
pub mod process;
pub mod report;
pub mod results;
pub mod rival;
pub mod roster;
pub mod run;
pub mod scenario;
pub mod server;
pub mod stats;
