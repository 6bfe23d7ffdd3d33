//! What a ping over UDP has seen so far, and its summary.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::Event;
use super::flow::Flow;
use super::plan::{Carries, Plan};
use super::reflector;
use super::summary::{DatagramSummary, MarksCount};
use crate::base::units::nanoseconds;
use crate::ping::round_trips::RoundTrips;
use crate::ping::summary::Summary;
use crate::probe::datagram::marks::Marks;
use crate::probe::datagram::reply_log::Counts;
use crate::probe::datagram::variation::Variation;
use crate::probe::latency::Latency;

/// What the events tell beyond the counts of each port.
#[derive(Default)]
pub(super) struct Seen {
    round_trips: RoundTrips,
    /// The longest round trip, of late echoes as well, in nanoseconds.
    pub(super) longest: u64,
    hops: Option<(u8, u8)>,
    marks: BTreeMap<Marks, u64>,
    dropped: u64,
    /// Of the dropped, at most so many for a wrong checksum.
    wrong_checksums: u64,
    /// The system did not say of some that were dropped.
    is_unsure: bool,
}

impl Seen {
    pub(super) fn count(&mut self, event: &Event) {
        match event {
            Event::Reply(echo) => {
                self.longest = self.longest.max(echo.time_ns);
                self.round_trips.record(echo.time_ns);
                if let Some(hops) = echo.hops {
                    let (least, most) = self.hops.unwrap_or((hops, hops));
                    self.hops = Some((least.min(hops), most.max(hops)));
                }
                if let Some(marks) = echo.marks {
                    *self.marks.entry(marks).or_default() += 1;
                }
            }
            Event::Late(echo) => self.longest = self.longest.max(echo.time_ns),
            Event::DroppedHere {
                datagrams,
                wrong_checksums,
                ..
            } => {
                self.dropped += u64::from(*datagrams);
                self.wrong_checksums += u64::from(wrong_checksums.unwrap_or(0));
                self.is_unsure |= wrong_checksums.is_none();
            }
            _ => {}
        }
    }

    /// With the counts of the ports, after this time.
    pub(super) fn summary(
        &self,
        plan: &Plan,
        flows: &[Flow],
        elapsed: Duration,
        held_back: u64,
    ) -> DatagramSummary {
        let counts = counts(flows);
        let variation = flows.iter().map(|it| it.content.reply_log().variation());
        let jitter: Vec<_> = variation.clone().filter_map(Variation::jitter).collect();
        let mut differences = Latency::new();
        variation.for_each(|it| differences.add(&it.differences));
        let of_differences = |quantile: f64, needed: u64| {
            let value = differences.histogram.value_at_quantile(quantile);
            (differences.count() >= needed).then(|| value.min(differences.max().unwrap_or(0)))
        };
        DatagramSummary {
            common: Summary {
                sent: counts.sent,
                received: counts.received,
                lost: counts.lost,
                late: counts.late,
                corrupted: counts.changed + counts.foreign,
                under_way: awaited(flows),
                elapsed_ns: nanoseconds(elapsed),
                ..self.round_trips.summary()
            },
            refused: counts.refused,
            unnamed_errors: counts.unnamed_errors,
            duplicates: counts.duplicates,
            reordered: counts.reordered,
            not_sent: counts.not_sent,
            held_back,
            dropped_here: (flows.iter().all(Flow::knows_drops)).then_some(self.dropped),
            wrong_checksums: (!self.is_unsure).then_some(self.wrong_checksums),
            foreign: counts.foreign,
            variation_p50_ns: of_differences(0.5, 1),
            variation_p99_ns: of_differences(0.99, 100),
            jitter_ns: (!jitter.is_empty())
                .then(|| (jitter.iter().sum::<f64>() / jitter.len() as f64).round() as u64),
            hops: self.hops,
            sent_marks: plan.marks,
            marks: (self.marks.iter())
                .map(|(&marks, &echoes)| MarksCount { marks, echoes })
                .collect(),
            ports: flows.iter().map(Flow::counts).collect(),
            reflector: match plan.carries {
                Carries::Echo => None,
                Carries::Stamp(_) => {
                    let sessions = flows.iter().filter_map(|it| it.content.stamp());
                    Some(reflector::summary(sessions))
                }
            },
        }
    }
}

/// The counts of all ports.
pub(super) fn counts(flows: &[Flow]) -> Counts {
    let mut counts = Counts::default();
    let reply_logs = flows.iter().map(|it| it.content.reply_log());
    reply_logs.for_each(|reply_log| counts += reply_log.counts());
    counts
}

/// How many datagrams of all ports are awaited.
pub(super) fn awaited(flows: &[Flow]) -> u64 {
    let reply_logs = flows.iter().map(|it| it.content.reply_log());
    reply_logs.map(|it| it.awaited()).sum()
}
