//! What became of a run's datagrams, as texts.

use super::describe::NONE;
use super::table::Table;
use crate::base::units;
use crate::bench::datagram_counts::{DatagramCounts, Datagrams, FlowCounts};
use crate::bench::results::Results;

/// The most flows that are told one by one.
const TOLD: usize = 8;

/// The figures, with their names; none where connections made the load.
pub(super) fn figures(results: &Results) -> Vec<(&'static str, String)> {
    let Some(datagrams) = &results.datagrams else {
        return Vec::new();
    };
    let counts = &datagrams.counts;
    let mut rows = vec![
        ("lost", lost(counts)),
        ("duplicates", of_sent(counts.duplicates, counts)),
        ("reordered", of_sent(counts.reordered, counts)),
    ];
    if counts.changed > 0 {
        rows.push(("changed", of_sent(counts.changed, counts)));
    }
    if counts.not_sent > 0 {
        rows.push(("not sent", units::whole(counts.not_sent)));
    }
    match counts.dropped_here {
        Some(0) => {}
        Some(dropped) => rows.push(("dropped here", dropped_here(dropped, counts))),
        None => rows.push(("dropped here", String::from("not known on this system"))),
    }
    rows.extend(flows(datagrams, results.plan.connections).map(|text| ("flows", text)));
    rows
}

fn dropped_here(dropped: u64, counts: &DatagramCounts) -> String {
    let dropped = units::whole(dropped);
    match counts.wrong_checksums {
        Some(most @ 1..) => format!(
            "{dropped}, at most {} for a wrong checksum",
            units::whole(most)
        ),
        _ => dropped,
    }
}

fn lost(counts: &DatagramCounts) -> String {
    let mut text = of_sent(counts.lost, counts);
    for (count, what) in [
        (counts.late, "came late"),
        (counts.refused, "refused by the path"),
        (counts.unnamed_errors, "refused without a number"),
    ] {
        if count > 0 {
            text += &format!(", {} {what}", units::whole(count));
        }
    }
    text
}

/// A count, and what part of the datagrams sent it is.
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn of_sent(count: u64, counts: &DatagramCounts) -> String {
    match (count, counts.sent) {
        (0, _) | (_, 0) => units::whole(count),
        (count, sent) => {
            let part = units::percent(count as f64 / sent as f64);
            format!("{} ({part})", units::whole(count))
        }
    }
}

/// Which flows lost something, where some did.
fn flows(datagrams: &Datagrams, flows: usize) -> Option<String> {
    let has_lost = |flow: &&FlowCounts| flow.counts.lost > 0 && flows > 1;
    let worst = datagrams.flows.first().filter(has_lost)?;
    let losing = units::whole(datagrams.losing_flows);
    let all = units::count(flows as u64, "flow", "flows");
    let silent = match datagrams.silent_flows {
        0 => String::new(),
        silent => format!(", {} had no echo", units::whole(silent)),
    };
    Some(format!(
        "{losing} of {all} lost some{silent}; most of all {}: {} of {}",
        worst.source,
        units::whole(worst.counts.lost),
        units::whole(worst.counts.sent)
    ))
}

/// The flows with the greatest loss; `None` where there is but one, or none lost anything.
pub(super) fn worst_flows(results: &Results) -> Option<Table> {
    let datagrams = results.datagrams.as_ref()?;
    let losing = |flow: &&FlowCounts| flow.counts.lost > 0;
    let flows: Vec<_> = datagrams.flows.iter().filter(losing).take(TOLD).collect();
    if flows.is_empty() || results.plan.connections < 2 {
        return None;
    }
    let header = [
        "flow",
        "sent",
        "lost",
        "loss",
        "late",
        "duplicates",
        "reordered",
    ];
    let row = |flow: &&FlowCounts| {
        let counts = &flow.counts;
        let loss = counts
            .loss_fraction()
            .map_or_else(|| NONE.to_owned(), units::percent);
        let [sent, lost] = [counts.sent, counts.lost].map(units::whole);
        let rest = [counts.late, counts.duplicates, counts.reordered].map(units::whole);
        [flow.source.clone(), sent, lost, loss]
            .into_iter()
            .chain(rest)
            .collect()
    };
    Some(Table {
        header: header.map(String::from).into(),
        rows: flows.iter().map(row).collect(),
    })
}
