//! What one thread counts: it is handed over in parts, a few a second, so that
//! nobody shares a counter or takes a lock for a message.

use crossbeam_channel::{Receiver, Sender};

use super::clock::SECOND;
use super::counts::Counts;
use super::message::Message;
use super::outage::Gap;
use crate::probe::latency::Latency;
use crate::probe::pattern::Damage;

/// How long a part is: a tenth of a second.
pub(super) const PART: u64 = SECOND / 10;

/// How many things that went wrong are told in words.
pub(super) const EXAMPLES: usize = 10;

/// What a thread counted since its part before.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Which thread.
    pub(super) thread: usize,
    /// When the part began.
    pub(super) from: u64,
    /// Until when it counts.
    pub(super) until: u64,
    /// What belongs to the measured part of the run.
    pub(super) counts: Counts,
    /// Round trips that began in the warm-up.
    pub(super) uncounted: Latency,
    /// Messages that came back meanwhile, whenever they were sent.
    pub(super) echoed: u64,
    /// Bytes that came back meanwhile, whenever they were sent.
    pub(super) echoed_bytes: u64,
    /// Connections open at its end.
    pub(super) connections: usize,
    pub(super) examples: Vec<String>,
    pub(super) gaps: Vec<Gap>,
}

impl Part {
    /// Empties it for another use; the histograms keep their memory.
    pub(super) fn clear(&mut self) {
        self.counts.reset();
        self.uncounted.histogram.reset();
        (self.echoed, self.echoed_bytes) = (0, 0);
        self.examples.clear();
        self.gaps.clear();
    }
}

/// Notes a duration, in nanoseconds.
pub(super) fn note(latency: &mut Latency, time: u64) {
    // It resizes itself, so every duration fits.
    let fits = latency.histogram.record(time);
    debug_assert!(fits.is_ok(), "{time} ns: {fits:?}");
}

/// Counts for one thread.
#[derive(Debug)]
pub(super) struct Recorder {
    part: Box<Part>,
    /// Messages that were due since then count.
    measured_from: u64,
    /// Whether there are due times, which response times count from.
    open_loop: bool,
    /// Whether bytes are counted and messages are not.
    stream: bool,
    /// Messages that were queued, and are neither back nor given up.
    outstanding: usize,
    told: usize,
    /// The run's end, once it is known: what comes behind it belongs to its
    /// last moment.
    ended: u64,
    parts: Sender<Box<Part>>,
    spares: Receiver<Box<Part>>,
}

/// The two ends of the way that parts go, and come back empty.
#[derive(Clone, Debug)]
pub(super) struct PartsChannel {
    pub(super) parts: Sender<Box<Part>>,
    pub(super) spares: Receiver<Box<Part>>,
}

impl Recorder {
    /// Until [`begin`](Self::begin) no message counts.
    pub(super) fn new(thread: usize, open_loop: bool, stream: bool, channel: PartsChannel) -> Self {
        let part = Box::new(Part {
            thread,
            ..Part::default()
        });
        Self {
            part,
            measured_from: u64::MAX,
            open_loop,
            stream,
            outstanding: 0,
            told: 0,
            ended: u64::MAX,
            parts: channel.parts,
            spares: channel.spares,
        }
    }

    /// From `start` on load is made, and from `measured_from` on it counts.
    pub(super) fn begin(&mut self, start: u64, measured_from: u64) {
        self.measured_from = measured_from;
        self.ended = u64::MAX;
        self.part.from = start;
        self.part.until = next_boundary(start, measured_from);
    }

    /// Whether the present part is over.
    pub(super) fn is_due(&self, now: u64) -> bool {
        now >= self.part.until
    }

    /// Hands the part over as far as it has come.
    pub(super) fn publish(&mut self, now: u64, connections: usize) {
        let mut spare = self.spares.try_recv().unwrap_or_default();
        spare.thread = self.part.thread;
        spare.from = now.min(self.ended);
        spare.until = next_boundary(now, self.measured_from);
        self.part.until = now.min(self.ended);
        self.part.connections = connections;
        let part = std::mem::replace(&mut self.part, spare);
        // Nobody takes it only when the run is given up.
        let _ = self.parts.send(part);
    }

    /// The run ended at that time; what is counted from now on was late.
    pub(super) const fn freeze(&mut self, ended: u64) {
        self.ended = ended.saturating_sub(1);
        if self.part.from > self.ended {
            self.part.from = self.ended;
        }
    }

    /// Whether what is due then counts.
    pub(super) const fn counts(&self, due: u64) -> bool {
        due >= self.measured_from
    }

    /// Whether that time is in the measured part of the run.
    const fn is_in_time(&self, now: u64) -> bool {
        self.measured_from <= now && now <= self.ended
    }

    /// Messages that were queued, and are neither back nor given up.
    pub(super) const fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// What is counted apart from messages.
    pub(super) fn measured(&mut self) -> &mut Counts {
        &mut self.part.counts
    }

    /// A connection was without its server for a time.
    pub(super) fn gap(&mut self, gap: Gap) {
        self.part.gaps.push(gap);
    }

    /// A message was due, and is seen to be so `now`.
    pub(super) fn seen(&mut self, due: u64, now: u64) {
        if self.counts(due) {
            note(&mut self.part.counts.lateness, now.saturating_sub(due));
        }
    }

    /// A message was queued.
    pub(super) const fn queued(&mut self) {
        self.outstanding += 1;
    }

    /// The first byte of a message is on its way.
    pub(super) fn begun(&mut self, message: &Message) {
        if self.counts(message.due) && !self.stream {
            self.part.counts.totals.sent += 1;
        }
    }

    /// So many bytes were sent that count.
    pub(super) fn sent_bytes(&mut self, counted: u64) {
        self.part.counts.totals.sent_bytes += counted;
    }

    /// Bytes came back right, `counted` of which count.
    pub(super) fn verified(&mut self, bytes: u64, counted: u64, now: u64) {
        if self.is_in_time(now) {
            self.part.counts.in_time_bytes += bytes;
        }
        self.part.echoed_bytes += bytes;
        self.part.counts.totals.echoed_bytes += counted;
    }

    /// The last byte of a message is back.
    pub(super) fn back(&mut self, message: &Message, unchanged: bool, now: u64) {
        self.outstanding -= 1;
        if self.stream || !unchanged {
            return;
        }
        self.part.echoed += 1;
        self.part.counts.in_time += u64::from(self.is_in_time(now));
        if self.counts(message.due) {
            self.part.counts.totals.echoed += 1;
            self.time(message, now);
        } else {
            let since = if self.open_loop {
                message.due
            } else {
                message.sent
            };
            note(&mut self.part.uncounted, now.saturating_sub(since));
        }
    }

    /// Notes the latencies of a message that came back, or has waited, until `now`.
    fn time(&mut self, message: &Message, now: u64) {
        note(
            &mut self.part.counts.service,
            now.saturating_sub(message.sent),
        );
        if self.open_loop {
            note(
                &mut self.part.counts.response,
                now.saturating_sub(message.due),
            );
        }
    }

    /// Whether something counts that never comes back, and was awaited until
    /// `now`: also what began in the warm-up, if load was measured meanwhile. One
    /// that hung all the time would be in no figure otherwise.
    pub(super) fn counts_unanswered(&self, due: u64, now: u64) -> bool {
        self.counts(due) || self.measured_from <= now.min(self.ended)
    }

    /// The same for a message that had begun, which is one sent.
    fn is_one_sent(&mut self, message: &Message, now: u64) -> bool {
        let counts = !self.stream && self.counts_unanswered(message.due, now);
        if counts && !self.counts(message.due) {
            self.part.counts.totals.sent += 1;
        }
        counts
    }

    /// A message that had begun was lost. One that was waited for in vain
    /// counts in the latencies, as long as it took until then.
    pub(super) fn lost(&mut self, message: &Message, in_vain: bool, now: u64) {
        self.outstanding -= 1;
        if self.is_one_sent(message, now) {
            self.part.counts.totals.lost += 1;
            if in_vain {
                self.time(message, now);
            }
        }
    }

    /// A message is still on its way at the end.
    pub(super) fn in_flight(&mut self, message: &Message, now: u64) {
        self.outstanding -= 1;
        if self.is_one_sent(message, now) {
            self.part.counts.totals.in_flight += 1;
            self.time(message, now);
        }
    }

    /// A message was queued and is not going to be sent.
    pub(super) fn unsent(&mut self, message: &Message, now: u64) {
        self.outstanding -= 1;
        self.missed(message.due, now);
    }

    /// A message was due and is not going to be sent. Without its age the
    /// response times would be those of the lucky ones.
    pub(super) fn missed(&mut self, due: u64, now: u64) {
        if self.open_loop && self.counts_unanswered(due, now) {
            self.part.counts.totals.unsent += 1;
            note(&mut self.part.counts.response, now.saturating_sub(due));
        }
    }

    /// Bytes were other than they should be.
    pub(super) fn damaged(&mut self, damage: Damage) {
        let errors = &mut self.part.counts.totals.errors;
        *match damage {
            Damage::Changed => &mut errors.changed,
            Damage::Lost { .. } => &mut errors.missing,
            Damage::Repeated { .. } => &mut errors.repeated,
            Damage::Foreign(_) => &mut errors.foreign,
            Damage::Unknown => &mut errors.unknown,
        } += 1;
    }

    /// Something went wrong; the words are asked for as long as few were told.
    pub(super) fn tell(&mut self, words: impl FnOnce() -> String) {
        if self.told < EXAMPLES {
            self.told += 1;
            self.part.examples.push(words());
        }
    }
}

/// The next end of a part after `now`; all threads have theirs at the same times.
const fn next_boundary(now: u64, measured_from: u64) -> u64 {
    let phase = measured_from % PART;
    let whole = (now + PART - phase) / PART;
    whole * PART + phase
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_on_tenths_of_the_measured_seconds() {
        let from = 7 * SECOND + 12_345;
        assert_eq!(next_boundary(from, from), from + PART);
        assert_eq!(next_boundary(from - 1, from), from);
        assert_eq!(next_boundary(from + PART - 1, from), from + PART);
        assert_eq!(next_boundary(from - 3 * PART + 5, from), from - 2 * PART);
    }
}
