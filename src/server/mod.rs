//! The server: its main thread, which accepts clients, with the limits and the status.

pub(crate) mod acceptor;
mod admission;
mod cgroup;
mod config;
mod datagram_listener;
pub mod error;
mod limits;
mod listener;
mod memory;
pub(crate) mod memory_limit;
pub(crate) mod metrics;
mod report;
mod run;
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "service_manager/none.rs"
)]
mod service_manager;
mod sockets;
pub(crate) mod status;
mod stop;

pub use crate::base::listening::{DEFAULT_BACKLOG, Options};
pub use crate::worker::datagrams::protocol::DatagramProtocol;
pub use config::{Config, DEFAULT_UDP_RATE};
pub use datagram_listener::{DEFAULT_UDP_BUFFER, DatagramListener};
pub use listener::{DEFAULT_KEEPALIVE, Listener};
pub use memory_limit::{MemoryLimit, Shortages};
pub use report::Report;
pub use run::Server;
pub use service_manager::{ServiceManager, sockets};
pub use sockets::{Asked, Sockets};
pub use status::Status;
pub use stop::Stop;
