//! What a check is asked for.

use std::net::SocketAddr;
use std::time::Duration;

use crate::proto::Protocol;

/// What to check, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the path's far end is expected to speak.
    pub protocol: Protocol,
    /// The server's addresses; the first one that answers is taken.
    pub addresses: Vec<SocketAddr>,
    /// How long a connection may take to be made, and what is awaited to come, or
    /// the part of it that the least rate demands in that time.
    pub timeout: Duration,
    /// How long a connection is held silent; without, none is.
    pub idle: Option<Duration>,
    /// How many connections are open at once where many are.
    pub connections: usize,
    /// What bytes and offsets are drawn from.
    pub seed: u64,
}
