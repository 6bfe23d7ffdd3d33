//! What became of the datagrams of a run: the counts that connections do not have.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::probe::datagram::conventions;

/// The most flows that are told one by one: those with the greatest loss.
pub const FLOWS_TOLD: usize = 256;

/// A flow that sent this many and had nothing back is silent.
const TRIES: u64 = conventions::TRIES as u64;

/// What became of the datagrams of the measured part of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Datagrams {
    /// Of those sent, the part that is lost, 0 to 1; `None` where none was sent.
    pub loss_fraction: Option<f64>,
    /// The counts of all flows.
    #[serde(flatten)]
    pub counts: DatagramCounts,
    /// Flows of which some datagrams are lost.
    pub losing_flows: u64,
    /// Flows that had no echo at all, of three datagrams or more.
    pub silent_flows: u64,
    /// The counts of each flow; of more than [`FLOWS_TOLD`] those with the greatest loss.
    pub flows: Vec<FlowCounts>,
}

impl Datagrams {
    /// Those of these flows together, of whose losses all are told in `counts`.
    pub(super) fn new(counts: DatagramCounts, flows: Vec<FlowCounts>) -> Self {
        let number = |is: fn(&FlowCounts) -> bool| flows.iter().filter(|it| is(it)).count() as u64;
        Self {
            loss_fraction: counts.loss_fraction(),
            counts,
            losing_flows: number(|flow| flow.counts.lost > 0),
            silent_flows: number(FlowCounts::is_silent),
            flows: worst(flows),
        }
    }

    /// Both together.
    pub(crate) fn merged(&self, other: &Self) -> Self {
        let mut counts = self.counts;
        counts += &other.counts;
        let flows = self.flows.iter().chain(&other.flows).cloned().collect();
        Self {
            loss_fraction: counts.loss_fraction(),
            counts,
            losing_flows: self.losing_flows.saturating_add(other.losing_flows),
            silent_flows: self.silent_flows.saturating_add(other.silent_flows),
            flows: worst(flows),
        }
    }
}

/// Those with the greatest loss first, in an order that depends on nothing else.
fn worst(mut flows: Vec<FlowCounts>) -> Vec<FlowCounts> {
    flows.sort_by(|one, other| {
        let loss = |flow: &FlowCounts| flow.counts.loss_fraction().unwrap_or(0.0);
        let by_loss = loss(other).total_cmp(&loss(one));
        let rest = |flow: &FlowCounts| (flow.counts.sent, flow.echoed);
        by_loss
            .then_with(|| other.counts.changed.cmp(&one.counts.changed))
            .then_with(|| rest(other).cmp(&rest(one)))
            .then_with(|| one.source.cmp(&other.source))
    });
    flows.truncate(FLOWS_TOLD);
    flows
}

/// What became of some datagrams. `sent` is those that came back unchanged and in time, `lost`,
/// `changed`, and those that are awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatagramCounts {
    /// Handed to the kernel.
    pub sent: u64,
    /// Not back within the time-out, or an error says that they won't be.
    pub lost: u64,
    /// Those whose first reply was not what was sent; none in files of older versions.
    #[serde(default)]
    pub changed: u64,
    /// Of the lost, those of which an error of the path says that they won't be back.
    pub refused: u64,
    /// Errors of the path that do not say of which of several datagrams they are, so that as
    /// many of the lost may have been refused too.
    #[serde(default)]
    pub unnamed_errors: u64,
    /// Of the lost, back after the time-out.
    pub late: u64,
    /// Replies after the first to a datagram.
    pub duplicates: u64,
    /// Of those that came back, after a datagram of the same flow that was sent later: RFC 4737.
    pub reordered: u64,
    /// Datagrams that this machine's kernel did not take.
    pub not_sent: u64,
    /// What came and this machine's kernel dropped, because our own sockets' queues were full
    /// or the checksum was wrong; `None` where the system does not say.
    pub dropped_here: Option<u64>,
    /// At most so many of them for a wrong checksum; `None` where the system does not say.
    #[serde(default)]
    pub wrong_checksums: Option<u64>,
}

impl Default for DatagramCounts {
    fn default() -> Self {
        Self {
            sent: 0,
            lost: 0,
            changed: 0,
            refused: 0,
            unnamed_errors: 0,
            late: 0,
            duplicates: 0,
            reordered: 0,
            not_sent: 0,
            dropped_here: Some(0),
            wrong_checksums: Some(0),
        }
    }
}

impl DatagramCounts {
    /// Of those sent, the part that is lost, 0 to 1; `None` where none was sent.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub fn loss_fraction(&self) -> Option<f64> {
        (self.sent > 0).then(|| self.lost as f64 / self.sent as f64)
    }

    /// How many of those dropped here had no room, at the least: the others may have had a
    /// wrong checksum, which they got on the way.
    pub fn had_no_room(&self) -> u64 {
        let dropped = self.dropped_here.unwrap_or(0);
        dropped.saturating_sub(self.wrong_checksums.unwrap_or(0))
    }
}

impl AddAssign<&Self> for DatagramCounts {
    fn add_assign(&mut self, other: &Self) {
        // A count that was read from a file may be any number.
        let sum = |one: u64, other: u64| one.saturating_add(other);
        let known = |one: Option<u64>, other: Option<u64>| Some(sum(one?, other?));
        *self = Self {
            sent: sum(self.sent, other.sent),
            lost: sum(self.lost, other.lost),
            changed: sum(self.changed, other.changed),
            refused: sum(self.refused, other.refused),
            unnamed_errors: sum(self.unnamed_errors, other.unnamed_errors),
            late: sum(self.late, other.late),
            duplicates: sum(self.duplicates, other.duplicates),
            reordered: sum(self.reordered, other.reordered),
            not_sent: sum(self.not_sent, other.not_sent),
            dropped_here: known(self.dropped_here, other.dropped_here),
            wrong_checksums: known(self.wrong_checksums, other.wrong_checksums),
        };
    }
}

/// The counts of one flow: the datagrams from one local address and port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCounts {
    /// Our address and port.
    pub source: String,
    /// Datagrams that came back unchanged and in time.
    pub echoed: u64,
    /// The others.
    #[serde(flatten)]
    pub counts: DatagramCounts,
}

impl FlowCounts {
    /// Whether it had no echo at all, also no changed one, though it was to have some.
    const fn is_silent(&self) -> bool {
        self.echoed + self.counts.changed == 0 && self.counts.sent >= TRIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(port: u16, sent: u64, lost: u64) -> FlowCounts {
        FlowCounts {
            source: format!("127.0.0.1:{port}"),
            echoed: sent - lost,
            counts: DatagramCounts {
                sent,
                lost,
                ..DatagramCounts::default()
            },
        }
    }

    fn datagrams(flows: &[FlowCounts]) -> Datagrams {
        let mut counts = DatagramCounts::default();
        for flow in flows {
            counts += &flow.counts;
        }
        Datagrams::new(counts, flows.to_vec())
    }

    #[test]
    fn the_worst_flows_are_told_and_all_are_counted() {
        let flows: Vec<_> = (0..1000)
            .map(|port| flow(port, 100, u64::from(port % 4)))
            .collect();
        let all = datagrams(&flows);
        assert_eq!((all.losing_flows, all.silent_flows), (750, 0));
        assert_eq!(all.loss_fraction, Some(0.015));
        assert_eq!(all.flows.len(), FLOWS_TOLD);
        assert_eq!(
            all.flows[0].source, "127.0.0.1:103",
            "the first text of those that lost 3"
        );
        assert!(all.flows[..250].iter().all(|flow| flow.counts.lost == 3));
        assert!(all.flows[250..].iter().all(|flow| flow.counts.lost == 2));
    }

    #[test]
    fn merging_does_not_depend_on_the_order() {
        let parts: Vec<_> = [0_u16, 1000, 2000]
            .map(|first| {
                let flows = (0..300).map(|n| flow(first + n, 100, u64::from(n % 7)));
                datagrams(&flows.collect::<Vec<_>>())
            })
            .into();
        let one = parts[0].merged(&parts[1]).merged(&parts[2]);
        let other = parts[2].merged(&parts[0].merged(&parts[1]));
        assert_eq!(one, other);
        assert_eq!((one.counts.sent, one.flows.len()), (90_000, FLOWS_TOLD));
    }

    #[test]
    fn a_flow_is_silent_after_three_tries_and_the_unknown_stays_unknown() {
        let all = datagrams(&[flow(1, 2, 2), flow(2, 3, 3), flow(3, 900, 899)]);
        assert_eq!((all.losing_flows, all.silent_flows), (3, 1));
        assert_eq!(datagrams(&[]).loss_fraction, None);
        let mut counts = DatagramCounts::default();
        counts += &DatagramCounts {
            dropped_here: None,
            ..counts
        };
        assert_eq!(counts.dropped_here, None);
    }

    #[test]
    fn a_wrong_checksum_is_no_lack_of_room() {
        let of = |dropped_here, wrong_checksums| {
            let counts = DatagramCounts {
                dropped_here,
                wrong_checksums,
                ..DatagramCounts::default()
            };
            counts.had_no_room()
        };
        assert_eq!(of(Some(60), Some(60)), 0);
        assert_eq!(of(Some(60), Some(10)), 50);
        assert_eq!(of(Some(60), None), 60);
        assert_eq!(of(None, None), 0);
    }
}
