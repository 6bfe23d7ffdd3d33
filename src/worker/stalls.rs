//! Connections that have not taken all they were sent.
//!
//! What a peer does not take lies in the kernel's send buffer, and what does not
//! fit there is owed by the connection. How much of it the peer acknowledges
//! costs a system call to see, so it is looked at now and then, and only of those
//! it concerns: a connection that owes is *held*, and looked at often; one that
//! was sent something is *touched*, once in a long while, and held if by then it
//! has not taken all. Idle connections are neither, and a busy one costs a look
//! in seconds. Where memory may be short, the touched ones are looked at sooner.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::deadlines::TimeLimits;
use super::event_loop::{Client, Why, Worker};
use crate::base::units;
use crate::worker::eviction::Reason;

/// How often a held connection is looked at, at the least; with a short limit
/// more often. An eviction is late by twice that at the most.
const HELD_EVERY: Duration = Duration::from_millis(500);

/// After how long a touched connection is looked at, at the most.
const TOUCHED_AFTER: Duration = Duration::from_secs(15);

/// One that took nothing for so long may be shed while memory is short: longer
/// than a healthy path is silent unless it has lost segments.
const SHED_AFTER: Duration = Duration::from_millis(250);

/// One that took nothing for so long may be shed to make room for another.
const ROOM_AFTER: Duration = Duration::from_secs(5);

/// A connection whose time is over, where there is no limit for one that takes
/// nothing, ends all the same after so long.
const LAST_STALL: Duration = Duration::from_secs(60);

/// No connection is looked at more often.
const SOONEST: Duration = Duration::from_millis(10);

/// So many connections are looked at in one turn; the others wait for the next.
const PER_TURN: usize = 256;

/// How closely it is watched whether a connection's peer takes its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// Not at all: it had taken everything, and was sent nothing since.
    No,
    /// It was sent something, and is looked at in a while.
    Touched,
    /// It is looked at often.
    Held,
}

/// A connection that is looked at often.
struct Held {
    look_at: Instant,
    key: usize,
    /// When the connection was opened: by then another may have its key.
    opened: Instant,
    /// How many bytes the peer had taken at the last look.
    taken: u64,
    /// The look at which it had taken more than before.
    since: Instant,
    /// The memory that its bytes took at the last look.
    bytes: usize,
}

/// Those whose peers are watched.
pub(super) struct Stalls {
    touched: Vec<u32>,
    /// By key, whether it is among the touched or the due: those that come and go
    /// take one another's keys.
    listed: Vec<bool>,
    /// When these are looked at.
    touched_at: Instant,
    /// Touched ones whose time has come.
    due: Vec<u32>,
    /// In the order in which they are looked at.
    held: VecDeque<Held>,
    /// The memory that all of these have.
    bytes: usize,
    told_bytes: usize,
    told_touched: bool,
    held_every: Duration,
    touched_after: Duration,
}

impl Stalls {
    pub(super) fn new(limits: &TimeLimits, now: Instant) -> Self {
        let shortest = limits.stall.into_iter().chain(limits.idle).min();
        let part = shortest.unwrap_or(Duration::MAX) / 4;
        Self {
            touched: Vec::new(),
            listed: Vec::new(),
            touched_at: now,
            due: Vec::new(),
            held: VecDeque::new(),
            bytes: 0,
            told_bytes: 0,
            told_touched: false,
            held_every: part.clamp(SOONEST, HELD_EVERY),
            touched_after: part.clamp(SOONEST, TOUCHED_AFTER),
        }
    }

    /// When the next connection is to be looked at.
    pub(super) fn soonest(&self) -> Option<Instant> {
        let held = self.held.front().map(|held| held.look_at);
        let touched = self.has_touched().then_some(self.touched_at);
        held.into_iter().chain(touched).min()
    }

    fn has_touched(&self) -> bool {
        !self.touched.is_empty() || !self.due.is_empty()
    }

    fn touch(&mut self, key: usize, now: Instant) {
        if !self.has_touched() {
            self.touched_at = now + self.touched_after;
        }
        if self.listed.len() <= key {
            self.listed.resize(key + 1, false);
        }
        if !std::mem::replace(&mut self.listed[key], true) {
            // There are fewer than 2^32 descriptors, so its key fits.
            self.touched.extend(u32::try_from(key));
        }
    }

    /// The next of the touched ones whose time has come.
    fn pop_touched(&mut self, now: Instant) -> Option<usize> {
        if now < self.touched_at {
            return None;
        }
        if self.due.is_empty() {
            // Also gives back the room that a crowd has taken.
            self.due = std::mem::take(&mut self.touched);
        }
        let key = self.due.pop()? as usize;
        self.listed[key] = false;
        if self.due.is_empty() {
            self.touched_at = now + self.touched_after;
        }
        Some(key)
    }

    fn pop_held(&mut self, now: Instant) -> Option<Held> {
        self.held.front().filter(|held| held.look_at <= now)?;
        let held = self.held.pop_front()?;
        self.bytes -= held.bytes;
        Some(held)
    }

    fn push_held(&mut self, held: Held) {
        self.bytes += held.bytes;
        self.held.push_back(held);
    }
}

impl Worker {
    /// From now on it is watched whether a connection's peer takes its bytes.
    pub(super) fn watch(&mut self, key: usize) -> io::Result<()> {
        let client = &mut self.clients[key];
        if client.conn.owes() {
            return self.hold(key);
        }
        client.watch = Watch::Touched;
        self.stalls.touch(key, self.now);
        Ok(())
    }

    pub(super) fn hold(&mut self, key: usize) -> io::Result<()> {
        let client = &mut self.clients[key];
        let (taken, _) = client.conn.taken()?;
        client.watch = Watch::Held;
        let held = Held {
            look_at: self.now + self.stalls.held_every,
            key,
            opened: client.opened,
            taken,
            since: self.now,
            bytes: client.conn.memory(),
        };
        self.stalls.push_held(held);
        Ok(())
    }

    /// Whether a connection that nothing came from has bytes to take. If so it is
    /// held: then that is watched, and whether it is idle decided when it is looked at.
    pub(super) fn may_be_taking(&mut self, key: usize) -> io::Result<bool> {
        let (_, all) = self.clients[key].conn.taken()?;
        if all {
            return Ok(false);
        }
        self.hold(key).map(|()| true)
    }

    /// Looks at those whose time has come.
    pub(super) fn look(&mut self) {
        if self.drain.is_some() {
            return;
        }
        for _ in 0..PER_TURN {
            let Some(key) = self.stalls.pop_touched(self.now) else {
                break;
            };
            self.look_at_touched(key);
        }
        for _ in 0..PER_TURN {
            let Some(held) = self.stalls.pop_held(self.now) else {
                break;
            };
            if let Some(held) = self.refresh(held) {
                self.end_or_go_on(held);
            }
        }
        self.tell();
    }

    /// Memory may be short: the touched ones are looked at now.
    pub(super) fn look_sooner(&mut self) {
        self.stalls.touched_at = self.now;
    }

    /// The main thread hears what the connections hold, and whether there may be more.
    fn tell(&mut self) {
        let bytes = self.stalls.bytes;
        if std::mem::replace(&mut self.stalls.told_bytes, bytes) != bytes {
            self.desk.tally.tell_held(bytes);
        }
        let touched = self.stalls.has_touched();
        if std::mem::replace(&mut self.stalls.told_touched, touched) != touched {
            self.desk.tally.tell_touched(touched);
        }
    }

    /// Ends those that took nothing for the longest: until so many bytes are free,
    /// and up to so many to make room.
    pub(super) fn shed(&mut self, (bytes, places): (usize, usize)) {
        if self.drain.is_some() {
            return;
        }
        let (mut all, mut freed) = self.refresh_all();
        all.sort_by_key(|held| held.since);
        let mut ended = 0;
        for held in all {
            let still_for = self.now.saturating_duration_since(held.since);
            let for_memory = freed < bytes && still_for >= SHED_AFTER;
            let for_room = ended < places && still_for >= ROOM_AFTER;
            if for_memory || for_room {
                freed += held.bytes;
                ended += 1;
                let short = if for_memory { "memory" } else { "room" };
                let what =
                    format_args!("{short} is short, and it took nothing for {still_for:.1?}");
                self.evict(held.key, Reason::Shed, what);
            } else {
                self.stalls.push_held(held);
            }
        }
        self.tell();
    }

    /// Ends those that hold the most, whether they take some or not, until so many
    /// bytes are free.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(super) fn shed_largest(&mut self, bytes: usize) {
        if self.drain.is_some() {
            return;
        }
        let (mut all, mut freed) = self.refresh_all();
        all.sort_by_key(|held| Reverse(held.bytes));
        for held in all {
            if freed < bytes {
                freed += held.bytes;
                let has = units::bytes(held.bytes as f64);
                let what = format_args!("memory is short, and it has yet to take {has}");
                self.evict(held.key, Reason::Shed, what);
            } else {
                self.stalls.push_held(held);
            }
        }
        self.tell();
    }

    /// Takes all that are held, as they are now, to have some of them shed. Returns also
    /// how many bytes were taken since the last look.
    fn refresh_all(&mut self) -> (Vec<Held>, usize) {
        // Others may hold bytes as well that are not looked at yet.
        self.look_sooner();
        let all = std::mem::take(&mut self.stalls.held);
        let before = std::mem::take(&mut self.stalls.bytes);
        let all: Vec<Held> = all.into_iter().filter_map(|h| self.refresh(h)).collect();
        let left: usize = all.iter().map(|held| held.bytes).sum();
        (all, before.saturating_sub(left))
    }

    fn look_at_touched(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        // Its key may have been another's.
        if client.watch != Watch::Touched {
            return;
        }
        client.watch = Watch::No;
        let looked = match client.conn.taken() {
            Ok((_, true)) => Ok(()),
            Ok((_, false)) => {
                // What it took until now nobody has seen, so its times begin here.
                client.conn.keep_alive(self.now);
                self.hold(key)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = looked {
            self.close(key, &Why::Failed(error));
        }
    }

    /// Looks at a held connection. Returns it unless there is nothing to look at any more.
    fn refresh(&mut self, mut held: Held) -> Option<Held> {
        let client = self.clients.get_mut(held.key);
        let client = client.filter(|client| client.opened == held.opened)?;
        match client.conn.taken() {
            Ok((_, true)) => {
                client.watch = Watch::No;
                client.conn.keep_alive(self.now);
                match client.conn.begin_linger() {
                    Some(next) => self.act(held.key, Ok(next), &Why::Finished),
                    None => self.arm(held.key),
                }
                None
            }
            Ok((taken, false)) => {
                if taken > held.taken {
                    held.since = self.now;
                    held.taken = taken;
                    client.conn.keep_alive(self.now);
                }
                held.bytes = client.conn.memory();
                held.look_at = self.now + self.stalls.held_every;
                Some(held)
            }
            Err(error) => {
                self.close(held.key, &Why::Failed(error));
                None
            }
        }
    }

    /// Whatever its stage: also one that has closed its side may take nothing.
    fn end_or_go_on(&mut self, held: Held) {
        let client = &self.clients[held.key];
        let still_for = self.now.saturating_duration_since(held.since);
        let stall = self.desk.settings.limits.stall;
        if self.is_idle(client) {
            self.end_idle(held.key);
        } else if let Some(limit) = stall.filter(|&limit| still_for >= limit) {
            let what =
                format_args!("it took nothing that was sent to it for {limit:?} (--stall-timeout)");
            self.evict(held.key, Reason::Stalled, what);
        } else if !client.conn.is_open()
            && stall.is_none()
            && self.is_too_old(client)
            && still_for >= LAST_STALL
        {
            self.end_past_lifetime(held.key, still_for);
        } else {
            self.stalls.push_held(held);
        }
    }
}

impl Client {
    /// Whether it must be watched more closely, now that it was served.
    pub(super) const fn wants_watch(&self) -> bool {
        match self.watch {
            Watch::No => true,
            Watch::Touched => self.conn.owes(),
            Watch::Held => false,
        }
    }

    /// Whether closing it would leave bytes with the kernel that its peer does not take.
    pub(super) fn has_bytes_to_take(&self) -> bool {
        !matches!(self.conn.taken(), Ok((_, true)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Watched with a stall limit of four seconds, and since when.
    fn stalls() -> (Stalls, Instant) {
        let limits = TimeLimits {
            header: Duration::from_secs(5),
            message: Duration::from_secs(30),
            idle: None,
            stall: Some(Duration::from_secs(4)),
            lifetime: None,
        };
        let now = Instant::now();
        (Stalls::new(&limits, now), now)
    }

    fn pop_all_touched(stalls: &mut Stalls, now: Instant) -> Vec<usize> {
        let mut keys: Vec<_> = std::iter::from_fn(|| stalls.pop_touched(now)).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn what_was_touched_comes_up_once_when_its_time_is_over() {
        let (mut stalls, now) = stalls();
        let due = now + Duration::from_secs(1);
        assert_eq!(stalls.soonest(), None);
        stalls.touch(3, now);
        stalls.touch(3, now);
        stalls.touch(0, now + Duration::from_millis(500));
        assert_eq!(stalls.soonest(), Some(due));
        let early = due - Duration::from_nanos(1);
        assert_eq!(stalls.pop_touched(early), None);
        assert_eq!(pop_all_touched(&mut stalls, due), [0, 3]);
        assert_eq!(stalls.soonest(), None);
        stalls.touch(3, due);
        assert_eq!(stalls.soonest(), Some(due + Duration::from_secs(1)));
    }

    #[test]
    fn what_is_touched_while_others_are_due_has_its_own_time() {
        let (mut stalls, now) = stalls();
        stalls.touch(1, now);
        stalls.touch(2, now);
        let due = now + Duration::from_secs(1);
        let first = stalls.pop_touched(due).unwrap();
        stalls.touch(7, due);
        assert_eq!(stalls.soonest(), Some(due), "one is due still");
        assert_eq!(pop_all_touched(&mut stalls, due), [3 - first]);
        assert_eq!(stalls.soonest(), Some(due + Duration::from_secs(1)));
        let later = due + Duration::from_secs(1);
        assert_eq!(pop_all_touched(&mut stalls, later), [7]);
    }

    #[test]
    fn what_is_held_comes_up_in_order_and_its_bytes_are_summed() {
        let (mut stalls, now) = stalls();
        let held = |key, ms, bytes| Held {
            look_at: now + Duration::from_millis(ms),
            key,
            opened: now,
            taken: 0,
            since: now,
            bytes,
        };
        stalls.push_held(held(1, 500, 1000));
        stalls.push_held(held(2, 600, 30));
        assert_eq!(stalls.bytes, 1030);
        stalls.touch(3, now);
        let soonest = now + Duration::from_millis(500);
        assert_eq!(stalls.soonest(), Some(soonest));
        assert!(stalls.pop_held(soonest - Duration::from_nanos(1)).is_none());
        assert_eq!(stalls.pop_held(soonest).map(|held| held.key), Some(1));
        assert_eq!(stalls.bytes, 30);
        assert!(stalls.pop_held(soonest).is_none());
    }
}
