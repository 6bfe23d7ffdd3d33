//! One worker's event loop, and the parts of its connections.

mod block;
pub(crate) mod channel;
mod client;
mod conn;
mod connections;
pub(crate) mod context;
pub(crate) mod counter;
pub mod datagrams;
mod deadlines;
pub(crate) mod event_loop;
pub mod eviction;
mod live_count;
pub(crate) mod metrics;
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "pipe/none.rs"
)]
mod pipe;
pub mod proxy_header;
mod ready;
mod slices;
pub(crate) mod source;
mod stalls;
pub(crate) mod sync;
mod transport;
pub(crate) mod waker;
