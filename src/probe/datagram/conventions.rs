//! What all probes with datagrams do alike.

use std::time::Duration;

/// What is sent ahead to choose among several addresses.
pub(crate) const HELLO: &[u8] = b"echopool";

/// So many datagrams without a reply are no chance: RFC 8899 section 5.1.2 (`MAX_PROBES`).
pub(crate) const TRIES: usize = 3;

/// After the last reply a copy of one is waited for, which takes about as long as the first: so
/// many of the longest round trips, and at least this time.
const COPY_ROUND_TRIPS: u32 = 4;
const COPY_LEAST: Duration = Duration::from_millis(10);

/// How long a copy is waited for, where this was the longest round trip.
pub(crate) fn wait_for_copies(longest: Duration) -> Duration {
    longest.saturating_mul(COPY_ROUND_TRIPS).max(COPY_LEAST)
}
