//! The datagrams of one flow: their content, and how each is counted.

use std::collections::VecDeque;
use std::fmt;

use super::sizes::Sizes;
use crate::bench::cause::Cause;
use crate::bench::datagram_counts::DatagramCounts;
use crate::bench::recorder::Recorder;
use crate::bench::recorder::datagrams::{Counted, Sent};
use crate::bench::results::Errors;
use crate::probe::datagram::payload::{Change, Payload, Reading};
use crate::probe::datagram::reply_log::{Reply, ReplyLog};

/// What came and is no echo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Strange {
    /// Changed, and once the datagram of this number.
    Changed(u64, Change),
    /// Nothing that this flow has sent.
    Foreign,
}

impl Strange {
    pub(super) const fn cause(&self) -> Cause {
        match self {
            Self::Changed(..) => Cause::Changed,
            Self::Foreign => Cause::Foreign,
        }
    }
}

impl fmt::Display for Strange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(number, change) => write!(f, "datagram {number}: {change}"),
            Self::Foreign => f.write_str("what came is nothing that was sent from this port"),
        }
    }
}

/// How many datagrams a flow remembers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remembered {
    /// Of those that are over.
    pub(super) over: usize,
    /// From the oldest that is awaited on.
    pub(super) awaited: u64,
}

/// The number of a flow's first datagram.
const FIRST: u64 = 1;

/// The datagrams of one flow.
#[derive(Debug)]
pub(super) struct Flow {
    payload: Payload,
    sizes: Sizes,
    reply_log: ReplyLog<()>,
    /// So many are remembered from the oldest that is awaited on.
    room: u64,
    /// When the datagrams were due that may be awaited, from `dues_from` on.
    dues: VecDeque<u64>,
    dues_from: u64,
    /// Datagrams from this number on belong to the measured part.
    counted_from: u64,
    /// Those of the measured part.
    counts: DatagramCounts,
    /// Of the measured part, those that came back unchanged and in time.
    echoed: u64,
    /// The limit on a round trip.
    timeout: u64,
    /// The longest round trip so far, of late ones as well.
    longest: u64,
}

impl Flow {
    /// Flow number `flow` of the run with this seed, with what it remembers.
    pub(super) fn new(
        (seed, flow): (u64, u64),
        sizes: Sizes,
        timeout: u64,
        memory: Remembered,
    ) -> Self {
        // One that is awaited for long is told from all behind it, however few are awaited.
        let told_apart = Payload::told_apart(sizes.least());
        Self {
            payload: Payload::new(seed, flow, sizes.most()),
            sizes,
            reply_log: ReplyLog::new(FIRST, timeout, ()).remembering(memory.over),
            room: memory.awaited.min(told_apart),
            dues: VecDeque::new(),
            dues_from: FIRST,
            counted_from: u64::MAX,
            counts: DatagramCounts::default(),
            echoed: 0,
            timeout,
            longest: 0,
        }
    }

    /// How many datagrams are awaited.
    pub(super) const fn awaited(&self) -> u64 {
        self.reply_log.awaited()
    }

    /// Whether one more can be remembered until it is over, and told from those before it,
    /// when so many were chosen to be sent.
    pub(super) fn has_room(&self, chosen: u64) -> bool {
        self.reply_log.span() + chosen < self.room
    }

    /// The longest round trip so far, of late ones as well.
    pub(super) const fn longest(&self) -> u64 {
        self.longest
    }

    /// Whether some were given up without a word of the path.
    pub(super) const fn has_given_up(&self) -> bool {
        let counts = self.reply_log.counts();
        counts.lost > counts.refused
    }

    /// The counts of the measured part, and how many came back.
    pub(super) const fn counts(&self) -> (DatagramCounts, u64) {
        (self.counts, self.echoed)
    }

    /// Writes the datagram that comes `ahead` after the next one. Returns its length, or `None`
    /// where the block has not as many bytes.
    pub(super) fn fill(&self, ahead: u64, block: &mut [u8]) -> Option<usize> {
        let number = self.reply_log.next() + ahead;
        let size = self.sizes.of(number);
        self.payload.fill(number, block.get_mut(..size)?);
        Some(size)
    }

    /// The next datagram was sent.
    pub(super) fn sent(&mut self, sent: Sent, recorder: &mut Recorder) {
        let size = self.sizes.of(self.reply_log.next());
        self.begin_counting(sent.due, recorder);
        let number = self.reply_log.sent(sent.at);
        self.dues.push_back(sent.due);
        recorder.datagram_sent(self.counted(number), size, sent.at);
    }

    /// The kernel did not take the next datagram.
    pub(super) fn not_sent(&mut self, sent: Sent, recorder: &mut Recorder) {
        self.begin_counting(sent.due, recorder);
        let number = self.reply_log.not_sent(sent.at);
        self.dues.push_back(sent.due);
        recorder.count_datagrams(sent.at, self.counted(number), |counts| counts.not_sent += 1);
        self.forget_dues();
    }

    /// Datagrams are sent in the order in which they are due.
    fn begin_counting(&mut self, due: u64, recorder: &Recorder) {
        if self.counted_from == u64::MAX && recorder.will_count(due) {
            self.counted_from = self.reply_log.next();
        }
    }

    const fn is_counted(&self, number: u64) -> bool {
        number >= self.counted_from
    }

    const fn counted(&mut self, number: u64) -> Counted<'_> {
        match self.is_counted(number) {
            true => Some(&mut self.counts),
            false => None,
        }
    }

    /// The times of a datagram that is awaited.
    fn times(&self, number: u64) -> Option<Sent> {
        let at = self.reply_log.sent_at(number)?;
        let place = usize::try_from(number - self.dues_from).ok()?;
        let due = *self.dues.get(place)?;
        Some(Sent { due, at })
    }

    fn forget_dues(&mut self) {
        let awaited_from = self.reply_log.awaited_from();
        while self.dues_from < awaited_from && self.dues.pop_front().is_some() {
            self.dues_from += 1;
        }
    }

    /// Counts what came at this time. Returns what is no echo.
    pub(super) fn received(
        &mut self,
        bytes: &[u8],
        at: u64,
        recorder: &mut Recorder,
    ) -> Option<Strange> {
        let sizes = &self.sizes;
        let reading = self
            .payload
            .read(bytes, FIRST..self.reply_log.next(), |number| {
                sizes.of(number)
            });
        match reading {
            Reading::Whole(number) if !self.reply_log.remembers(number) => {
                // It was over long ago: a copy that takes so long is rarer than a late one.
                recorder.count_datagrams(at, self.counted(number), |counts| counts.late += 1);
                None
            }
            Reading::Whole(number) => self.replied(number, bytes.len(), at, recorder),
            Reading::Changed(number, change) => {
                recorder.errors(self.is_counted(number)).changed += 1;
                let times = self.times(number);
                self.reply_log.changed(number);
                if let Some(sent) = times {
                    let until = self.given_up(sent, at);
                    recorder.datagram_changed(self.counted(number), sent, until);
                }
                self.forget_dues();
                Some(Strange::Changed(number, change))
            }
            Reading::Empty | Reading::Foreign => Some(self.foreign(recorder)),
        }
    }

    /// Counts what came and is no echo, whatever its bytes are.
    pub(super) fn foreign(&self, recorder: &mut Recorder) -> Strange {
        recorder.errors(recorder.is_measuring()).foreign += 1;
        Strange::Foreign
    }

    fn replied(
        &mut self,
        number: u64,
        bytes: usize,
        at: u64,
        recorder: &mut Recorder,
    ) -> Option<Strange> {
        let times = self.times(number);
        match self.reply_log.received(number, at) {
            Reply::InTime {
                round_trip,
                is_reordered,
            } => {
                self.longest = self.longest.max(round_trip);
                let is_counted = self.is_counted(number);
                self.echoed += u64::from(is_counted);
                if let Some(sent) = times {
                    recorder.datagram_back(is_counted, bytes, sent, at);
                }
                if is_reordered {
                    let counted = self.counted(number);
                    recorder.count_datagrams(at, counted, |counts| counts.reordered += 1);
                }
            }
            Reply::Late { round_trip, .. } => {
                self.longest = self.longest.max(round_trip);
                if let Some(sent) = times {
                    self.lost(number, sent, at, false, recorder);
                }
                let sent_at = at.saturating_sub(round_trip);
                recorder.count_datagrams(sent_at, self.counted(number), |counts| counts.late += 1);
            }
            Reply::Duplicate { .. } => {
                recorder.count_datagrams(at, self.counted(number), |counts| counts.duplicates += 1);
            }
            Reply::Unknown => return Some(self.foreign(recorder)),
        }
        self.forget_dues();
        None
    }

    /// Until when one that does not come back unchanged counts as awaited: its time-out at the
    /// least.
    fn given_up(&self, sent: Sent, now: u64) -> u64 {
        now.max(sent.at.saturating_add(self.timeout))
    }

    fn lost(
        &mut self,
        number: u64,
        sent: Sent,
        now: u64,
        is_refused: bool,
        recorder: &mut Recorder,
    ) {
        let size = self.sizes.of(number);
        let until = self.given_up(sent, now);
        recorder.datagram_lost(self.counted(number), size, sent, until, is_refused);
    }

    /// An error of the path says that a datagram won't come back, of which it quotes these
    /// bytes. Where they name none of several, as many routers quote but the header of UDP
    /// (RFC 792), it is counted, and the datagram is lost at its time-out. Returns the errors
    /// that it belongs to, of the measured part or of the warm-up, if it is of one that was
    /// awaited.
    pub(super) fn refused<'a>(
        &mut self,
        quoted: &[u8],
        now: u64,
        recorder: &'a mut Recorder,
    ) -> Option<&'a mut Errors> {
        let sizes = &self.sizes;
        let sent = FIRST..self.reply_log.next();
        let quoted = self.payload.quoted(quoted, sent, |number| sizes.of(number));
        let Some(number) = quoted.or_else(|| self.reply_log.sole_awaited()) else {
            let oldest = self.reply_log.awaited_from();
            return self.reply_log.unnamed_error().then(|| {
                let counted = self.counted(oldest);
                recorder.count_datagrams(now, counted, |counts| counts.unnamed_errors += 1);
                recorder.errors(self.is_counted(oldest))
            });
        };
        let sent = self.times(number)?;
        self.reply_log.refused_for_good(number);
        self.lost(number, sent, now, true, recorder);
        self.forget_dues();
        Some(recorder.errors(self.is_counted(number)))
    }

    /// The datagrams whose time-out is over now are lost.
    pub(super) fn expire(&mut self, now: u64, recorder: &mut Recorder) {
        while self
            .reply_log
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            let number = self.reply_log.awaited_from();
            let times = self.times(number);
            self.reply_log.expire_one(now);
            if let Some(sent) = times {
                self.lost(number, sent, now, false, recorder);
            }
            self.forget_dues();
        }
    }

    /// The kernel dropped so many datagrams that came to the socket, and at most so many of
    /// them for a wrong checksum; `None` where that is not known. `counts` says whether load is
    /// measured.
    pub(super) fn dropped(
        &mut self,
        (datagrams, wrong_checksums): (Option<u64>, Option<u64>),
        counts: bool,
        now: u64,
        recorder: &mut Recorder,
    ) {
        let counted = counts.then_some(&mut self.counts);
        let sum = |one: Option<u64>, more: Option<u64>| Some(one? + more?);
        recorder.count_datagrams(now, counted, |counts| {
            counts.dropped_here = sum(counts.dropped_here, datagrams);
            counts.wrong_checksums = sum(counts.wrong_checksums, wrong_checksums);
        });
    }

    /// The run is over: what is awaited is in flight.
    pub(super) fn end_run(&self, now: u64, recorder: &mut Recorder) {
        for number in self.reply_log.awaited_from()..self.reply_log.next() {
            if let Some(sent) = self.times(number) {
                recorder.datagram_in_flight(self.is_counted(number), sent.due, now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
