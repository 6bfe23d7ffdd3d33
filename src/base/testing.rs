//! What the unit tests of several parts share.

use std::time::{Duration, Instant};

/// Waits for a condition that no event tells of, and fails after a while.
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < until, "it takes too long");
        std::thread::yield_now();
    }
}
