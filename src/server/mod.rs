//! The server: its main thread, which accepts, and what that thread decides by.

pub(crate) mod acceptor;
mod admission;
pub mod error;
mod limits;
pub mod listener;
mod memory;
mod run;
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "service_manager/none.rs"
)]
pub mod service_manager;
pub(crate) mod status;
mod stop;

pub(crate) use run::CENTURY;
pub use run::{Config, Report, run, run_under};
pub use stop::Stop;
