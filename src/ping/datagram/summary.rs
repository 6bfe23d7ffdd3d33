//! The summary at the end of a ping over UDP.

use std::fmt;

use serde::Serialize;

use super::ports::{PortCounts, verdict};
use super::reflector::ReflectorSummary;
use crate::base::units;
use crate::ping::summary::Summary;
use crate::probe::datagram::marks::Marks;

/// The counts and times of a ping over UDP. In JSON, statistics that need more replies are
/// `null`. Times are in nanoseconds. `sent` counts what the kernel took; of it, `received`
/// came back unchanged and in time, `lost` did not, and the rest came back changed or is under
/// way. `corrupted` counts changed echoes and what came that is no echo of ours.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DatagramSummary {
    /// Those of any ping.
    #[serde(flatten)]
    pub common: Summary,
    /// Of the lost, those that an ICMP error, or this machine's routes, said can't come back.
    pub refused: u64,
    /// Errors that do not say of which of several datagrams they are, so that as many of the
    /// lost may have been refused too.
    pub unnamed_errors: u64,
    /// Echoes that came again.
    pub duplicates: u64,
    /// Of those received, after the echo of a later datagram from the same port.
    pub reordered: u64,
    /// Datagrams that this machine's kernel did not take.
    pub not_sent: u64,
    /// Datagrams that were due while no more could be told apart or remembered, and were sent
    /// later.
    pub held_back: u64,
    /// What came and this machine's kernel dropped, because our own socket's queue was full or
    /// the checksum was wrong: as many of the lost may have come back; `null` where the system
    /// does not say.
    pub dropped_here: Option<u64>,
    /// At most so many of them for a wrong checksum; `null` where the system does not say.
    pub wrong_checksums: Option<u64>,
    /// Of the corrupted, what is no echo of ours, or came from another address.
    pub foreign: u64,
    /// By how much the round trips of two consecutive datagrams of a port differ: the median.
    pub variation_p50_ns: Option<u64>,
    /// The 99th percentile of that, of a hundred pairs or more.
    pub variation_p99_ns: Option<u64>,
    /// The jitter of RFC 3550, of two replies or more; with several ports their mean.
    pub jitter_ns: Option<u64>,
    /// The fewest and the most routers that an echo passed, as its TTL tells.
    pub hops: Option<(u8, u8)>,
    /// The marks that the datagrams were sent with.
    pub sent_marks: Marks,
    /// The marks that echoes arrived with, and how many did.
    pub marks: Vec<MarksCount>,
    /// The counts of each source port.
    pub ports: Vec<PortCounts>,
    /// By STAMP: what is known of each direction.
    #[serde(flatten)]
    pub reflector: Option<ReflectorSummary>,
}

/// How many echoes arrived with these marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MarksCount {
    /// DSCP and ECN.
    #[serde(flatten)]
    pub marks: Marks,
    /// The echoes.
    pub echoes: u64,
}

impl DatagramSummary {
    /// Whether every datagram was sent and came back once, unchanged and in time, and nothing
    /// else arrived. The order does not matter.
    pub const fn all_well(&self) -> bool {
        self.common.all_well() && self.duplicates == 0 && self.not_sent == 0
    }

    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.common.write_counts(f)?;
        for (count, name) in [
            (self.refused, "of the lost refused"),
            (self.unnamed_errors, "refused without a number"),
            (self.duplicates, "came again"),
            (self.reordered, "reordered"),
            (self.foreign, "foreign"),
            (self.not_sent, "not sent"),
            (self.held_back, "held back"),
            (self.dropped_here.unwrap_or(0), "dropped here"),
        ] {
            if count > 0 {
                write!(f, ", {count} {name}")?;
            }
        }
        if let Some(most @ 1..) = self.wrong_checksums {
            write!(f, " (at most {most} for a wrong checksum)")?;
        }
        write!(f, " in {}", units::time(self.common.elapsed_ns as f64))
    }

    fn write_variation(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = [
            ("p50", self.variation_p50_ns),
            ("p99", self.variation_p99_ns),
            ("jitter", self.jitter_ns),
        ];
        if times.iter().all(|(_, time)| time.is_none()) {
            return Ok(());
        }
        f.write_str("\nvariation:")?;
        for (name, time) in times {
            if let Some(time) = time {
                write!(f, " {name}={}", units::time(time as f64))?;
            }
        }
        Ok(())
    }

    fn write_path(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hops {
            Some((least, most)) if least == most => write!(f, "\nhops back: {least}")?,
            Some((least, most)) => {
                let why = match self.ports.len() {
                    0 | 1 => "so the way changed",
                    _ => "by several ways, or the way changed",
                };
                write!(f, "\nhops back: {least} to {most}, {why}")?;
            }
            None => {}
        }
        let is_plain = |it: &MarksCount| it.marks == Marks::default();
        if self.sent_marks == Marks::default() && self.marks.iter().all(is_plain) {
            return Ok(());
        }
        write!(f, "\nmarks: sent {}; came back", self.sent_marks)?;
        for (place, count) in self.marks.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let times = units::plain_count(count.echoes, "time", "times");
            match count.marks == self.sent_marks {
                true => write!(f, "{comma} the same {times}")?,
                false => write!(f, "{comma} {} {times}", count.marks)?,
            }
        }
        match self.marks.is_empty() {
            true => f.write_str(" never"),
            false => Ok(()),
        }
    }
}

impl fmt::Display for DatagramSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_counts(f)?;
        if let Some(reflector) = &self.reflector {
            reflector.write_lost(f)?;
        }
        self.common.write_round_trips(f)?;
        self.write_variation(f)?;
        if let Some(reflector) = &self.reflector {
            reflector.write_times(f)?;
        }
        self.write_path(f)?;
        match self.ports.len() {
            0 | 1 => Ok(()),
            _ => write!(f, "\n{}", verdict(&self.ports)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> DatagramSummary {
        DatagramSummary {
            common: Summary {
                sent: 4,
                received: 4,
                elapsed_ns: 3_000_000_000,
                ..Summary::default()
            },
            ..DatagramSummary::default()
        }
    }

    #[test]
    fn only_what_happened_is_named() {
        assert_eq!(
            summary().to_string().lines().next().unwrap(),
            "4 sent, 4 received, 0 lost, 0 corrupted in 3.00 s"
        );
        let mut bad = summary();
        (bad.duplicates, bad.reordered, bad.not_sent) = (1, 2, 3);
        bad.held_back = 8;
        (bad.dropped_here, bad.foreign) = (Some(5), 4);
        bad.wrong_checksums = Some(0);
        (bad.common.lost, bad.refused, bad.unnamed_errors) = (9, 6, 7);
        let text = bad.to_string();
        let words = ", 6 of the lost refused, 7 refused without a number, 1 came again, 2 reordered, 4 foreign, 3 not sent, 8 held back, 5 dropped here in ";
        assert!(text.contains(words), "{text}");
        bad.wrong_checksums = Some(2);
        let text = bad.to_string();
        let words = ", 5 dropped here (at most 2 for a wrong checksum) in ";
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn what_is_a_failure() {
        assert!(summary().all_well());
        let with = |change: fn(&mut DatagramSummary)| {
            let mut summary = summary();
            change(&mut summary);
            summary.all_well()
        };
        assert!(with(|it| it.reordered = 1), "UDP promises no order");
        assert!(with(|it| it.held_back = 1), "it was sent, and came back");
        assert!(!with(|it| it.duplicates = 1));
        assert!(!with(|it| it.not_sent = 1));
        assert!(!with(|it| it.common.corrupted = 1));
        assert!(!with(|it| it.common.received = 3));
    }

    #[test]
    fn several_ways_of_several_ports_are_no_change() {
        let mut summary = summary();
        summary.hops = Some((3, 5));
        let words = "hops back: 3 to 5, so the way changed";
        assert!(summary.to_string().contains(words), "{summary}");
        let port = |source_port| PortCounts {
            source_port,
            sent: 3,
            received: 3,
            lost: 0,
            late: 0,
            changed: 0,
        };
        summary.ports = vec![port(1), port(2)];
        let words = "hops back: 3 to 5, by several ways, or the way changed";
        assert!(summary.to_string().contains(words), "{summary}");
    }

    #[test]
    fn marks_that_came_back_otherwise_are_named() {
        let mut summary = summary();
        summary.sent_marks = Marks { dscp: 46, ecn: 2 };
        let count = |dscp, ecn, echoes| MarksCount {
            marks: Marks { dscp, ecn },
            echoes,
        };
        summary.marks = vec![count(0, 2, 1), count(46, 2, 3)];
        let want = "\nmarks: sent DSCP 46 (EF) ECN ect0; came back DSCP 0 (CS0) ECN ect0 1 time, \
                    the same 3 times";
        assert!(summary.to_string().contains(want), "{summary}");
        summary.marks.clear();
        assert!(
            summary.to_string().ends_with("came back never"),
            "{summary}"
        );
    }
}
