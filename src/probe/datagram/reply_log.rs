//! What became of each datagram: the accounting of one flow, fed with numbers and times.
//!
//! A datagram is awaited from when it is sent until its reply, its time-out, or an error that
//! says there will be none. A reply within the time-out is received; a first one after it is
//! late, and its datagram stays lost; every further one is a duplicate, whatever the first was.
//! A reply that comes in time, after that of a later datagram, is reordered (RFC 4737,
//! section 3.3: its number is below one that was received). Times are in nanoseconds from any
//! start, and do not go back from one sending to the next.

use std::collections::VecDeque;
use std::ops::AddAssign;

use super::variation::{Differences, Variation};

/// So many datagrams are remembered once it is known what became of them; of a reply to an
/// older one it can't be said whether it is late or a duplicate. At a thousand a second it is
/// a minute.
const REMEMBERED: usize = 1 << 16;

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Awaited,
    /// Back in time, with its round trip.
    Received(u64),
    /// With `refused`, an error says that it won't be back.
    Lost {
        refused: bool,
    },
    /// Lost, and back after its time-out.
    Late,
    /// Its first reply was not what was sent.
    Changed,
    NotSent,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: u64,
    outcome: Outcome,
}

/// The counts of a flow. `sent` is `received`, `lost`, those whose first reply was changed,
/// and those that are awaited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Handed to the kernel.
    pub sent: u64,
    /// Back unchanged within the time-out.
    pub received: u64,
    /// Not back within the time-out, or an error says that they won't be.
    pub lost: u64,
    /// Of the lost, those of which an error says that they won't be back.
    pub refused: u64,
    /// Errors that do not say of which of several datagrams they are.
    pub unnamed_errors: u64,
    /// Of the lost, back after the time-out.
    pub late: u64,
    /// Replies after the first to a datagram.
    pub duplicates: u64,
    /// Of the received, back after a later datagram.
    pub reordered: u64,
    /// Replies that were once a datagram of this flow.
    pub changed: u64,
    /// What came and is no reply to a datagram of this flow, or to one that is forgotten.
    pub foreign: u64,
    /// Datagrams that the kernel did not take.
    pub not_sent: u64,
}

impl AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        *self = Self {
            sent: self.sent + other.sent,
            received: self.received + other.received,
            lost: self.lost + other.lost,
            refused: self.refused + other.refused,
            unnamed_errors: self.unnamed_errors + other.unnamed_errors,
            late: self.late + other.late,
            duplicates: self.duplicates + other.duplicates,
            reordered: self.reordered + other.reordered,
            changed: self.changed + other.changed,
            foreign: self.foreign + other.foreign,
            not_sent: self.not_sent + other.not_sent,
        };
    }
}

/// What a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The first one, in time.
    InTime {
        /// From sending to receiving, in nanoseconds.
        round_trip: u64,
        /// Whether it came after that of a later datagram.
        is_reordered: bool,
    },
    /// The first one, after the time-out.
    Late {
        /// From sending to receiving, in nanoseconds.
        round_trip: u64,
        /// Whether the datagram was not known to be lost before.
        is_newly_lost: bool,
    },
    /// Not the first one.
    Duplicate {
        /// From sending to receiving, in nanoseconds.
        round_trip: u64,
    },
    /// Of a datagram that is forgotten, or was not sent.
    Unknown,
}

/// The datagrams of one flow.
#[derive(Debug)]
pub struct ReplyLog<V = Variation> {
    /// The sequence number of the first that is remembered.
    first: u64,
    sent: VecDeque<Sent>,
    /// All below are no longer awaited.
    awaited_from: u64,
    awaited: u64,
    /// The greatest number that was received in time.
    highest: Option<u64>,
    /// The limit on a round trip, in nanoseconds.
    timeout: u64,
    /// So many are remembered once it is known what became of them.
    remembered: usize,
    counts: Counts,
    variation: V,
}

impl<V: Differences> ReplyLog<V> {
    /// An empty log, whose first datagram has the number `first`.
    pub const fn new(first: u64, timeout: u64, variation: V) -> Self {
        Self {
            first,
            sent: VecDeque::new(),
            awaited_from: first,
            awaited: 0,
            highest: None,
            timeout,
            remembered: REMEMBERED,
            counts: Counts {
                sent: 0,
                received: 0,
                lost: 0,
                refused: 0,
                unnamed_errors: 0,
                late: 0,
                duplicates: 0,
                reordered: 0,
                changed: 0,
                foreign: 0,
                not_sent: 0,
            },
            variation,
        }
    }

    /// The same with another number of datagrams that are remembered: a flow of many has less
    /// memory.
    pub const fn remembering(mut self, remembered: usize) -> Self {
        self.remembered = remembered;
        self
    }

    /// The number of the next datagram.
    pub fn next(&self) -> u64 {
        self.first + self.sent.len() as u64
    }

    /// The number of the first datagram that is remembered.
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// How long ago this datagram was sent, in nanoseconds; `None` if it is forgotten.
    pub fn since_sent(&self, number: u64, at: u64) -> Option<u64> {
        self.get(number).map(|sent| at.saturating_sub(sent.at))
    }

    /// Whether this datagram is lost, and not late.
    pub fn is_lost(&self, number: u64) -> bool {
        self.get(number)
            .is_some_and(|it| matches!(it.outcome, Outcome::Lost { .. }))
    }

    /// The number of the last datagram that is lost, and not late.
    pub fn last_unanswered(&self) -> Option<u64> {
        let is_lost = |it: &Sent| matches!(it.outcome, Outcome::Lost { .. });
        let place = self.sent.iter().rposition(is_lost)?;
        Some(self.first + place as u64)
    }

    /// How many datagrams below this number are awaited.
    pub fn awaited_below(&self, number: u64) -> u64 {
        let below = (self.awaited_from..number.min(self.next())).filter(|&it| self.is_awaited(it));
        below.count() as u64
    }

    /// The counts so far.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The variation of the round trips so far.
    pub const fn variation(&self) -> &V {
        &self.variation
    }

    /// No datagram below this number is awaited.
    pub const fn awaited_from(&self) -> u64 {
        self.awaited_from
    }

    /// How many datagrams are awaited.
    pub const fn awaited(&self) -> u64 {
        self.awaited
    }

    /// Records that the next datagram was sent. Returns its number.
    pub fn sent(&mut self, at: u64) -> u64 {
        self.counts.sent += 1;
        self.awaited += 1;
        self.push(at, Outcome::Awaited)
    }

    /// Records that the kernel did not take the next datagram. Returns its number.
    pub fn not_sent(&mut self, at: u64) -> u64 {
        self.counts.not_sent += 1;
        self.push(at, Outcome::NotSent)
    }

    fn push(&mut self, at: u64, outcome: Outcome) -> u64 {
        let number = self.next();
        self.sent.push_back(Sent { at, outcome });
        self.skip_ended();
        while self.sent.len() > self.remembered && self.first < self.awaited_from {
            self.sent.pop_front();
            self.first += 1;
        }
        number
    }

    /// Records an unchanged reply to this datagram.
    pub fn received(&mut self, number: u64, at: u64) -> Reply {
        self.received_but(number, at, 0)
    }

    /// The same, of a round trip that has this time taken out of it. The time-out is for the
    /// whole of it.
    pub fn received_but(&mut self, number: u64, at: u64, without: u64) -> Reply {
        let Some(sent) = self.get(number) else {
            self.counts.foreign += 1;
            return Reply::Unknown;
        };
        let whole = at.saturating_sub(sent.at);
        let round_trip = whole.saturating_sub(without);
        let is_awaited = sent.outcome == Outcome::Awaited;
        match sent.outcome {
            Outcome::NotSent => {
                self.counts.foreign += 1;
                Reply::Unknown
            }
            Outcome::Awaited if whole <= self.timeout => self.in_time(number, round_trip),
            // The error was of a copy of it, or was wrong.
            Outcome::Lost { refused: true } if whole <= self.timeout => {
                self.counts.lost -= 1;
                self.counts.refused -= 1;
                self.in_time(number, round_trip)
            }
            Outcome::Awaited | Outcome::Lost { .. } => {
                self.end(number, Outcome::Late);
                self.counts.lost += u64::from(is_awaited);
                self.counts.late += 1;
                Reply::Late {
                    round_trip,
                    is_newly_lost: is_awaited,
                }
            }
            Outcome::Received(_) | Outcome::Late | Outcome::Changed => {
                self.counts.duplicates += 1;
                Reply::Duplicate { round_trip }
            }
        }
    }

    fn in_time(&mut self, number: u64, round_trip: u64) -> Reply {
        self.end(number, Outcome::Received(round_trip));
        self.counts.received += 1;
        let is_reordered = self.highest.is_some_and(|highest| number < highest);
        self.counts.reordered += u64::from(is_reordered);
        self.highest = self.highest.max(Some(number));
        self.variation.record_arrival(round_trip);
        let neighbours = [number.checked_sub(1), number.checked_add(1)];
        for neighbour in neighbours.into_iter().flatten() {
            if let Some(Outcome::Received(other)) = self.get(neighbour).map(|sent| sent.outcome) {
                self.variation.record_pair(other, round_trip);
            }
        }
        Reply::InTime {
            round_trip,
            is_reordered,
        }
    }

    /// Records a changed reply to this datagram. Returns whether the datagram was awaited.
    pub fn changed(&mut self, number: u64) -> bool {
        self.counts.changed += 1;
        let is_awaited = self.is_awaited(number);
        if is_awaited {
            self.end(number, Outcome::Changed);
        }
        is_awaited
    }

    /// Records what is no reply to a datagram of this flow.
    pub const fn foreign(&mut self) {
        self.counts.foreign += 1;
    }

    /// Records that an error says that no reply can come. Returns whether the datagram was
    /// awaited; it is lost, unless its reply comes in time nevertheless.
    pub fn refused(&mut self, number: u64) -> bool {
        let is_awaited = self.lose(number, true);
        self.counts.refused += u64::from(is_awaited);
        is_awaited
    }

    /// The same for a caller that can't take the loss back: a reply that comes nevertheless is
    /// late.
    pub fn refused_for_good(&mut self, number: u64) -> bool {
        let is_awaited = self.lose(number, false);
        self.counts.refused += u64::from(is_awaited);
        is_awaited
    }

    /// Records an error that does not say of which datagram it is. Each that is awaited stays
    /// so. Returns whether any is.
    pub fn unnamed_error(&mut self) -> bool {
        let is_any_awaited = self.awaited > 0;
        self.counts.unnamed_errors += u64::from(is_any_awaited);
        is_any_awaited
    }

    fn lose(&mut self, number: u64, refused: bool) -> bool {
        let is_awaited = self.is_awaited(number);
        if is_awaited {
            self.end(number, Outcome::Lost { refused });
            self.counts.lost += 1;
        }
        is_awaited
    }

    /// The datagrams whose time-out is over now are lost. Returns their numbers.
    pub fn expire(&mut self, now: u64) -> Vec<u64> {
        std::iter::from_fn(|| self.expire_one(now)).collect()
    }

    /// The oldest datagram whose time-out is over now is lost. Returns its number.
    pub fn expire_one(&mut self, now: u64) -> Option<u64> {
        let (number, _) = self.oldest().filter(|&(_, deadline)| deadline <= now)?;
        self.lose(number, false);
        Some(number)
    }

    /// Whether this datagram is remembered.
    pub fn remembers(&self, number: u64) -> bool {
        self.get(number).is_some()
    }

    /// When this datagram was sent, if it is awaited.
    pub fn sent_at(&self, number: u64) -> Option<u64> {
        let sent = self.get(number)?;
        (sent.outcome == Outcome::Awaited).then_some(sent.at)
    }

    /// When the oldest awaited datagram is lost.
    pub fn deadline(&self) -> Option<u64> {
        self.oldest().map(|(_, deadline)| deadline)
    }

    /// The datagram that a reply without bytes is taken for: the oldest awaited one, else the
    /// latest lost one, else the latest.
    pub fn presumed(&self) -> Option<u64> {
        let is_lost = |number: &u64| self.is_lost(*number);
        let oldest = self.oldest().map(|(number, _)| number);
        let lost = || (self.first..self.next()).rev().find(is_lost);
        let latest = || {
            self.next()
                .checked_sub(1)
                .filter(|&last| last >= self.first)
        };
        oldest.or_else(lost).or_else(latest)
    }

    /// The datagram that is awaited, if it is one alone.
    pub fn sole_awaited(&self) -> Option<u64> {
        let oldest = self.oldest().map(|(number, _)| number);
        oldest.filter(|_| self.awaited == 1)
    }

    /// How many datagrams there are from the oldest awaited one on: all of them are remembered.
    pub fn span(&self) -> u64 {
        self.next() - self.awaited_from
    }

    fn oldest(&self) -> Option<(u64, u64)> {
        let sent = self.get(self.awaited_from)?;
        Some((self.awaited_from, sent.at.saturating_add(self.timeout)))
    }

    fn get(&self, number: u64) -> Option<&Sent> {
        let place = number.checked_sub(self.first)?;
        self.sent.get(usize::try_from(place).ok()?)
    }

    fn is_awaited(&self, number: u64) -> bool {
        self.get(number)
            .is_some_and(|it| it.outcome == Outcome::Awaited)
    }

    fn end(&mut self, number: u64, outcome: Outcome) {
        self.awaited -= u64::from(self.is_awaited(number));
        self.sent[(number - self.first) as usize].outcome = outcome;
        self.skip_ended();
    }

    fn skip_ended(&mut self) {
        while self.awaited_from < self.next() && !self.is_awaited(self.awaited_from) {
            self.awaited_from += 1;
        }
    }
}

#[cfg(test)]
mod tests;
