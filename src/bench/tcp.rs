//! What the generator's TCP knows of the connections of a run.

use serde::{Deserialize, Serialize};

use crate::base::kernel::KernelView;
use crate::probe::latency::Latency;

/// What TCP knows of the connections that were read, in the measured part of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tcp {
    /// Connections that were read: of many a sample.
    pub connections: u64,
    /// Their counters, and the extremes of the rest.
    #[serde(flatten)]
    pub counts: TcpCounts,
    /// The smoothed round trip of each connection in each second.
    pub smoothed_rtt: Latency,
}

impl Tcp {
    /// Adds what another thread of the same generator has read.
    pub(super) fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.counts.add(&other.counts);
        self.smoothed_rtt.add(&other.smoothed_rtt);
    }

    /// Sets everything to what it is before the first reading.
    pub(super) fn reset(&mut self) {
        (self.connections, self.counts) = (0, TcpCounts::default());
        self.smoothed_rtt.histogram.reset();
    }

    /// Both together, for runs of several machines.
    pub(crate) fn merged(&self, other: &Self) -> Self {
        let mut smoothed_rtt = self.smoothed_rtt.clone();
        smoothed_rtt.add(&other.smoothed_rtt);
        Self {
            connections: self.connections.saturating_add(other.connections),
            counts: self.counts.merged(&other.counts),
            smoothed_rtt,
        }
    }
}

/// What TCP counted on some connections in some time. What the kernel does not count, or
/// what was not measured, is `None` and never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpCounts {
    /// Segments sent again.
    pub retransmits: Option<u64>,
    /// Bytes sent again.
    pub retransmitted_bytes: Option<u64>,
    /// Segments with data sent, those sent again included.
    pub data_segments_sent: Option<u64>,
    /// How long bytes were in flight or waited to be sent, in nanoseconds.
    pub busy_ns: Option<u64>,
    /// How much of that the server's receive window held them back.
    pub receive_window_limited_ns: Option<u64>,
    /// How much of that the send buffer was too small.
    pub send_buffer_limited_ns: Option<u64>,
    /// The shortest round trip of a segment, in nanoseconds.
    pub least_rtt_ns: Option<u64>,
    /// The longest smoothed round trip of a connection, in nanoseconds.
    pub most_smoothed_rtt_ns: Option<u64>,
    /// The fewest bytes of data in a full segment to the server.
    pub least_mss_bytes: Option<u64>,
    /// The most bytes of data in a full segment to the server.
    pub most_mss_bytes: Option<u64>,
    /// The smallest path MTU.
    pub least_path_mtu_bytes: Option<u64>,
}

impl TcpCounts {
    /// What happened on a connection between two views of it. The one before the first is
    /// empty: all counters begin at 0.
    pub(super) fn between(before: &KernelView, now: &KernelView) -> Self {
        let more = |of: fn(&KernelView) -> Option<u64>| {
            of(now).map(|now| now.saturating_sub(of(before).unwrap_or(0)))
        };
        Self {
            retransmits: more(|view| view.retransmits),
            retransmitted_bytes: more(|view| view.retransmitted_bytes),
            data_segments_sent: more(|view| view.data_segments_sent),
            busy_ns: more(|view| view.busy_ns),
            receive_window_limited_ns: more(|view| view.receive_window_limited_ns),
            send_buffer_limited_ns: more(|view| view.send_buffer_limited_ns),
            least_rtt_ns: now.least_rtt_ns,
            most_smoothed_rtt_ns: now.smoothed_rtt_ns,
            least_mss_bytes: now.mss_sent_bytes,
            most_mss_bytes: now.mss_sent_bytes,
            least_path_mtu_bytes: now.path_mtu_bytes,
        }
    }

    /// Adds a reading of the same kernel: what is unknown in it was not measured yet.
    pub(super) fn add(&mut self, other: &Self) {
        let known = |one: Option<u64>, other: Option<u64>, both: fn(u64, u64) -> u64| {
            one.into_iter().chain(other).reduce(both)
        };
        *self = self.each_with(other, known);
    }

    /// The counts of two machines together: a number that one does not know is unknown.
    pub(crate) fn merged(&self, other: &Self) -> Self {
        self.each_with(other, |one, other, both| Some(both(one?, other?)))
    }

    fn each_with(
        &self,
        other: &Self,
        with: impl Fn(Option<u64>, Option<u64>, fn(u64, u64) -> u64) -> Option<u64>,
    ) -> Self {
        let sum = |of: fn(&Self) -> Option<u64>| with(of(self), of(other), u64::saturating_add);
        let least = |of: fn(&Self) -> Option<u64>| with(of(self), of(other), u64::min);
        let most = |of: fn(&Self) -> Option<u64>| with(of(self), of(other), u64::max);
        Self {
            retransmits: sum(|counts| counts.retransmits),
            retransmitted_bytes: sum(|counts| counts.retransmitted_bytes),
            data_segments_sent: sum(|counts| counts.data_segments_sent),
            busy_ns: sum(|counts| counts.busy_ns),
            receive_window_limited_ns: sum(|counts| counts.receive_window_limited_ns),
            send_buffer_limited_ns: sum(|counts| counts.send_buffer_limited_ns),
            least_rtt_ns: least(|counts| counts.least_rtt_ns),
            most_smoothed_rtt_ns: most(|counts| counts.most_smoothed_rtt_ns),
            least_mss_bytes: least(|counts| counts.least_mss_bytes),
            most_mss_bytes: most(|counts| counts.most_mss_bytes),
            least_path_mtu_bytes: least(|counts| counts.least_path_mtu_bytes),
        }
    }

    /// The share of the busy time in which the server's receive window held bytes back, 0 to
    /// 1; `None` where it is unknown, or nothing was sent.
    pub fn receive_window_limited(&self) -> Option<f64> {
        share(self.receive_window_limited_ns?, self.busy_ns?)
    }

    /// The share of the busy time in which the send buffer was too small.
    pub fn send_buffer_limited(&self) -> Option<f64> {
        share(self.send_buffer_limited_ns?, self.busy_ns?)
    }
}

/// A part of a whole. The kernel adds to the two at different moments, so that a part can be
/// a little more.
#[expect(clippy::cast_precision_loss, reason = "times are below 2^53 ns")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(retransmits: u64, least: Option<u64>) -> KernelView {
        KernelView {
            retransmits: Some(retransmits),
            least_rtt_ns: least,
            mss_sent_bytes: Some(1460),
            ..KernelView::default()
        }
    }

    #[test]
    fn readings_of_a_connection_add_up_to_what_happened_on_it() {
        let views = [view(3, None), view(3, Some(900)), view(8, Some(700))];
        let mut counts = TcpCounts::default();
        let mut before = KernelView::default();
        for now in views {
            counts.add(&TcpCounts::between(&before, &now));
            before = now;
        }
        assert_eq!(
            (counts.retransmits, counts.least_rtt_ns),
            (Some(8), Some(700))
        );
        assert_eq!(counts.retransmitted_bytes, None, "never counted is not 0");
        assert_eq!(counts.receive_window_limited(), None);
    }

    #[test]
    fn what_one_machine_does_not_know_is_unknown_for_both() {
        let one = TcpCounts::between(&KernelView::default(), &view(3, Some(900)));
        let other = TcpCounts {
            least_rtt_ns: None,
            most_mss_bytes: Some(9000),
            ..one
        };
        let both = one.merged(&other);
        assert_eq!((both.retransmits, both.least_rtt_ns), (Some(6), None));
        assert_eq!(
            (both.least_mss_bytes, both.most_mss_bytes),
            (Some(1460), Some(9000))
        );
        assert_eq!(other.merged(&one), both);
    }

    #[test]
    fn shares_are_of_the_busy_time() {
        let counts = TcpCounts {
            busy_ns: Some(1000),
            receive_window_limited_ns: Some(250),
            send_buffer_limited_ns: Some(1001),
            ..TcpCounts::default()
        };
        assert_eq!(counts.receive_window_limited(), Some(0.25));
        assert_eq!(counts.send_buffer_limited(), Some(1.0));
        let idle = TcpCounts {
            busy_ns: Some(0),
            ..counts
        };
        assert_eq!(idle.receive_window_limited(), None);
    }
}
