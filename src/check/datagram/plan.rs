//! The parameters of a check with datagrams.

use std::net::SocketAddr;
use std::time::Duration;

/// The least time that the clauses have in all, and how many time-outs they have if those are
/// longer.
const WHOLE: Duration = Duration::from_secs(25);
const WHOLE_TIMEOUTS: u32 = 5;

/// The parameters of a check.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server's addresses; the first one that answers is used.
    pub addresses: Vec<SocketAddr>,
    /// The limit on an echo as long as the path's round trip is not known, and the most after.
    pub timeout: Duration,
    /// The end of the clauses: what is not tested by then is skipped.
    pub whole: Duration,
    /// How long a socket is silent before it is used again; `None` skips that clause.
    pub idle: Option<Duration>,
    /// Whether what is suspected after the clauses is tried by experiments.
    pub experiments: bool,
    /// The seed of the bytes sent.
    pub seed: u64,
}

impl Plan {
    /// How long the clauses of a check with these may take.
    pub fn usual_whole(timeout: Duration, idle: Option<Duration>) -> Duration {
        let clauses = WHOLE.max(timeout.saturating_mul(WHOLE_TIMEOUTS));
        clauses.saturating_add(idle.unwrap_or_default())
    }
}
