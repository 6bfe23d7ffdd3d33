//! The same done many times: in several threads, or on several connections.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

use super::ended::Ended;
use super::line::Line;
use crate::base::units::whole;

/// Threads that connect where it is not a storm: less than the shortest listen
/// queues hold, and on a path of 100 ms 200 connections take ten seconds.
pub(super) const FEW: usize = 4;

/// Acts so many times, in up to so many threads at once. Returns what came of each,
/// or of the first that failed.
pub(super) fn in_threads<T: Send>(
    number: usize,
    threads: usize,
    act: impl Fn() -> Result<T, Ended> + Sync,
) -> Result<Vec<T>, Ended> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::SeqCst);
            if at >= number {
                return Ok(done);
            }
            done.push(act().map_err(|ended| {
                // The others need not go on.
                next.store(number, Ordering::SeqCst);
                ended.at(&place(at, number))
            })?);
        }
    };
    thread::scope(|scope| {
        // Where the system has no more threads, the work is done by fewer.
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads.min(number)).map_while(start).collect();
        together(work(), others)
    })
}

/// What came of all threads, or of the first that failed.
pub(super) fn together<T>(
    mut done: Result<Vec<T>, Ended>,
    others: Vec<ScopedJoinHandle<'_, Result<Vec<T>, Ended>>>,
) -> Result<Vec<T>, Ended> {
    for other in others {
        let more = other.join().unwrap_or_else(|panic| resume_unwind(panic));
        done = done.and_then(|mut done| {
            done.extend(more?);
            Ok(done)
        });
    }
    done
}

/// Does the same on every line, in turn; they are the first of so many.
pub(super) fn each<'a>(
    lines: &[Line<'a>],
    of: usize,
    act: impl Fn(&Line<'a>) -> Result<(), Ended>,
) -> Result<(), Ended> {
    for (at, line) in lines.iter().enumerate() {
        act(line).map_err(|ended| ended.at(&place(at, of)))?;
    }
    Ok(())
}

pub(super) fn place(at: usize, number: usize) -> String {
    format!(
        "connection {} of {}",
        whole(at as u64 + 1),
        whole(number as u64)
    )
}
