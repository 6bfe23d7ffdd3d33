//! The connections of one worker: the ready list, and every way in which one ends.

use std::cmp::Reverse;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use slab::Slab;

use super::client::{Client, Overdue};
use super::conn::Next;
use super::context::{Context, Drain};
use super::deadlines::Deadlines;
use super::eviction::Reason;
use super::ready::Ready;
use super::stalls::{Behind, Stalls, Watch};
use super::transport::Readiness;
use crate::base::error::cause;
use crate::base::{sys, units};

/// How many connections one turn checks for their time limits, and how many for what
/// their peers have accepted. The others wait for the next turn.
const PER_TURN: usize = 256;

/// How long a client has, after its answer, to close its side.
pub(super) const LINGER_TIME: Duration = Duration::from_secs(5);

/// How often every connection is checked while the server drains.
const DRAIN_CHECK_EVERY: Duration = Duration::from_millis(10);

/// How much longer than a check of what all clients hold the time until the next is.
const CHECK_PART: u32 = 9;

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
            Self::Stopped => f.write_str("the server is stopping"),
            Self::Cut => f.write_str("cut, the grace period is over"),
            Self::Failed(error) => f.write_str(&cause(error)),
        }
    }
}

/// Whether an error means that nothing answered any more: what the system sent again and
/// again, or the probes of a silent connection. Where a router said why, the system
/// reports that in the end.
fn has_vanished(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

/// All connections of a worker.
pub(super) struct Connections {
    pub(super) context: Context,
    pub(super) clients: Slab<Client>,
    /// Connections that have something to do without a further event.
    pub(super) ready: Ready,
    pub(super) deadlines: Deadlines,
    pub(super) stalls: Stalls,
    pub(super) drain: Option<Drain>,
    drain_check_at: Instant,
    /// Orders to check what clients hold are put off until this time.
    check_held_at: Instant,
    /// The main thread has ordered a check of what clients hold, and waits for its result.
    tells_held: bool,
    /// The time of this turn.
    pub(super) now: Instant,
    pub(super) started: Instant,
}

impl Connections {
    pub(super) fn new(context: Context, now: Instant) -> Self {
        let stalls = Stalls::new(&context.settings.limits, now);
        Self {
            context,
            clients: Slab::new(),
            ready: Ready::default(),
            deadlines: Deadlines::default(),
            stalls,
            drain: None,
            drain_check_at: now,
            check_held_at: now,
            tells_held: false,
            now,
            started: now,
        }
    }

    /// The time of this turn in nanoseconds since the worker started. Each client stores
    /// one: it takes half the memory of an `Instant`, and lasts for centuries.
    pub(super) fn clock(&self) -> u64 {
        let time = self.now.saturating_duration_since(self.started);
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }

    /// When the next check is due that no event triggers.
    pub(super) fn soonest(&self) -> Option<Instant> {
        // Draining checks all at once, otherwise each connection has its own time.
        match self.drain {
            Some(_) => Some(self.drain_check_at),
            None => {
                let deadline = self.deadlines.soonest().into_iter();
                deadline.chain(self.stalls.soonest()).min()
            }
        }
    }

    /// Runs the checks that are due.
    pub(super) fn run_checks(&mut self) {
        if self.drain.is_some() {
            self.check_drain();
        } else {
            self.expire();
            self.check();
        }
    }

    /// Records what the poller reports of a connection, which is served if it has something
    /// to do.
    pub(super) fn report(&mut self, key: usize, readiness: Readiness) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        // One that waits for its turn may have unread input, and one with pending output.
        if client.queued.is_none() && !client.conn.has_pending() {
            client.since_rest = 0;
        }
        if client.conn.update_readiness(readiness) {
            self.enqueue(key);
        }
    }

    /// Puts a connection at the end of the ready list of its class, unless it is on one
    /// already.
    pub(super) fn enqueue(&mut self, key: usize) {
        let clock = self.clock();
        if let Some(client) = self.clients.get_mut(key)
            && client.queued.is_none()
        {
            let class = client.class(clock);
            client.queued = Some(class);
            self.ready.push(class, key);
        }
    }

    /// Does what a connection waits for next.
    pub(super) fn act(&mut self, key: usize, next: io::Result<Next>, why: &CloseReason) {
        match next {
            Ok(Next::Again) => self.enqueue(key),
            Ok(Next::Close) => self.close(key, why),
            Ok(Next::Linger) => {
                // The peer's FIN has a time limit; its acknowledgement has none. While
                // draining, `check_drain` handles both.
                let timed = self.drain.is_none() && self.clients[key].conn.awaits_end();
                self.clients[key].until = None;
                if timed {
                    self.allow(key, LINGER_TIME);
                }
                // The peer's FIN may have arrived already.
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
        if let CloseReason::Failed(error) = why
            && has_vanished(error)
        {
            let what = format_args!("evicted: its host or its network is gone (--keepalive)");
            self.count_eviction(key, Reason::Vanished, what);
        }
        let client = self.clients.remove(key);
        if let Some(class) = client.queued {
            // Its key may soon be reused for another, which must not be queued twice.
            self.ready.remove(class, key);
        }
        log::debug!(
            "client {} closed: {} echoed in {:.3?}, {why}",
            client.peer,
            units::plain_count(client.conn.sent(), "byte", "bytes"),
            self.now - client.opened,
        );
    }
}

/// Limits on time.
impl Connections {
    /// Limits the time for a connection's present step: its header, its message or the
    /// peer's FIN.
    pub(super) fn allow(&mut self, key: usize, time: Duration) {
        self.clients[key].until = Some(self.now + time);
        self.arm(key);
    }

    /// Makes sure that a connection is checked when the first of its time limits is over.
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
        let mut unserved = Vec::new();
        for _ in 0..PER_TURN {
            let Some((at, key)) = self.deadlines.pop_due(self.now) else {
                break;
            };
            if let Some(client) = self.clients.get_mut(key)
                && client.deadline == Some(at)
            {
                client.deadline = None;
                match self.awaits_turn(key) {
                    true => unserved.push(key),
                    false => self.end_overdue(key),
                }
            }
        }
        // Only now: their deadlines are over, and would come up again in this turn.
        for key in unserved {
            self.enqueue(key);
            self.arm(key);
        }
    }

    /// Whether a connection is to be served before its time limit counts, since its
    /// input waits: the process may have been suspended, or a turn may have been long.
    /// Each postponement reads some input. So there are few of them: a header and a
    /// message end, and bytes that are echoed make a connection not idle.
    fn awaits_turn(&mut self, key: usize) -> bool {
        let client = &mut self.clients[key];
        match client.overdue(&self.context.settings.limits, self.now) {
            Some(Overdue::Until | Overdue::Idle) => client.conn.has_unserved_input(),
            Some(Overdue::Lifetime) => client.conn.is_bounded() && client.conn.has_unserved_input(),
            None => false,
        }
    }

    fn end_overdue(&mut self, key: usize) {
        let client = &self.clients[key];
        match client.overdue(&self.context.settings.limits, self.now) {
            None => self.arm(key),
            Some(Overdue::Until) => self.end_incomplete(key),
            Some(Overdue::Lifetime) => self.end_lifetime(key),
            Some(Overdue::Idle) => match self.is_accepting(key) {
                Ok(true) => {
                    self.clients[key].conn.mark_active(self.now);
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
        let (_, all) = self.clients[key].conn.acknowledged()?;
        if all {
            return Ok(false);
        }
        self.watch_behind(key).map(|()| true)
    }

    fn end_incomplete(&mut self, key: usize) {
        let limits = self.context.settings.limits;
        let client = &self.clients[key];
        if client.conn.is_open() && client.conn.awaits_header() {
            let what = format_args!("it sent no complete PROXY header in {:?}", limits.header);
            return self.evict(key, Reason::Header, what);
        }
        if client.conn.is_mid_message() {
            let what = format_args!("it sent no complete message in {:?}", limits.message);
            return self.evict(key, Reason::Message, what);
        }
        self.end_linger(key);
    }

    /// Closes a connection whose peer has not closed its side in time. If it has not taken
    /// all that it was sent, the checks on those that are behind end it.
    fn end_linger(&mut self, key: usize) {
        let client = &mut self.clients[key];
        client.until = None;
        let kept = match client.conn.await_ack() {
            Ok(false) => return self.close(key, &CloseReason::Finished),
            Ok(true) if client.watch == Watch::Behind => Ok(()),
            Ok(true) => self.watch_behind(key),
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            self.close(key, &CloseReason::Failed(error));
        }
    }

    /// Ends a connection whose lifetime is over: the input that has arrived so far is
    /// still echoed, then our FIN is sent. It stays as long as the peer keeps accepting
    /// its echo.
    fn end_lifetime(&mut self, key: usize) {
        let time = self.context.settings.limits.lifetime.unwrap_or_default();
        let what = format_args!("evicted: it was connected for {time:?} (--max-lifetime)");
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

    /// Ends a connection that was closing, but whose peer does not accept its echo.
    fn end_past_lifetime(&mut self, key: usize, still_for: Duration) {
        let time = self.context.settings.limits.lifetime.unwrap_or_default();
        let what = format_args!(
            "it was connected for {time:?} (--max-lifetime), and accepted no echo for {still_for:.1?}"
        );
        self.evict(key, Reason::Lifetime, what);
    }

    fn end_idle(&mut self, key: usize) {
        let time = self.context.settings.limits.idle.unwrap_or_default();
        let what = format_args!("no data for {time:?} (--idle-timeout)");
        self.evict(key, Reason::Idle, what);
    }

    /// Ends a connection that reached a limit, and logs it.
    fn evict(&mut self, key: usize, reason: Reason, what: fmt::Arguments<'_>) {
        self.refuse(key, reason, format_args!("evicted: {what}"));
    }

    /// Ends a connection that reached a limit, and logs it with the text `what`.
    pub(super) fn refuse(&mut self, key: usize, reason: Reason, what: fmt::Arguments<'_>) {
        // A connection whose lifetime is over has been counted as such already.
        let reason = match self.clients[key].conn.is_cut_short() {
            true => Reason::Lifetime,
            false => {
                self.count_eviction(key, reason, what);
                reason
            }
        };
        let client = &self.clients[key];
        // The kernel keeps bytes behind a gap until a connection that was not reset ends.
        if client.has_unread_echo() || matches!(reason, Reason::Shed) {
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
        if client.conn.has_pending() || client.conn.awaits_ack() {
            return self.watch_behind(key);
        }
        client.watch = Watch::Unchecked;
        self.stalls.mark_unchecked(key, self.now);
        Ok(())
    }

    fn watch_behind(&mut self, key: usize) -> io::Result<()> {
        let client = &mut self.clients[key];
        let (acknowledged, _) = client.conn.acknowledged()?;
        client.watch = Watch::Behind;
        self.stalls.push_behind(Behind {
            check_at: self.stalls.next_check(self.now),
            key,
            opened: client.opened,
            acknowledged,
            since: self.now,
            bytes: client.conn.memory(),
            has_gap: false,
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
        for key in self.stalls.take_gap_keys(PER_TURN, self.clients.capacity()) {
            self.check_gap(key);
        }
        for _ in 0..PER_TURN {
            let Some(behind) = self.stalls.pop_behind(self.now) else {
                break;
            };
            if let Some(behind) = self.refresh(behind) {
                self.end_or_keep(behind);
            }
        }
        self.stalls.publish(&self.context.metrics);
        if self.tells_held && self.stalls.is_checked() {
            self.tells_held = false;
            self.context.metrics.tell_checked();
        }
    }

    /// Checks what all clients hold, and has the main thread told of it after this turn
    /// or the next ones. A worker with many such clients follows fewer of these orders, so
    /// that they take a tenth of its time at the most.
    pub(super) fn check_held(&mut self) {
        self.stalls.check_gaps(self.now);
        self.tells_held = true;
        if self.drain.is_some() || self.now < self.check_held_at {
            return;
        }
        let start = Instant::now();
        let (all, _) = self.refresh_all();
        for behind in all {
            // In its place: it is due when it was before.
            self.stalls.push_behind(behind);
        }
        let end = Instant::now();
        self.check_held_at = end + CHECK_PART * (end - start);
    }

    fn check_unchecked(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        // The key may have been reused for another connection.
        if client.watch != Watch::Unchecked {
            return;
        }
        client.watch = Watch::None;
        let checked = match client.conn.acknowledged() {
            Ok((_, true)) => Ok(()),
            Ok((_, false)) => {
                // When its peer last accepted bytes is unknown, so its times begin here.
                client.conn.mark_active(self.now);
                self.watch_behind(key)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = checked {
            self.close(key, &CloseReason::Failed(error));
        }
    }

    /// Checks a connection of which no event tells that it holds memory: its peer has
    /// taken all that it was sent, and sent more than can be read.
    fn check_gap(&mut self, key: usize) {
        let client = self.clients.get(key);
        if client.is_some_and(|client| client.watch == Watch::None && client.conn.has_gap())
            && let Err(error) = self.watch_behind(key)
        {
            self.close(key, &CloseReason::Failed(error));
        }
    }

    /// Checks a connection that is behind. Returns it if it still is, or has a gap.
    fn refresh(&mut self, mut behind: Behind) -> Option<Behind> {
        let client = self.clients.get_mut(behind.key);
        let client = client.filter(|client| client.opened == behind.opened)?;
        match client.conn.acknowledged() {
            Ok((_, true)) if !client.conn.awaits_ack() && client.conn.has_gap() => {
                // A byte that is read was in front of the gap, or filled it.
                let filled = match behind.has_gap {
                    true => client.conn.active(),
                    false => self.now,
                };
                behind.since = behind.since.max(filled);
                behind.has_gap = true;
                behind.bytes = client.conn.memory();
                Some(behind)
            }
            Ok((_, true)) => {
                client.watch = Watch::None;
                client.conn.mark_active(self.now);
                match client.conn.begin_linger() {
                    Some(next) => self.act(behind.key, Ok(next), &CloseReason::Finished),
                    None => self.arm(behind.key),
                }
                None
            }
            Ok((acknowledged, false)) => {
                // With nothing in flight, it is the peer that waits for its pending output.
                let all_sent = sys::COUNTS_UNACKNOWLEDGED && acknowledged == client.conn.sent();
                if acknowledged > behind.acknowledged || all_sent || behind.has_gap {
                    behind.since = self.now;
                    behind.acknowledged = acknowledged;
                    behind.has_gap = false;
                    client.conn.mark_active(self.now);
                }
                behind.bytes = client.conn.memory();
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
    fn end_or_keep(&mut self, behind: Behind) {
        let client = &self.clients[behind.key];
        let still_for = self.now.saturating_duration_since(behind.since);
        let limits = &self.context.settings.limits;
        // A client with a gap has taken all that it was sent.
        let stall = limits.stall.filter(|_| !behind.has_gap);
        if client.is_idle(limits, self.now) {
            match self.clients[behind.key].conn.has_unserved_input() {
                true => {
                    self.enqueue(behind.key);
                    self.keep_behind(behind);
                }
                false => self.end_idle(behind.key),
            }
        } else if let Some(limit) = stall.filter(|&limit| still_for >= limit) {
            let what = format_args!(
                "it accepted none of its pending echo for {limit:?} (--stall-timeout)"
            );
            self.evict(behind.key, Reason::Stalled, what);
        } else if !client.conn.is_open()
            && stall.is_none()
            && !behind.has_gap
            && client.is_too_old(limits, self.now)
            && still_for >= LAST_STALL
        {
            self.end_past_lifetime(behind.key, still_for);
        } else {
            self.keep_behind(behind);
        }
    }

    /// Checks a connection again later, behind all others.
    fn keep_behind(&mut self, mut behind: Behind) {
        behind.check_at = self.stalls.next_check(self.now);
        self.stalls.push_behind(behind);
    }

    /// Resets the peers that accepted nothing for the longest: until `bytes` are free,
    /// and up to `clients` to make room.
    pub(super) fn shed(&mut self, order: (usize, usize)) {
        self.shed_after(SHED_AFTER, order);
    }

    /// Sheds peers until `bytes` are free, also those that have accepted some just before.
    pub(super) fn shed_soon(&mut self, bytes: usize) {
        self.shed_after(Duration::ZERO, (bytes, 0));
    }

    /// For memory only those that accepted nothing for at least `least`.
    fn shed_after(&mut self, least: Duration, (bytes, clients): (usize, usize)) {
        if self.drain.is_some() {
            return;
        }
        let (mut all, mut freed) = self.refresh_all();
        all.sort_by_key(|behind| (behind.since, Reverse(behind.bytes)));
        let mut ended = 0;
        for behind in all {
            let still_for = self.now.saturating_duration_since(behind.since);
            let for_memory = freed < bytes && still_for >= least;
            let for_room = ended < clients && still_for >= ROOM_AFTER;
            if for_memory || for_room {
                freed += behind.bytes;
                ended += 1;
                let short = if for_memory { "memory" } else { "room" };
                let did = match behind.has_gap {
                    true => "left a gap in what it sent",
                    false => "accepted no echo",
                };
                let what = format_args!("{short} is short, and it {did} for {still_for:.1?}");
                self.evict(behind.key, Reason::Shed, what);
            } else {
                self.keep_behind(behind);
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
                let what = format_args!("memory is short, and it holds {has}");
                self.evict(behind.key, Reason::Shed, what);
            } else {
                self.keep_behind(behind);
            }
        }
        self.stalls.publish(&self.context.metrics);
    }

    /// Takes all that are behind, checked now, to have some of them shed. Returns also
    /// how many bytes were accepted since the last check.
    fn refresh_all(&mut self) -> (Vec<Behind>, usize) {
        // Others may hold bytes as well.
        self.stalls.check_gaps(self.now);
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
    fn check_drain(&mut self) {
        let Some(drain) = self.drain else { return };
        let over = self.now >= drain.deadline;
        if !over && self.now < self.drain_check_at {
            return;
        }
        self.drain_check_at = self.now + DRAIN_CHECK_EVERY;
        let keys: Vec<usize> = self.clients.iter().map(|(key, _)| key).collect();
        for key in keys {
            let next = self.clients[key]
                .conn
                .check_drain(self.now, drain.since, drain.quiet);
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
