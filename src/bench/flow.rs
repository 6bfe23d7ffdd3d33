//! One connection's stream: what is to be sent, what is on its way, and whether
//! what comes back is what was sent. It does no I/O.
//!
//! Messages lie in the stream one behind another, and their bytes follow from
//! their place in it ([`Pattern`]). So a connection keeps positions and times,
//! and no bytes, however much is on its way.

use std::collections::VecDeque;

use super::fault::{Difference, Fault, STRANGE};
use super::message::Message;
use super::recorder::Recorder;
use crate::probe::pattern::{Damage, Pattern};

/// Bytes that came where others should have, until it is clear why.
#[derive(Debug)]
struct Strange {
    bytes: Vec<u8>,
    /// When the first of them came.
    since: u64,
    /// When the last of them came.
    until: u64,
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
            let difference = Difference {
                connection: self.connection,
                position: self.received,
                owed: self.sent - self.received,
            };
            let Some(damage) = difference.explain(pattern, bytes, no_more) else {
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

    /// Moves on by `bytes`, the first `wrong` of which are not as they should be.
    fn advance(&mut self, bytes: usize, wrong: usize, at: u64, record: &mut Recorder) {
        let right = self.received + wrong as u64;
        self.received += bytes as u64;
        let counted = self.counted(right, self.received);
        record.verified((bytes - wrong) as u64, counted, at);
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
            record.unsent(&message, now);
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
        self.count_unanswered(now, record);
        for message in self.messages.drain(..self.begun) {
            self.start = message.end;
            record.lost(&message, in_vain, now);
        }
        self.begun = 0;
        let counted = self.counted(self.received, self.sent);
        (self.sent - self.received, counted)
    }

    /// Bytes that never come back count as sent even if that was in the warm-up.
    fn count_unanswered(&mut self, now: u64, record: &mut Recorder) {
        if record.counts_unanswered(0, now) {
            let uncounted = self.counted_from.min(self.sent);
            record.sent_bytes(uncounted.saturating_sub(self.received));
            self.counted_from = self.counted_from.min(self.received);
        }
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
        self.count_unanswered(now, record);
        for message in self.messages.drain(..) {
            record.in_flight(&message, now);
        }
        self.begun = 0;
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;
    use proptest::prelude::*;

    use super::*;
    use crate::bench::recorder::PartsChannel;

    const RUN: Pattern = Pattern::new(7);

    fn recorder() -> Recorder {
        let (parts, _) = unbounded();
        let (_, spares) = unbounded();
        let mut record = Recorder::new(0, true, false, PartsChannel { parts, spares });
        record.begin(0, 0);
        record
    }

    /// A flow with messages of these sizes, all sent.
    fn sent(sizes: &[u64], record: &mut Recorder) -> Flow {
        let mut flow = Flow::new(3);
        for size in sizes {
            flow.push(*size, 0, record);
        }
        flow.wrote(sizes.iter().sum(), 1, record);
        flow
    }

    fn bytes(position: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        RUN.fill(3, position, &mut bytes);
        bytes
    }

    /// Lets bytes come, and then no more. Returns the faults, and whether the
    /// place in the stream is still known.
    fn come(flow: &mut Flow, bytes: &[u8], record: &mut Recorder) -> (Vec<(u64, Damage)>, bool) {
        let mut faults = Vec::new();
        let mut tell = |_: &mut Recorder, fault: Fault| faults.push((fault.position, fault.damage));
        let known =
            flow.take(&RUN, bytes, 2, record, &mut tell) && flow.judge(&RUN, record, &mut tell);
        (faults, known)
    }

    proptest! {
        /// The model: messages are those of which all bytes are back, however
        /// writes and reads are cut.
        #[test]
        fn messages_are_counted_however_writes_and_reads_are_cut(
            sizes in prop::collection::vec(1..300_u64, 1..20),
            depth in 1..5_usize,
            cuts in prop::collection::vec((1..200_u64, 1..200_u64), 1..200),
        ) {
            let mut record = recorder();
            let mut flow = Flow::new(3);
            let ends: Vec<u64> = sizes
                .iter()
                .scan(0, |end, size| {
                    *end += size;
                    Some(*end)
                })
                .collect();
            for size in &sizes {
                flow.push(*size, 0, &mut record);
            }
            let begun_by = |sent: u64| {
                let starts = std::iter::once(0).chain(ends.iter().copied());
                starts.take(ends.len()).filter(|start| *start < sent).count()
            };
            let back_by = |received: u64| ends.iter().filter(|end| **end <= received).count();
            for (time, (write, read)) in cuts.into_iter().enumerate() {
                let allowed = ends[(back_by(flow.received()) + depth).min(ends.len()) - 1];
                prop_assert_eq!(flow.sendable(depth), allowed - flow.sent());
                let write = write.min(flow.sendable(depth));
                flow.wrote(write, time as u64, &mut record);
                let read = read.min(flow.sent() - flow.received());
                let came = bytes(flow.received(), usize::try_from(read).unwrap());
                prop_assert_eq!(come(&mut flow, &came, &mut record), (Vec::new(), true));
                let back = back_by(flow.received());
                prop_assert_eq!(flow.len(), ends.len() - back);
                let totals = &record.measured().totals;
                prop_assert_eq!(totals.sent, begun_by(flow.sent()) as u64);
                prop_assert_eq!(totals.echoed, back as u64);
                prop_assert_eq!(totals.sent_bytes, flow.sent());
                prop_assert_eq!(totals.echoed_bytes, flow.received());
            }
            let (sent, received) = (flow.sent(), flow.received());
            let begun = begun_by(sent) - back_by(received);
            flow.cut(false, 9, &mut record);
            prop_assert_eq!(flow.lose(false, 9, &mut record).1, sent - received);
            prop_assert_eq!(record.measured().totals.lost, begun as u64);
            prop_assert_eq!(record.outstanding(), 0);
        }

        #[test]
        fn damage_is_told_with_its_place_however_the_bytes_are_cut(
            at in 0..2000_usize,
            count in 1..100_usize,
            cut in 0..3000_usize,
        ) {
            let stream = bytes(0, 3000);
            let with = |middle: &[u8], after: usize| {
                [&stream[..at], middle, &stream[after..]].concat()
            };
            let flipped: Vec<u8> = stream[at..=at].iter().map(|byte| byte ^ 0x10).collect();
            let lost = count as u64;
            for (came, damage) in [
                (with(&flipped, at + 1), Damage::Changed),
                (with(&[], at + count), Damage::Lost { bytes: lost }),
                (with(&stream[at..at + count], at), Damage::Repeated { bytes: lost }),
            ] {
                let mut record = recorder();
                let mut flow = sent(&[3000], &mut record);
                let (one, two) = came.split_at(cut.min(came.len()));
                let mut faults = Vec::new();
                let mut tell = |_: &mut Recorder, fault: Fault| faults.push(fault);
                let known = flow.take(&RUN, one, 2, &mut record, &mut tell)
                    && flow.take(&RUN, two, 3, &mut record, &mut tell)
                    && flow.judge(&RUN, &mut record, &mut tell);
                prop_assert_eq!(known, damage == Damage::Changed);
                prop_assert_eq!(faults.len(), 1);
                prop_assert_eq!(faults[0].damage, damage_from(&faults[0], at, damage));
            }
        }
    }

    /// Where bytes are equal by chance, the difference is found a few bytes later.
    fn damage_from(fault: &Fault, at: usize, damage: Damage) -> Damage {
        let position = usize::try_from(fault.position).unwrap();
        match damage {
            Damage::Changed => assert_eq!(position, at),
            _ => assert!((at..at + 200).contains(&position), "{position}, not {at}"),
        }
        damage
    }

    #[test]
    fn a_changed_message_is_not_echoed_and_the_others_are() {
        let mut record = recorder();
        let mut flow = sent(&[100, 100, 100], &mut record);
        let mut came = bytes(0, 300);
        came[150] ^= 1;
        came[170] ^= 1;
        let faults = vec![(150, Damage::Changed)];
        assert_eq!(come(&mut flow, &came, &mut record), (faults, true));
        assert_eq!(flow.len(), 0);
        assert_eq!(record.outstanding(), 0);
        assert_eq!(record.measured().totals.echoed, 2);
        assert_eq!(record.measured().totals.echoed_bytes, 300 - 21);
    }

    #[test]
    fn what_one_short_message_lacks_or_repeats_is_told_by_its_length() {
        let stream = bytes(0, 16);
        let mut changed = stream.clone();
        changed[15] ^= 1;
        for (came, fault) in [
            (changed, (15, Damage::Changed)),
            (
                [&stream[..5], &stream[7..]].concat(),
                (5, Damage::Lost { bytes: 2 }),
            ),
            (
                [&stream[..8], &stream[4..]].concat(),
                (8, Damage::Repeated { bytes: 4 }),
            ),
            ([&stream[..], &[0]].concat(), (16, Damage::Unknown)),
            (
                [&stream[..], &stream[12..]].concat(),
                (16, Damage::Repeated { bytes: 4 }),
            ),
        ] {
            let mut record = recorder();
            let mut flow = sent(&[16], &mut record);
            let (faults, _) = come(&mut flow, &came, &mut record);
            assert_eq!(faults, [fault]);
        }
    }

    #[test]
    fn a_block_that_is_changed_throughout_is_many_places() {
        let mut record = recorder();
        let mut flow = sent(&[1 << 20], &mut record);
        let changed: Vec<u8> = bytes(0, 1 << 20)
            .iter()
            .enumerate()
            .map(|(at, byte)| byte ^ u8::from(at % 2 == 0))
            .collect();
        let (faults, known) = come(&mut flow, &changed, &mut record);
        assert!(known);
        assert_eq!(faults.len(), (1 << 20) / STRANGE);
    }

    #[test]
    fn what_waited_goes_out_on_the_next_connection() {
        let mut record = recorder();
        let mut flow = Flow::new(3);
        for size in [10, 20, 30] {
            flow.push(size, 0, &mut record);
        }
        flow.wrote(5, 1, &mut record);
        assert_eq!(flow.lose(false, 2, &mut record), (5, 5));
        flow.renew(4, &record);
        assert_eq!((flow.connection(), flow.sent(), flow.received()), (4, 0, 0));
        assert_eq!((flow.sendable(1), flow.sendable(9)), (20, 50));
        assert_eq!(record.measured().totals.lost, 1);
        assert_eq!(record.outstanding(), 2);
    }

    #[test]
    fn an_endless_message_ends_where_it_is_cut() {
        let mut record = recorder();
        let mut flow = Flow::new(3);
        flow.push(u64::MAX / 2, 0, &mut record);
        flow.wrote(100, 1, &mut record);
        let (faults, known) = come(&mut flow, &bytes(0, 60), &mut record);
        assert_eq!((faults.len(), known), (0, true));
        flow.cut(true, 5, &mut record);
        assert_eq!((flow.sendable(1), record.outstanding()), (0, 1));
        come(&mut flow, &bytes(60, 40), &mut record);
        assert_eq!(record.outstanding(), 0);
    }
}
