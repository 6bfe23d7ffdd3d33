//! The server's own files, on stand-ins for its synchronization primitives.

#[path = "../../../src/worker/channel.rs"]
pub(crate) mod channel;
#[path = "../../../src/worker/live_count.rs"]
pub(crate) mod live_count;
pub(crate) mod sync;
#[path = "../../../src/worker/waker.rs"]
pub(crate) mod waker;
