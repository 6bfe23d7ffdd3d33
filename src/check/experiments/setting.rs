//! What all experiments share: the server, the path's round trip, the stop flag.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Connection, Failed, Stop};
use super::left_behind::LeftBehind;
use crate::check::context::TICK;
use crate::check::findings::Ending;

/// What all experiments share.
pub(super) struct Setting<'a> {
    pub(super) address: SocketAddr,
    /// The time that a connect takes: a round trip.
    pub(super) round_trip: Duration,
    /// The longest that a small exchange took beyond that: of a server, or a machine, that
    /// is busy.
    lateness: Duration,
    /// How many may be open at once without one waiting for another's end, as far as that was
    /// seen before the clauses.
    pub(super) width: usize,
    /// When all experiments end: no connect takes longer.
    until: Instant,
    stop: Stop<'a>,
    /// Connections that may still count though they are gone.
    left_behind: LeftBehind,
    /// An experiment was given up for want of time.
    gave_up: AtomicBool,
    /// The most bytes in a segment of a stream; 0 where any passes.
    segment: AtomicU32,
}

/// Connections by which the round trip is measured, and what it is taken for
/// before.
const MEASURED: usize = 3;
const FIRST: Duration = Duration::from_millis(500);

/// What a path may be silent for when a packet is lost twice: systems send again after
/// 200 ms and a round trip, and then after twice that.
const LOST_TWICE: Duration = Duration::from_millis(700);

/// What a path may take to answer a SYN: one that is lost is sent again after a second.
const LOST_SYN: Duration = Duration::from_millis(1300);

/// The first exchange may take so many times as long as a path without any lateness may: of
/// a server that is slower all waits would be too short.
const FIRST_PATIENCE: u32 = 4;

/// The least limit on a connect: the system takes none of zero.
const SHORTEST: Duration = Duration::from_millis(1);

/// A firewall may count a connection that was reset for ten seconds more, as Linux does
/// where the reset overtook an acknowledgement; and the pause between looks whether it does.
pub(super) const FORGOTTEN: Duration = Duration::from_secs(11);
const AGAIN: Duration = Duration::from_millis(500);

/// A ban is waited for so long, if so much time is left then.
pub(super) const BANNED: Duration = Duration::from_secs(20);
pub(super) const RESERVED: Duration = Duration::from_secs(6);

impl<'a> Setting<'a> {
    /// Measures the round trip by a few connections, and how late a small exchange is.
    ///
    /// # Errors
    /// How the last connect failed, if none is made in [`FORGOTTEN`].
    pub(super) fn new(
        address: SocketAddr,
        width: usize,
        until: Instant,
        stop: Stop<'a>,
    ) -> Result<Self, Failed> {
        let mut setting = Self {
            address,
            round_trip: FIRST,
            lateness: Duration::ZERO,
            width,
            until,
            stop,
            left_behind: LeftBehind::default(),
            gave_up: AtomicBool::new(false),
            segment: AtomicU32::new(0),
        };
        let first = setting.open_first()?;
        setting.round_trip = first.connect_time;
        let mut next = Some(first);
        let (mut lateness, mut answers) = (Duration::ZERO, true);
        for _ in 0..MEASURED {
            let Some(connection) = next.take().or_else(|| setting.open().ok()) else {
                continue;
            };
            setting.round_trip = setting.round_trip.min(connection.connect_time);
            let started = Instant::now();
            let patience = setting.patience() * FIRST_PATIENCE;
            if answers && setting.is_served_within(&connection, patience).is_none() {
                lateness = lateness.max(started.elapsed().saturating_sub(setting.round_trip));
            } else {
                answers = false;
            }
        }
        setting.lateness = lateness;
        Ok(setting)
    }

    /// Makes the first connection. What limits connections may still count those of the
    /// clauses, and refuse it.
    fn open_first(&self) -> Result<Connection<'a>, Failed> {
        let started = Instant::now();
        // A ban lasts longer than what is counted.
        let longest = self.left().saturating_sub(RESERVED).min(BANNED);
        let longest = longest.max(FORGOTTEN);
        loop {
            match self.open() {
                Err(_) if !self.is_stopped() && started.elapsed() < longest => self.pause(AGAIN),
                made => return made,
            }
        }
    }

    /// How long a path that carries what was sent may take to bring it back.
    pub(super) fn patience(&self) -> Duration {
        LOST_TWICE + 6 * self.round_trip + 4 * self.lateness
    }

    /// How long a path that makes connections may take for one. A connect is not stopped
    /// before, so it has no more than what is left of all.
    fn connect_patience(&self) -> Duration {
        let patience = LOST_SYN + 2 * self.round_trip;
        patience.min(self.left()).max(SHORTEST)
    }

    /// How much time is left for all experiments.
    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Whether a connection took so long that its SYN was sent again.
    pub(super) fn is_late(&self, connect_time: Duration) -> bool {
        connect_time >= self.round_trip + Duration::from_millis(900)
    }

    pub(super) fn is_stopped(&self) -> bool {
        (self.stop)()
    }

    /// An experiment ends without a finding as the path is too slow for the time that is left.
    pub(super) fn give_up(&self) {
        self.gave_up.store(true, Ordering::SeqCst);
    }

    /// Whether one did since that was asked last.
    pub(super) fn has_given_up(&self) -> bool {
        self.gave_up.swap(false, Ordering::SeqCst)
    }

    /// Something else has left connections behind just now.
    pub(super) fn note_left_behind(&self) {
        self.left_behind.note();
    }

    /// How long connections that are gone may still count.
    pub(super) fn counts_for(&self) -> Duration {
        let since = self.left_behind.since();
        since.map_or(Duration::ZERO, |since| FORGOTTEN.saturating_sub(since))
    }

    /// Whether three connections may be open at once without one waiting for another's end.
    pub(super) const fn is_wide(&self) -> bool {
        self.width >= 3
    }

    /// Sleeps, or until the check is stopped.
    pub(super) fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(TICK));
        }
    }

    /// Makes a connection.
    pub(super) fn open(&self) -> Result<Connection<'a>, Failed> {
        let patience = self.connect_patience();
        Connection::open(self.address, patience, self.stop, &self.left_behind)
    }

    /// Makes a connection of which the server is told to send no more than so many bytes in a
    /// segment. Neither does our side.
    pub(super) fn open_small(&self, bytes: u32) -> Result<Connection<'a>, Failed> {
        let patience = self.connect_patience();
        let left_behind = &self.left_behind;
        Connection::open_small(self.address, bytes, patience, self.stop, left_behind)
    }

    /// Makes a connection from a port of ours, where one is given.
    pub(super) fn open_from(&self, port: Option<u16>) -> Result<Connection<'a>, Failed> {
        let patience = self.connect_patience();
        Connection::open_from(self.address, port, patience, self.stop, &self.left_behind)
    }

    /// Packets above that size are lost: streams go in smaller ones from now on.
    pub(super) fn keep_below(&self, packet: u32) {
        let headers = if self.address.is_ipv6() { 60 } else { 40 };
        let segment = packet.saturating_sub(headers).max(1);
        self.segment.store(segment, Ordering::SeqCst);
    }

    /// Makes a connection for a stream, in segments that pass.
    pub(super) fn open_stream(&self) -> Result<Connection<'a>, Failed> {
        match self.segment.load(Ordering::SeqCst) {
            0 => self.open(),
            bytes => self.open_small(bytes),
        }
    }

    /// Makes a connection on which something small comes back at all.
    pub(super) fn open_served(&self) -> Result<Connection<'a>, Failed> {
        let connection = self.open()?;
        match self.is_served(&connection) {
            None => Ok(connection),
            Some(end) => Err(Failed::Ended(end)),
        }
    }

    /// Exchanges a few bytes; how it ended if none came back. Whatever comes back will do,
    /// since a path that changes bytes serves, too.
    pub(super) fn is_served(&self, connection: &Connection<'_>) -> Option<Ending> {
        self.is_served_within(connection, self.patience())
    }

    fn is_served_within(&self, connection: &Connection<'_>, patience: Duration) -> Option<Ending> {
        const WORD: &[u8] = b"are you there?\n";
        if let Some(end) = connection.send(WORD, patience) {
            return Some(end);
        }
        let (came, end) = connection.receive(1, patience);
        match came.is_empty() {
            true => Some(end.unwrap_or(Ending::Silence)),
            false => {
                // The rest, so that what is sent next is not mixed up with it.
                let rest = WORD.len() - came.len();
                let _ = connection.receive(rest, self.round_trip + TICK);
                None
            }
        }
    }
}

/// Does both beside each other where connections don't wait for each other's end, else one
/// after the other.
pub(super) fn beside<A, B: Send>(
    setting: &Setting<'_>,
    one: impl FnOnce() -> A,
    other: impl Fn() -> B + Sync,
) -> (A, B) {
    if !setting.is_wide() {
        return (one(), other());
    }
    thread::scope(|scope| {
        let beside = thread::Builder::new().spawn_scoped(scope, &other);
        let one = one();
        let done = beside.ok().and_then(|thread| thread.join().ok());
        // Where the system starts no thread.
        (one, done.unwrap_or_else(&other))
    })
}

/// So many letters: bytes that even a path for text carries.
pub(super) fn letters(number: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(number).collect()
}
