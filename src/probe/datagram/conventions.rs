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

/// Where nothing came within the time-out, so long: replies that come later are told from none.
const IN_SILENCE: Duration = Duration::from_secs(1);

/// How long a copy is waited for, where this was the longest round trip.
pub(crate) fn wait_for_copies(longest: Duration) -> Duration {
    longest.saturating_mul(COPY_ROUND_TRIPS).max(COPY_LEAST)
}

/// How long copies and late replies are waited for once all are back or given up. `longest` is the longest round
/// trip, of late ones as well; with none, `is_silent` says that some were given up without a word.
pub(crate) fn wait_at_end(longest: Duration, is_silent: bool, timeout: Duration) -> Duration {
    let wait = match longest.is_zero() && is_silent {
        true => IN_SILENCE,
        false => wait_for_copies(longest),
    };
    wait.min(timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_at_the_end_is_as_long_as_a_reply_may_take_and_no_longer_than_the_time_out() {
        let ms = Duration::from_millis;
        for (longest, is_silent, timeout, wait) in [
            (0, false, 5000, 10),
            (0, true, 5000, 1000),
            (0, true, 300, 300),
            (1, true, 5000, 10),
            (50, true, 5000, 200),
            (50, false, 150, 150),
        ] {
            assert_eq!(wait_at_end(ms(longest), is_silent, ms(timeout)), ms(wait));
        }
    }
}
