//! A TCP echo server on a fixed pool of pre-spawned workers, and the client
//! that talks to it and checks every byte that comes back.
//!
//! Data goes one way: [`listener`] → channel → [`pool`] → worker → connection
//! → socket. The program `echopool` is [`cli`]; other programs and the tests
//! use the parts:
//!
//! ```
//! use echopool::listener::Listener;
//! use echopool::proto::Protocol;
//! use echopool::server::{Config, Stop, run};
//!
//! let listeners = Listener::bind(Protocol::Echo, &"127.0.0.1:0".parse()?, 128)?;
//! let stop = Stop::new();
//! let running = std::thread::spawn({
//!     let stop = stop.clone();
//!     move || run(listeners, &stop, &Config::default())
//! });
//! stop.request();
//! assert!(running.join().unwrap()?.all_well());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod address;
pub mod admin;
pub mod bench;
pub mod check;
pub mod cli;
pub mod client;
pub mod error;
pub mod eviction;
mod exchange;
pub mod limits;
pub mod listener;
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "manager/none.rs"
)]
pub mod manager;
pub mod output;
pub mod pattern;
pub mod ping;
pub mod pool;
pub mod preface;
pub mod proto;
pub mod report;
pub mod server;
pub mod signals;

mod acceptor;
mod bell;
mod conn;
mod escape;
mod gate;
mod logging;
mod mailbox;
mod memory;
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "pipe/none.rs"
)]
mod pipe;
mod places;
mod source;
mod status;
mod stop;
mod sync;
mod sys;
mod tally;
mod throttle;
mod units;
mod worker;
