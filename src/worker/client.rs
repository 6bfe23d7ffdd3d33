//! A client, and what its worker keeps of it beside the connection's own state.

use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;

use super::block::NARROW_SLICE;
use super::conn::Conn;
use super::context::{CountGuard, TimeLimits};
use super::ready::Class;
use super::source::SourceGuard;
use super::stalls::Watch;

/// A client of a worker.
pub(super) struct Client {
    pub(super) conn: Conn<TcpStream>,
    pub(super) peer: SocketAddr,
    /// When it was accepted.
    pub(super) opened: Instant,
    /// When its PROXY header or its message must be complete or, after our FIN, its own
    /// FIN must have arrived.
    pub(super) until: Option<Instant>,
    /// The time of its entry among the deadlines. An entry of another time is stale.
    pub(super) deadline: Option<Instant>,
    pub(super) watch: Watch,
    /// The class in whose ready list it is.
    pub(super) queued: Option<Class>,
    /// Before this time, in nanoseconds of the worker's clock, it counts as a stream,
    /// even if it sends little.
    pub(super) streams_until: u64,
    /// How many bytes it has sent since it was last at rest: all its input was read.
    pub(super) since_rest: u32,
    /// Both guards are dropped after the socket is closed.
    pub(super) source_guard: Option<SourceGuard>,
    pub(super) _guard: CountGuard,
}

/// Which of a client's time limits is over.
pub(super) enum Overdue {
    /// The limit on its header, its message or its FIN.
    Until,
    /// The limit on the age of the connection.
    Lifetime,
    /// The limit on the time without a byte.
    Idle,
}

impl Client {
    /// It has sent so many more bytes.
    pub(super) fn add_since_rest(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.since_rest = self.since_rest.saturating_add(bytes);
    }

    /// Whether it streams, at the time `clock` of its worker. One that has more to send than
    /// a message leaves behind did when its peer stopped reading, however long ago that was.
    pub(super) fn class(&self, clock: u64) -> Class {
        match clock < self.streams_until || self.conn.pending_bytes() > NARROW_SLICE {
            true => Class::Stream,
            false => Class::Message,
        }
    }

    /// When its time limits must be checked; `None` for never.
    pub(super) fn due(&self, limits: &TimeLimits) -> Option<Instant> {
        // The checks on a client that is behind also decide whether it is idle.
        let idle = match self.watch {
            Watch::Behind => None,
            Watch::None | Watch::Unchecked => self.idle_at(limits),
        };
        let lifetime = self.too_old_at(limits);
        self.until.into_iter().chain(idle).chain(lifetime).min()
    }

    /// Which of its time limits is over at `now`.
    pub(super) fn overdue(&self, limits: &TimeLimits, now: Instant) -> Option<Overdue> {
        let is_over = |time: Option<Instant>| time.is_some_and(|at| at <= now);
        if is_over(self.until) {
            Some(Overdue::Until)
        } else if is_over(self.too_old_at(limits)) {
            Some(Overdue::Lifetime)
        } else if self.watch != Watch::Behind && is_over(self.idle_at(limits)) {
            Some(Overdue::Idle)
        } else {
            None
        }
    }

    /// When it has been idle for too long. A connection that is closing has no such time:
    /// one that does not accept its bytes is ended by the checks on those that are behind.
    fn idle_at(&self, limits: &TimeLimits) -> Option<Instant> {
        let time = limits.idle?;
        self.conn.is_open().then(|| self.conn.active() + time)
    }

    /// When it has lasted for too long, unless it is closing.
    fn too_old_at(&self, limits: &TimeLimits) -> Option<Instant> {
        let time = limits.lifetime?;
        self.conn.is_open().then(|| self.opened + time)
    }

    /// Whether no byte has moved for too long, closing or not.
    pub(super) fn is_idle(&self, limits: &TimeLimits, now: Instant) -> bool {
        let still_for = now.saturating_duration_since(self.conn.active());
        limits.idle.is_some_and(|limit| still_for >= limit)
    }

    /// Whether it has lasted for too long, closing or not.
    pub(super) fn is_too_old(&self, limits: &TimeLimits, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.opened);
        limits.lifetime.is_some_and(|limit| age >= limit)
    }

    /// Whether it must be watched more closely, now that it was served.
    pub(super) const fn wants_watch(&self) -> bool {
        match self.watch {
            Watch::None => true,
            Watch::Unchecked => self.conn.has_pending() || self.conn.awaits_ack(),
            Watch::Behind => false,
        }
    }

    /// Whether closing it would leave bytes in the kernel that its peer does not accept.
    pub(super) fn has_unread_echo(&self) -> bool {
        !matches!(self.conn.acknowledged(), Ok((_, true)))
    }
}
