//! The counters of one thread. It sends them to the collecting thread in parts, ten
//! a second, so that no message needs a shared counter or a lock.

use crossbeam_channel::{Receiver, Sender};

use super::cause::Cause;
use super::clock::SECOND;
use super::counts::Counts;
use super::datagram_counts::DatagramCounts;
use super::message::Message;
use super::outage::Gap;
use super::results::Errors;
use super::tcp::TcpCounts;
use crate::probe::latency::Latency;
use crate::probe::pattern::Damage;

pub(super) mod datagrams;

/// The length of a part, in nanoseconds.
pub(super) const PART: u64 = SECOND / 10;

/// The maximum number of example errors that a run reports.
pub(super) const EXAMPLES: usize = 10;

/// What a thread counted since its previous part.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// The thread's number.
    pub(super) thread: usize,
    /// When the part began.
    pub(super) from: u64,
    /// When it ends.
    pub(super) until: u64,
    /// What belongs to the measured part of the run.
    pub(super) counts: Counts,
    /// Round trips that began in the warm-up.
    pub(super) uncounted: Latency,
    /// Messages that came back in it, whenever they were sent.
    pub(super) echoed: u64,
    /// Bytes that came back in it, whenever they were sent.
    pub(super) echoed_bytes: u64,
    /// What TCP counted on the connections that were read in it, if any were.
    pub(super) tcp: Option<TcpCounts>,
    /// What became of datagrams, by the number of the second that it belongs to.
    pub(super) seconds: Vec<(i64, DatagramCounts)>,
    /// Connections open at its end, or flows.
    pub(super) connections: usize,
    pub(super) examples: Vec<(Cause, String)>,
    pub(super) gaps: Vec<Gap>,
}

impl Part {
    /// Empties it for another use; the histograms keep their memory.
    pub(super) fn clear(&mut self) {
        self.counts.reset();
        self.uncounted.histogram.reset();
        (self.echoed, self.echoed_bytes, self.tcp) = (0, 0, None);
        self.seconds.clear();
        self.examples.clear();
        self.gaps.clear();
    }
}

/// Records a duration, in nanoseconds.
pub(super) fn record_time(latency: &mut Latency, time: u64) {
    // The histogram resizes itself, so every duration fits.
    let fits = latency.histogram.record(time);
    debug_assert!(fits.is_ok(), "{time} ns: {fits:?}");
}

/// Counts for one thread.
#[derive(Debug)]
pub(super) struct Recorder {
    part: Box<Part>,
    /// Messages that are due from this time on count.
    measured_from: u64,
    /// Open loop: messages that are sent from this time on count too, whenever they were
    /// due. Unknown until load is measured.
    sent_from: u64,
    /// Whether load is measured.
    is_measuring: bool,
    /// Whether there are due times, which response times count from.
    open_loop: bool,
    /// Whether bytes are counted and messages are not.
    stream: bool,
    /// Messages that were queued, and are neither back nor given up.
    outstanding: usize,
    /// Examples of errors so far, and the causes that they are of.
    examples: usize,
    causes: Vec<Cause>,
    /// The last nanosecond of the run, once it is known. Later echoes are counted
    /// in it.
    ended: u64,
    parts: Sender<Box<Part>>,
    spares: Receiver<Box<Part>>,
}

/// A thread's ends of the channels on which full parts go and empty ones return.
#[derive(Clone, Debug)]
pub(super) struct PartsChannel {
    pub(super) parts: Sender<Box<Part>>,
    pub(super) spares: Receiver<Box<Part>>,
}

impl Recorder {
    /// No message counts before [`begin`](Self::begin).
    pub(super) fn new(thread: usize, open_loop: bool, stream: bool, channel: PartsChannel) -> Self {
        let part = Box::new(Part {
            thread,
            ..Part::default()
        });
        Self {
            part,
            measured_from: u64::MAX,
            sent_from: u64::MAX,
            is_measuring: false,
            open_loop,
            stream,
            outstanding: 0,
            examples: 0,
            causes: Vec::new(),
            ended: u64::MAX,
            parts: channel.parts,
            spares: channel.spares,
        }
    }

    /// Load is made from `start` on, and counts from `measured_from` on.
    pub(super) fn begin(&mut self, start: u64, measured_from: u64) {
        self.measured_from = measured_from;
        self.sent_from = u64::MAX;
        self.is_measuring = measured_from <= start;
        self.ended = u64::MAX;
        self.part.from = start;
        self.part.until = next_boundary(start, measured_from);
    }

    /// Whether the present part ends by `now`.
    pub(super) fn is_due(&self, now: u64) -> bool {
        now >= self.part.until
    }

    /// Sends the present part, which ends now, and begins the next.
    pub(super) fn publish(&mut self, now: u64, connections: usize) {
        let mut spare = self.spares.try_recv().unwrap_or_default();
        spare.thread = self.part.thread;
        spare.from = now.min(self.ended);
        spare.until = next_boundary(now, self.measured_from);
        self.part.until = now.min(self.ended);
        self.part.connections = connections;
        let part = std::mem::replace(&mut self.part, spare);
        // The receiver is gone only if the run has failed.
        let _ = self.parts.send(part);
    }

    /// The run ended at `ended`; echoes from now on are late.
    pub(super) const fn set_end(&mut self, ended: u64) {
        self.ended = ended.saturating_sub(1);
        if self.part.from > self.ended {
            self.part.from = self.ended;
        }
    }

    /// Load is measured from now on. In an open loop what is queued counts as well: far above
    /// what the connections carry, messages of the warm-up fill the whole run.
    pub(super) const fn begin_measuring(&mut self, now: u64) {
        self.is_measuring = true;
        if self.open_loop {
            // What was sent just before has the same time.
            self.sent_from = now + 1;
        }
    }

    /// Whether a message that was due at `due` belongs to the measured part.
    pub(super) const fn counts(&self, due: u64) -> bool {
        due >= self.measured_from
    }

    /// Whether a message that was due at `due` and is sent from now on counts.
    pub(super) const fn will_count(&self, due: u64) -> bool {
        self.counts(due) || self.sent_from != u64::MAX
    }

    /// Whether a message that was sent counts.
    const fn counts_message(&self, message: &Message) -> bool {
        self.counts(message.due) || message.sent >= self.sent_from
    }

    /// Whether that time is in the measured part of the run.
    pub(super) const fn is_in_time(&self, now: u64) -> bool {
        self.measured_from <= now && now <= self.ended
    }

    /// Messages that were queued, and are neither back nor given up.
    pub(super) const fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// The present part's counters, for what is not counted by message.
    pub(super) fn measured(&mut self) -> &mut Counts {
        &mut self.part.counts
    }

    /// A connection was read: what TCP counted on it since it was read last. `is_first` says
    /// whether it was not read before while load was measured.
    pub(super) fn read_tcp(&mut self, counts: &TcpCounts, is_first: bool, now: u64) {
        self.part.tcp.get_or_insert_default().add(counts);
        if self.counts(now) {
            let tcp = &mut self.part.counts.tcp;
            tcp.counts.add(counts);
            tcp.connections += u64::from(is_first);
            if let Some(time) = counts.most_smoothed_rtt_ns {
                record_time(&mut tcp.smoothed_rtt, time);
            }
        }
    }

    /// Adds a time in which a slot had no server.
    pub(super) fn add_gap(&mut self, gap: Gap) {
        self.part.gaps.push(gap);
    }

    /// A message was due at `due`, and the generator queues it `now`.
    pub(super) fn record_lateness(&mut self, due: u64, now: u64) {
        if self.will_count(due) {
            record_time(&mut self.part.counts.lateness, now.saturating_sub(due));
        }
    }

    /// A message was queued.
    pub(super) const fn queued(&mut self) {
        self.outstanding += 1;
    }

    /// Messages that were queued are dropped: they belong to the warm-up.
    pub(super) const fn dropped(&mut self, messages: usize) {
        self.outstanding -= messages;
    }

    /// The first byte of a message was sent.
    pub(super) fn first_byte_sent(&mut self, message: &Message) {
        if self.counts_message(message) && !self.stream {
            self.part.counts.totals.sent += 1;
        }
    }

    /// `counted` bytes that count were sent.
    pub(super) fn sent_bytes(&mut self, counted: u64) {
        self.part.counts.totals.sent_bytes += counted;
    }

    /// `bytes` came back unchanged; `counted` of them count.
    pub(super) fn verified(&mut self, bytes: u64, counted: u64, now: u64) {
        if self.is_in_time(now) {
            self.part.counts.in_time_bytes += bytes;
        }
        self.part.echoed_bytes += bytes;
        self.part.counts.totals.echoed_bytes += counted;
    }

    /// The last byte of a message is back.
    pub(super) fn echoed(&mut self, message: &Message, unchanged: bool, now: u64) {
        self.outstanding -= 1;
        if self.stream || !unchanged {
            return;
        }
        self.part.echoed += 1;
        self.part.counts.in_time += u64::from(self.is_in_time(now));
        if self.counts_message(message) {
            self.part.counts.totals.echoed += 1;
            self.record_latencies(message, now);
        } else {
            let since = if self.open_loop {
                message.due
            } else {
                message.sent
            };
            record_time(&mut self.part.uncounted, now.saturating_sub(since));
        }
    }

    /// Records the latencies of a message that came back, or has waited, until `now`.
    fn record_latencies(&mut self, message: &Message, now: u64) {
        record_time(
            &mut self.part.counts.service,
            now.saturating_sub(message.sent),
        );
        if self.open_loop {
            record_time(
                &mut self.part.counts.response,
                now.saturating_sub(message.due),
            );
        }
    }

    /// Whether a message counts that was awaited until `now` and never comes back.
    /// One that was due in the warm-up counts too if load was measured meanwhile:
    /// otherwise a connection that hung all the time would be in no figure.
    pub(super) fn counts_unanswered(&self, due: u64, now: u64) -> bool {
        self.counts(due) || self.measured_from <= now.min(self.ended)
    }

    /// Whether a message that was in flight counts as unanswered. If so it is counted as sent.
    fn count_as_sent(&mut self, message: &Message, now: u64) -> bool {
        let counts = !self.stream && self.counts_unanswered(message.due, now);
        if counts && !self.counts_message(message) {
            self.part.counts.totals.sent += 1;
        }
        counts
    }

    /// A message in flight was lost. One that timed out is in the latencies with the
    /// time it took until then.
    pub(super) fn lost(&mut self, message: &Message, timed_out: bool, now: u64) {
        self.outstanding -= 1;
        if self.count_as_sent(message, now) {
            self.part.counts.totals.lost += 1;
            if timed_out {
                self.record_latencies(message, now);
            }
        }
    }

    /// A message is still in flight at the end.
    pub(super) fn in_flight(&mut self, message: &Message, now: u64) {
        self.outstanding -= 1;
        if self.count_as_sent(message, now) {
            self.part.counts.totals.in_flight += 1;
            self.record_latencies(message, now);
        }
    }

    /// A message was queued and is not going to be sent.
    pub(super) fn unsent(&mut self, message: &Message, now: u64) {
        self.outstanding -= 1;
        self.missed(message.due, now);
    }

    /// A message was due and is not going to be sent. Its age is in the response
    /// times: without it they would hide the messages that waited longest.
    pub(super) fn missed(&mut self, due: u64, now: u64) {
        if self.open_loop && self.counts_unanswered(due, now) {
            self.part.counts.totals.unsent += 1;
            record_time(&mut self.part.counts.response, now.saturating_sub(due));
        }
    }

    /// Whether load is measured.
    pub(super) const fn is_measuring(&self) -> bool {
        self.is_measuring
    }

    /// The errors of what belongs to the measured part, or to the warm-up.
    pub(super) const fn errors(&mut self, is_counted: bool) -> &mut Errors {
        match is_counted {
            true => &mut self.part.counts.totals.errors,
            false => &mut self.part.counts.warmup_errors,
        }
    }

    /// Counts a fault in the stream.
    pub(super) const fn damaged(&mut self, damage: Damage) {
        let errors = self.errors(self.is_measuring);
        *match damage {
            Damage::Changed => &mut errors.changed,
            Damage::Lost { .. } => &mut errors.missing,
            Damage::Repeated { .. } => &mut errors.repeated,
            Damage::Foreign(_) => &mut errors.foreign,
            Damage::Unknown => &mut errors.unknown,
        } += 1;
    }

    /// Adds an example of an error, unless there are [`EXAMPLES`] already, and one of its cause.
    pub(super) fn add_example(&mut self, cause: Cause, text: impl FnOnce() -> String) {
        let is_new = !self.causes.contains(&cause);
        if is_new {
            self.causes.push(cause);
        }
        if is_new || self.examples < EXAMPLES {
            self.examples += 1;
            self.part.examples.push((cause, text()));
        }
    }
}

/// The next end of a part after `now`, which is the same for all threads.
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
