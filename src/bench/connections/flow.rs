//! One connection's stream: the messages to send and in flight, and the check
//! that the echo equals what was sent. It does no I/O.
//!
//! Messages follow one another in the stream, and their bytes follow from their
//! offset in it ([`Pattern`]). So a connection stores offsets and times but no
//! bytes, however many are in flight.

use std::collections::VecDeque;

use super::fault::{Difference, Fault, SAMPLE};
use crate::bench::message::Message;
use crate::bench::recorder::Recorder;
use crate::probe::pattern::{Damage, Pattern};

/// Bytes that differ from those sent and are not explained yet.
#[derive(Debug)]
struct Unexplained {
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
    /// Messages that are not back completely, in the stream's order.
    messages: VecDeque<Message>,
    /// How many of them are in flight, from the first on; the others wait to be sent.
    in_flight: usize,
    /// The offset at which the first of them begins.
    start: u64,
    /// Bytes from this offset on count.
    counted_from: u64,
    /// The offset behind the last byte that was changed.
    changed_until: u64,
    /// Something came back while load was measured, also on a connection before this one.
    has_echo: bool,
    unexplained: Option<Box<Unexplained>>,
}

impl Flow {
    pub(super) const fn new(connection: u64) -> Self {
        Self {
            connection,
            sent: 0,
            received: 0,
            messages: VecDeque::new(),
            in_flight: 0,
            start: 0,
            counted_from: u64::MAX,
            changed_until: 0,
            has_echo: false,
            unexplained: None,
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

    /// Messages that are not back completely.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether something came back while load was measured.
    pub(super) const fn has_echo(&self) -> bool {
        self.has_echo
    }

    /// The message that has been in flight for the longest time.
    pub(super) fn oldest(&self) -> Option<&Message> {
        self.messages.front().filter(|_| self.in_flight > 0)
    }

    /// Of the oldest message in flight: how many bytes are back, and its size.
    pub(super) fn oldest_bytes(&self) -> (u64, u64) {
        let end = self.oldest().map_or(self.start, |message| message.end);
        (self.received - self.start, end - self.start)
    }

    /// Since when bytes wait to be explained.
    pub(super) fn unexplained_since(&self) -> Option<u64> {
        self.unexplained
            .as_ref()
            .map(|unexplained| unexplained.since)
    }

    /// Queues a message of `size` bytes.
    pub(super) fn push(&mut self, size: u64, due: u64, recorder: &mut Recorder) {
        let start = self.end();
        if recorder.will_count(due) {
            self.counted_from = self.counted_from.min(start);
        }
        recorder.queued();
        self.messages.push_back(Message {
            end: start.saturating_add(size),
            due,
            sent: 0,
        });
    }

    /// All bytes sent from now on count, also those of a message that does not count.
    pub(super) fn count_from_here(&mut self) {
        self.counted_from = self.counted_from.min(self.sent);
    }

    /// Messages that wait to be sent count from now on, up to `budget` of them; with
    /// `droppable`, the others are dropped. Returns how many count.
    pub(super) fn count_queued(
        &mut self,
        budget: u64,
        droppable: bool,
        recorder: &mut Recorder,
    ) -> u64 {
        let queued = &self.messages.make_contiguous()[self.in_flight..];
        let early = queued
            .iter()
            .filter(|message| !recorder.counts(message.due));
        let early = early.count();
        if early == 0 {
            return 0;
        }
        self.counted_from = self.counted_from.min(self.in_flight_end());
        let kept = early.min(usize::try_from(budget).unwrap_or(usize::MAX));
        if droppable && kept < early {
            self.drop_queued(self.in_flight + kept, self.in_flight + early, recorder);
        }
        kept as u64
    }

    /// Drops queued messages, from number `from` to before `to`. Those behind them move up.
    fn drop_queued(&mut self, from: usize, to: usize, recorder: &mut Recorder) {
        let start = match from.checked_sub(1) {
            Some(before) => self.messages[before].end,
            None => self.start,
        };
        let bytes = self.messages[to - 1].end - start;
        self.messages.drain(from..to);
        for message in self.messages.range_mut(from..) {
            message.end -= bytes;
        }
        recorder.dropped(to - from);
    }

    /// The offset at which the last message ends.
    fn end(&self) -> u64 {
        self.messages
            .back()
            .map_or(self.start, |message| message.end)
    }

    /// The offset at which the last message in flight ends.
    fn in_flight_end(&self) -> u64 {
        match self.in_flight {
            0 => self.start,
            in_flight => self.messages[in_flight - 1].end,
        }
    }

    /// How many bytes may be sent with at most `depth` messages in flight.
    pub(super) fn sendable(&self, depth: usize) -> u64 {
        let last = depth.min(self.messages.len());
        match last.checked_sub(1) {
            Some(last) => self.messages[last].end - self.sent,
            None => 0,
        }
    }

    /// The socket took `bytes` at the time `at`.
    pub(super) fn wrote(&mut self, bytes: u64, at: u64, recorder: &mut Recorder) {
        let before = self.sent;
        self.sent += bytes;
        let mut start = self.in_flight_end();
        while start < self.sent {
            let message = &mut self.messages[self.in_flight];
            message.sent = at;
            start = message.end;
            self.in_flight += 1;
            recorder.first_byte_sent(message);
        }
        recorder.sent_bytes(self.counted(before, self.sent));
    }

    /// How many of the bytes from offset `from` to `to` count.
    fn counted(&self, from: u64, to: u64) -> u64 {
        to.saturating_sub(from.max(self.counted_from))
    }

    /// Checks bytes that came at the time `at`. Every fault is passed to `report`.
    /// Returns whether the offset in the stream is still known.
    pub(super) fn receive(
        &mut self,
        pattern: &Pattern,
        bytes: &[u8],
        at: u64,
        recorder: &mut Recorder,
        report: &mut impl FnMut(&mut Recorder, Fault),
    ) -> bool {
        let Some(mut unexplained) = self.unexplained.take() else {
            return self.compare(pattern, bytes, (at, at, false), recorder, report);
        };
        unexplained.bytes.extend_from_slice(bytes);
        let times = (unexplained.since, at, false);
        self.compare(pattern, &unexplained.bytes, times, recorder, report)
    }

    /// Explains the bytes that wait for it, as no more are awaited. Returns whether
    /// the offset in the stream is still known.
    pub(super) fn resolve(
        &mut self,
        pattern: &Pattern,
        recorder: &mut Recorder,
        report: &mut impl FnMut(&mut Recorder, Fault),
    ) -> bool {
        let Some(unexplained) = self.unexplained.take() else {
            return true;
        };
        let times = (unexplained.since, unexplained.until, true);
        self.compare(pattern, &unexplained.bytes, times, recorder, report)
    }

    /// Compares bytes, which came from `since` to `at`, with those sent. With
    /// `no_more`, no bytes are awaited behind them.
    fn compare(
        &mut self,
        pattern: &Pattern,
        mut bytes: &[u8],
        (since, at, no_more): (u64, u64, bool),
        recorder: &mut Recorder,
        report: &mut impl FnMut(&mut Recorder, Fault),
    ) -> bool {
        loop {
            let expected = &bytes[..self.unechoed().min(bytes.len())];
            let good = pattern
                .first_difference(self.connection, self.received, expected)
                .unwrap_or(expected.len());
            self.advance(good, 0, at, recorder);
            bytes = &bytes[good..];
            if bytes.is_empty() {
                return true;
            }
            let difference = Difference {
                connection: self.connection,
                position: self.received,
                unechoed: self.sent - self.received,
            };
            let Some(damage) = difference.explain(pattern, bytes, no_more) else {
                self.unexplained = Some(Box::new(Unexplained {
                    bytes: bytes.to_vec(),
                    since,
                    until: at,
                }));
                return true;
            };
            report(recorder, difference.fault(pattern, bytes, damage));
            if damage != Damage::Changed {
                return false;
            }
            let skipped = self.skip(pattern, bytes, at, recorder);
            bytes = &bytes[skipped..];
        }
    }

    /// How many bytes were sent and are not back.
    fn unechoed(&self) -> usize {
        usize::try_from(self.sent - self.received).unwrap_or(usize::MAX)
    }

    /// Skips a fault at which bytes were changed. Returns its length.
    fn skip(&mut self, pattern: &Pattern, bytes: &[u8], at: u64, recorder: &mut Recorder) -> usize {
        let place = &bytes[..bytes.len().min(SAMPLE).min(self.unechoed())];
        let mut expected = [0; SAMPLE];
        let expected = &mut expected[..place.len()];
        pattern.fill(self.connection, self.received, expected);
        let pairs = place.iter().zip(&*expected);
        let wrong = pairs
            .clone()
            .rposition(|(a, b)| a != b)
            .map_or(0, |last| last + 1);
        self.changed_until = self.received + wrong as u64;
        self.advance(place.len(), wrong, at, recorder);
        place.len()
    }

    /// Advances by `bytes`, the first `wrong` of which differ from those sent.
    fn advance(&mut self, bytes: usize, wrong: usize, at: u64, recorder: &mut Recorder) {
        let right = self.received + wrong as u64;
        self.received += bytes as u64;
        let counted = self.counted(right, self.received);
        recorder.verified((bytes - wrong) as u64, counted, at);
        self.has_echo |= bytes > wrong && recorder.is_in_time(at);
        while let Some(message) = self.messages.front()
            && message.end <= self.received
        {
            recorder.echoed(message, self.start >= self.changed_until, at);
            self.start = message.end;
            self.in_flight -= 1;
            self.messages.pop_front();
        }
    }

    /// Drops the messages that are not in flight; an endless message ends at the
    /// last byte sent.
    pub(super) fn drop_unsent(&mut self, endless: bool, now: u64, recorder: &mut Recorder) {
        for message in self.messages.drain(self.in_flight..) {
            recorder.unsent(&message, now);
        }
        if endless && let Some(message) = self.messages.back_mut() {
            message.end = self.sent;
            // It may be back completely already, with no further read to notice it.
            self.advance(0, 0, now, recorder);
        }
    }

    /// The connection has ended: what was in flight is lost. Returns how many bytes
    /// were lost, and how many of them count.
    pub(super) fn lose(
        &mut self,
        timed_out: bool,
        now: u64,
        recorder: &mut Recorder,
    ) -> (u64, u64) {
        self.count_unanswered(now, recorder);
        for message in self.messages.drain(..self.in_flight) {
            self.start = message.end;
            recorder.lost(&message, timed_out, now);
        }
        self.in_flight = 0;
        let counted = self.counted(self.received, self.sent);
        (self.sent - self.received, counted)
    }

    /// Bytes that never come back count as sent, even if they were sent in the warm-up.
    fn count_unanswered(&mut self, now: u64, recorder: &mut Recorder) {
        if recorder.counts_unanswered(0, now) {
            let uncounted = self.counted_from.min(self.sent);
            recorder.sent_bytes(uncounted.saturating_sub(self.received));
            self.counted_from = self.counted_from.min(self.received);
        }
    }

    /// Continues on connection `number`, whose stream begins with the messages that
    /// wait to be sent.
    pub(super) fn restart(&mut self, number: u64, recorder: &Recorder) {
        let base = self.start;
        let mut messages = std::mem::take(&mut self.messages);
        let mut counted_from = u64::MAX;
        let mut start = 0;
        for message in &mut messages {
            message.end -= base;
            if recorder.will_count(message.due) {
                counted_from = counted_from.min(start);
            }
            start = message.end;
        }
        *self = Self {
            messages,
            counted_from,
            has_echo: self.has_echo,
            ..Self::new(number)
        };
    }

    /// The run is over: messages in flight count with their age.
    pub(super) fn end_run(&mut self, now: u64, recorder: &mut Recorder) {
        self.count_unanswered(now, recorder);
        for message in self.messages.drain(..) {
            recorder.in_flight(&message, now);
        }
        self.in_flight = 0;
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;
    use proptest::prelude::*;

    use super::*;
    use crate::bench::recorder::PartsChannel;

    const RUN: Pattern = Pattern::new(7);

    fn new_recorder() -> Recorder {
        let (parts, _) = unbounded();
        let (_, spares) = unbounded();
        let mut recorder = Recorder::new(0, true, false, PartsChannel { parts, spares });
        recorder.begin(0, 0);
        recorder
    }

    /// A flow with messages of these sizes, all sent.
    fn sent(sizes: &[u64], recorder: &mut Recorder) -> Flow {
        let mut flow = Flow::new(3);
        for size in sizes {
            flow.push(*size, 0, recorder);
        }
        flow.wrote(sizes.iter().sum(), 1, recorder);
        flow
    }

    fn bytes(position: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        RUN.fill(3, position, &mut bytes);
        bytes
    }

    /// Receives bytes, and then no more. Returns the faults, and whether the
    /// offset in the stream is still known.
    fn receive_all(
        flow: &mut Flow,
        bytes: &[u8],
        recorder: &mut Recorder,
    ) -> (Vec<(u64, Damage)>, bool) {
        let mut faults = Vec::new();
        let mut report =
            |_: &mut Recorder, fault: Fault| faults.push((fault.position, fault.damage));
        let known = flow.receive(&RUN, bytes, 2, recorder, &mut report)
            && flow.resolve(&RUN, recorder, &mut report);
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
            let mut recorder = new_recorder();
            let mut flow = Flow::new(3);
            let ends: Vec<u64> = sizes
                .iter()
                .scan(0, |end, size| {
                    *end += size;
                    Some(*end)
                })
                .collect();
            for size in &sizes {
                flow.push(*size, 0, &mut recorder);
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
                flow.wrote(write, time as u64, &mut recorder);
                let read = read.min(flow.sent() - flow.received());
                let came = bytes(flow.received(), usize::try_from(read).unwrap());
                prop_assert_eq!(receive_all(&mut flow, &came, &mut recorder), (Vec::new(), true));
                let back = back_by(flow.received());
                prop_assert_eq!(flow.len(), ends.len() - back);
                let totals = &recorder.measured().totals;
                prop_assert_eq!(totals.sent, begun_by(flow.sent()) as u64);
                prop_assert_eq!(totals.echoed, back as u64);
                prop_assert_eq!(totals.sent_bytes, flow.sent());
                prop_assert_eq!(totals.echoed_bytes, flow.received());
            }
            let (sent, received) = (flow.sent(), flow.received());
            let in_flight = begun_by(sent) - back_by(received);
            flow.drop_unsent(false, 9, &mut recorder);
            prop_assert_eq!(flow.lose(false, 9, &mut recorder).1, sent - received);
            prop_assert_eq!(recorder.measured().totals.lost, in_flight as u64);
            prop_assert_eq!(recorder.outstanding(), 0);
        }

        #[test]
        fn damage_is_reported_with_its_offset_however_the_bytes_are_cut(
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
                let mut recorder = new_recorder();
                let mut flow = sent(&[3000], &mut recorder);
                let (one, two) = came.split_at(cut.min(came.len()));
                let mut faults = Vec::new();
                let mut report = |_: &mut Recorder, fault: Fault| faults.push(fault);
                let known = flow.receive(&RUN, one, 2, &mut recorder, &mut report)
                    && flow.receive(&RUN, two, 3, &mut recorder, &mut report)
                    && flow.resolve(&RUN, &mut recorder, &mut report);
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
    fn queued_messages_of_the_warm_up_count_up_to_the_budget_and_the_others_are_dropped() {
        let mut recorder = new_recorder();
        recorder.begin(0, 100);
        let mut flow = Flow::new(3);
        // The last one was due when load was measured already.
        for (size, due) in [(10, 1), (20, 2), (30, 3), (40, 4), (50, 100)] {
            flow.push(size, due, &mut recorder);
        }
        flow.wrote(10, 50, &mut recorder);
        recorder.begin_measuring(50);
        assert_eq!(flow.count_queued(2, true, &mut recorder), 2);
        assert_eq!((flow.len(), recorder.outstanding()), (4, 4));
        assert_eq!(flow.sendable(9), 20 + 30 + 50);
        flow.wrote(100, 101, &mut recorder);
        let echo = bytes(0, 110);
        assert_eq!(receive_all(&mut flow, &echo, &mut recorder), (vec![], true));
        let totals = &recorder.measured().totals;
        assert_eq!((totals.sent, totals.echoed), (3, 3));
        assert_eq!((totals.sent_bytes, totals.echoed_bytes), (100, 100));
        assert_eq!(recorder.outstanding(), 0);
    }

    #[test]
    fn a_changed_message_is_not_echoed_and_the_others_are() {
        let mut recorder = new_recorder();
        let mut flow = sent(&[100, 100, 100], &mut recorder);
        let mut came = bytes(0, 300);
        came[150] ^= 1;
        came[170] ^= 1;
        let faults = vec![(150, Damage::Changed)];
        assert_eq!(receive_all(&mut flow, &came, &mut recorder), (faults, true));
        assert_eq!(flow.len(), 0);
        assert_eq!(recorder.outstanding(), 0);
        assert_eq!(recorder.measured().totals.echoed, 2);
        assert_eq!(recorder.measured().totals.echoed_bytes, 300 - 21);
    }

    #[test]
    fn a_loss_or_repetition_in_one_short_message_is_found_by_its_length() {
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
            let mut recorder = new_recorder();
            let mut flow = sent(&[16], &mut recorder);
            let (faults, _) = receive_all(&mut flow, &came, &mut recorder);
            assert_eq!(faults, [fault]);
        }
    }

    #[test]
    fn a_block_that_is_changed_throughout_is_many_faults() {
        let mut recorder = new_recorder();
        let mut flow = sent(&[1 << 20], &mut recorder);
        let changed: Vec<u8> = bytes(0, 1 << 20)
            .iter()
            .enumerate()
            .map(|(at, byte)| byte ^ u8::from(at % 2 == 0))
            .collect();
        let (faults, known) = receive_all(&mut flow, &changed, &mut recorder);
        assert!(known);
        assert_eq!(faults.len(), (1 << 20) / SAMPLE);
    }

    #[test]
    fn messages_that_waited_are_sent_on_the_next_connection() {
        let mut recorder = new_recorder();
        let mut flow = Flow::new(3);
        for size in [10, 20, 30] {
            flow.push(size, 0, &mut recorder);
        }
        flow.wrote(5, 1, &mut recorder);
        assert_eq!(flow.lose(false, 2, &mut recorder), (5, 5));
        flow.restart(4, &recorder);
        assert_eq!((flow.connection(), flow.sent(), flow.received()), (4, 0, 0));
        assert_eq!((flow.sendable(1), flow.sendable(9)), (20, 50));
        assert_eq!(recorder.measured().totals.lost, 1);
        assert_eq!(recorder.outstanding(), 2);
    }

    #[test]
    fn an_endless_message_ends_at_the_last_byte_sent() {
        let mut recorder = new_recorder();
        let mut flow = Flow::new(3);
        flow.push(u64::MAX / 2, 0, &mut recorder);
        flow.wrote(100, 1, &mut recorder);
        let (faults, known) = receive_all(&mut flow, &bytes(0, 60), &mut recorder);
        assert_eq!((faults.len(), known), (0, true));
        flow.drop_unsent(true, 5, &mut recorder);
        assert_eq!((flow.sendable(1), recorder.outstanding()), (0, 1));
        receive_all(&mut flow, &bytes(60, 40), &mut recorder);
        assert_eq!(recorder.outstanding(), 0);
    }
}
