//! One case: what the clients do, how many there are, and what it is called.

use std::time::Duration;

use crate::load::times::Times;
use crate::server::definition::{BUSY, FLOOR, SPLICE_FLOORS};
use crate::server::running::START_TIME;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every client has one message of so many bytes on its way.
    PingPong(usize),
    /// Every client sends and receives as fast as it can.
    Stream,
    /// Every client has one message echoed and makes room for the next one.
    Churn,
    /// Every client has had one message echoed and is silent.
    Idle,
    /// All clients ping, then with a firehose beside them.
    Firehose,
    /// The first client sends a small message now and then; then the others stream
    /// beside it.
    Sparse,
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name in options and results.
    pub name: &'static str,
    /// What the clients do.
    pub kind: Kind,
    /// How many there are.
    pub clients: usize,
    /// Threads that the server is to serve with.
    pub workers: usize,
    /// Threads of the load.
    pub load_threads: usize,
    /// Whether it belongs to the quick run.
    pub quick: bool,
}

/// Bytes of a small message.
pub const SMALL: usize = 64;

/// Bytes of a large one.
pub const LARGE: usize = 16 * 1024;

/// Connections of a churn that are open at any time.
pub const SLOTS: usize = 32;

/// The same for a load that is to saturate the server.
pub const MANY_SLOTS: usize = 256;

/// From one message of a sparse pinger to the next: long enough for a server that
/// would rather wait for more work to do so.
pub const SPARSE: Duration = Duration::from_millis(2);

/// How long a server has to put its memory in order.
pub const SETTLE_MEMORY: Duration = Duration::from_millis(100);

impl Scenario {
    /// One sentence about it.
    #[must_use]
    pub fn describe(&self) -> String {
        let clients = self.clients;
        match self.kind {
            Kind::PingPong(size) => format!(
                "Ping-pong: {clients} client(s), each with one message of {size} bytes on its way."
            ),
            Kind::Stream => format!(
                "Streaming: {clients} client(s) write and read the echo, as fast as they can."
            ),
            Kind::Churn => format!(
                "Churn: {clients} clients at once connect, have 64 bytes echoed and close, \
                 again and again{}.",
                match self.load_threads {
                    1 => String::new(),
                    threads => format!(", by {threads} threads of the load"),
                }
            ),
            Kind::Idle => {
                format!("Idle: {clients} clients have had 64 bytes echoed and are silent.")
            }
            Kind::Firehose => format!(
                "Firehose: {clients} clients ping with 64 bytes, alone and beside one that \
                 streams."
            ),
            Kind::Sparse => format!(
                "Sparse pinger: 1 client sends 64 bytes every {} ms, alone and beside {} that \
                 stream.",
                SPARSE.as_millis(),
                clients - 1
            ),
        }
    }

    /// How many of its clients stream.
    #[must_use]
    pub const fn streams(&self) -> usize {
        match self.kind {
            Kind::Stream => self.clients,
            Kind::Firehose => 1,
            Kind::Sparse => self.clients - 1,
            Kind::PingPong(_) | Kind::Churn | Kind::Idle => 0,
        }
    }

    /// Whether a server has no part in it although it could have: polling is for
    /// the latency of one client, and each floor is one for messages or for streams.
    #[must_use]
    pub fn excludes(&self, server: &str) -> bool {
        match server {
            BUSY => self.name != "ping-64-1",
            FLOOR => self.streams() > 0,
            _ => SPLICE_FLOORS.contains(&server) && self.kind != Kind::Stream,
        }
    }

    /// The longest that one round takes, whatever the server does: starting it and
    /// running the load once, and where the load only counts bytes, the same before
    /// with the one that compares them. Connecting counts as one message: the
    /// kernel connects clients that a server does not accept.
    #[must_use]
    pub fn longest(&self, times: Times) -> Duration {
        let once = times.warm_up + times.measure;
        let timeout = times.timeout(self.clients);
        let load = match self.kind {
            // All that is on its way is awaited after the warm-up and at the end.
            Kind::PingPong(_) | Kind::Stream | Kind::Churn => once + 3 * timeout,
            Kind::Idle => 3 * SETTLE_MEMORY + 4 * timeout,
            Kind::Firehose | Kind::Sparse => 2 * once,
        };
        let verifying = match self.streams() {
            0 => Duration::ZERO,
            _ => START_TIME + times.measure / 2 + 3 * timeout,
        };
        verifying + START_TIME + load
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Scenario = Scenario {
        name: "stream",
        kind: Kind::Stream,
        clients: 4,
        workers: 1,
        load_threads: 1,
        quick: false,
    };

    #[test]
    fn a_floor_takes_part_where_it_is_one() {
        let messages = Scenario {
            kind: Kind::PingPong(SMALL),
            ..STREAM
        };
        assert!(STREAM.excludes(FLOOR) && !messages.excludes(FLOOR));
        for floor in SPLICE_FLOORS {
            assert!(!STREAM.excludes(floor) && messages.excludes(floor));
        }
    }

    #[test]
    fn a_churn_says_how_many_threads_make_it() {
        let churn = |load_threads| Scenario {
            kind: Kind::Churn,
            load_threads,
            ..STREAM
        };
        assert!(churn(1).describe().ends_with("again and again."));
        assert!(churn(4).describe().ends_with(", by 4 threads of the load."));
    }
}
