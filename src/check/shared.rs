//! What all clauses of a check share: the plan, the byte pattern, the end of the whole, and
//! what is known of the path so far.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::begun::SYN_SENT_AGAIN;
use super::facts::Borne;
use super::plan::Plan;
use super::report::nanoseconds;
use crate::base::kernel::KernelView;
use crate::probe::pattern::Pattern;

/// So many late connections, and one of so many, give reason to look why.
const LATE_LEAST: u64 = 3;
const LATE_ONE_OF: u64 = 12;

/// So many segments in trouble, and one of so many, give reason to count lost packets soon.
const TROUBLE_LEAST: u64 = 5;
const TROUBLE_ONE_OF: u64 = 25;

/// What all clauses of a check share.
pub(super) struct Shared<'a> {
    pub(super) plan: &'a Plan,
    pub(super) pattern: Pattern,
    /// Once it is set, the check ends.
    stop: &'a AtomicBool,
    /// The same, from within: nobody wants the outcomes any more.
    abandoned: AtomicBool,
    /// When the check began, and whether a clause has failed since.
    begun: Instant,
    has_failed: AtomicBool,
    /// Connections made so far; the next one's number.
    made: AtomicU64,
    /// The address that answered last.
    last_address: Mutex<Option<SocketAddr>>,
    /// No connection can be made: clauses are skipped instead of timing out one by one.
    unreachable: AtomicBool,
    /// The least round trip, in nanoseconds: of a message and its echo, else of a handshake.
    /// A proxy answers the latter itself.
    echoed_ns: AtomicU64,
    connected_ns: AtomicU64,
    /// Connections that were begun while a round trip was known, and those of them that took as
    /// long as a SYN that is sent again, or were not made meanwhile.
    timed: AtomicU64,
    late: AtomicU64,
    /// How many connections may be open at once without one waiting for another's end.
    width: AtomicUsize,
    /// The most bytes a second that came back on one connection; 0 until one has streamed.
    rate: AtomicU64,
    /// How many bytes may be under way without others waiting long behind them.
    room: AtomicU64,
    /// Clauses under test, and those of them that run beside all others.
    running: AtomicUsize,
    beside: AtomicUsize,
    /// One of them loads the path or the server.
    loaded: AtomicBool,
    /// Those that run beside all others are the last.
    rest_over: AtomicBool,
    /// Segments of connections that are over: those with data that were sent, and those that
    /// were sent again, or came out of order; `None` where the system does not tell.
    segments: Mutex<Option<(u64, u64)>>,
    /// More packets are lost than a sound path loses.
    lossy: AtomicBool,
    /// What connections of passed clauses bore.
    borne: Mutex<Borne>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(plan: &'a Plan, stop: &'a AtomicBool) -> Self {
        Self {
            plan,
            pattern: Pattern::new(plan.seed),
            stop,
            abandoned: AtomicBool::new(false),
            begun: Instant::now(),
            has_failed: AtomicBool::new(false),
            made: AtomicU64::new(0),
            last_address: Mutex::new(None),
            unreachable: AtomicBool::new(false),
            echoed_ns: AtomicU64::new(u64::MAX),
            connected_ns: AtomicU64::new(u64::MAX),
            timed: AtomicU64::new(0),
            late: AtomicU64::new(0),
            width: AtomicUsize::new(1),
            rate: AtomicU64::new(0),
            room: AtomicU64::new(u64::MAX),
            running: AtomicUsize::new(0),
            beside: AtomicUsize::new(0),
            loaded: AtomicBool::new(false),
            rest_over: AtomicBool::new(false),
            segments: Mutex::new(Some((0, 0))),
            lossy: AtomicBool::new(false),
            borne: Mutex::new(Borne::default()),
        }
    }

    /// Whether the check was stopped from outside.
    pub(super) fn is_interrupted(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Whether no clause may go on: the check was stopped, or its time is over.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_interrupted() || self.abandoned.load(Ordering::SeqCst) || self.left().is_zero()
    }

    /// Stops every clause, as nobody wants the outcomes any more.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
    }

    /// A clause has failed: from now on the clauses have less time, so that the experiments
    /// have enough.
    pub(super) fn saw_failure(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
    }

    /// How long all clauses may take.
    pub(super) fn time(&self) -> Duration {
        match self.has_failed.load(Ordering::SeqCst) && self.plan.experiments {
            true => self.plan.until_experiments(),
            false => self.plan.whole,
        }
    }

    /// How much of that is left.
    pub(super) fn left(&self) -> Duration {
        self.time().saturating_sub(self.begun.elapsed())
    }

    /// How much time is left for experiments.
    pub(super) fn left_in_all(&self) -> Duration {
        self.plan
            .with_experiments()
            .saturating_sub(self.begun.elapsed())
    }

    /// Notes what a connection bore whose clause has nothing more to fail at.
    pub(super) fn note_borne(&self, note: impl FnOnce(&mut Borne)) {
        note(&mut self.borne.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn borne(&self) -> Borne {
        *self.borne.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next connection.
    pub(super) fn next_number(&self) -> u64 {
        self.made.fetch_add(1, Ordering::SeqCst)
    }

    /// How many connections were made so far.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    pub(super) fn last_address(&self) -> Option<SocketAddr> {
        let last = self.last_address.lock();
        *last.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_last_address(&self, address: SocketAddr) {
        let last = self.last_address.lock();
        *last.unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    /// Makes every later connection skip its clause.
    pub(super) fn mark_unreachable(&self) {
        self.unreachable.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_unreachable(&self) -> bool {
        self.unreachable.load(Ordering::SeqCst)
    }

    /// A connection was made in this time.
    pub(super) fn saw_connect(&self, time: Duration) {
        if let Some(least) = self.least() {
            let is_late = time >= least + SYN_SENT_AGAIN;
            self.timed.fetch_add(1, Ordering::SeqCst);
            self.late.fetch_add(u64::from(is_late), Ordering::SeqCst);
        }
        self.connected_ns
            .fetch_min(nanoseconds(time), Ordering::SeqCst);
    }

    /// So many connections were not made in time, where others were that began with them.
    pub(super) fn saw_unmade(&self, number: usize) {
        for count in [&self.timed, &self.late] {
            count.fetch_add(number as u64, Ordering::SeqCst);
        }
    }

    /// A message came back in this time.
    pub(super) fn saw_echo(&self, time: Duration) {
        self.echoed_ns
            .fetch_min(nanoseconds(time), Ordering::SeqCst);
    }

    /// The least round trip seen so far, if any.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        let times = [&self.echoed_ns, &self.connected_ns];
        let mut known = times
            .into_iter()
            .map(|time| time.load(Ordering::SeqCst))
            .filter(|time| *time != u64::MAX);
        known.next().map(Duration::from_nanos)
    }

    /// The least time that a handshake or a message and its echo took, if any did.
    pub(super) fn least(&self) -> Option<Duration> {
        let times = [&self.echoed_ns, &self.connected_ns];
        let least = times.map(|time| time.load(Ordering::SeqCst)).into_iter();
        let least = least.min().filter(|time| *time != u64::MAX);
        least.map(Duration::from_nanos)
    }

    /// Whether so many connections were late that their first packets seem to be lost.
    pub(super) fn seems_late(&self) -> bool {
        let [timed, late] = [&self.timed, &self.late].map(|number| number.load(Ordering::SeqCst));
        late >= LATE_LEAST && late * LATE_ONE_OF >= timed
    }

    /// Whether so many segments were sent again or came out of order that packets seem to be
    /// lost.
    pub(super) fn seems_lossy(&self) -> bool {
        let segments = self.segments();
        segments.is_some_and(|(sent, trouble)| {
            trouble >= TROUBLE_LEAST && trouble * TROUBLE_ONE_OF >= sent
        })
    }

    /// Whether the round trip of a message is known, and not that of a handshake alone.
    pub(super) fn has_seen_echo(&self) -> bool {
        self.echoed_ns.load(Ordering::SeqCst) != u64::MAX
    }

    /// How many connections may be open at once without one waiting for another's end.
    pub(super) fn width(&self) -> usize {
        self.width.load(Ordering::SeqCst)
    }

    pub(super) fn set_width(&self, width: usize) {
        self.width.store(width.max(1), Ordering::SeqCst);
    }

    /// So many bytes came back in this time.
    pub(super) fn saw_stream(&self, bytes: u64, time: Duration) {
        let rate = (bytes as f64 / time.as_secs_f64().max(1e-9)) as u64;
        self.rate.fetch_max(rate, Ordering::SeqCst);
    }

    /// The most bytes a second that a stream was seen to have, if there was one.
    pub(super) fn rate(&self) -> Option<u64> {
        Some(self.rate.load(Ordering::SeqCst)).filter(|rate| *rate > 0)
    }

    /// How many bytes may be under way at once without others waiting long behind them.
    pub(super) fn room(&self) -> u64 {
        self.room.load(Ordering::SeqCst)
    }

    pub(super) fn set_room(&self, bytes: u64) {
        self.room.store(bytes, Ordering::SeqCst);
    }

    /// How many clauses run beside all others.
    pub(super) fn beside(&self) -> usize {
        self.beside.load(Ordering::SeqCst)
    }

    /// Whether a clause under test loads the path or the server.
    pub(super) fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::SeqCst)
    }

    pub(super) fn set_loaded(&self, is_loaded: bool) {
        self.loaded.store(is_loaded, Ordering::SeqCst);
    }

    /// Whether those that run beside all others are the last.
    pub(super) fn is_rest_over(&self) -> bool {
        self.rest_over.load(Ordering::SeqCst)
    }

    pub(super) fn mark_rest_over(&self) {
        self.rest_over.store(true, Ordering::SeqCst);
    }

    /// A connection is over, of which the system knew that.
    pub(super) fn saw_segments(&self, view: Option<KernelView>) {
        let mut all = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        *all = all.zip(view).and_then(|((sent, again), view)| {
            let trouble = view.retransmits? + view.out_of_order?;
            Some((sent + view.data_segments_sent?, again + trouble))
        });
    }

    /// Segments with data that were sent so far, and those that were sent again or came out
    /// of order, where the system tells.
    pub(super) fn segments(&self) -> Option<(u64, u64)> {
        *self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// More packets are lost than a sound path loses.
    pub(super) fn mark_lossy(&self) {
        self.lossy.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_lossy(&self) -> bool {
        self.lossy.load(Ordering::SeqCst)
    }

    /// How many clauses are under test beside those; at least one.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst).max(1)
    }

    pub(super) fn set_running(&self, number: usize, beside: usize) {
        self.running.store(number, Ordering::SeqCst);
        self.beside.store(beside, Ordering::SeqCst);
    }
}
