//! Streams alone, spread over the threads of the load.

use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use super::mixed::MixedLoad;
use super::times::Times;
use super::usage::{Reading, Usage, thread_cpu_time};
use crate::server::running::Running;
use crate::system::placement;

/// What one measurement counted. Before it and after it nothing was in flight,
/// so the CPU time belongs to the bytes that were echoed and to nothing else.
#[derive(Debug)]
pub struct Streamed {
    /// Bytes that came back.
    pub bytes: u64,
    /// From the first byte sent to the last one back.
    pub time: Duration,
    /// How busy the load was, from 0 to 1: its busiest thread, or its CPUs.
    pub busy: f64,
    /// The CPU time of all.
    pub usage: Usage,
}

/// What one thread counted.
struct Part {
    bytes: u64,
    time: Duration,
    cpu: Duration,
}

/// Streams on `count` connections, spread over so many threads.
///
/// # Errors
/// A connection failed, or bytes did not come back.
///
/// # Panics
/// A thread did.
pub fn measure(
    server: &Running,
    count: usize,
    threads: usize,
    times: Times,
) -> io::Result<Streamed> {
    let shares = shares(count, threads);
    // All threads wait at the beginning and at the end of each of two pauses.
    let pauses = Barrier::new(shares.len() + 1);
    let mut readings = Vec::new();
    let parts: Vec<io::Result<Part>> = thread::scope(|scope| {
        let pauses = &pauses;
        let run = |share| move || run(server, share, times, pauses);
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
    let busy = |part: &Part| part.cpu.as_secs_f64() / part.time.as_secs_f64();
    let busy: Vec<f64> = parts.iter().map(busy).collect();
    Ok(Streamed {
        bytes: parts.iter().map(|part| part.bytes).sum(),
        time: parts.iter().map(|part| part.time).max().unwrap_or_default(),
        busy: busy_load(&busy, placement::allowed()?.len()),
        usage: Usage::between(&readings)?,
    })
}

/// One thread's part. A failed one takes part in the pauses all the same: the
/// others wait for it there.
fn run(server: &Running, count: usize, times: Times, pauses: &Barrier) -> io::Result<Part> {
    let timeout = times.timeout(count);
    let load = MixedLoad::connect(server.address(), 0, 0, timeout).and_then(|mut load| {
        load.add_streams(count)?;
        load.run_for(times.warm_up)?;
        load.drain()?;
        Ok(load)
    });
    pauses.wait();
    pauses.wait();
    let part = load.and_then(|mut load| {
        let (start, cpu) = (Instant::now(), thread_cpu_time());
        let bytes = load.run_for(times.measure)?.stream_bytes + load.drain()?;
        let part = Part {
            bytes,
            time: start.elapsed(),
            cpu: thread_cpu_time() - cpu,
        };
        Ok((load, part))
    });
    pauses.wait();
    pauses.wait();
    // The connections stay open until here, or the server's ends would be counted.
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

/// `count` connections spread over at most so many threads, none of which is without one.
fn shares(count: usize, threads: usize) -> Vec<usize> {
    let threads = threads.clamp(1, count.max(1));
    let share = |place| count / threads + usize::from(place < count % threads);
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
    fn connections_are_spread_evenly() {
        assert_eq!(shares(16, 1), [16]);
        assert_eq!(shares(16, 3), [6, 5, 5]);
        assert_eq!(shares(2, 4), [1, 1]);
    }
}
