//! Merges runs that made one load together. Everything is exact but the percentiles
//! of single seconds, which are dropped.

use std::collections::BTreeMap;
use std::time::Duration;

use super::describe::settings;
use super::error::MergeError;
use super::run::Run;
use crate::base::units;
use crate::bench::datagram_counts::{DatagramCounts, Datagrams};
use crate::bench::expect::Condition;
use crate::bench::plan::{Load, Plan};
use crate::bench::results::{
    Doubt, Errors, Expectation, FORMAT, Generator, Interval, Results, Suspicion, Totals,
};
use crate::bench::source::Source;
use crate::bench::tcp::Tcp;
use crate::probe::latency::Latency;

/// Runs were made together if they have at least this part of the shortest in common.
const TOGETHER: f64 = 0.9;

/// Settings that may differ between the parts of one load.
const OF_EACH: [&str; 6] = [
    "connections",
    "threads",
    "count",
    "warm-up",
    "sources",
    "seed",
];

/// Whether that setting may differ between the parts of such a load. The time-out only ends
/// waiting, but of datagrams it says which are lost.
fn may_differ(setting: &str, load: Load) -> bool {
    OF_EACH.contains(&setting) || (setting == "time-out" && load != Load::Datagrams)
}

/// Merges runs that made their load at the same time: histograms and totals exactly,
/// rates as a sum, and the timeline second by second. The result depends neither on
/// the order of the runs nor on whether some were merged before.
///
/// # Errors
/// [`MergeError`] if they are not parts of one load.
pub fn merge(runs: &[Run]) -> Result<Results, MergeError> {
    let first = runs.first().ok_or(MergeError::None)?;
    for (place, run) in runs.iter().enumerate() {
        if !run.results.search.is_empty() {
            return Err(MergeError::Search(run.name.clone()));
        }
        check_plans(first, run)?;
        check_twice(&runs[..place], run)?;
    }
    let mut parts: Vec<&Results> = runs.iter().map(|run| &run.results).collect();
    // Sums of floating-point numbers depend on their order, and so do lists.
    parts.sort_by_cached_key(|results| keys(&results.generators));
    Ok(add(&parts))
}

fn check_plans(first: &Run, other: &Run) -> Result<(), MergeError> {
    // Rates add up, so they may differ if all runs are open loops.
    let comparable = |run: &Run| {
        let mut plan = run.results.plan.clone();
        plan.rate_per_s = plan.rate_per_s.map(|_| 0.0);
        settings(&plan)
    };
    let shown = settings(&first.results.plan)
        .into_iter()
        .zip(settings(&other.results.plan));
    let differ = comparable(first)
        .into_iter()
        .zip(comparable(other))
        .map(|(first, other)| first != other);
    let settings: Vec<_> = shown
        .zip(differ)
        .filter(|(((name, _), _), differ)| *differ && !may_differ(name, first.results.plan.load))
        .map(|(((name, first), (_, other)), _)| (name, first, other))
        .collect();
    match settings.is_empty() {
        true => Ok(()),
        false => Err(MergeError::Plans {
            first: first.name.clone(),
            other: other.name.clone(),
            settings,
        }),
    }
}

fn check_twice(before: &[Run], run: &Run) -> Result<(), MergeError> {
    let shares = |other: &&Run| {
        let mut generators = other.results.generators.iter();
        generators.any(|generator| {
            let mut own = run.results.generators.iter();
            own.any(|own| is_same(own, generator))
        })
    };
    match before.iter().find(shares) {
        None => Ok(()),
        Some(first) => Err(MergeError::Twice {
            first: first.name.clone(),
            other: run.name.clone(),
        }),
    }
}

/// Whether two entries are of the same run. Merging adds how long it measured.
fn is_same(one: &Generator, other: &Generator) -> bool {
    let elapsed_ns = one.elapsed_ns;
    *one == Generator {
        elapsed_ns,
        ..other.clone()
    }
}

/// The sort keys of runs and of their generators.
fn keys(generators: &[Generator]) -> Vec<(String, String, String, u64)> {
    let key = |generator: &Generator| {
        (
            generator.started_at.clone(),
            generator.host.clone(),
            generator.address.clone(),
            generator.busy_fraction.to_bits(),
        )
    };
    let mut keys: Vec<_> = generators.iter().map(key).collect();
    keys.sort();
    keys
}

fn add(parts: &[&Results]) -> Results {
    let sum = |of: fn(&Results) -> f64| parts.iter().map(|part| of(part)).sum();
    let mut merged = Results {
        format: FORMAT.to_owned(),
        generators: generators(parts),
        plan: plan(parts),
        interrupted: parts.iter().any(|part| part.interrupted),
        elapsed_ns: parts.iter().map(|part| part.elapsed_ns).max().unwrap_or(0),
        rate_per_s: sum(|part| part.rate_per_s),
        throughput_bytes_per_s: sum(|part| part.throughput_bytes_per_s),
        totals: totals(parts),
        warmup_errors: warmup_errors(parts),
        service: latency(parts.iter().map(|part| &part.service)),
        response: optional(parts, |part| part.response.as_ref()),
        lateness: optional(parts, |part| part.lateness.as_ref()),
        connect: latency(parts.iter().map(|part| &part.connect)),
        first_byte: optional(parts, |part| part.first_byte.as_ref()),
        exchange: optional(parts, |part| part.exchange.as_ref()),
        tcp: tcp(parts),
        datagrams: datagrams(parts),
        timeline: timeline(parts),
        outages: join(parts, |part| &part.outages),
        examples: join(parts, |part| &part.examples),
        suspicions: join(parts, |part| &part.suspicions),
        expectations: Vec::new(),
        search: Vec::new(),
        search_end: None,
    };
    merged
        .generators
        .sort_by_cached_key(|one| keys(std::slice::from_ref(one)));
    merged.outages.sort_by_key(|outage| {
        (
            outage.start_ns,
            outage.length_ns,
            outage.connections,
            outage.lost_bytes,
        )
    });
    merged.examples.sort();
    // Judged again over all runs.
    merged
        .suspicions
        .retain(|each| each.kind != Doubt::NotTogether);
    merged.suspicions.extend(not_together(&merged.generators));
    sort_suspicions(&mut merged.suspicions);
    merged.expectations = expectations(parts, &merged);
    merged
}

/// The generators of all runs, with how long each measured.
fn generators(parts: &[&Results]) -> Vec<Generator> {
    let mut all = Vec::new();
    for part in parts {
        all.extend(part.generators.iter().map(|generator| Generator {
            elapsed_ns: generator.elapsed_ns.or(Some(part.elapsed_ns)),
            ..generator.clone()
        }));
    }
    all
}

/// The suspicion that runs were not made at the same time, so that their rates were never
/// reached together: the one that ended first and the one that began last overlap too little.
fn not_together(generators: &[Generator]) -> Option<Suspicion> {
    let times = generators.iter().filter_map(|generator| {
        let start = humantime::parse_rfc3339(&generator.started_at).ok()?;
        let length = Duration::from_nanos(generator.elapsed_ns?);
        Some((start, start.checked_add(length)?, length, generator))
    });
    let times: Vec<_> = times.collect();
    let shortest = times.iter().map(|(_, _, length, _)| *length).min()?;
    let (_, end, _, first) = times.iter().min_by_key(|(_, end, _, _)| *end)?;
    let (start, _, _, last) = times.iter().max_by_key(|(start, _, _, _)| *start)?;
    let common = end.duration_since(*start).unwrap_or_default();
    if common >= shortest.mul_f64(TOGETHER) {
        return None;
    }
    let run = |generator: &Generator| {
        let length = Duration::from_nanos(generator.elapsed_ns.unwrap_or(0));
        let length = units::duration(length);
        let Generator {
            host, started_at, ..
        } = generator;
        format!("{host} measured from {started_at} for {length}")
    };
    Some(Suspicion {
        kind: Doubt::NotTogether,
        seen: format!(
            "{} were common to all runs: {}, {}",
            units::duration(common),
            run(first),
            run(last)
        ),
        advice: String::from(
            "their rates were added, but never reached at once: start the runs together, or \
             compare them without --merge",
        ),
    })
}

fn join<T: Clone>(parts: &[&Results], of: fn(&Results) -> &Vec<T>) -> Vec<T> {
    parts.iter().flat_map(|part| of(part)).cloned().collect()
}

/// Sorts the suspicions, and removes duplicates.
fn sort_suspicions(suspicions: &mut Vec<Suspicion>) {
    suspicions.sort_by_key(|each| (each.kind as u8, each.seen.clone(), each.advice.clone()));
    suspicions.dedup();
}

/// The common plan: sums of connections, threads, rates and counts.
fn plan(parts: &[&Results]) -> Plan {
    let plans = || parts.iter().map(|part| &part.plan);
    let first = parts[0].plan.clone();
    Plan {
        connections: plans()
            .map(|plan| plan.connections)
            .fold(0, usize::saturating_add),
        threads: plans()
            .map(|plan| plan.threads)
            .fold(0, usize::saturating_add),
        rate_per_s: plans().map(|plan| plan.rate_per_s).sum(),
        count: plans()
            .map(|plan| plan.count)
            .reduce(|sum, count| Some(sum?.saturating_add(count?)))
            .flatten(),
        warmup: plans().map(|plan| plan.warmup).max().unwrap_or_default(),
        sources: sources(plans()),
        timeout: plans().map(|plan| plan.timeout).max().unwrap_or_default(),
        ..first
    }
}

/// The sources of all runs, each once.
fn sources<'a>(plans: impl Iterator<Item = &'a Plan>) -> Vec<Source> {
    let mut all = Vec::new();
    for source in plans.flat_map(|plan| &plan.sources) {
        if !all.contains(source) {
            all.push(*source);
        }
    }
    all
}

fn totals(parts: &[&Results]) -> Totals {
    parts.iter().fold(Totals::default(), |mut all, part| {
        all += &part.totals;
        all
    })
}

fn warmup_errors(parts: &[&Results]) -> Errors {
    parts.iter().fold(Errors::default(), |mut all, part| {
        all += &part.warmup_errors;
        all
    })
}

fn latency<'a>(parts: impl Iterator<Item = &'a Latency>) -> Latency {
    parts.fold(Latency::new(), |mut merged, part| {
        merged.add(part);
        merged
    })
}

fn optional(parts: &[&Results], of: fn(&Results) -> Option<&Latency>) -> Option<Latency> {
    let mut timed = parts.iter().filter_map(|part| of(part)).peekable();
    timed.peek()?;
    Some(latency(timed))
}

/// What TCP knows of all runs, if it is known of each.
fn tcp(parts: &[&Results]) -> Option<Tcp> {
    let known = parts.iter().map(|part| part.tcp.clone());
    let merged = known.reduce(|one, other| Some(one?.merged(&other?)));
    merged.flatten()
}

/// What became of the datagrams of all runs.
fn datagrams(parts: &[&Results]) -> Option<Datagrams> {
    let known = parts.iter().filter_map(|part| part.datagrams.clone());
    known.reduce(|one, other| one.merged(&other))
}

/// Merges the seconds with the same number.
fn timeline(parts: &[&Results]) -> Vec<Interval> {
    const SECOND: i64 = 1_000_000_000;
    let mut seconds: BTreeMap<i64, Interval> = BTreeMap::new();
    for interval in parts.iter().flat_map(|part| &part.timeline) {
        let second = interval.start_ns.div_euclid(SECOND);
        seconds
            .entry(second)
            .and_modify(|merged| add_interval(merged, interval))
            .or_insert_with(|| interval.clone());
    }
    seconds.into_values().collect()
}

fn add_interval(merged: &mut Interval, other: &Interval) {
    *merged = Interval {
        start_ns: merged.start_ns.min(other.start_ns),
        length_ns: merged.length_ns.max(other.length_ns),
        echoed: merged.echoed.saturating_add(other.echoed),
        echoed_bytes: merged.echoed_bytes.saturating_add(other.echoed_bytes),
        errors: merged.errors.saturating_add(other.errors),
        // Percentiles of parts don't add up to those of the whole.
        p50_ns: None,
        p99_ns: None,
        max_ns: merged.max_ns.max(other.max_ns),
        connections: merged
            .connections
            .zip(other.connections)
            .map(|(one, other)| one + other),
        tcp: merged
            .tcp
            .zip(other.tcp)
            .map(|(one, other)| one.merged(&other)),
        datagrams: sum(merged.datagrams, other.datagrams.as_ref()),
    };
}

fn sum(one: Option<DatagramCounts>, other: Option<&DatagramCounts>) -> Option<DatagramCounts> {
    let mut sum = one.or(other.map(|_| DatagramCounts::default()))?;
    if let Some(other) = other {
        sum += other;
    }
    Some(sum)
}

/// The expectations of all parts, checked on the merged results.
fn expectations(parts: &[&Results], merged: &Results) -> Vec<Expectation> {
    let mut asked: BTreeMap<&str, &Expectation> = BTreeMap::new();
    for expectation in parts.iter().flat_map(|part| &part.expectations) {
        asked.insert(&expectation.text, expectation);
    }
    let check = |expectation: &Expectation| match expectation.text.parse::<Condition>() {
        Ok(condition) => condition.check(merged),
        Err(error) => Expectation {
            text: expectation.text.clone(),
            held: false,
            seen: error.to_string(),
        },
    };
    asked.into_values().map(check).collect()
}
