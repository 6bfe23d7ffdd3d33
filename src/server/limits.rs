//! How many descriptors this process may open, and how many clients that allows.

use super::error::Error;

/// Descriptors left free for what is opened in passing: a log file that is
/// rotated, a name that is resolved, what the shell that started us left open, and one
/// that is kept for the stop.
const SPARE: usize = 16;

/// How many pipes each of so many workers may have under `limit` open files:
/// all together take a 64th of it. A pipe is two descriptors, and is kept by a
/// streaming client that does not take its bytes; a worker without one copies.
pub(crate) fn pipes(limit: usize, workers: usize) -> usize {
    (limit / 128 / workers).min(64)
}

/// How many clients a server of so many workers and listeners can have under
/// `limit` open files.
///
/// # Errors
/// [`Error::Descriptors`] when not even one fits.
pub(crate) fn connections(limit: usize, workers: usize, listeners: usize) -> Result<usize, Error> {
    // Standard streams; a poller and a waker each for the main thread and the workers.
    let needed = 3 + 2 * (1 + workers) + 2 * workers * pipes(limit, workers) + listeners + SPARE;
    match limit.saturating_sub(needed) {
        0 => Err(Error::Descriptors {
            limit,
            needed: needed + 1,
            workers,
        }),
        clients => Ok(clients),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_itself_needs_is_kept_back() {
        assert_eq!(connections(1024, 2, 1).unwrap(), 1024 - 26 - 16);
        assert_eq!(connections(27, 2, 1).unwrap(), 1);
        assert!(connections(26, 2, 1).is_err());
        assert_eq!(
            connections(usize::MAX, 2, 1).unwrap(),
            usize::MAX - 26 - 256
        );
    }

    #[test]
    fn pipes_never_keep_a_server_of_many_workers_from_starting() {
        for (limit, workers) in [(20_000, 1024), (4096, 128), (1024, 120)] {
            assert!(connections(limit, workers, 1).unwrap() > limit / 2);
        }
        assert!(connections(20_000, 16, 1).unwrap() >= 18_000);
    }
}
