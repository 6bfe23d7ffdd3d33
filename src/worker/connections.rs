//! The connections of one worker: the ready list, and every way in which one ends.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use slab::Slab;

use super::client::{Client, Overdue};
use super::conn::Next;
use super::context::{Context, Drain};
use super::deadlines::Deadlines;
use super::eviction::Reason;
use super::stalls::{Behind, Stalls, Watch};
use crate::base::error::cause;
use crate::base::units;

/// How many connections one turn looks at for their time limits, and how many for
/// what their peers have accepted. The others wait for the next turn.
const PER_TURN: usize = 256;

/// How long after its answer a client has to close its side.
pub(super) const LINGER_TIME: Duration = Duration::from_secs(5);

/// While draining, every connection is looked at this often.
const SETTLE_EVERY: Duration = Duration::from_millis(10);

/// A peer that accepted nothing for this long may be reset while memory is short. The
/// time is longer than a healthy path is silent unless it has lost segments.
const SHED_AFTER: Duration = Duration::from_millis(250);

/// A peer that accepted nothing for this long may be reset to make room for another.
const ROOM_AFTER: Duration = Duration::from_secs(5);

/// A connection whose lifetime is over ends after its peer accepted nothing for this
/// long, also where there is no stall limit.
const LAST_STALL: Duration = Duration::from_secs(60);

/// Why a connection was closed, for the log.
pub(super) enum CloseReason {
    Finished,
    Evicted(Reason),
    Stopped,
    Cut,
    Failed(io::Error),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("finished"),
            Self::Evicted(reason) => write!(f, "evicted, {reason}"),
            Self::Stopped => f.write_str("the server stops"),
            Self::Cut => f.write_str("cut, the grace period is over"),
            Self::Failed(error) => f.write_str(&cause(error)),
        }
    }
}

/// All connections of a worker.
pub(super) struct Connections {
    pub(super) context: Context,
    pub(super) clients: Slab<Client>,
    /// Connections that have something to do without a further event.
    pub(super) ready: VecDeque<usize>,
    pub(super) deadlines: Deadlines,
    pub(super) stalls: Stalls,
    pub(super) drain: Option<Drain>,
    settle_at: Instant,
    /// The time of this turn.
    pub(super) now: Instant,
}

impl Connections {
    pub(super) fn new(context: Context, now: Instant) -> Self {
        let stalls = Stalls::new(&context.settings.limits, now);
        Self {
            context,
            clients: Slab::new(),
            ready: VecDeque::new(),
            deadlines: Deadlines::default(),
            stalls,
            drain: None,
            settle_at: now,
            now,
        }
    }

    /// When a connection must be looked at that no event tells of.
    pub(super) fn soonest(&self) -> Option<Instant> {
        // Draining looks at all, otherwise each has its own time.
        match self.drain {
            Some(_) => Some(self.settle_at),
            None => {
                let deadline = self.deadlines.soonest().into_iter();
                deadline.chain(self.stalls.soonest()).min()
            }
        }
    }

    /// Looks at the connections whose time has come.
    pub(super) fn look(&mut self) {
        if self.drain.is_some() {
            self.settle();
        } else {
            self.expire();
            self.check();
        }
    }

    /// Puts a connection at the end of the ready list, unless it is there.
    pub(super) fn enqueue(&mut self, key: usize) {
        if let Some(client) = self.clients.get_mut(key)
            && !std::mem::replace(&mut client.queued, true)
        {
            self.ready.push_back(key);
        }
    }

    /// Does what a connection waits for next.
    pub(super) fn act(&mut self, key: usize, next: io::Result<Next>, why: &CloseReason) {
        match next {
            Ok(Next::Again) => self.enqueue(key),
            Ok(Next::Close) => self.close(key, why),
            Ok(Next::Linger) => {
                // The peer's FIN has a time limit; its acknowledgement has none, and
                // while draining `settle` looks after both.
                let timed = self.drain.is_none() && self.clients[key].conn.awaits_end();
                self.clients[key].until = None;
                if timed {
                    self.allow(key, LINGER_TIME);
                }
                // The peer's FIN may be there already.
                self.enqueue(key);
            }
            Ok(Next::Wait) => self.limit_message(key),
            Err(error) => self.close(key, &CloseReason::Failed(error)),
        }
    }

    /// A message that has begun must end within the time for one.
    fn limit_message(&mut self, key: usize) {
        let client = &self.clients[key];
        if client.until.is_none() && client.conn.is_mid_message() {
            self.allow(key, self.context.settings.limits.message);
        }
    }

    /// Closes a connection and forgets its client.
    pub(super) fn close(&mut self, key: usize, why: &CloseReason) {
        let client = self.clients.remove(key);
        if client.queued {
            // Its key may soon be another's, which must not be queued twice.
            self.ready.retain(|&queued| queued != key);
        }
        log::debug!(
            "client {} closed: {} bytes echoed in {:.3?}, {why}",
            client.peer,
            client.conn.sent(),
            self.now - client.opened,
        );
    }
}

/// Limits on time.
impl Connections {
    /// Limits the time of what a connection is about now.
    pub(super) fn allow(&mut self, key: usize, time: Duration) {
        self.clients[key].until = Some(self.now + time);
        self.arm(key);
    }

    /// Makes sure that a connection comes up when the first of its times is over.
    pub(super) fn arm(&mut self, key: usize) {
        let client = &mut self.clients[key];
        let Some(due) = client.due(&self.context.settings.limits) else {
            return;
        };
        if client.deadline.is_some_and(|at| at <= due) {
            return;
        }
        client.deadline = Some(due);
        let clients = &self.clients;
        let counts = |at, key| {
            let client = clients.get(key);
            client.is_some_and(|client: &Client| client.deadline == Some(at))
        };
        self.deadlines.push(due, key, clients.len(), counts);
    }

    pub(super) fn expire(&mut self) {
        for _ in 0..PER_TURN {
            let Some((at, key)) = self.deadlines.pop_due(self.now) else {
                break;
            };
            if let Some(client) = self.clients.get_mut(key)
                && client.deadline == Some(at)
            {
                client.deadline = None;
                self.end_overdue(key);
            }
        }
    }

    fn end_overdue(&mut self, key: usize) {
        let client = &self.clients[key];
        match client.overdue(&self.context.settings.limits, self.now) {
            None => self.arm(key),
            Some(Overdue::Until) => self.end_beginning_or_linger(key),
            Some(Overdue::Lifetime) => self.end_lifetime(key),
            Some(Overdue::Idle) => match self.is_accepting(key) {
                Ok(true) => {
                    self.clients[key].conn.keep_alive(self.now);
                    self.arm(key);
                }
                Ok(false) => self.end_idle(key),
                Err(error) => self.close(key, &CloseReason::Failed(error)),
            },
        }
    }

    /// Whether a connection without new bytes has bytes that its peer may be accepting.
    /// If so it is behind from now on, and the checks decide whether it is idle.
    fn is_accepting(&mut self, key: usize) -> io::Result<bool> {
        let (_, all) = self.clients[key].conn.taken()?;
        if all {
            return Ok(false);
        }
        self.watch_behind(key).map(|()| true)
    }

    fn end_beginning_or_linger(&mut self, key: usize) {
        let limits = self.context.settings.limits;
        let client = &self.clients[key];
        if client.conn.is_open() && client.conn.awaits_header() {
            let what = format_args!("it sent no whole PROXY header in {:?}", limits.header);
            return self.evict(key, Reason::Header, what);
        }
        if client.conn.is_mid_message() {
            let what = format_args!("it sent no whole message in {:?}", limits.message);
            return self.evict(key, Reason::Message, what);
        }
        if client.conn.has_pending() {
            client.conn.reset_on_close();
        }
        self.close(key, &CloseReason::Finished);
    }

    /// What was read of it is still echoed, then it sees our FIN. As long as its peer
    /// accepts some of that now and then, it has time for it.
    fn end_lifetime(&mut self, key: usize) {
        let time = self.context.settings.limits.lifetime.unwrap_or_default();
        let what = format_args!("evicted: it is connected for {time:?} (--max-lifetime)");
        self.count_eviction(key, Reason::Lifetime, what);
        let client = &mut self.clients[key];
        client.until = None;
        client.conn.cut_short();
        let next = client.conn.next(false);
        let next = match client.watch {
            Watch::None | Watch::Unchecked if matches!(next, Ok(Next::Wait)) => {
                self.watch_behind(key).and(next)
            }
            _ => next,
        };
        self.act(key, next, &CloseReason::Evicted(Reason::Lifetime));
    }

    /// It was closing already, but its peer does not accept the rest.
    fn end_past_lifetime(&mut self, key: usize, still_for: Duration) {
        let time = self.context.settings.limits.lifetime.unwrap_or_default();
        let what = format_args!(
            "it is connected for {time:?} (--max-lifetime), and took nothing for {still_for:.1?}"
        );
        self.evict(key, Reason::Lifetime, what);
    }

    fn end_idle(&mut self, key: usize) {
        let time = self.context.settings.limits.idle.unwrap_or_default();
        let what = format_args!("nothing came or went for {time:?} (--idle-timeout)");
        self.evict(key, Reason::Idle, what);
    }

    /// Ends a connection that reached a limit, and logs it.
    fn evict(&mut self, key: usize, reason: Reason, what: fmt::Arguments<'_>) {
        self.refuse(key, reason, format_args!("evicted: {what}"));
    }

    /// The same in other words.
    pub(super) fn refuse(&mut self, key: usize, reason: Reason, what: fmt::Arguments<'_>) {
        // One whose lifetime is over has been counted as that, whatever else happens.
        let reason = match self.clients[key].conn.is_cut_short() {
            true => Reason::Lifetime,
            false => {
                self.count_eviction(key, reason, what);
                reason
            }
        };
        let client = &self.clients[key];
        if client.has_unread_echo() {
            client.conn.reset_on_close();
        }
        self.close(key, &CloseReason::Evicted(reason));
    }

    fn count_eviction(&self, key: usize, reason: Reason, what: fmt::Arguments<'_>) {
        self.context.metrics.counters.evicted.add(reason);
        let peer = self.clients[key].peer;
        self.context.evictions.log(reason, peer, what, self.now);
    }
}

/// Peers that do not accept what they are sent.
impl Connections {
    /// Watches from now on whether a connection's peer accepts its bytes.
    pub(super) fn watch(&mut self, key: usize) -> io::Result<()> {
        let client = &mut self.clients[key];
        if client.conn.has_pending() {
            return self.watch_behind(key);
        }
        client.watch = Watch::Unchecked;
        self.stalls.mark_unchecked(key, self.now);
        Ok(())
    }

    fn watch_behind(&mut self, key: usize) -> io::Result<()> {
        let client = &mut self.clients[key];
        let (taken, _) = client.conn.taken()?;
        client.watch = Watch::Behind;
        self.stalls.push_behind(Behind {
            check_at: self.stalls.next_check(self.now),
            key,
            opened: client.opened,
            taken,
            since: self.now,
            bytes: client.conn.memory(),
        });
        Ok(())
    }

    pub(super) fn check(&mut self) {
        for _ in 0..PER_TURN {
            let Some(key) = self.stalls.pop_unchecked(self.now) else {
                break;
            };
            self.check_unchecked(key);
        }
        for _ in 0..PER_TURN {
            let Some(behind) = self.stalls.pop_behind(self.now) else {
                break;
            };
            if let Some(behind) = self.refresh(behind) {
                self.end_or_go_on(behind);
            }
        }
        self.stalls.publish(&self.context.metrics);
    }

    fn check_unchecked(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        // Its key may have been another's.
        if client.watch != Watch::Unchecked {
            return;
        }
        client.watch = Watch::None;
        let checked = match client.conn.taken() {
            Ok((_, true)) => Ok(()),
            Ok((_, false)) => {
                // What its peer accepted until now is unknown, so its times begin here.
                client.conn.keep_alive(self.now);
                self.watch_behind(key)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = checked {
            self.close(key, &CloseReason::Failed(error));
        }
    }

    /// Checks a connection that is behind. Returns it while it is.
    fn refresh(&mut self, mut behind: Behind) -> Option<Behind> {
        let client = self.clients.get_mut(behind.key);
        let client = client.filter(|client| client.opened == behind.opened)?;
        match client.conn.taken() {
            Ok((_, true)) => {
                client.watch = Watch::None;
                client.conn.keep_alive(self.now);
                match client.conn.begin_linger() {
                    Some(next) => self.act(behind.key, Ok(next), &CloseReason::Finished),
                    None => self.arm(behind.key),
                }
                None
            }
            Ok((taken, false)) => {
                if taken > behind.taken {
                    behind.since = self.now;
                    behind.taken = taken;
                    client.conn.keep_alive(self.now);
                }
                behind.bytes = client.conn.memory();
                behind.check_at = self.stalls.next_check(self.now);
                Some(behind)
            }
            Err(error) => {
                self.close(behind.key, &CloseReason::Failed(error));
                None
            }
        }
    }

    /// Ends a connection whose peer accepts too little, whatever its stage: also a peer
    /// that has closed its side may accept nothing.
    fn end_or_go_on(&mut self, behind: Behind) {
        let client = &self.clients[behind.key];
        let still_for = self.now.saturating_duration_since(behind.since);
        let limits = &self.context.settings.limits;
        let stall = limits.stall;
        if client.is_idle(limits, self.now) {
            self.end_idle(behind.key);
        } else if let Some(limit) = stall.filter(|&limit| still_for >= limit) {
            let what =
                format_args!("it took nothing that was sent to it for {limit:?} (--stall-timeout)");
            self.evict(behind.key, Reason::Stalled, what);
        } else if !client.conn.is_open()
            && stall.is_none()
            && client.is_too_old(limits, self.now)
            && still_for >= LAST_STALL
        {
            self.end_past_lifetime(behind.key, still_for);
        } else {
            self.stalls.push_behind(behind);
        }
    }

    /// Resets the peers that accepted nothing for the longest: until `bytes` are free,
    /// and up to `clients` to make room.
    pub(super) fn shed(&mut self, (bytes, clients): (usize, usize)) {
        if self.drain.is_some() {
            return;
        }
        let (mut all, mut freed) = self.refresh_all();
        all.sort_by_key(|behind| behind.since);
        let mut ended = 0;
        for behind in all {
            let still_for = self.now.saturating_duration_since(behind.since);
            let for_memory = freed < bytes && still_for >= SHED_AFTER;
            let for_room = ended < clients && still_for >= ROOM_AFTER;
            if for_memory || for_room {
                freed += behind.bytes;
                ended += 1;
                let short = if for_memory { "memory" } else { "room" };
                let what =
                    format_args!("{short} is short, and it took nothing for {still_for:.1?}");
                self.evict(behind.key, Reason::Shed, what);
            } else {
                self.stalls.push_behind(behind);
            }
        }
        self.stalls.publish(&self.context.metrics);
    }

    /// Resets the peers that hold the most, whether they accept some or not, until
    /// `bytes` are free.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(super) fn shed_largest(&mut self, bytes: usize) {
        if self.drain.is_some() {
            return;
        }
        let (mut all, mut freed) = self.refresh_all();
        all.sort_by_key(|behind| Reverse(behind.bytes));
        for behind in all {
            if freed < bytes {
                freed += behind.bytes;
                let has = units::bytes(behind.bytes as f64);
                let what = format_args!("memory is short, and it has yet to take {has}");
                self.evict(behind.key, Reason::Shed, what);
            } else {
                self.stalls.push_behind(behind);
            }
        }
        self.stalls.publish(&self.context.metrics);
    }

    /// Takes all that are behind, checked now, to have some of them shed. Returns also
    /// how many bytes were accepted since the last check.
    fn refresh_all(&mut self) -> (Vec<Behind>, usize) {
        // Unchecked ones may hold bytes as well.
        self.stalls.check_now(self.now);
        let (all, before) = self.stalls.take_behind();
        let all: Vec<Behind> = all.into_iter().filter_map(|b| self.refresh(b)).collect();
        let left: usize = all.iter().map(|behind| behind.bytes).sum();
        (all, before.saturating_sub(left))
    }
}

/// The end of the server.
impl Connections {
    /// While draining: ends the connections that are quiet, and cuts those that remain
    /// when the grace period is over.
    fn settle(&mut self) {
        let Some(drain) = self.drain else { return };
        let over = self.now >= drain.deadline;
        if !over && self.now < self.settle_at {
            return;
        }
        self.settle_at = self.now + SETTLE_EVERY;
        let keys: Vec<usize> = self.clients.iter().map(|(key, _)| key).collect();
        for key in keys {
            let next = self.clients[key]
                .conn
                .settle(self.now, drain.since, drain.quiet);
            match next {
                Ok(Next::Again) if !over => self.enqueue(key),
                Ok(Next::Wait | Next::Linger) if !over => {}
                // One that becomes quiet at the last moment has received all its echo.
                Ok(Next::Close | Next::Linger) => self.close(key, &CloseReason::Stopped),
                Ok(_) => {
                    self.context.metrics.counters.cut.add(1);
                    self.close(key, &CloseReason::Cut);
                }
                Err(error) => self.close(key, &CloseReason::Failed(error)),
            }
        }
    }
}
