//! Repeats an action, in several threads or on several connections.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

use super::connection::Connection;
use super::not_passed::NotPassed;

/// Threads that connect at once, except in a storm: fewer than the shortest backlogs
/// hold, and on a path of 100 ms 200 connections take ten seconds.
pub(super) const CONNECT_THREADS: usize = 4;

/// Calls `act` `number` times, in up to `threads` threads. Returns every result, or the
/// first failure.
pub(super) fn in_threads<T: Send>(
    number: usize,
    threads: usize,
    act: impl Fn() -> Result<T, NotPassed> + Sync,
) -> Result<Vec<T>, NotPassed> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::SeqCst);
            if at >= number {
                return Ok(done);
            }
            done.push(act().map_err(|why| {
                // Stops the other threads.
                next.store(number, Ordering::SeqCst);
                why.at_connection(at, number)
            })?);
        }
    };
    thread::scope(|scope| {
        // Fewer threads do the work where the system has no more.
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads.min(number)).map_while(start).collect();
        join_all(work(), others)
    })
}

/// Joins all threads. Returns all their results, or the first failure.
pub(super) fn join_all<T>(
    mut done: Result<Vec<T>, NotPassed>,
    others: Vec<ScopedJoinHandle<'_, Result<Vec<T>, NotPassed>>>,
) -> Result<Vec<T>, NotPassed> {
    for other in others {
        let more = other.join().unwrap_or_else(|panic| resume_unwind(panic));
        done = done.and_then(|mut done| {
            done.extend(more?);
            Ok(done)
        });
    }
    done
}

/// Calls `act` on each connection in turn. A failure names the connection's place among
/// `of`, of which these are the first.
pub(super) fn for_each<'a>(
    connections: &[Connection<'a>],
    of: usize,
    act: impl Fn(&Connection<'a>) -> Result<(), NotPassed>,
) -> Result<(), NotPassed> {
    for (at, connection) in connections.iter().enumerate() {
        act(connection).map_err(|why| why.at_connection(at, of))?;
    }
    Ok(())
}
