//! The foundation, independent of echo: addresses, connections and listening sockets, system calls,
//! the count of CPUs, what TCP knows of a connection, errors, the log, output files, signals, units.

pub mod address;
pub(crate) mod connecting;
pub(crate) mod cpus;
pub(crate) mod datagram_sockets;
pub mod error;
pub(crate) mod escape;
pub(crate) mod icmp;
pub mod kernel;
pub(crate) mod listening;
pub(crate) mod logging;
pub(crate) mod not_sent;
pub mod open_files;
pub mod output;
pub(crate) mod pacing;
pub mod signals;
pub(crate) mod step;
pub(crate) mod sys;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod throttle;
pub(crate) mod units;
