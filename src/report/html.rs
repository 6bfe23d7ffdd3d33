//! Runs as one self-contained HTML page: no script, no other file.

use std::collections::BTreeSet;
use std::io::{self, Write};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::compare::{differing_settings, numbers};
use super::datagrams;
use super::describe::{
    by_address, doubt, errors, generator, interruption, latencies, load, outage, pace, search,
    settings, totals, verdict,
};
use super::foreign::{escaped, escaped_runs};
use super::plots;
use super::run::Run;
use super::tcp;
use crate::base::units;
use crate::bench::results::{Results, Suspicion};

const STYLE: &str = include_str!("style.css");

/// Writes the page of one run.
///
/// # Errors
/// The writer's errors.
pub fn write(results: &Results, to: &mut dyn Write) -> io::Result<()> {
    let results = &escaped(results);
    let body = html! {
        (head(results))
        (suspicions(None, results))
        (expectations(results))
        section {
            h2 { "Latency" }
            @if results.round_trips().count() == 0 { p { "No round trip was timed." } }
            @if let Some(table) = latencies(results) { (table.html()) }
            div.charts {
                (plots::percentiles(results))
                (plots::histogram(results))
            }
        }
        (address_list(results))
        section { h2 { "Over time" } div.charts { (plots::timeline(results)) } }
        (transport(results))
        (errors_and_outages(results))
        @if !results.search.is_empty() {
            section {
                h2 { "Search for the highest rate" }
                div.charts { (plots::search(&results.search)) }
                (search(&results.search).html())
                @if let Some(end) = &results.search_end { p { "The search ended: " (end) } }
            }
        }
        section {
            h2 { "Settings" }
            (definitions(settings(&results.plan)))
            ul { @for each in &results.generators { li { (generator(each)) } } }
        }
    };
    page("echopool bench", &body, to)
}

/// Writes a page that compares several runs, in tables and in common charts.
///
/// # Errors
/// The writer's errors.
pub fn write_comparison(runs: &[Run], to: &mut dyn Write) -> io::Result<()> {
    let runs = &escaped_runs(runs)[..];
    let body = html! {
        header {
            h1 { "Round trips compared" }
            p { (units::count(runs.len() as u64, "run", "runs")) "; ratios are to the first." }
        }
        @for run in runs { (suspicions(Some(&run.name), &run.results)) }
        section {
            h2 { "Overlaid" }
            div.charts {
                (plots::compared_percentiles(runs))
                (plots::compared_paces(runs))
            }
        }
        section { h2 { "Side by side" } (numbers(runs).html()) }
        @if let Some(table) = differing_settings(runs) {
            section { h2 { "Settings that differ" } (table.html()) }
        }
        section {
            h2 { "Runs" }
            @for run in runs {
                h3 { (run.name) }
                p { (load(&run.results)) ". " (pace(&run.results.plan)) }
                ul { @for each in &run.results.generators { li { (generator(each)) } } }
            }
        }
    };
    page("echopool bench: comparison", &body, to)
}

/// What the transport does: TCP, or datagrams.
fn transport(results: &Results) -> Markup {
    if results.datagrams.is_some() {
        return html! {
            section {
                h2 { "Datagrams" }
                (definitions(datagrams::figures(results)))
                div.charts { (plots::losses(results)) }
                @if let Some(table) = datagrams::worst_flows(results) { (table.html()) }
            }
        };
    }
    html! {
        section {
            h2 { "TCP" }
            (definitions(tcp::figures(results)))
            div.charts { (plots::retransmits(results)) (plots::tcp_round_trips(results)) }
        }
    }
}

fn page(title: &str, body: &Markup, to: &mut dyn Write) -> io::Result<()> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Markup in a name of the results can neither run nor fetch anything.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (body) } }
        }
    };
    to.write_all(page.into_string().as_bytes())
}

fn head(results: &Results) -> Markup {
    html! {
        header {
            h1 { "Round trips with " span.address { (addresses(results)) } }
            p { (load(results)) ". " (pace(&results.plan)) }
            (definitions(totals(results)))
        }
    }
}

/// The servers, each once.
fn addresses(results: &Results) -> String {
    let addresses = results.generators.iter();
    let addresses: BTreeSet<_> = addresses.map(|each| each.address.as_str()).collect();
    addresses.into_iter().collect::<Vec<_>>().join(", ")
}

fn definitions(pairs: impl IntoIterator<Item = (&'static str, String)>) -> Markup {
    html! {
        dl { @for (name, value) in pairs { div { dt { (name) } dd { (value) } } } }
    }
}

fn suspicions(run: Option<&str>, results: &Results) -> Markup {
    let line = |suspicion: &Suspicion| {
        html! {
            p.suspect role="alert" {
                strong { "SUSPECT: " @if let Some(run) = run { (run) ": " } (doubt(suspicion.kind)) }
                br; (suspicion.seen)
                br; em { (suspicion.advice) }
            }
        }
    };
    html! {
        @if let Some(interruption) = interruption(results) {
            p.suspect role="alert" {
                strong { "INTERRUPTED: " @if let Some(run) = run { (run) ": " } (interruption) }
            }
        }
        @for suspicion in &results.suspicions { (line(suspicion)) }
    }
}

fn expectations(results: &Results) -> Markup {
    html! {
        @if !results.expectations.is_empty() {
            ul.expectations {
                @for each in &results.expectations {
                    li class=(if each.held { "pass" } else { "fail" }) {
                        strong { (verdict(each)) } " " code { (each.text) } ": " (each.seen)
                    }
                }
            }
        }
    }
}

fn address_list(results: &Results) -> Markup {
    let addresses = by_address(results);
    html! {
        @if !addresses.is_empty() {
            section {
                h2 { "By address" }
                ul { @for (address, counts) in addresses { li { (address) ": " (counts) } } }
            }
        }
    }
}

fn errors_and_outages(results: &Results) -> Markup {
    html! {
        @if !errors(results).is_empty() || !results.examples.is_empty() {
            section {
                h2 { "Errors" }
                (definitions(errors(results).into_iter()))
                ul { @for example in &results.examples { li { (example) } } }
            }
        }
        @if !results.outages.is_empty() {
            section {
                h2 { "Outages" }
                ul { @for each in &results.outages { li { (outage(each)) } } }
            }
        }
    }
}
