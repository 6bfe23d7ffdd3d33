//! How datagrams are counted. Unlike the messages of a connection, each counts for itself: in
//! the measured part if it was due in it, and in the second in which it was sent.

use super::{Recorder, record_time};
use crate::bench::clock::SECOND;
use crate::bench::datagram_counts::DatagramCounts;
use crate::bench::outage::after;

/// The times of a datagram, in the unit of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) struct Sent {
    pub(in crate::bench) due: u64,
    pub(in crate::bench) at: u64,
}

/// The counts of a datagram's flow, if the datagram belongs to the measured part.
pub(in crate::bench) type Counted<'a> = Option<&'a mut DatagramCounts>;

impl Recorder {
    /// Counts something that belongs to this time.
    pub(in crate::bench) fn count_datagrams(
        &mut self,
        at: u64,
        flow: Counted<'_>,
        add: impl Fn(&mut DatagramCounts),
    ) {
        add(self.second(at));
        if let Some(flow) = flow {
            add(flow);
            add(&mut self.part.counts.datagrams);
        }
    }

    /// The counts of the second that this time is in.
    fn second(&mut self, at: u64) -> &mut DatagramCounts {
        let since = after(self.measured_from, at.min(self.ended));
        let number = since.div_euclid(SECOND.cast_signed());
        let seconds = &mut self.part.seconds;
        let place = seconds.iter().rposition(|(known, _)| *known == number);
        let place = place.unwrap_or_else(|| {
            seconds.push((number, DatagramCounts::default()));
            seconds.len() - 1
        });
        &mut seconds[place].1
    }

    /// A datagram was sent.
    pub(in crate::bench) fn datagram_sent(&mut self, flow: Counted<'_>, bytes: usize, at: u64) {
        if flow.is_some() {
            let totals = &mut self.part.counts.totals;
            totals.sent += 1;
            totals.sent_bytes += bytes as u64;
        }
        self.count_datagrams(at, flow, |counts| counts.sent += 1);
    }

    /// A datagram is back unchanged and in time, at `back`.
    pub(in crate::bench) fn datagram_back(
        &mut self,
        is_counted: bool,
        bytes: usize,
        sent: Sent,
        back: u64,
    ) {
        let bytes = bytes as u64;
        if self.is_in_time(back) {
            self.part.counts.in_time += 1;
            self.part.counts.in_time_bytes += bytes;
        }
        self.part.echoed += 1;
        self.part.echoed_bytes += bytes;
        let response = back.saturating_sub(sent.due);
        if is_counted {
            let counts = &mut self.part.counts;
            counts.totals.echoed += 1;
            counts.totals.echoed_bytes += bytes;
            record_time(&mut counts.service, back.saturating_sub(sent.at));
            record_time(&mut counts.response, response);
        } else {
            record_time(&mut self.part.uncounted, response);
        }
    }

    /// A datagram is lost: not back by the time-out, or `is_refused`. It took at least the
    /// time-out, so that no percentile is better for a loss.
    pub(in crate::bench) fn datagram_lost(
        &mut self,
        flow: Counted<'_>,
        bytes: usize,
        sent: Sent,
        until: u64,
        is_refused: bool,
    ) {
        if flow.is_some() {
            let counts = &mut self.part.counts;
            counts.totals.lost += 1;
            counts.totals.lost_bytes += bytes as u64;
            record_time(&mut counts.response, until.saturating_sub(sent.due));
        }
        self.count_datagrams(sent.at, flow, |counts| {
            counts.lost += 1;
            counts.refused += u64::from(is_refused);
        });
    }

    /// The first reply to a datagram was changed. It counts in the response times as if it were
    /// lost, so that no percentile is better for it either.
    pub(in crate::bench) fn datagram_changed(&mut self, flow: Counted<'_>, sent: Sent, until: u64) {
        if flow.is_some() {
            let response = until.saturating_sub(sent.due);
            record_time(&mut self.part.counts.response, response);
        }
        self.count_datagrams(sent.at, flow, |counts| counts.changed += 1);
    }

    /// A datagram was still awaited when the run ended.
    pub(in crate::bench) fn datagram_in_flight(&mut self, is_counted: bool, due: u64, now: u64) {
        if is_counted {
            self.part.counts.totals.in_flight += 1;
            record_time(&mut self.part.counts.response, now.saturating_sub(due));
        }
    }
}
