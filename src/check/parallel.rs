//! Repeats an action, in several threads or on several connections.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

use super::connection::Connection;
use super::not_passed::NotPassed;
use super::target::Target;

/// Threads that connect at once, except in a storm: fewer than the shortest backlogs hold.
pub(super) const CONNECT_THREADS: usize = 4;
const CONNECT_THREADS_LOSSY: usize = 32;
const CONNECT_THREADS_MOST: usize = 128;

/// How many connections are made at once so that `number` of them, each with one message, take
/// no longer than half a budget on a path with that round trip.
pub(super) fn connect_threads(target: &Target<'_>, number: usize) -> usize {
    let all = target.context.round_trip() * 2 * u32::try_from(number).unwrap_or(u32::MAX);
    let time = target.budget(2).unwrap_or(target.plan().timeout);
    let threads = (all.as_secs_f64() / time.as_secs_f64()).ceil() as usize;
    // Each SYN that is lost takes a second.
    let least = match target.shared.is_lossy() {
        true => CONNECT_THREADS_LOSSY,
        false => CONNECT_THREADS,
    };
    threads.clamp(least, CONNECT_THREADS_MOST)
}

/// Opens that many connections together.
pub(super) fn open_together<'a>(
    target: &'a Target<'_>,
    number: usize,
) -> Result<Vec<Connection<'a>>, NotPassed> {
    let mut opened = Vec::new();
    thread::scope(|scope| {
        let open = |_| {
            thread::Builder::new()
                .spawn_scoped(scope, || target.open())
                .ok()
        };
        let threads: Vec<_> = (1..number).map_while(open).collect();
        opened.push(target.open());
        let joined = threads.into_iter().map(ScopedJoinHandle::join);
        opened.extend(joined.map(|opened| opened.unwrap_or_else(|panic| resume_unwind(panic))));
    });
    // Where the system starts no more threads.
    while opened.len() < number {
        opened.push(target.open());
    }
    opened.into_iter().collect()
}

/// Calls `act` on all connections together, with the place of each. Returns the failure of
/// the first that failed.
pub(super) fn together<'a>(
    connections: &[Connection<'a>],
    act: impl Fn(usize, &Connection<'a>) -> Result<(), NotPassed> + Sync,
) -> Result<(), NotPassed> {
    let act = &act;
    thread::scope(|scope| {
        let all = connections.iter().enumerate();
        let threads: Vec<_> = all
            .map(|(at, connection)| {
                let work = move || act(at, connection);
                let thread = thread::Builder::new().spawn_scoped(scope, work);
                // Where the system starts no more threads.
                thread.map_err(|_| act(at, connection))
            })
            .collect();
        let joined = threads.into_iter().map(|thread| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(done) => done,
        });
        joined.fold(Ok(()), Result::and)
    })
}

/// Calls `act` `number` times, in up to `threads` threads. Returns every result, or the
/// first failure.
pub(super) fn in_threads<T: Send>(
    number: usize,
    threads: usize,
    act: impl Fn() -> Result<T, NotPassed> + Sync,
) -> Result<Vec<T>, NotPassed> {
    match until_one_fails(number, threads, act) {
        (done, None) => Ok(done),
        (_, Some(why)) => Err(why),
    }
}

/// The same: every result, and the failure of the first in place that failed, if one did.
pub(super) fn until_one_fails<T: Send>(
    number: usize,
    threads: usize,
    act: impl Fn() -> Result<T, NotPassed> + Sync,
) -> (Vec<T>, Option<NotPassed>) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::SeqCst);
            if at >= number {
                return (done, None);
            }
            match act() {
                Ok(one) => done.push(one),
                Err(why) => {
                    // Stops the other threads.
                    next.store(number, Ordering::SeqCst);
                    return (done, Some((at, why)));
                }
            }
        }
    };
    let all = thread::scope(|scope| {
        // Fewer threads do the work where the system has no more.
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads.min(number)).map_while(start).collect();
        let mut all = vec![work()];
        let joined = others.into_iter().map(ScopedJoinHandle::join);
        all.extend(joined.map(|done| done.unwrap_or_else(|panic| resume_unwind(panic))));
        all
    });
    let (done, failed): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let first = failed.into_iter().flatten().min_by_key(|(at, _)| *at);
    let why = first.map(|(at, why)| why.at_connection(at, number));
    (done.into_iter().flatten().collect(), why)
}

/// Calls `act` so many times at once, or as many as the system starts threads for; how many
/// that are, and for how many it is true.
pub(super) fn count_at_once(number: usize, act: impl Fn() -> bool + Sync) -> (usize, usize) {
    let done = at_once(number, act);
    let tried = done.len();
    (
        tried,
        done.into_iter().flatten().filter(|is_it| *is_it).count(),
    )
}

/// The same: what each returned, `None` where it panicked.
pub(super) fn at_once<T: Send>(number: usize, act: impl Fn() -> T + Sync) -> Vec<Option<T>> {
    let act = &act;
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().spawn_scoped(scope, act).ok();
        let threads: Vec<_> = (0..number).map_while(start).collect();
        let joined = threads.into_iter().map(|thread| thread.join().ok());
        joined.collect()
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
/// `of`, of which there are `before` before these.
pub(super) fn for_each<'a>(
    connections: &[Connection<'a>],
    before: usize,
    of: usize,
    act: impl Fn(&Connection<'a>) -> Result<(), NotPassed>,
) -> Result<(), NotPassed> {
    for (at, connection) in connections.iter().enumerate() {
        act(connection).map_err(|why| why.at_connection(before + at, of))?;
    }
    Ok(())
}
