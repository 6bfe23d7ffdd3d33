//! Whom the server refuses or ends of its own accord: why, how often, and how that is told.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use log::Level;

use crate::base::throttle::Throttle;

/// Of each reason so much is logged: a line in this time, with the number of
/// those that were left out.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// So many of the latest are kept, to be shown to those who look.
const KEPT: usize = 20;

/// Which limit a client came up against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its source had as many connections as one may have.
    Source,
    /// What it sent in place of a PROXY header is none, or none came in time.
    Header,
    /// Its counted message was not completed in time.
    Message,
    /// No byte came or went for too long.
    Idle,
    /// It took nothing of what it was owed for too long.
    Stalled,
    /// It was connected for too long.
    Lifetime,
    /// It took nothing while memory or descriptors were short.
    Shed,
}

impl Reason {
    /// Each of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Source,
        Self::Header,
        Self::Message,
        Self::Idle,
        Self::Stalled,
        Self::Lifetime,
        Self::Shed,
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
        }
    }

    /// As in the metrics: it stays the same for those who count by it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Header => "header",
            Self::Message => "message",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Lifetime => "lifetime",
            Self::Shed => "shed",
        }
    }

    /// Whether its clients were never served.
    pub(crate) const fn is_refusal(self) -> bool {
        matches!(self, Self::Source | Self::Header)
    }

    /// What a healthy service sees every day is told to those who ask.
    const fn level(self) -> Level {
        match self {
            Self::Source | Self::Header | Self::Stalled | Self::Shed => Level::Warn,
            Self::Message | Self::Idle | Self::Lifetime => Level::Info,
        }
    }
}

/// As in the log and the closing report.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many clients came up against each limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Reason::ALL.len()]);

impl Counts {
    /// How many there were for this reason.
    pub const fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// How many there were in all.
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    /// These and the others.
    pub(crate) fn and(mut self, others: &Self) -> Self {
        for (mine, other) in self.0.iter_mut().zip(others.0) {
            *mine += other;
        }
        self
    }
}

/// As the closing report goes on: `, 3 evicted: 2 idle, 1 stalled`, or nothing
/// where there was none.
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

/// [`Counts`] that a worker adds to while others read them.
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

/// The notices of evictions, which all threads of a server share: however many
/// workers evict, each reason has one line of the log a second. They are locked for
/// nothing else.
#[derive(Debug)]
pub(crate) struct EvictionLog {
    throttles: [Mutex<Throttle>; Reason::ALL.len()],
    latest: Mutex<VecDeque<Latest>>,
}

/// A client that came up against a limit.
#[derive(Clone, Debug)]
pub(crate) struct Latest {
    pub(crate) at: SystemTime,
    pub(crate) reason: Reason,
    pub(crate) peer: SocketAddr,
}

impl Default for EvictionLog {
    fn default() -> Self {
        Self {
            throttles: std::array::from_fn(|_| Mutex::new(Throttle::new(TOLD_EVERY))),
            latest: Mutex::new(VecDeque::with_capacity(KEPT)),
        }
    }
}

impl EvictionLog {
    /// The latest of them all, newest first.
    pub(crate) fn latest(&self) -> Vec<Latest> {
        let latest = self.latest.lock();
        let latest = latest.unwrap_or_else(PoisonError::into_inner);
        latest.iter().cloned().collect()
    }

    /// Keeps it for those who look. While one of them does, it is passed over: a
    /// worker does not wait for a thread that may be waiting for a processor.
    fn keep(&self, reason: Reason, peer: SocketAddr) {
        let Ok(mut latest) = self.latest.try_lock() else {
            return;
        };
        if latest.len() == KEPT {
            latest.pop_back();
        }
        let at = SystemTime::now();
        latest.push_front(Latest { at, reason, peer });
    }

    /// Logs what was done to `peer`, unless another of this reason was just told.
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

    /// The server stops: tells how many were left out and followed by no other.
    pub(crate) fn finish(&self) {
        for reason in Reason::ALL {
            let others = self.throttle(reason).take_suppressed();
            if others > 0 {
                log::log!(
                    reason.level(),
                    "{others} more clients refused or evicted since the last such line: {reason}"
                );
            }
        }
    }

    /// A throttle is whole after each of its steps.
    fn throttle(&self, reason: Reason) -> MutexGuard<'_, Throttle> {
        let throttle = self.throttles[reason as usize].lock();
        throttle.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
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
    fn the_latest_are_kept_newest_first_and_no_more_than_so_many() {
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
        assert_eq!(ports, (30 - KEPT as u16..30).rev().collect::<Vec<_>>());
    }

    #[test]
    fn every_reason_has_its_own_number() {
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }
}
