//! One session of STAMP: its packets and what became of each.

use std::collections::VecDeque;
use std::time::Duration;

use super::directions::Directions;
use super::times::{Ours, Reflected, Times};
use crate::base::units;
use crate::probe::datagram::reply_log::{Reply, ReplyLog};
use crate::probe::datagram::variation::Variation;
use crate::proto::stamp::{Clock, LENGTH, Reflection, Request, Timestamp, quoted};

/// The header of an extension: flags, type, length of what follows. RFC 8972, section 4.
const EXTENSION_HEADER: usize = 4;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StampArrival {
    /// The answer to the packet of this number.
    Reply(u64, Reply, Reflected),
    /// What was once an answer to the packet of this number, or should have been one.
    Changed(u64, String),
    /// No answer to a packet of this session.
    Foreign,
    /// The answer to a packet that is not counted.
    Uncounted,
}

/// One session of STAMP, in unauthenticated mode. Packets are numbered from 1: a reflector's
/// own numbers begin with 0, so the first answer tells whether it counts itself.
#[derive(Debug)]
pub struct StampTracker {
    size: usize,
    clock: Clock,
    /// The counts, and what became of each packet.
    pub reply_log: ReplyLog,
    /// In which direction packets were lost.
    pub directions: Directions,
    /// What the answers' times tell.
    pub times: Times,
    /// When each packet was sent, in nanoseconds of Unix time: those that the log
    /// remembers, and behind them those that are not counted.
    sent: VecDeque<u64>,
    /// The number of the first of them.
    first: u64,
}

impl StampTracker {
    /// A session of packets of `size` bytes, at least [`LENGTH`], with a limit on the round
    /// trip in nanoseconds, and times of this clock.
    pub fn new(size: usize, timeout: u64, clock: Clock) -> Self {
        Self {
            size,
            clock,
            reply_log: ReplyLog::new(1, timeout, Variation::default()),
            directions: Directions::default(),
            times: Times::default(),
            sent: VecDeque::new(),
            first: 1,
        }
    }

    /// The same with another number of packets that are remembered once they are over.
    pub fn remembering(mut self, remembered: usize) -> Self {
        self.reply_log = self.reply_log.remembering(remembered);
        self
    }

    /// The clock that the packets' times are from.
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Sets the state of the clock from here on.
    pub const fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// Writes the next packet, to be sent at this Unix time. What became of it is recorded
    /// then: by the log, [`not_sent`](Self::not_sent), or [`uncounted`](Self::uncounted).
    pub fn fill(&mut self, out: &mut [u8], now: Duration) {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let next = self.first + self.sent.len() as u64;
        let request = Request {
            sequence: next as u32,
            sent: self.timestamp(now),
            estimate: self.clock.estimate(),
            session: 0,
        };
        out.fill(0);
        request.write(out);
        write_padding(&mut out[LENGTH..]);
        self.sent.push_back(now);
        while self.first < self.reply_log.first() {
            self.sent.pop_front();
            self.first += 1;
        }
        self.directions.forget_below(self.first);
    }

    /// Records that the system did not send the packet that was written last.
    pub fn not_sent(&mut self, at: u64) -> u64 {
        let number = self.reply_log.not_sent(at);
        self.directions.not_sent(number);
        number
    }

    /// Records that the packet that was written last counts nowhere, and whether it was sent.
    pub fn uncounted(&mut self, was_sent: bool) {
        let number = self.first + self.sent.len() as u64 - 1;
        match was_sent {
            true => self.directions.sent_uncounted(number),
            false => self.directions.not_sent(number),
        }
    }

    fn timestamp(&self, ns: u64) -> Timestamp {
        Timestamp::from_unix(Duration::from_nanos(ns), self.clock.format)
    }

    /// The packet that was sent with this number, nearest to the last, and this time.
    fn find(&self, sequence: u32, sent: Timestamp) -> Option<u64> {
        let last = (self.first + self.sent.len() as u64).checked_sub(1)?;
        let number = last.checked_sub(u64::from((last as u32).wrapping_sub(sequence)))?;
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        (self.timestamp(*self.sent.get(place)?) == sent).then_some(number)
    }

    /// The packet whose first bytes these are, for an error that quotes it.
    pub fn quoted(&self, bytes: &[u8]) -> Option<u64> {
        let sequence = u32::from_be_bytes(*bytes.first_chunk()?);
        let sent = u64::from_be_bytes(*bytes.get(4..)?.first_chunk()?);
        self.find(sequence, Timestamp(sent))
    }

    /// The packet that an answer says it is of, for one from another address.
    pub fn answered(&self, bytes: &[u8]) -> Option<u64> {
        let (sequence, sent) = quoted(bytes)?;
        self.find(sequence, sent)
    }

    /// Records what came at this time, in nanoseconds by the clock of the sendings, which is
    /// this Unix time.
    pub fn received(&mut self, bytes: &[u8], at: u64, unix: Duration) -> StampArrival {
        let Some(number) = self.answered(bytes) else {
            return match self.quoted(bytes) {
                Some(number) if number < self.reply_log.next() => {
                    let what = "it came back as it was sent: an echo is there, no reflector";
                    self.changed(number, None, String::from(what))
                }
                _ => self.foreign(),
            };
        };
        let Some(answer) = Reflection::read(bytes) else {
            let came = units::plain_count(bytes.len() as u64, "byte", "bytes");
            let what = format!("cut to {came} of {}", self.size);
            let own = bytes.first_chunk().copied().map(u32::from_be_bytes);
            return self.changed(number, own, what);
        };
        if number >= self.reply_log.next() {
            self.directions.answered_uncounted(number, answer.sequence);
            return StampArrival::Uncounted;
        }
        let ours = Ours {
            sent: Duration::from_nanos(self.sent[(number - self.first) as usize]),
            received: unix,
            clock: self.clock,
        };
        let whole = self.reply_log.since_sent(number, at).unwrap_or(0);
        let read = self.times.read(&answer, ours, whole);
        let without = read.server_ns.unwrap_or(0);
        let reply = self.reply_log.received_but(number, at, without);
        let is_first = matches!(reply, Reply::InTime { .. } | Reply::Late { .. });
        if reply != Reply::Unknown {
            self.directions.answered(number, answer.sequence, is_first);
        }
        if matches!(reply, Reply::InTime { .. }) {
            self.times.record(number, &answer, ours, &read);
        }
        StampArrival::Reply(number, reply, read)
    }

    /// Records what is no whole answer. `own` is the number that the reflector gave it, if that
    /// is in it. The packet reached the other end, so neither it nor its answer is a loss.
    fn changed(&mut self, number: u64, own: Option<u32>, how: String) -> StampArrival {
        if number >= self.reply_log.next() {
            if let Some(own) = own {
                self.directions.answered_uncounted(number, own);
            }
            return StampArrival::Uncounted;
        }
        // An answer to one that is given up stays lost on its way back.
        let is_lost = self.reply_log.is_lost(number);
        let is_first = self.reply_log.changed(number);
        match own {
            Some(own) if !is_lost => self.directions.answered(number, own, is_first),
            None if is_first => self.directions.answered_by_another(number),
            _ => {}
        }
        StampArrival::Changed(number, how)
    }

    /// Records what came and is no answer, whatever its bytes are.
    pub const fn foreign(&mut self) -> StampArrival {
        self.reply_log.foreign();
        StampArrival::Foreign
    }

    /// Whether a further packet would tell in which direction the last ones were lost.
    pub fn has_lost_the_last(&self) -> bool {
        let last = self.reply_log.last_unanswered();
        let is_after = last.is_some_and(|number| number > self.directions.last_request());
        self.directions.is_stateful() == Some(true) && is_after
    }
}

/// As an extension of RFC 8972 that says that it is padding: zeros behind its header. Fewer
/// bytes than that has are zeros.
fn write_padding(out: &mut [u8]) {
    const UNRECOGNIZED: u8 = 0x80;
    const EXTRA_PADDING: u8 = 1;

    let Some(length) = out.len().checked_sub(EXTENSION_HEADER) else {
        return;
    };
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    out[..EXTENSION_HEADER].copy_from_slice(&[UNRECOGNIZED, EXTRA_PADDING, length[0], length[1]]);
}

#[cfg(test)]
mod tests;
