//! The metrics of one worker, and the orders to it that need no channel.
//!
//! One thread at a time writes each counter, so counting takes no lock and no atomic
//! addition on the way of a byte. The metrics outlive a worker that is replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::counter::Counter;
use super::datagrams::counters::DatagramCounters;
use super::eviction::SharedCounts;
use super::live_count::LiveCount;
use super::waker::MainWaker;
use crate::base::sys;

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
pub(crate) struct DelayHistogram {
    classes: [Counter; DELAY_CLASSES.len() + 1],
    sum_ns: Counter,
}

impl DelayHistogram {
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

/// The counters of a worker and of those that it replaced. They begin at a cache line
/// that only the worker writes to.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct WorkerCounters {
    /// Connections served. A client that was refused is not among them, also behind a
    /// load balancer.
    pub(crate) connections: Counter,
    /// Bytes sent back.
    pub(crate) bytes: Counter,
    /// How often a connection that had its turn was sent something.
    pub(crate) echoes: Counter,
    /// Connections cut when the grace period ran out.
    pub(crate) cut: Counter,
    /// From being accepted to the first bytes sent back, of each connection.
    pub(crate) first_echo: DelayHistogram,
    pub(crate) evicted: SharedCounts,
    pub(crate) datagrams: DatagramCounters,
    /// The thread ID of the worker, as the system numbers threads.
    thread: AtomicU64,
}

impl WorkerCounters {
    /// The calling thread is the worker's from now on.
    pub(crate) fn begin(&self) {
        self.thread.store(sys::thread_number(), Ordering::Relaxed);
    }

    pub(crate) fn thread(&self) -> u64 {
        self.thread.load(Ordering::Relaxed)
    }
}

/// The metrics of one worker, and orders from the main thread.
pub(crate) struct WorkerMetrics {
    pub(crate) counters: WorkerCounters,
    pub(crate) live: LiveCount,
    /// How many workers with this number died and were replaced.
    pub(crate) replaced: Counter,
    /// Bytes that its clients have not accepted.
    held: AtomicUsize,
    /// The worker is to check now what its clients hold.
    check: AtomicBool,
    /// The worker has followed that order, and published what it found.
    checked: AtomicBool,
    /// The worker has echoed so much that its clients may hold much more.
    echoed_much: AtomicBool,
    /// How many of the bytes held the worker is to shed.
    shed_bytes: AtomicUsize,
    /// How many bytes the worker is to shed at once, also from clients that have just
    /// accepted some.
    shed_soon: AtomicUsize,
    /// How many bytes the worker is to shed from the clients that hold the most.
    shed_largest: AtomicUsize,
    /// How many clients the worker is to shed to make room.
    shed_clients: AtomicUsize,
    main_waker: Arc<MainWaker>,
}

impl WorkerMetrics {
    pub(crate) fn new(main_waker: &Arc<MainWaker>) -> Self {
        Self {
            counters: WorkerCounters::default(),
            live: LiveCount::new(Arc::clone(main_waker)),
            replaced: Counter::default(),
            held: AtomicUsize::new(0),
            check: AtomicBool::new(false),
            checked: AtomicBool::new(false),
            echoed_much: AtomicBool::new(false),
            shed_bytes: AtomicUsize::new(0),
            shed_soon: AtomicUsize::new(0),
            shed_largest: AtomicUsize::new(0),
            shed_clients: AtomicUsize::new(0),
            main_waker: Arc::clone(main_waker),
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// The worker publishes what its clients hold; the first bytes wake the main thread.
    pub(crate) fn publish_held(&self, bytes: usize) {
        if self.held.swap(bytes, Ordering::SeqCst) == 0 && bytes > 0 {
            self.main_waker.wake();
        }
    }

    /// Orders the worker to check now what its clients hold.
    pub(crate) fn order_check(&self) {
        self.check.store(true, Ordering::SeqCst);
    }

    /// Whether the worker is to check now what its clients hold.
    pub(crate) fn take_check_order(&self) -> bool {
        take_flag(&self.check)
    }

    /// The worker tells the main thread that it has checked what its clients hold.
    pub(crate) fn tell_checked(&self) {
        self.checked.store(true, Ordering::SeqCst);
        self.main_waker.wake();
    }

    /// Whether the worker has checked since the last call.
    pub(crate) fn take_checked(&self) -> bool {
        take_flag(&self.checked)
    }

    /// The worker tells the main thread that its clients may hold much more by now.
    pub(crate) fn tell_echoed_much(&self) {
        if !self.echoed_much.swap(true, Ordering::SeqCst) {
            self.main_waker.wake();
        }
    }

    /// Whether the worker has reported this since the last call.
    pub(crate) fn take_echoed_much(&self) -> bool {
        take_flag(&self.echoed_much)
    }

    /// Orders the worker to shed this many bytes.
    pub(crate) fn order_bytes(&self, bytes: usize) {
        self.shed_bytes.store(bytes, Ordering::SeqCst);
    }

    /// Orders the worker to shed this many bytes from the clients that hold the most.
    pub(crate) fn order_largest(&self, bytes: usize) {
        self.shed_largest.store(bytes, Ordering::SeqCst);
    }

    /// Orders the worker to shed this many bytes at once, also of clients that have just
    /// accepted some.
    pub(crate) fn order_soon(&self, bytes: usize) {
        self.shed_soon.store(bytes, Ordering::SeqCst);
    }

    /// Orders the worker to shed up to this many clients.
    pub(crate) fn order_clients(&self, clients: usize) {
        self.shed_clients.store(clients, Ordering::SeqCst);
    }

    /// How many bytes and clients the worker was ordered to shed since the last call.
    pub(crate) fn take_order(&self) -> (usize, usize) {
        (take(&self.shed_bytes), take(&self.shed_clients))
    }

    /// How many bytes the worker was ordered to shed at once since the last call.
    pub(crate) fn take_soon(&self) -> usize {
        take(&self.shed_soon)
    }

    /// How many bytes the worker was ordered to shed from the clients that hold the most
    /// since the last call.
    pub(crate) fn take_largest(&self) -> usize {
        take(&self.shed_largest)
    }
}

fn take_flag(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed) && flag.swap(false, Ordering::SeqCst)
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
    fn a_delay_counts_in_the_first_class_whose_end_it_does_not_exceed() {
        let delays = DelayHistogram::default();
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
    fn the_classes_of_delays_are_in_order() {
        assert!(DELAY_CLASSES.is_sorted_by(|one, other| one < other));
    }
}
