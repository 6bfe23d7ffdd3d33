//! The parameters of a check.

use std::net::SocketAddr;
use std::time::Duration;

use crate::proto::Protocol;

/// The parameters of a check.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The protocol that the server is expected to speak.
    pub protocol: Protocol,
    /// The server's addresses; the first one that answers is used (RFC 8305).
    pub addresses: Vec<SocketAddr>,
    /// The limit on connecting to each address, and on receiving expected bytes. Of a long transfer,
    /// as many bytes must move in this time as the least rate demands.
    pub timeout: Duration,
    /// How long a connection is held idle; `None` skips that clause.
    pub idle: Option<Duration>,
    /// How many connections are open at once in clauses that need many.
    pub connections: usize,
    /// The seed of the bytes sent and of random sizes.
    pub seed: u64,
}
