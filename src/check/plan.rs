//! The parameters of a check.

use std::net::SocketAddr;
use std::time::Duration;

use crate::proto::Protocol;

/// The least time that a check has in all, and how many time-outs or budgets it has if those
/// are longer.
const WHOLE: Duration = Duration::from_secs(40);
const WHOLE_TIMEOUTS: u32 = 8;
const WHOLE_BUDGETS: u32 = 20;

/// The part of the whole, but for `--idle`, that the clauses have where one failed, and the
/// time beyond the whole in which all experiments end: a check of a broken path takes no
/// longer than 45 seconds by default.
const FAILED_PART: (u32, u32) = (2, 3);
const EXPERIMENTS: Duration = Duration::from_secs(4);

/// The least time of a check that sends all bytes however long they take: at 2 Mbit/s they
/// take half of it.
const THOROUGH: Duration = Duration::from_secs(15 * 60);

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
    /// The end of the whole: what is not tested by then is skipped.
    pub whole: Duration,
    /// How long the bytes of a clause may take that sends many. It sends fewer on a path that
    /// does not carry so many; `None` for all of them.
    pub budget: Option<Duration>,
    /// How long a connection is held idle; `None` skips that clause.
    pub idle: Option<Duration>,
    /// How many connections are open at once in clauses that need many.
    pub connections: usize,
    /// Whether what is suspected after the clauses is tried by experiments.
    pub experiments: bool,
    /// Whether an urgent byte that is taken out of the stream is a fault. RFC 6093 allows a
    /// server, and a proxy, to read it out of line.
    pub urgent_in_line: bool,
    /// The seed of the bytes sent and of random sizes.
    pub seed: u64,
}

impl Plan {
    /// How long the whole of a check with these may take.
    pub fn usual_whole(
        timeout: Duration,
        budget: Option<Duration>,
        idle: Option<Duration>,
    ) -> Duration {
        let least = match budget {
            Some(budget) => WHOLE.max(budget.saturating_mul(WHOLE_BUDGETS)),
            None => THOROUGH,
        };
        let clauses = least.max(timeout.saturating_mul(WHOLE_TIMEOUTS));
        clauses.saturating_add(idle.unwrap_or_default())
    }

    /// How long the clauses may take where one of them failed.
    pub(super) fn until_experiments(&self) -> Duration {
        let idle = self.idle.unwrap_or_default();
        let (part, of) = FAILED_PART;
        self.whole.saturating_sub(idle) / of * part + idle
    }

    /// How long the clauses and the experiments may take. Where a connection was silent for
    /// long, others are for as long again.
    pub(super) fn with_experiments(&self) -> Duration {
        let idle = self.idle.unwrap_or_default();
        self.whole.saturating_add(EXPERIMENTS).saturating_add(idle)
    }
}
