//! When connections must have moved on, in the order of time.
//!
//! A connection has one entry that counts at the most, for the first of its
//! times, and none is touched while its bytes flow: an entry that comes up early
//! is put off to the time that then is the first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::event_loop::{Client, Why, Worker};
use super::stalls::Watch;
use crate::worker::conn::Next;
use crate::worker::eviction::Reason;

/// So many connections may come up in one turn; the others wait for the next.
const PER_TURN: usize = 256;

/// Entries that no longer count are kept up to about this number, and further
/// ones as long as there are no more of them than connections.
const STALE: usize = 64;

/// The limits on a connection's time; `None` where there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimits {
    /// For a PROXY header, from the connection's beginning.
    pub(crate) header: Duration,
    /// For a counted message, from its first byte to its last.
    pub(crate) message: Duration,
    /// Without a byte in either direction.
    pub(crate) idle: Option<Duration>,
    /// In which a peer takes nothing of what it is owed.
    pub(crate) stall: Option<Duration>,
    /// From the connection's beginning.
    pub(crate) lifetime: Option<Duration>,
}

/// Entries by time: a binary heap.
#[derive(Default)]
pub(super) struct Deadlines(BinaryHeap<Reverse<(Instant, usize)>>);

impl Deadlines {
    /// When the first comes up; it may not count any more.
    pub(super) fn soonest(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn pop_due(&mut self, now: Instant) -> Option<(Instant, usize)> {
        self.soonest().filter(|&at| at <= now)?;
        self.0.pop().map(|Reverse(entry)| entry)
    }
}

impl Worker {
    /// From now on a connection has so long for what it is about.
    pub(super) fn allow(&mut self, key: usize, time: Duration) {
        self.clients[key].until = Some(self.now + time);
        self.arm(key);
    }

    /// Sees to it that a connection comes up when the first of its times is over.
    pub(super) fn arm(&mut self, key: usize) {
        let Some(due) = self.due(&self.clients[key]) else {
            return;
        };
        let client = &mut self.clients[key];
        if client.deadline.is_some_and(|at| at <= due) {
            return;
        }
        client.deadline = Some(due);
        self.deadlines.0.push(Reverse((due, key)));
        if self.deadlines.0.len() > STALE + 2 * self.clients.len() {
            let clients = &self.clients;
            let counts = |key, at| clients.get(key).is_some_and(|c| c.deadline == Some(at));
            let entries = &mut self.deadlines.0;
            entries.retain(|&Reverse((at, key))| counts(key, at));
        }
    }

    fn due(&self, client: &Client) -> Option<Instant> {
        // Of one that is held the looks tell whether it is idle.
        let idle = match client.watch {
            Watch::Held => None,
            Watch::No | Watch::Touched => self.idle_at(client),
        };
        let lifetime = self.too_old_at(client);
        client.until.into_iter().chain(idle).chain(lifetime).min()
    }

    /// When a connection has been idle for too long, unless it is ended anyway.
    fn idle_at(&self, client: &Client) -> Option<Instant> {
        let time = self.desk.settings.limits.idle?;
        self.may_end(client).then(|| client.conn.active() + time)
    }

    /// When a connection has lasted for too long, unless it is ended anyway.
    fn too_old_at(&self, client: &Client) -> Option<Instant> {
        let time = self.desk.settings.limits.lifetime?;
        self.may_end(client).then(|| client.opened + time)
    }

    /// Not if it is on its way to the end, nor while the server stops. One on its way
    /// that does not take its bytes is ended when it is looked at.
    fn may_end(&self, client: &Client) -> bool {
        client.conn.is_open() && self.drain.is_none()
    }

    /// Whether nothing came or went for too long.
    pub(super) fn is_idle(&self, client: &Client) -> bool {
        let still_for = self.now.saturating_duration_since(client.conn.active());
        let limit = self.desk.settings.limits.idle;
        limit.is_some_and(|limit| still_for >= limit)
    }

    /// Whether it has lasted for too long.
    pub(super) fn is_too_old(&self, client: &Client) -> bool {
        let age = self.now.saturating_duration_since(client.opened);
        let limit = self.desk.settings.limits.lifetime;
        limit.is_some_and(|limit| age >= limit)
    }

    /// Looks at the connections that have come up; while the server stops,
    /// [`settle`](Self::settle) looks at all.
    pub(super) fn expire(&mut self) {
        if self.drain.is_some() {
            return;
        }
        for _ in 0..PER_TURN {
            let Some((at, key)) = self.deadlines.pop_due(self.now) else {
                break;
            };
            if let Some(client) = self.clients.get_mut(key)
                && client.deadline == Some(at)
            {
                client.deadline = None;
                self.judge(key);
            }
        }
    }

    fn judge(&mut self, key: usize) {
        let client = &self.clients[key];
        let is_over = |time: Option<Instant>| time.is_some_and(|at| at <= self.now);
        if is_over(client.until) {
            self.end_beginning_or_linger(key);
        } else if is_over(self.too_old_at(client)) {
            self.end_lifetime(key);
        } else if client.watch != Watch::Held && is_over(self.idle_at(client)) {
            match self.may_be_taking(key) {
                Ok(true) => {
                    self.clients[key].conn.keep_alive(self.now);
                    self.arm(key);
                }
                Ok(false) => self.end_idle(key),
                Err(error) => self.close(key, &Why::Failed(error)),
            }
        } else {
            self.arm(key);
        }
    }

    fn end_beginning_or_linger(&mut self, key: usize) {
        let client = &self.clients[key];
        if client.conn.is_open() && client.conn.awaits_header() {
            let time = self.desk.settings.limits.header;
            let what = format_args!("it sent no whole PROXY header in {time:?}");
            self.evict(key, Reason::Header, what);
            return;
        }
        if client.conn.is_mid_message() {
            let time = self.desk.settings.limits.message;
            let what = format_args!("it sent no whole message in {time:?}");
            self.evict(key, Reason::Message, what);
            return;
        }
        if client.conn.owes() {
            client.conn.reset_on_close();
        }
        self.close(key, &Why::Finished);
    }

    /// What was read of it is still echoed, then it sees our end. As long as it
    /// takes some of that now and then, it has time for it.
    fn end_lifetime(&mut self, key: usize) {
        let time = self.desk.settings.limits.lifetime.unwrap_or_default();
        let what = format_args!("evicted: it is connected for {time:?} (--max-lifetime)");
        self.count_eviction(key, Reason::Lifetime, what);
        let client = &mut self.clients[key];
        client.until = None;
        client.conn.cut_short();
        let next = client.conn.next(false);
        let next = match client.watch {
            Watch::No | Watch::Touched if matches!(next, Ok(Next::Wait)) => {
                self.hold(key).and(next)
            }
            _ => next,
        };
        self.act(key, next, &Why::Evicted(Reason::Lifetime));
    }

    /// It was on its way to the end already, but takes nothing of what is left to it.
    pub(super) fn end_past_lifetime(&mut self, key: usize, still_for: Duration) {
        let time = self.desk.settings.limits.lifetime.unwrap_or_default();
        let what = format_args!(
            "it is connected for {time:?} (--max-lifetime), and took nothing for {still_for:.1?}"
        );
        self.evict(key, Reason::Lifetime, what);
    }

    pub(super) fn end_idle(&mut self, key: usize) {
        let time = self.desk.settings.limits.idle.unwrap_or_default();
        let what = format_args!("nothing came or went for {time:?} (--idle-timeout)");
        self.evict(key, Reason::Idle, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_comes_up_when_its_time_is_over() {
        let now = Instant::now();
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.soonest(), None);
        let at = |ms| now + Duration::from_millis(ms);
        for (ms, key) in [(300, 1), (100, 2), (200, 3)] {
            deadlines.0.push(Reverse((at(ms), key)));
        }
        assert_eq!(deadlines.soonest(), Some(at(100)));
        assert_eq!(deadlines.pop_due(at(99)), None);
        assert_eq!(deadlines.pop_due(at(100)), Some((at(100), 2)));
        assert_eq!(deadlines.pop_due(at(400)), Some((at(200), 3)));
    }
}
