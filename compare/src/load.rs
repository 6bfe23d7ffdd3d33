//! The load generator: one thread that waits on `epoll`, sends to many sockets
//! and compares every byte that comes back.

pub mod churn;
pub mod client;
pub mod fleet;
pub mod poller;
pub mod stream;

use std::io;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Where nothing comes back for this long, the run has failed.
pub const SILENCE: Duration = Duration::from_secs(5);

/// What keeps a server busy.
pub trait Load {
    /// Begins, or goes on; latencies are counted anew.
    ///
    /// # Errors
    /// A connection failed.
    fn start(&mut self) -> io::Result<()>;

    /// Finishes what is on its way and begins nothing new.
    ///
    /// # Errors
    /// Those of the system calls.
    fn stop(&mut self) -> io::Result<()>;

    /// What is on its way, in the load's own unit.
    fn in_flight(&self) -> u64;

    /// How much came back since the connections were made, in the load's own unit.
    fn done(&self) -> u64;

    /// Waits for sockets that are ready, at most `most`, and serves each of them
    /// once.
    ///
    /// # Errors
    /// A connection failed, or a byte was wrong.
    fn turn(&mut self, most: Duration) -> io::Result<()>;
}

/// Takes turns until `enough` is told, which is given the time since the first.
///
/// # Errors
/// Those of the turns, and one when nothing comes back for [`SILENCE`].
pub fn drive<L: Load>(
    load: &mut L,
    mut enough: impl FnMut(&L, Duration) -> bool,
) -> io::Result<()> {
    let start = Instant::now();
    let mut last_sign = start;
    let mut now = start;
    let mut done = load.done();
    while !enough(load, now - start) {
        load.turn(Duration::from_millis(20))?;
        now = Instant::now();
        if load.done() > done {
            done = load.done();
            last_sign = now;
        } else if now - last_sign > SILENCE {
            let error = format!("nothing came back for {} s", SILENCE.as_secs());
            return Err(io::Error::other(error));
        }
    }
    Ok(())
}

/// Takes turns for `time`.
///
/// # Errors
/// As [`drive`].
pub fn drive_for<L: Load>(load: &mut L, time: Duration) -> io::Result<()> {
    drive(load, |_, elapsed| elapsed >= time)
}

/// Stops the load and takes turns until all is back.
///
/// # Errors
/// As [`drive`].
pub fn drain<L: Load>(load: &mut L) -> io::Result<()> {
    load.stop()?;
    drive(load, |load, _| load.in_flight() == 0)
}

/// The CPU time that the calling thread has used.
#[must_use]
pub fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
