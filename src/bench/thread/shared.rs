//! What the threads of a run share with the thread that starts them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};

use crate::bench::clock::Clock;
use crate::bench::datagram_counts::FlowCounts;
use crate::bench::plan::Plan;
use crate::bench::targets::Targets;
use crate::bench::times::Times;
use crate::probe::pattern::Pattern;

/// What all threads of a run share.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) pattern: Pattern,
    /// The addresses that connections go to.
    pub(crate) targets: Targets,
    /// How long one of several addresses has to answer before the next one is tried, in the
    /// unit of the clock.
    pub(crate) patience: u64,
    pub(crate) clock: Clock,
    /// The number of the next connection.
    pub(crate) numbers: AtomicU64,
    pub(crate) stop: &'a Arc<AtomicBool>,
    /// Whether a thread may poll for a while before it sleeps.
    pub(crate) may_poll: bool,
}

impl Shared<'_> {
    /// Whether the run was told to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What a thread does: it makes itself ready and drops the sender, waits for the start signal
/// and makes load until its end. If the signal had `quiescent` set, it waits for the next one.
pub(crate) type Work<'a> =
    Box<dyn FnOnce(Sender<()>, &Receiver<StartSignal>) -> io::Result<ThreadSummary> + Send + 'a>;

/// The signal to make load.
#[derive(Debug)]
pub(crate) struct StartSignal {
    pub(crate) times: Times,
    /// If set, the thread completes what has begun, for up to the plan's
    /// time-out, then drops this sender and keeps its connections for the next signal.
    pub(crate) quiescent: Option<Sender<()>>,
}

/// The end of a thread, and its use of its processor.
#[derive(Clone, Debug, Default)]
pub(crate) struct ThreadSummary {
    /// When it stopped sending, or received the last message of the count.
    pub(crate) ended: u64,
    /// The fraction of the measured time in which it was working, 0 to 1.
    pub(crate) busy: f64,
    /// The fraction of the measured time in which it was ready and had no processor, 0 to 1.
    pub(crate) starved: f64,
    /// The thread ended because it had no connection left.
    pub(crate) out_of_connections: bool,
    /// The thread was stopped before the end of the run.
    pub(crate) interrupted: bool,
    /// Connections on which nothing came back while load was measured.
    pub(crate) without_echo: u64,
    /// The counts of the measured part of each flow of datagrams.
    pub(crate) flows: Vec<FlowCounts>,
}

/// The share of one thread in a number; the first threads have the remainder.
pub(crate) const fn share(number: u64, thread: usize, threads: usize) -> u64 {
    let (thread, threads) = (thread as u64, threads as u64);
    number / threads + if thread < number % threads { 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remainder_goes_to_the_first_threads() {
        let shares = |number| (0..3).map(move |thread| share(number, thread, 3));
        assert!(shares(7).eq([3, 2, 2]));
        assert!(shares(2).eq([1, 1, 0]));
    }
}
