//! How many clients and pipes the limit on open files allows.

use super::error::Error;

/// Descriptors left free for short uses and unknown ones: a log file that is rotated, a
/// name that is resolved, what the starting shell left open, and the one that is
/// reserved for the stop.
const SPARE: usize = 16;

/// The most pipes of each of `workers` under `limit` open files: all pipes together use
/// at most a 64th of it. A pipe is two descriptors. A streaming client with unread echo
/// keeps one; a worker that has none left copies instead.
pub(crate) fn pipes(limit: usize, workers: usize) -> usize {
    (limit / 128 / workers).min(64)
}

/// The most clients of a server under `limit` open files. `reserved` counts the
/// descriptors of its listeners and of the rest of the process.
///
/// # Errors
/// [`Error::Descriptors`] when not even one fits.
pub(crate) fn connections(limit: usize, workers: usize, reserved: usize) -> Result<usize, Error> {
    // Standard streams; a poller and a waker each for the main thread and the workers.
    let needed = 3 + 2 * (1 + workers) + 2 * workers * pipes(limit, workers) + reserved + SPARE;
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
    fn descriptors_that_the_server_itself_needs_are_kept_free() {
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
