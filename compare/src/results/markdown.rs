//! The results as Markdown, for people.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::results::metric::Metric;
use crate::results::outcome::{Outcome, Results, ServerResults};
use crate::results::overview::overview;
use crate::results::stats::Summary;
use crate::server::definition::{BASELINE, BUSY, ECHOPOOL};

/// How the figures are to be read.
const LEGEND: &str = "\
Every server ran in a process of its own; the order rotated from round to round. Messages and \
datagrams come back to a load that checks every byte; streams are checked in a run of their own before the first \
round, and the load that measures them only counts what comes back. A cell has the median over the \
rounds (least–greatest) and, behind ×, the same of the multiples of echopool's value in each round. A GB is 10^9 echoed bytes, \
each counted once. CPU % are of one CPU. 'Limited by' names the side that was busy for 90 % of \
the time or more, of all CPUs that it had. Where it is the load, a faster server would show as a \
draw, and the server's CPU time is the figure to go by; where other CPU % is not near 0, something \
else disturbed the measurement. Lost datagrams are those that did not come back within a second, \
without those that found the queue of the load full. Compare figures of one run only.";

/// The whole report.
#[must_use]
pub fn markdown(results: &Results) -> String {
    let machine = &results.machine;
    let mut text = String::from("# echopool beside its rivals\n\n");
    text += &format!(
        "{}, commit {}, `{}`\n\n{}, {} CPUs, Linux {}, congestion control {}, {} open files; {} rounds of {} s after \
         {:.2} s of warm-up; rivals receive into {} KiB.\n\n{LEGEND}\n",
        results.date,
        results.commit,
        results.command,
        machine.cpu,
        machine.cpus,
        machine.kernel,
        machine.congestion_control,
        machine.open_files,
        results.rounds,
        results.measure_s,
        results.warm_up_s,
        results.rival_buffer_bytes / 1024,
    );
    text += &overview(&results.scenarios);
    for outcome in &results.scenarios {
        text += &section(outcome);
    }
    text += &growth(&results.scenarios);
    text += "\n## Versions\n\n";
    for (name, version) in &results.versions {
        text += &format!("- {name}: {version}\n");
    }
    if !results.absent.is_empty() {
        text += "\n## Absent\n\n";
    }
    for (name, reason) in &results.absent {
        text += &format!("- {name}: {reason}\n");
    }
    text
}

/// One scenario: its table, and echopool beside the best rival.
#[must_use]
pub fn section(outcome: &Outcome) -> String {
    let Outcome {
        name,
        description,
        placement,
        ..
    } = outcome;
    let mut text = format!("\n## {name}\n\n{description} {placement}.\n\n");
    if let Some(reason) = &outcome.skipped {
        return text + &format!("Skipped: {reason}.\n");
    }
    let metrics = metrics(outcome);
    text += "| server |";
    for metric in &metrics {
        text += &format!(" {} |", metric.title());
    }
    let limited = outcome.servers.iter().any(|one| one.limited_by.is_some());
    if limited {
        text += " limited by |";
    }
    text += "\n|---|";
    text += &"---:|".repeat(metrics.len());
    if limited {
        text += "---|";
    }
    text.push('\n');
    for server in outcome.servers.iter().filter(|one| !one.rounds.is_empty()) {
        text += &row(server, &metrics);
    }
    text.push('\n');
    for metric in &metrics {
        text += &beside(outcome, BASELINE, *metric);
        if METRICS_OF_ALL.contains(metric) {
            for rival in outcome.servers.iter().filter(|one| one.rival) {
                text += &beside(outcome, &rival.name, *metric);
            }
        }
    }
    for own in [ECHOPOOL, BUSY] {
        for metric in &metrics {
            if let Some((rival, ratio)) = outcome.best_rival(own, *metric) {
                let (title, ratio) = (metric.title(), multiple(&ratio));
                text += &format!("- {title}: {own} has {ratio} of the best rival's ({rival})\n");
            }
        }
    }
    for server in &outcome.servers {
        if let Some(note) = &server.note {
            text += &format!("- {}: {note}\n", server.name);
        }
    }
    text
}

/// What echopool is compared by with each of its rivals, and not with the best alone.
const METRICS_OF_ALL: [Metric; 1] = [Metric::CpuPerDatagram];

/// A line about echopool and another server; empty where that took no part.
fn beside(outcome: &Outcome, other: &str, metric: Metric) -> String {
    let ratio = metric.more_is_better();
    let ratio = ratio.and_then(|_| outcome.ratio(ECHOPOOL, other, metric));
    ratio.map_or_else(String::new, |ratio| {
        let (title, ratio) = (metric.title(), multiple(&ratio));
        format!("- {title}: {ECHOPOOL} has {ratio} of {other}'s\n")
    })
}

/// Such as `1.05 (0.98–1.10)`, where the rounds differ.
fn multiple(ratio: &Summary) -> String {
    let Summary { median, min, max } = ratio;
    match min < max {
        true => format!("{median:.2} ({min:.2}–{max:.2})"),
        false => format!("{median:.2}"),
    }
}

/// Those that any of the servers has.
fn metrics(outcome: &Outcome) -> BTreeSet<Metric> {
    let summaries = outcome.servers.iter().map(|server| &server.summary);
    summaries
        .flat_map(|summary| summary.keys())
        .copied()
        .collect()
}

fn row(server: &ServerResults, metrics: &BTreeSet<Metric>) -> String {
    let mut text = format!("| {} |", server.name);
    for metric in metrics {
        let decimals = metric.decimals();
        match server.summary.get(metric) {
            None => text.push_str(" – |"),
            Some(summary) => {
                let show = |value| number(value, decimals);
                text += &format!(" {}", show(summary.median));
                if metric.more_is_better().is_some() {
                    text += &format!(" ({}–{})", show(summary.min), show(summary.max));
                    let ratio = server.ratio_to_echopool.get(metric);
                    text +=
                        &ratio.map_or_else(String::new, |ratio| format!(" ×{}", multiple(ratio)));
                }
                text += " |";
            }
        }
    }
    if let Some(side) = server.limited_by {
        text += &format!(" {side} |");
    }
    text + "\n"
}

/// What a round trip costs with 10,000 clients, as a multiple of 50 clients.
fn growth(outcomes: &[Outcome]) -> String {
    let find = |name| outcomes.iter().find(|outcome| outcome.name == name);
    let (Some(few), Some(many)) = (find("ping-64-50"), find("ping-64-10000")) else {
        return String::new();
    };
    let mut text = String::from(
        "\n## Growth\n\nServer CPU per round trip of 64 bytes at 10,000 clients to that at 50.\n\n\
         | server | ratio |\n|---|---:|\n",
    );
    for server in &many.servers {
        let cost = |server: &ServerResults| server.median(Metric::CpuPerRoundTrip);
        let before = few.server(&server.name).and_then(cost);
        if let (Some(after), Some(before)) = (cost(server), before) {
            let _ = writeln!(text, "| {} | {:.2} |", server.name, after / before);
        }
    }
    text
}

/// A number with commas between the thousands.
fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::outcome::tests::outcome;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(number(1_234_567.0, 0), "1,234,567");
        assert_eq!(number(999.96, 1), "1,000.0");
        assert_eq!(number(-123.0, 0), "-123");
        assert_eq!(number(0.126, 2), "0.13");
    }

    #[test]
    fn a_table_has_median_spread_and_ratio() {
        let expected = "
## ping-64-50

Ping-pong. server on CPU 0, load on CPU 1.

| server | server CPU µs/round trip |
|---|---:|
| echopool | 8.00 (7.00–9.00) ×1.00 |
| floor | 4.00 (4.00–4.00) ×0.50 (0.44–0.57) |
| threads | 16.00 (15.00–1,234.00) ×1.88 (1.78–176.29) |
| tokio-multi | 10.00 (9.00–11.00) ×1.29 (1.11–1.38) |

- server CPU µs/round trip: echopool has 0.78 (0.73–0.90) of the best rival's (tokio-multi)
- mio: it has one thread only
";
        assert_eq!(section(&outcome()), expected);
    }

    #[test]
    fn echopool_is_compared_with_its_other_build() {
        let mut outcome = outcome();
        outcome.servers[1].name = BASELINE.to_owned();
        let text = section(&outcome);
        let line = "- server CPU µs/round trip: echopool has 2.00 (1.75–2.25) of baseline's\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn the_cost_of_a_datagram_is_compared_with_every_rivals() {
        let mut outcome = outcome();
        for round in outcome.servers.iter_mut().flat_map(|one| &mut one.rounds) {
            let cost = round.remove(&Metric::CpuPerRoundTrip).unwrap();
            round.insert(Metric::CpuPerDatagram, cost);
        }
        outcome.sum_up();
        let text = section(&outcome);
        for (ratio, rival) in [("0.53", "threads"), ("0.78", "tokio-multi")] {
            let begin = format!("- server CPU µs/datagram: echopool has {ratio} ");
            let end = format!(" of {rival}'s");
            let is_it = |line: &str| line.starts_with(&begin) && line.ends_with(&end);
            assert!(text.lines().any(is_it), "{text}");
        }
        assert!(!text.contains("of floor's"), "{text}");
    }

    #[test]
    fn each_row_says_which_side_was_the_limit() {
        let mut outcome = outcome();
        for (server, busy) in outcome.servers.iter_mut().zip([97.0, 60.0]) {
            for round in &mut server.rounds {
                round.extend([(Metric::ServerCpu, busy), (Metric::LoadBusy, 50.0)]);
            }
        }
        outcome.servers.truncate(2);
        outcome.sum_up();
        let text = section(&outcome);
        assert!(text.contains("| load busy % | limited by |\n|---|---:|---:|---:|---|\n"));
        assert!(text.contains(" 97 | 50 | server |\n"), "{text}");
        assert!(text.contains(" 60 | 50 | neither |\n"), "{text}");
    }

    #[test]
    fn a_scenario_that_was_not_run_says_why() {
        let skipped = Outcome {
            skipped: Some(String::from("too few open files")),
            ..outcome()
        };
        assert!(section(&skipped).ends_with("\nSkipped: too few open files.\n"));
    }

    #[test]
    fn growth_needs_both_scenarios() {
        let few = outcome();
        assert_eq!(growth(std::slice::from_ref(&few)), "");
        let many = Outcome {
            name: String::from("ping-64-10000"),
            ..outcome()
        };
        assert!(growth(&[few, many]).contains("| echopool | 1.00 |\n| floor | 1.00 |\n"));
    }
}
