//! A load that is spread over threads, and measured from rest to rest.

use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use super::times::Times;
use super::usage::{Reading, Usage};
use crate::server::running::Running;
use crate::system::placement;

/// The load of one thread.
pub trait Load {
    /// What it counts.
    type Counts: Send;

    /// Makes load for so long, then waits until nothing is in flight. Returns what was
    /// counted in both.
    ///
    /// # Errors
    /// A client failed, or nothing came back.
    fn run_and_drain(&mut self, time: Duration) -> io::Result<Self::Counts>;

    /// How long the thread was busy so far.
    fn busy(&self) -> Duration;

    /// When something came back last: what it waited for in vain is no part of a rate.
    fn came_at(&self) -> Instant;
}

/// What one measurement counted. Before it and after it nothing was in flight,
/// so the CPU time belongs to what came back and to nothing else.
#[derive(Debug)]
pub struct Measured<C> {
    /// What each thread counted.
    pub counts: Vec<C>,
    /// From the first byte sent to the last one back.
    pub time: Duration,
    /// How busy the load was, from 0 to 1: its busiest thread, or its CPUs.
    pub busy: f64,
    /// The CPU time of all.
    pub usage: Usage,
}

/// What one thread counted.
struct Part<C> {
    counts: C,
    time: Duration,
    busy: Duration,
}

/// Has `connect` make the loads of at most so many threads, which share `count` clients: it is
/// called with the number of a thread's first client and with how many it has.
///
/// # Errors
/// Those of the loads.
///
/// # Panics
/// A thread did.
pub fn measure<L: Load>(
    server: &Running,
    count: usize,
    threads: usize,
    times: Times,
    connect: impl Fn(usize, usize) -> io::Result<L> + Sync,
) -> io::Result<Measured<L::Counts>> {
    let shares = shares(count, threads);
    // All threads wait at the beginning and at the end of each of two pauses.
    let pauses = Barrier::new(shares.len() + 1);
    let mut readings = Vec::new();
    let parts: Vec<io::Result<_>> = thread::scope(|scope| {
        let (pauses, connect) = (&pauses, &connect);
        let run = |(first, count)| move || run(|| connect(first, count), times, pauses);
        let threads: Vec<_> = shares
            .iter()
            .map(|&share| scope.spawn(run(share)))
            .collect();
        for _ in 0..2 {
            pauses.wait();
            readings.push(Reading::at_rest(server));
            pauses.wait();
        }
        let parts = threads
            .into_iter()
            .map(|thread| thread.join().expect("it ran"));
        parts.collect()
    });
    let parts = parts.into_iter().collect::<io::Result<Vec<_>>>()?;
    let busy = |part: &Part<_>| part.busy.as_secs_f64() / part.time.as_secs_f64();
    let busy: Vec<f64> = parts.iter().map(busy).collect();
    Ok(Measured {
        time: parts.iter().map(|part| part.time).max().unwrap_or_default(),
        counts: parts.into_iter().map(|part| part.counts).collect(),
        busy: busy_load(&busy, placement::allowed()?.len()),
        usage: Usage::between(&readings)?,
    })
}

/// One thread's part. A failed one takes part in the pauses all the same: the
/// others wait for it there.
fn run<L: Load>(
    connect: impl FnOnce() -> io::Result<L>,
    times: Times,
    pauses: &Barrier,
) -> io::Result<Part<L::Counts>> {
    let load = connect().and_then(|mut load| {
        load.run_and_drain(times.warm_up)?;
        Ok(load)
    });
    pauses.wait();
    pauses.wait();
    let part = load.and_then(|mut load| {
        let (start, busy) = (Instant::now(), load.busy());
        let counts = load.run_and_drain(times.measure)?;
        let part = Part {
            counts,
            time: load.came_at() - start,
            busy: load.busy() - busy,
        };
        Ok((load, part))
    });
    pauses.wait();
    pauses.wait();
    // The clients stay until here, or the server's ends would be counted.
    part.map(|(_load, part)| part)
}

/// How busy a load is whose threads used such parts of a CPU each: as busy as the
/// busiest of them, and where they share fewer CPUs, as those are.
#[expect(clippy::cast_precision_loss, reason = "there are not so many CPUs")]
fn busy_load(threads: &[f64], cpus: usize) -> f64 {
    let busiest = threads.iter().copied().fold(0.0, f64::max);
    let of_cpus = threads.iter().sum::<f64>() / cpus.max(1) as f64;
    busiest.max(of_cpus)
}

/// `count` clients spread over at most so many threads, none of which is without one: the
/// number of the first, and how many there are.
fn shares(count: usize, threads: usize) -> Vec<(usize, usize)> {
    let threads = threads.clamp(1, count.max(1));
    let mut first = 0;
    let share = |place| {
        let share = count / threads + usize::from(place < count % threads);
        first += share;
        (first - share, share)
    };
    (0..threads).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_share_a_cpu_are_as_busy_as_it_is() {
        let busy = |threads: &[f64], cpus| (busy_load(threads, cpus) * 100.0).round();
        assert_eq!(busy(&[0.3, 0.3, 0.35], 1), 95.0);
        assert_eq!(busy(&[0.3, 0.95, 0.1], 3), 95.0);
        assert_eq!(busy(&[], 1), 0.0);
    }

    #[test]
    fn clients_are_spread_evenly() {
        assert_eq!(shares(16, 1), [(0, 16)]);
        assert_eq!(shares(16, 3), [(0, 6), (6, 5), (11, 5)]);
        assert_eq!(shares(2, 4), [(0, 1), (1, 1)]);
    }
}
