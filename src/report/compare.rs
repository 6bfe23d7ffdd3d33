//! A comparison of runs as text: each value with its ratio to that of the first run.

use std::io::{self, Write};

use super::describe::{NONE, doubt, interruption, settings};
use super::foreign::escaped_runs;
use super::run::Run;
use super::table::Table;
use crate::base::units;
use crate::bench::plan::Load;
use crate::bench::results::Results;
use crate::probe::latency::Latency;

/// Writes a table with a column a run, the settings that differ, and the warnings
/// of each run.
///
/// # Errors
/// The writer's errors.
pub fn write(runs: &[Run], to: &mut dyn Write) -> io::Result<()> {
    let runs = &escaped_runs(runs)[..];
    writeln!(to, "{}", numbers(runs).text())?;
    if let Some(settings) = differing_settings(runs) {
        writeln!(to, "\nThe runs were not asked for the same:")?;
        writeln!(to, "{}", settings.text())?;
    }
    for run in runs {
        if let Some(interruption) = interruption(&run.results) {
            writeln!(to, "\nINTERRUPTED: {}: {interruption}", run.name)?;
        }
        for suspicion in &run.results.suspicions {
            let (doubt, seen) = (doubt(suspicion.kind), &suspicion.seen);
            writeln!(to, "\nSUSPECT: {}: {doubt}: {seen}", run.name)?;
            writeln!(to, "         {}", suspicion.advice)?;
        }
    }
    Ok(())
}

/// The value in a run; `None` if it was not measured.
type Value = dyn Fn(&Results) -> Option<f64>;

/// A metric: its name, its value in a run, and its format.
struct Measure {
    name: String,
    of: Box<Value>,
    show: fn(f64) -> String,
}

impl Measure {
    fn new(
        name: impl Into<String>,
        show: fn(f64) -> String,
        of: impl Fn(&Results) -> Option<f64> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            of: Box::new(of),
            show,
        }
    }

    /// The row of all runs; `None` if no run measured it.
    fn row(&self, runs: &[Run]) -> Option<Vec<String>> {
        let values: Vec<_> = runs.iter().map(|run| (self.of)(&run.results)).collect();
        values.iter().find(|value| value.is_some())?;
        let cell = |(place, value): (usize, &Option<f64>)| match (place, values[0], value) {
            (_, _, None) => NONE.to_owned(),
            (1.., Some(first), Some(value)) if first > 0.0 => {
                format!("{} ({})", (self.show)(*value), ratio(value / first))
            }
            (_, _, Some(value)) => (self.show)(*value),
        };
        let cells = values.iter().enumerate().map(cell);
        Some(std::iter::once(self.name.clone()).chain(cells).collect())
    }
}

/// A ratio to two digits at the least: `0.0035×`, `0.43×`, `31,686×`.
fn ratio(ratio: f64) -> String {
    match ratio {
        0.0 => String::from("0×"),
        100.0.. => format!("{}×", units::grouped(ratio)),
        0.095.. => format!("{ratio:.2}×"),
        0.0095.. => format!("{ratio:.3}×"),
        0.000_95.. => format!("{ratio:.4}×"),
        _ => String::from("<0.001×"),
    }
}

/// All metrics, with a column a run.
pub(super) fn numbers(runs: &[Run]) -> Table {
    let mut header = vec![String::from("round trip")];
    header.extend(runs.iter().map(|run| run.name.clone()));
    let rows = measures()
        .iter()
        .filter_map(|each| each.row(runs))
        .collect();
    Table { header, rows }
}

#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn measures() -> Vec<Measure> {
    let mut measures = vec![
        Measure::new("rate", units::rate, |results| {
            has_messages(results).then_some(results.rate_per_s)
        }),
        Measure::new("throughput", units::throughput, |results| {
            Some(results.throughput_bytes_per_s)
        }),
    ];
    for (name, percentiles) in [
        ("response", &[50.0, 90.0, 99.0, 99.9, 99.99][..]),
        ("service", &[50.0, 90.0, 99.0, 99.9, 99.99]),
        ("lateness", &[99.0]),
        ("first byte", &[50.0, 99.0]),
        ("exchange", &[50.0, 99.0]),
        ("connect", &[50.0, 99.0]),
    ] {
        for percentile in percentiles {
            measures.push(Measure::new(
                format!("{name} p{percentile}"),
                units::time,
                move |results| Some(latency(results, name)?.percentile(*percentile)? as f64),
            ));
        }
        measures.push(Measure::new(
            format!("{name} max"),
            units::time,
            move |results| Some(latency(results, name)?.max()? as f64),
        ));
    }
    measures.extend([
        count("echoed", |results| {
            has_messages(results).then_some(results.totals.echoed)
        }),
        count("in flight at the end", |results| {
            has_messages(results).then_some(results.totals.in_flight)
        }),
        count("lost", |results| {
            has_messages(results).then_some(results.totals.lost)
        }),
        count("lost bytes", |results| Some(results.totals.lost_bytes)),
        count("errors", |results| Some(results.totals.errors.total())),
        Measure::new("loss", units::percent, |results| {
            results.datagrams.as_ref()?.loss_fraction
        }),
        count("duplicates", |results| {
            Some(results.datagrams.as_ref()?.counts.duplicates)
        }),
        count("reordered", |results| {
            Some(results.datagrams.as_ref()?.counts.reordered)
        }),
        count("TCP retransmits", |results| {
            results.tcp.as_ref()?.counts.retransmits
        }),
    ]);
    measures
}

#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn count(name: &str, of: fn(&Results) -> Option<u64>) -> Measure {
    Measure::new(name, units::grouped, move |results| {
        Some(of(results)? as f64)
    })
}

/// Whether messages were counted: a stream has none.
fn has_messages(results: &Results) -> bool {
    results.plan.load != Load::Stream
}

fn latency<'a>(results: &'a Results, name: &str) -> Option<&'a Latency> {
    let mut timed = results.latencies();
    timed.find_map(|(each, latency)| (each == name).then_some(latency))
}

/// The settings in which the runs differ, if any: results of different loads are
/// comparable only if the difference is intended.
pub(super) fn differing_settings(runs: &[Run]) -> Option<Table> {
    let columns: Vec<_> = runs.iter().map(|run| settings(&run.results.plan)).collect();
    let mut rows = Vec::new();
    for (place, (name, first)) in columns.first()?.iter().enumerate() {
        let values: Vec<_> = columns
            .iter()
            .map(|column| column[place].1.clone())
            .collect();
        if *name != "seed" && values.iter().any(|value| value != first) {
            rows.push(std::iter::once((*name).to_owned()).chain(values).collect());
        }
    }
    let mut header = vec![String::from("setting")];
    header.extend(runs.iter().map(|run| run.name.clone()));
    (!rows.is_empty()).then_some(Table { header, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_has_digits_however_small_or_large_it_is() {
        for (number, text) in [
            (0.0, "0×"),
            (0.0002, "<0.001×"),
            (0.003_46, "0.0035×"),
            (0.0123, "0.012×"),
            (0.428, "0.43×"),
            (1.0, "1.00×"),
            (31_685.98, "31,686×"),
        ] {
            assert_eq!(ratio(number), text);
        }
    }
}
