//! What is told of a check while it lasts.

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};

/// How often the clauses under test are told.
pub(super) const TELL_EVERY: Duration = Duration::from_millis(100);

/// The clauses under test.
#[derive(Clone, Debug)]
pub struct Doing {
    /// Their names, in order.
    pub names: Vec<&'static str>,
    /// The place of the first among all, from 1; 0 for an experiment after them.
    pub number: usize,
    /// How many clauses there are.
    pub of: usize,
    /// How long the first has lasted.
    pub elapsed: Duration,
    /// How long it lasts, if that is known.
    pub lasts: Option<Duration>,
    /// How long it may last at the most.
    pub at_most: Duration,
}

/// An experiment of that name, after so long, which may last so long.
pub(super) fn experimenting(name: &'static str, elapsed: Duration, at_most: Duration) -> Doing {
    Doing {
        names: vec![name],
        number: 0,
        of: 0,
        elapsed,
        lasts: None,
        at_most,
    }
}

/// Does something to its end, and calls `watch` as long as it lasts with what `doing` says
/// after that time.
pub(super) fn watched(
    doing: &dyn Fn(Duration) -> Doing,
    watch: &mut dyn FnMut(Doing),
    work: &mut (dyn FnMut() + Send),
) {
    let (ended, end) = bounded::<()>(0);
    let begun = Instant::now();
    let is_done = thread::scope(|scope| {
        let make = || {
            work();
            drop(ended);
        };
        if thread::Builder::new().spawn_scoped(scope, make).is_err() {
            return false;
        }
        while end.recv_timeout(TELL_EVERY) == Err(RecvTimeoutError::Timeout) {
            watch(doing(begun.elapsed()));
        }
        true
    });
    // Where the system starts no thread, nothing is shown of it.
    if !is_done {
        work();
    }
}
