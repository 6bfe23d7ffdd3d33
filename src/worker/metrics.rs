//! What the server counts while it runs, for whoever looks at it meanwhile.
//!
//! Each worker writes on its own seat's page and the main thread on its own, so
//! counting takes no lock and no atomic addition on the way of a byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::base::sys;
use crate::worker::eviction::SharedCounts;
use crate::worker::live_count::Places;
use crate::worker::waker::Bell;

/// A number that one thread at a time adds to while others read it: a load and
/// a store, which cost less than an atomic addition.
#[derive(Debug, Default)]
pub(crate) struct Meter(AtomicU64);

impl Meter {
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.get() + more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper ends of the classes in which delays are counted; one more class
/// has no end. From less than the quickest echo over loopback to what a client
/// that thinks first may take.
pub(crate) const DELAY_CLASSES: [Duration; 14] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

/// How many delays were of which class, and their sum.
#[derive(Debug, Default)]
pub(crate) struct Delays {
    classes: [Meter; DELAY_CLASSES.len() + 1],
    sum_ns: Meter,
}

impl Delays {
    pub(crate) fn add(&self, delay: Duration) {
        let class = DELAY_CLASSES.partition_point(|&end| end < delay);
        self.classes[class].add(1);
        let ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX / 2);
        self.sum_ns.add(ns);
    }

    /// The counts of the classes, in their order, and the sum.
    pub(crate) fn get(&self) -> ([u64; DELAY_CLASSES.len() + 1], Duration) {
        let counts = std::array::from_fn(|class| self.classes[class].get());
        (counts, Duration::from_nanos(self.sum_ns.get()))
    }
}

/// What a worker has done, and those that sat on its seat before it. It begins
/// at a cache line that only the worker writes to.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Work {
    /// Served ones: whoever is refused is not among them, also behind a load balancer.
    pub(crate) connections: Meter,
    /// Bytes sent back.
    pub(crate) bytes: Meter,
    /// How often a connection that had its turn was sent something.
    pub(crate) echoes: Meter,
    pub(crate) cut: Meter,
    /// From being accepted to the first bytes sent back, of each connection.
    pub(crate) first_echo: Delays,
    pub(crate) evicted: SharedCounts,
    /// The system's number of the worker's thread.
    thread: AtomicU64,
}

impl Work {
    /// The calling thread does it from now on.
    pub(crate) fn begin(&self) {
        self.thread.store(sys::thread_number(), Ordering::Relaxed);
    }

    pub(crate) fn thread(&self) -> u64 {
        self.thread.load(Ordering::Relaxed)
    }
}

/// How far a server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Clients are accepted.
    Serving,
    /// They are, but none should be sent here any more: it is about to stop.
    LameDuck,
    /// It accepts nobody and serves those it has to their end.
    Draining,
}

impl Phase {
    pub(crate) const ALL: [Self; 3] = [Self::Serving, Self::LameDuck, Self::Draining];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::LameDuck => "lame_duck",
            Self::Draining => "draining",
        }
    }
}

/// The main thread's page.
#[derive(Debug, Default)]
pub(crate) struct Entrance {
    /// Clients accepted, those refused at once among them.
    pub(crate) accepted: Meter,
    /// How often accepting had to rest because the system refused it.
    pub(crate) pauses: Meter,
    pub(crate) refused: SharedCounts,
    phase: AtomicUsize,
    memory_is_short: AtomicBool,
    /// A worker that takes no turns, plus one.
    silent: AtomicUsize,
    /// When the main thread last looked up, in milliseconds after its start.
    looked_up_ms: AtomicU64,
}

impl Entrance {
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as usize, Ordering::SeqCst);
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::ALL[self.phase.load(Ordering::SeqCst)]
    }

    pub(crate) fn tell_memory(&self, short: bool) {
        self.memory_is_short.store(short, Ordering::Relaxed);
    }

    pub(crate) fn memory_is_short(&self) -> bool {
        self.memory_is_short.load(Ordering::Relaxed)
    }

    /// At the last roll this worker had taken no turn, or all had.
    pub(crate) fn tell_silent(&self, worker: Option<usize>) {
        let number = worker.map_or(0, |id| id + 1);
        self.silent.store(number, Ordering::Relaxed);
    }

    pub(crate) fn silent(&self) -> Option<usize> {
        self.silent.load(Ordering::Relaxed).checked_sub(1)
    }

    /// The main thread goes round, so long after its start.
    pub(crate) fn look_up(&self, at: Duration) {
        let ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        self.looked_up_ms.store(ms, Ordering::Relaxed);
    }

    pub(crate) fn looked_up_at(&self) -> Duration {
        Duration::from_millis(self.looked_up_ms.load(Ordering::Relaxed))
    }
}

/// One seat's page.
pub(crate) struct Tally {
    pub(crate) work: Work,
    pub(crate) places: Places,
    /// How many workers on this seat died and were replaced.
    pub(crate) replaced: Meter,
    /// Bytes that its clients hold and do not take.
    held: AtomicUsize,
    /// Some of its clients were sent bytes, and nobody has looked yet whether they
    /// took them.
    touched: AtomicBool,
    /// It is to look at those now.
    look: AtomicBool,
    /// How many of the bytes held it is to shed.
    shed_bytes: AtomicUsize,
    /// The same, by those that hold the most.
    shed_largest: AtomicUsize,
    /// How many clients it is to shed to make room.
    shed_places: AtomicUsize,
    bell: Arc<Bell>,
}

impl Tally {
    pub(crate) fn new(bell: &Arc<Bell>) -> Self {
        Self {
            work: Work::default(),
            places: Places::new(Arc::clone(bell)),
            replaced: Meter::default(),
            held: AtomicUsize::new(0),
            touched: AtomicBool::new(false),
            look: AtomicBool::new(false),
            shed_bytes: AtomicUsize::new(0),
            shed_largest: AtomicUsize::new(0),
            shed_places: AtomicUsize::new(0),
            bell: Arc::clone(bell),
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// A worker tells what its clients hold; the first of it rings.
    pub(crate) fn tell_held(&self, bytes: usize) {
        if self.held.swap(bytes, Ordering::SeqCst) == 0 && bytes > 0 {
            self.bell.ring();
        }
    }

    pub(crate) fn has_touched(&self) -> bool {
        self.touched.load(Ordering::SeqCst)
    }

    /// A worker tells whether some of its clients may hold more than it has seen;
    /// the first of them rings.
    pub(crate) fn tell_touched(&self, some: bool) {
        if !self.touched.swap(some, Ordering::SeqCst) && some {
            self.bell.ring();
        }
    }

    /// The worker is to look at those now.
    pub(crate) fn order_look(&self) {
        self.look.store(true, Ordering::SeqCst);
    }

    /// Whether the worker is to look at those now.
    pub(crate) fn take_look(&self) -> bool {
        self.look.load(Ordering::Relaxed) && self.look.swap(false, Ordering::SeqCst)
    }

    /// The worker is to shed so many bytes.
    pub(crate) fn order_bytes(&self, bytes: usize) {
        self.shed_bytes.store(bytes, Ordering::SeqCst);
    }

    /// The same, by those that hold the most.
    pub(crate) fn order_largest(&self, bytes: usize) {
        self.shed_largest.store(bytes, Ordering::SeqCst);
    }

    /// The worker is to shed so many clients.
    pub(crate) fn order_places(&self, clients: usize) {
        self.shed_places.store(clients, Ordering::SeqCst);
    }

    /// What the worker is to shed, bytes and clients, since it last asked.
    pub(crate) fn take_order(&self) -> (usize, usize) {
        (take(&self.shed_bytes), take(&self.shed_places))
    }

    /// How many bytes the worker is to shed by those that hold the most, since it
    /// last asked.
    pub(crate) fn take_largest(&self) -> usize {
        take(&self.shed_largest)
    }
}

fn take(order: &AtomicUsize) -> usize {
    match order.load(Ordering::Relaxed) {
        0 => 0,
        _ => order.swap(0, Ordering::SeqCst),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_of_the_first_class_that_ends_no_sooner() {
        let delays = Delays::default();
        let times = [0, 100_000, 100_001, 250_000, 61_000_000_000];
        for ns in times {
            delays.add(Duration::from_nanos(ns));
        }
        let (counts, sum) = delays.get();
        assert_eq!(counts[..3], [2, 2, 0]);
        assert_eq!(counts[DELAY_CLASSES.len()], 1);
        assert_eq!(counts.iter().sum::<u64>(), times.len() as u64);
        assert_eq!(sum, Duration::from_nanos(times.iter().sum()));
    }

    #[test]
    fn every_phase_has_its_own_number() {
        for (number, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, number);
        }
    }

    #[test]
    fn the_classes_of_delays_are_in_order() {
        assert!(DELAY_CLASSES.is_sorted_by(|one, other| one < other));
    }
}
