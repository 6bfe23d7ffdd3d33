//! A TCP and UDP echo server on a fixed pool of pre-spawned workers, and the client
//! that talks to it and checks every byte that comes back.
//!
//! Data goes one way: [`server::Listener`] → channel → [`pool`] → worker → connection
//! → socket. The program `echopool` is [`cli`]; other programs and the tests
//! use the parts:
//!
//! ```
//! use echopool::proto::Protocol;
//! use echopool::server::{Config, Listener, Server, Stop};
//!
//! let listeners = Listener::bind(Protocol::Echo, &"127.0.0.1:0".parse()?, 128)?;
//! let server = Server::start(listeners, &Config::default())?;
//! println!("echo on {}", server.addresses()[0]);
//!
//! let stop = Stop::new();
//! let running = std::thread::spawn({
//!     let stop = stop.clone();
//!     move || server.run(&stop)
//! });
//! stop.request();
//! assert!(running.join().unwrap()?.all_well());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod admin;
pub mod base;
pub mod bench;
pub mod check;
pub mod cli;
pub mod client;
pub mod ping;
pub mod pool;
pub mod probe;
pub mod proto;
pub mod report;
pub mod server;
pub mod worker;
