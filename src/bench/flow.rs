//! One connection's stream: what is to be sent, what is on its way, and whether
//! what comes back is what was sent. It does no I/O.
//!
//! Messages lie in the stream one behind another, and their bytes follow from
//! their place in it ([`Pattern`]). So a connection keeps positions and times,
//! and no bytes, however much is on its way.

use std::collections::VecDeque;

use super::recorder::Recorder;
use crate::pattern::{Damage, Pattern, WINDOW};

/// So many bytes from the first wrong one on are looked at as one place, and
/// awaited before it is explained.
const STRANGE: usize = 64;

/// One message, from its place in the schedule to its last byte back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Where it ends in the stream.
    pub(super) end: u64,
    /// When it should be sent.
    pub(super) due: u64,
    /// When its first byte was sent.
    pub(super) sent: u64,
}

/// Bytes that came where others should have, until it is clear why.
#[derive(Debug)]
struct Strange {
    bytes: Vec<u8>,
    /// When the first of them came.
    since: u64,
    /// When the last of them came.
    until: u64,
}

/// A place at which the stream was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// In the connection's stream.
    pub(super) position: u64,
    /// How.
    pub(super) damage: Damage,
}

/// One connection's stream.
#[derive(Debug)]
pub(super) struct Flow {
    /// The connection's number.
    connection: u64,
    /// Bytes that the socket has taken.
    sent: u64,
    /// Bytes that have come back.
    received: u64,
    /// Those not back yet, in the stream's order.
    messages: VecDeque<Message>,
    /// So many of them are on their way; the others wait their turn.
    begun: usize,
    /// Where the first of them begins.
    start: u64,
    /// Bytes from there on count; until then no message does.
    counted_from: u64,
    /// Up to there bytes were changed.
    spoiled: u64,
    strange: Option<Box<Strange>>,
}

impl Flow {
    pub(super) const fn new(connection: u64) -> Self {
        Self {
            connection,
            sent: 0,
            received: 0,
            messages: VecDeque::new(),
            begun: 0,
            start: 0,
            counted_from: u64::MAX,
            spoiled: 0,
            strange: None,
        }
    }

    /// The connection's number.
    pub(super) const fn connection(&self) -> u64 {
        self.connection
    }

    /// Bytes that the socket has taken.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes that have come back.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// Messages not back yet.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The message that has been on its way for the longest time.
    pub(super) fn oldest(&self) -> Option<&Message> {
        self.messages.front().filter(|_| self.begun > 0)
    }

    /// Of the oldest message: how many bytes are back, and how many it has.
    pub(super) fn oldest_bytes(&self) -> (u64, u64) {
        let end = self.oldest().map_or(self.start, |message| message.end);
        (self.received - self.start, end - self.start)
    }

    /// Since when strange bytes wait to be explained.
    pub(super) fn strange_since(&self) -> Option<u64> {
        self.strange.as_ref().map(|strange| strange.since)
    }

    /// Queues a message of `size` bytes.
    pub(super) fn push(&mut self, size: u64, due: u64, record: &mut Recorder) {
        let start = self.end();
        if record.counts(due) {
            self.counted_from = self.counted_from.min(start);
        }
        record.queued();
        self.messages.push_back(Message {
            end: start.saturating_add(size),
            due,
            sent: 0,
        });
    }

    /// From now on all bytes count, also those of a message that does not.
    pub(super) fn count_from_here(&mut self) {
        self.counted_from = self.counted_from.min(self.sent);
    }

    /// Where the last message ends.
    fn end(&self) -> u64 {
        self.messages
            .back()
            .map_or(self.start, |message| message.end)
    }

    /// Where the last message on its way ends.
    fn begun_end(&self) -> u64 {
        match self.begun {
            0 => self.start,
            begun => self.messages[begun - 1].end,
        }
    }

    /// How many bytes may be sent with at most `depth` messages on their way.
    pub(super) fn sendable(&self, depth: usize) -> u64 {
        let last = depth.min(self.messages.len());
        match last.checked_sub(1) {
            Some(last) => self.messages[last].end - self.sent,
            None => 0,
        }
    }

    /// The socket took `bytes` at the time `at`.
    pub(super) fn wrote(&mut self, bytes: u64, at: u64, record: &mut Recorder) {
        let before = self.sent;
        self.sent += bytes;
        let mut start = self.begun_end();
        while start < self.sent {
            let message = &mut self.messages[self.begun];
            message.sent = at;
            start = message.end;
            self.begun += 1;
            record.begun(message);
        }
        record.sent_bytes(self.counted(before, self.sent));
    }

    /// How many of these bytes count.
    fn counted(&self, from: u64, to: u64) -> u64 {
        to.saturating_sub(from.max(self.counted_from))
    }

    /// Takes what came at the time `at`. Every damaged place is handed to
    /// `tell`. Returns whether the place in the stream is still known.
    pub(super) fn take(
        &mut self,
        pattern: &Pattern,
        bytes: &[u8],
        at: u64,
        record: &mut Recorder,
        tell: &mut impl FnMut(&mut Recorder, Fault),
    ) -> bool {
        let Some(mut strange) = self.strange.take() else {
            return self.compare(pattern, bytes, (at, at, false), record, tell);
        };
        strange.bytes.extend_from_slice(bytes);
        let times = (strange.since, at, false);
        self.compare(pattern, &strange.bytes, times, record, tell)
    }

    /// Explains strange bytes for which no more are awaited. Returns whether
    /// the place in the stream is still known.
    pub(super) fn judge(
        &mut self,
        pattern: &Pattern,
        record: &mut Recorder,
        tell: &mut impl FnMut(&mut Recorder, Fault),
    ) -> bool {
        let Some(strange) = self.strange.take() else {
            return true;
        };
        let times = (strange.since, strange.until, true);
        self.compare(pattern, &strange.bytes, times, record, tell)
    }

    /// Compares bytes, which came from `since` to `at`, and behind which
    /// `no_more` are awaited, with what was sent.
    fn compare(
        &mut self,
        pattern: &Pattern,
        mut bytes: &[u8],
        (since, at, no_more): (u64, u64, bool),
        record: &mut Recorder,
        tell: &mut impl FnMut(&mut Recorder, Fault),
    ) -> bool {
        loop {
            let expected = &bytes[..self.owed().min(bytes.len())];
            let good = pattern
                .first_difference(self.connection, self.received, expected)
                .unwrap_or(expected.len());
            self.advance(good, 0, at, record);
            bytes = &bytes[good..];
            if bytes.is_empty() {
                return true;
            }
            let Some(damage) = self.explain(pattern, bytes, no_more) else {
                self.strange = Some(Box::new(Strange {
                    bytes: bytes.to_vec(),
                    since,
                    until: at,
                }));
                return true;
            };
            let position = self.received;
            tell(record, Fault { position, damage });
            if damage != Damage::Changed {
                return false;
            }
            let skipped = self.skip(pattern, bytes, at, record);
            bytes = &bytes[skipped..];
        }
    }

    /// Bytes that were sent and are not back.
    fn owed(&self) -> usize {
        usize::try_from(self.sent - self.received).unwrap_or(usize::MAX)
    }

    /// Moves on behind a place at which bytes were changed. Returns its length.
    fn skip(&mut self, pattern: &Pattern, bytes: &[u8], at: u64, record: &mut Recorder) -> usize {
        let place = &bytes[..bytes.len().min(STRANGE).min(self.owed())];
        let mut expected = [0; STRANGE];
        let expected = &mut expected[..place.len()];
        pattern.fill(self.connection, self.received, expected);
        let pairs = place.iter().zip(&*expected);
        let wrong = pairs
            .clone()
            .rposition(|(a, b)| a != b)
            .map_or(0, |last| last + 1);
        self.spoiled = self.received + wrong as u64;
        self.advance(place.len(), wrong, at, record);
        place.len()
    }

    /// What happened to the bytes that came at the present position, if that
    /// can be told already.
    fn explain(&self, pattern: &Pattern, bytes: &[u8], no_more: bool) -> Option<Damage> {
        let owed = self.sent - self.received;
        let sample = &bytes[..bytes.len().min(STRANGE)];
        let all_is_back = bytes.len() as u64 == owed;
        if !no_more && sample.len() < STRANGE && !all_is_back {
            return None;
        }
        let by_length = match sample.len() < WINDOW && no_more {
            true => self.explain_by_length(pattern, sample, owed),
            false => None,
        };
        let damage =
            by_length.unwrap_or_else(|| pattern.explain(self.connection, self.received, sample));
        match damage {
            // What comes behind the end can't be a changed echo of anything.
            Damage::Changed if owed == 0 => Some(Damage::Unknown),
            Damage::Changed => Some(damage),
            _ if no_more || sample.len() == STRANGE => Some(damage),
            _ => None,
        }
    }

    /// Too few bytes to tell where they are from; but if they are all, their
    /// number tells how many are missing or too many.
    fn explain_by_length(&self, pattern: &Pattern, bytes: &[u8], owed: u64) -> Option<Damage> {
        let came = bytes.len() as u64;
        let is_from = |position| {
            let difference = pattern.first_difference(self.connection, position, bytes);
            difference.is_none()
        };
        if came == owed {
            Some(Damage::Changed)
        } else if came < owed && is_from(self.received + (owed - came)) {
            let bytes = owed - came;
            Some(Damage::Lost { bytes })
        } else if came > owed && is_from(self.received.checked_sub(came - owed)?) {
            let bytes = came - owed;
            Some(Damage::Repeated { bytes })
        } else {
            None
        }
    }

    /// Moves on by `bytes`, the first `wrong` of which are not as they should be.
    fn advance(&mut self, bytes: usize, wrong: usize, at: u64, record: &mut Recorder) {
        let right = self.received + wrong as u64;
        self.received += bytes as u64;
        record.verified((bytes - wrong) as u64, self.counted(right, self.received));
        while let Some(message) = self.messages.front()
            && message.end <= self.received
        {
            record.back(message, self.start >= self.spoiled, at);
            self.start = message.end;
            self.begun -= 1;
            self.messages.pop_front();
        }
    }

    /// Nothing new is sent from now on: what has not begun is dropped, and an
    /// endless message ends where it is.
    pub(super) fn cut(&mut self, endless: bool, now: u64, record: &mut Recorder) {
        for message in self.messages.drain(self.begun..) {
            record.unsent(&message);
        }
        if endless && let Some(message) = self.messages.back_mut() {
            message.end = self.sent;
            // It may be back whole already, and nothing will come to tell.
            self.advance(0, 0, now, record);
        }
    }

    /// The connection has ended: what was on its way is lost. Returns how many
    /// bytes were, and how many of them count.
    pub(super) fn lose(&mut self, in_vain: bool, now: u64, record: &mut Recorder) -> (u64, u64) {
        for message in self.messages.drain(..self.begun) {
            self.start = message.end;
            record.lost(&message, in_vain, now);
        }
        self.begun = 0;
        let counted = self.counted(self.received, self.sent);
        (self.sent - self.received, counted)
    }

    /// Goes on as connection `number`, whose stream begins with what waits.
    pub(super) fn renew(&mut self, number: u64, record: &Recorder) {
        let base = self.start;
        let mut messages = std::mem::take(&mut self.messages);
        let mut counted_from = u64::MAX;
        let mut start = 0;
        for message in &mut messages {
            message.end -= base;
            if record.counts(message.due) {
                counted_from = counted_from.min(start);
            }
            start = message.end;
        }
        *self = Self {
            messages,
            counted_from,
            ..Self::new(number)
        };
    }

    /// The run is over: what is on its way counts with its age.
    pub(super) fn leave(&mut self, now: u64, record: &mut Recorder) {
        for message in self.messages.drain(..) {
            record.in_flight(&message, now);
        }
        self.begun = 0;
    }
}
