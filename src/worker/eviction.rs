//! Clients that the server refuses or evicts: the reasons, their counts, and the log of them.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use log::Level;

use crate::base::throttle::Throttle;
use crate::base::units;

/// For each reason, at most one line is logged in this time; it has the number of lines
/// that were suppressed before it.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// How many of the latest evictions are kept, for the admin socket.
const LATEST_KEPT: usize = 20;

/// The limit that a client reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client's source had the most connections that a source may have.
    Source,
    /// The client's PROXY header was malformed or did not arrive in time.
    Header,
    /// The client's counted message was not completed in time.
    Message,
    /// No byte was received or sent within the idle limit.
    Idle,
    /// The client accepted none of its pending echo within the stall limit.
    Stalled,
    /// The client was connected for longer than the lifetime limit.
    Lifetime,
    /// The client did not accept its echo while memory or descriptors were short.
    Shed,
    /// The client's host or its network is gone: nothing answered, keep-alive probes included.
    Vanished,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Source,
        Self::Header,
        Self::Message,
        Self::Idle,
        Self::Stalled,
        Self::Lifetime,
        Self::Shed,
        Self::Vanished,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Source => "over --max-per-source",
            Self::Header => "without a PROXY header",
            Self::Message => "with an unfinished message",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Lifetime => "over --max-lifetime",
            Self::Shed => "shed",
            Self::Vanished => "vanished",
        }
    }

    /// The label in the metrics. It must not change, since dashboards depend on it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Header => "header",
            Self::Message => "message",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Lifetime => "lifetime",
            Self::Shed => "shed",
            Self::Vanished => "vanished",
        }
    }

    /// Whether clients with this reason were never served.
    pub(crate) const fn is_refusal(self) -> bool {
        matches!(self, Self::Source | Self::Header)
    }

    /// The level of the log line. A reason that a healthy server sees every day has a lower one.
    const fn level(self) -> Level {
        match self {
            Self::Source | Self::Header | Self::Stalled | Self::Shed => Level::Warn,
            Self::Message | Self::Idle | Self::Lifetime | Self::Vanished => Level::Info,
        }
    }
}

/// The text in the log and the closing report.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many clients reached each limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Reason::ALL.len()]);

impl Counts {
    /// The count for one reason.
    pub const fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// The count over all reasons.
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The sum of these counts and others.
    pub(crate) fn and(mut self, others: &Self) -> Self {
        for (mine, other) in self.0.iter_mut().zip(others.0) {
            *mine += other;
        }
        self
    }
}

/// The tail of a line in the closing report: `, 3 refused or evicted: 2 idle, 1 stalled`,
/// or nothing if all counts are zero.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = Reason::ALL.iter().filter(|&&reason| self.of(reason) > 0);
        for (index, &reason) in some.enumerate() {
            if index == 0 {
                write!(f, ", {} refused or evicted:", self.sum())?;
            }
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma} {} {}", self.of(reason), reason)?;
        }
        Ok(())
    }
}

/// [`Counts`] that one thread adds to while others read it.
#[derive(Debug, Default)]
pub(crate) struct SharedCounts([AtomicU64; Reason::ALL.len()]);

impl SharedCounts {
    pub(crate) fn add(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Counts {
        Counts(std::array::from_fn(|index| {
            self.0[index].load(Ordering::Relaxed)
        }))
    }
}

/// The log of evictions, which all threads of a server share: each reason gets at most
/// one line a second, however many workers evict. Its locks guard nothing else.
#[derive(Debug)]
pub(crate) struct EvictionLog {
    throttles: [Mutex<Throttle>; Reason::ALL.len()],
    latest: Mutex<VecDeque<Latest>>,
}

/// One of the latest evictions: when, why, and whose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latest {
    pub(crate) at: SystemTime,
    pub(crate) reason: Reason,
    pub(crate) peer: SocketAddr,
}

impl Default for EvictionLog {
    fn default() -> Self {
        Self {
            throttles: std::array::from_fn(|_| Mutex::new(Throttle::new(LOG_EVERY))),
            latest: Mutex::new(VecDeque::with_capacity(LATEST_KEPT)),
        }
    }
}

impl EvictionLog {
    /// The latest evictions, newest first.
    pub(crate) fn latest(&self) -> Vec<Latest> {
        // Allocated before the lock is taken, for which workers wait.
        let mut copy = Vec::with_capacity(LATEST_KEPT);
        copy.extend(self.lock_latest().iter().copied());
        copy
    }

    /// Keeps an eviction among the latest. Whoever holds the lock only copies a few
    /// entries, so a worker does not wait long for it.
    fn keep(&self, reason: Reason, peer: SocketAddr) {
        let at = SystemTime::now();
        let mut latest = self.lock_latest();
        latest.truncate(LATEST_KEPT - 1);
        latest.push_front(Latest { at, reason, peer });
    }

    /// A panic can't leave the queue inconsistent, so a poisoned lock is usable.
    fn lock_latest(&self) -> MutexGuard<'_, VecDeque<Latest>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs what was done to `peer`, unless another line with this reason was just logged.
    pub(crate) fn log(
        &self,
        reason: Reason,
        peer: SocketAddr,
        what: fmt::Arguments<'_>,
        now: Instant,
    ) {
        self.keep(reason, peer);
        match self.throttle(reason).admit(now) {
            Some(0) => log::log!(reason.level(), "client {peer} {what}"),
            Some(others) => log::log!(
                reason.level(),
                "client {peer} {what} (and {others} more since the last such line)"
            ),
            None => {}
        }
    }

    /// Logs how many lines remain suppressed when the server stops.
    pub(crate) fn finish(&self) {
        for reason in Reason::ALL {
            let others = self.throttle(reason).take_suppressed();
            if others > 0 {
                let others = units::plain_count(others, "more client", "more clients");
                log::log!(
                    reason.level(),
                    "{others} refused or evicted since the last such line: {reason}"
                );
            }
        }
    }

    /// A panic can't leave a throttle inconsistent, so a poisoned lock is usable.
    fn throttle(&self, reason: Reason) -> MutexGuard<'_, Throttle> {
        let throttle = self.throttles[reason as usize].lock();
        throttle.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn only_reasons_that_occurred_are_reported() {
        assert_eq!(Counts::default().to_string(), "");
        let shared = SharedCounts::default();
        for reason in Reason::ALL {
            shared.add(reason);
        }
        let counts = shared.get();
        assert_eq!(counts.sum(), Reason::ALL.len() as u64);
        shared.add(Reason::Source);
        let text = counts.and(&shared.get()).to_string();
        assert!(text.contains(" 3 over --max-per-source"), "{text}");
    }

    #[test]
    fn the_latest_evictions_are_kept_newest_first_up_to_a_limit() {
        let evictions = EvictionLog::default();
        for port in 0..30 {
            let peer = SocketAddr::from(([127, 0, 0, 1], port));
            evictions.log(Reason::Idle, peer, format_args!("left"), Instant::now());
        }
        let ports: Vec<_> = evictions
            .latest()
            .iter()
            .map(|one| one.peer.port())
            .collect();
        assert_eq!(
            ports,
            (30 - LATEST_KEPT as u16..30).rev().collect::<Vec<_>>()
        );
    }

    #[test]
    fn no_eviction_is_left_out_while_others_evict_and_read() {
        const THREADS: u16 = LATEST_KEPT as u16;
        for _ in 0..200 {
            let evictions = EvictionLog::default();
            let start = Barrier::new(usize::from(THREADS));
            thread::scope(|scope| {
                for port in 0..THREADS {
                    let (evictions, start) = (&evictions, &start);
                    scope.spawn(move || {
                        start.wait();
                        evictions.keep(Reason::Idle, SocketAddr::from(([127, 0, 0, 1], port)));
                        evictions.latest();
                    });
                }
            });
            let latest = evictions.latest();
            let ports: BTreeSet<_> = latest.iter().map(|one| one.peer.port()).collect();
            assert_eq!(ports, (0..THREADS).collect());
        }
    }

    #[test]
    fn every_reason_has_its_own_number() {
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }
}
