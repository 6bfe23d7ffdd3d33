//! A run as text, for people to read.

use std::io::{self, Write};

use super::datagrams;
use super::describe::{
    by_address, doubt, errors, generator, interruption, latencies, load, outage, pace, search,
    totals, verdict,
};
use super::foreign::escaped;
use super::tcp;
use crate::bench::results::Results;

/// Writes the settings, the results and the checks of a run.
///
/// # Errors
/// The writer's errors.
pub fn write(results: &Results, to: &mut dyn Write) -> io::Result<()> {
    let results = &escaped(results);
    for each in &results.generators {
        writeln!(to, "{}", generator(each))?;
    }
    writeln!(to, "{}, seed {}", load(results), results.plan.seed)?;
    writeln!(to, "{}\n", pace(&results.plan))?;
    if let Some(interruption) = interruption(results) {
        writeln!(to, "INTERRUPTED: {interruption}\n")?;
    }
    for (name, value) in totals(results) {
        writeln!(to, " {name:<20}  {value}")?;
    }
    let figures = datagrams::figures(results).into_iter();
    for (name, value) in figures.chain(tcp::figures(results)) {
        writeln!(to, " {name:<20}  {value}")?;
    }
    for (address, counts) in by_address(results) {
        writeln!(to, " to {address}: {counts}")?;
    }
    if let Some(table) = latencies(results) {
        writeln!(to, "\n{}", table.text())?;
    }
    if let Some(table) = datagrams::worst_flows(results) {
        writeln!(to, "\n{}", table.text())?;
    }
    write_errors(results, to)?;
    if !results.search.is_empty() {
        writeln!(to, "\n{}", search(&results.search).text())?;
        if let Some(end) = &results.search_end {
            writeln!(to, "The search ended: {end}")?;
        }
    }
    write_checks(results, to)
}

/// Writes the errors and outages, if any.
fn write_errors(results: &Results, to: &mut dyn Write) -> io::Result<()> {
    let errors = errors(results);
    if !errors.is_empty() {
        writeln!(to, "\nErrors")?;
        for (name, number) in errors {
            writeln!(to, " {name:<20}  {number}")?;
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

/// Writes the suspicions and the expectations.
fn write_checks(results: &Results, to: &mut dyn Write) -> io::Result<()> {
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
