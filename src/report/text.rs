//! A run as text, for people.

use std::io::{self, Write};

use super::describe::{
    doubt, errors, generator, latencies, load, outage, pace, search, totals, verdict,
};
use crate::base::units;
use crate::bench::results::Results;

/// Writes all that a person wants to know of a run.
///
/// # Errors
/// What the writer says.
pub fn write(results: &Results, to: &mut dyn Write) -> io::Result<()> {
    for each in &results.generators {
        writeln!(to, "{}", generator(each))?;
    }
    writeln!(to, "{}, seed {}", load(&results.plan), results.plan.seed)?;
    writeln!(to, "{}\n", pace(&results.plan))?;
    for (name, value) in totals(results) {
        writeln!(to, " {name:<20}  {value}")?;
    }
    if let Some(table) = latencies(results) {
        writeln!(to, "\n{}", table.text())?;
    }
    troubles(results, to)?;
    if !results.search.is_empty() {
        writeln!(to, "\n{}", search(&results.search).text())?;
    }
    judge(results, to)
}

/// Errors and outages, if any.
fn troubles(results: &Results, to: &mut dyn Write) -> io::Result<()> {
    if results.totals.errors.total() > 0 {
        writeln!(to, "\nErrors")?;
        for (name, number) in errors(results) {
            writeln!(to, " {name:<20}  {}", units::whole(number))?;
        }
    }
    for example in &results.examples {
        writeln!(to, " for instance: {example}")?;
    }
    if !results.outages.is_empty() {
        writeln!(to, "\nOutages")?;
    }
    for each in &results.outages {
        writeln!(to, " {}", outage(each))?;
    }
    Ok(())
}

/// Whether the run is to be trusted, and whether it did as expected.
fn judge(results: &Results, to: &mut dyn Write) -> io::Result<()> {
    for suspicion in &results.suspicions {
        writeln!(
            to,
            "\nSUSPECT: {}: {}",
            doubt(suspicion.kind),
            suspicion.seen
        )?;
        writeln!(to, "         {}", suspicion.advice)?;
    }
    if !results.expectations.is_empty() {
        writeln!(to)?;
    }
    for expectation in &results.expectations {
        let (verdict, text) = (verdict(expectation), &expectation.text);
        writeln!(to, "{verdict} {text}: {}", expectation.seen)?;
    }
    Ok(())
}
