//! All scenarios that others take part in, in one table: echopool beside the best of them.

use crate::results::metric::Metric;
use crate::results::outcome::Outcome;
use crate::results::stats::Summary;
use crate::server::definition::ECHOPOOL;

const COST: &[Metric] = &[
    Metric::CpuPerRoundTrip,
    Metric::CpuPerDatagram,
    Metric::CpuPerGb,
    Metric::CpuPerConnection,
];

const RATE: &[Metric] = &[
    Metric::RoundTrips,
    Metric::Datagrams,
    Metric::Bandwidth,
    Metric::Connections,
];

/// Finds the best of some servers, and echopool as a multiple of it.
type Best = for<'a> fn(&'a Outcome, &str, Metric) -> Option<(&'a str, Summary)>;

/// The columns: the heading, what is compared, and with whom. Of several metrics a
/// scenario has one.
const COLUMNS: [(&str, &[Metric], Best); 5] = [
    ("server CPU", COST, Outcome::best_rival),
    ("rate", RATE, Outcome::best_rival),
    (
        "p99 beside streams",
        &[Metric::P99Beside],
        Outcome::best_rival,
    ),
    (
        "memory",
        &[Metric::MemoryPerConnection],
        Outcome::best_rival,
    ),
    ("server CPU to the floor's", COST, Outcome::best_floor),
];

/// A section with a line for each scenario that was run; empty where there is none.
#[must_use]
pub fn overview(outcomes: &[Outcome]) -> String {
    let rows: String = outcomes.iter().filter_map(row).collect();
    if rows.is_empty() {
        return rows;
    }
    let mut text = String::from(
        "\n## Overview\n\nechopool as a multiple of the best rival, which is named, and of the \
         better floor: the medians of the multiples in each round.\n\n| scenario |",
    );
    for (title, ..) in COLUMNS {
        text += &format!(" {title} |");
    }
    text += "\n|---|";
    text += &"---:|".repeat(COLUMNS.len());
    text + "\n" + &rows
}

/// `None` where echopool was not measured, or nothing beside it.
fn row(outcome: &Outcome) -> Option<String> {
    let cells = COLUMNS.map(|(_, metrics, best)| {
        let best = |&metric| best(outcome, ECHOPOOL, metric);
        metrics.iter().find_map(best)
    });
    cells.iter().any(Option::is_some).then(|| {
        let show = |cell: Option<(&str, Summary)>| match cell {
            Some((name, ratio)) => format!(" {:.2} {name} |", ratio.median),
            None => String::from(" – |"),
        };
        format!("| {} |{}\n", outcome.name, cells.map(show).concat())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::outcome::tests::outcome;

    #[test]
    fn a_scenario_is_a_line_with_the_best_rival_and_the_floor() {
        let text = overview(&[outcome()]);
        let line = "| ping-64-50 | 0.78 tokio-multi | – | – | – | 2.00 floor |\n";
        assert!(text.ends_with(line), "{text}");
    }

    #[test]
    fn datagrams_have_a_line_with_cost_and_rate() {
        let mut datagrams = outcome();
        for server in &mut datagrams.servers {
            for round in &mut server.rounds {
                let cost = round.remove(&Metric::CpuPerRoundTrip).unwrap();
                round.insert(Metric::CpuPerDatagram, cost);
                round.insert(Metric::Datagrams, 720.0 / cost);
            }
        }
        datagrams.sum_up();
        let text = overview(&[datagrams]);
        let line = "| ping-64-50 | 0.78 tokio-multi | 1.29 tokio-multi | – | – | 2.00 floor |\n";
        assert!(text.ends_with(line), "{text}");
    }

    #[test]
    fn what_was_not_measured_has_no_line() {
        let mut alone = outcome();
        alone.servers.truncate(1);
        assert_eq!(overview(&[alone]), "");
    }
}
