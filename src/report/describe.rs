//! What the formats have in common: the parts of a run as texts and tables.

use std::collections::BTreeMap;
use std::time::Duration;

use super::table::Table;
use crate::base::units;
use crate::bench::plan::{Arrivals, Load, NO_DEPTH, Plan};
use crate::bench::results::{
    Doubt, Errors, Expectation, Generator, Outage, Results, Suspicion, Trial,
};
use crate::probe::latency::{Latency, PERCENTILES};

/// Shown in place of a missing number.
pub(super) const NONE: &str = "–";

/// The load without its rate: `50 connections, messages of 64 B, ...`. Where not all of them
/// were served, `50 connections asked for, ...`.
pub(super) fn load(results: &Results) -> String {
    let plan = &results.plan;
    let mut connections = units::count(plan.connections as u64, "connection", "connections");
    if missing_connections(results).is_some() {
        connections += " asked for";
    }
    let threads = units::count(plan.threads as u64, "thread", "threads");
    let size = size(plan);
    match plan.load {
        Load::Messages => {
            let depth = units::whole(plan.depth as u64);
            format!("{connections}, messages of {size}, {depth} in flight on each, {threads}")
        }
        Load::Churn => format!(
            "{connections} at once, each for one message of {size} and then a new one, {threads}"
        ),
        Load::Stream => {
            format!("{connections}, bytes as fast as the path takes them, {threads}")
        }
        Load::Datagrams => {
            let flows = units::count(plan.connections as u64, "flow", "flows");
            let depth = match plan.depth {
                NO_DEPTH.. => String::new(),
                depth => format!(", at most {} in flight on each", units::whole(depth as u64)),
            };
            format!("UDP, {flows}, datagrams of {size}{depth}, {threads}")
        }
    }
}

/// The kind of loop, and what it means for the latencies.
pub(super) fn pace(plan: &Plan) -> String {
    match (plan.load, plan.rate_per_s) {
        (Load::Datagrams, Some(rate)) => format!(
            "Open loop: {} {}. Response time counts from when a datagram was due, and of a lost \
             one until it was given up; service time is that of those that came back, from when \
             they were sent; lateness is the generator's own.",
            units::rate(rate),
            arrivals(plan.arrivals),
        ),
        (_, Some(rate)) => format!(
            "Open loop: {} {}. Response time counts from when a message was due, service time \
             from when it was sent, lateness is the generator's own.",
            units::rate(rate),
            arrivals(plan.arrivals),
        ),
        (Load::Stream, None) => {
            String::from("Stream: throughput is measured, and no message is timed.")
        }
        (_, None) => String::from(
            "Closed loop: a new message waits for a reply, so latency hides stalls: use --rate.",
        ),
    }
}

const fn arrivals(arrivals: Arrivals) -> &'static str {
    match arrivals {
        Arrivals::Uniform => "evenly spaced",
        Arrivals::Poisson => "at random (Poisson)",
    }
}

fn size(plan: &Plan) -> String {
    let (least, most) = (*plan.size_bytes.start(), *plan.size_bytes.end());
    match least == most {
        true => format!("{} B", units::whole(least as u64)),
        false => {
            let [least, most] = [least, most].map(|size| units::whole(size as u64));
            format!("{least} to {most} B")
        }
    }
}

/// The generator: `echopool 0.1.0 on host (Linux 6.18, 2 CPUs) against 127.0.0.1:20162`.
pub(super) fn generator(generator: &Generator) -> String {
    format!(
        "echopool {} on {} ({}, {}) against {}, {}, busy {:.0} %",
        generator.version,
        generator.host,
        generator.system,
        units::count(generator.cpus as u64, "CPU", "CPUs"),
        generator.address,
        utc(&generator.started_at),
        generator.busy_fraction * 100.0,
    )
}

/// A time as the results have it, `2026-11-22T06:00:00Z`, for people.
pub(super) fn utc(time: &str) -> String {
    match time.strip_suffix('Z') {
        Some(time) => format!("{} UTC", time.replacen('T', " ", 1)),
        None => time.to_owned(),
    }
}

/// The addresses that connections were made to, with what became of those; nothing where
/// there is but one.
pub(super) fn by_address(results: &Results) -> Vec<(String, String)> {
    let mut all: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    let counts = results.generators.iter().flat_map(|each| &each.addresses);
    for each in counts {
        let sums = all.entry(&each.address).or_default();
        for (sum, more) in sums
            .iter_mut()
            .zip([each.connected, each.failed, each.lost])
        {
            *sum = sum.saturating_add(more);
        }
    }
    if all.len() < 2 {
        return Vec::new();
    }
    let text = |[connected, failed, lost]: [u64; 3]| {
        let connected = units::count(connected, "connection", "connections");
        let [failed, lost] = [failed, lost].map(units::whole);
        format!("{connected} made, {failed} failed, {lost} lost")
    };
    all.into_iter()
        .map(|(address, counts)| (address.to_owned(), text(counts)))
        .collect()
}

/// All settings, with their names.
pub(super) fn settings(plan: &Plan) -> Vec<(&'static str, String)> {
    let optional = |value: Option<String>| value.unwrap_or_else(|| NONE.to_owned());
    let pace = match (plan.load, plan.rate_per_s) {
        (_, Some(rate)) => format!("{}, {}", units::rate(rate), arrivals(plan.arrivals)),
        (Load::Stream, None) => String::from("as the path takes them"),
        (_, None) => String::from("as the replies come (closed loop)"),
    };
    vec![
        ("load", kind(plan.load).to_owned()),
        ("connections", units::whole(plan.connections as u64)),
        ("message size", size(plan)),
        ("depth", depth(plan)),
        ("pace", pace),
        ("duration", optional(plan.duration.map(duration))),
        ("count", optional(plan.count.map(units::whole))),
        ("warm-up", duration(plan.warmup)),
        ("threads", units::whole(plan.threads as u64)),
        (
            "reconnect",
            if plan.reconnect { "yes" } else { "no" }.to_owned(),
        ),
        ("sources", optional(sources(plan))),
        ("time-out", duration(plan.timeout)),
        ("seed", plan.seed.to_string()),
    ]
}

fn depth(plan: &Plan) -> String {
    match plan.depth {
        NO_DEPTH.. if plan.load == Load::Datagrams => String::from("no limit"),
        depth => units::whole(depth as u64),
    }
}

/// The local addresses that connections were made from, if they were chosen.
pub(super) fn sources(plan: &Plan) -> Option<String> {
    let texts: Vec<String> = plan.sources.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}

/// The name of the load in JSON.
pub(super) const fn kind(load: Load) -> &'static str {
    match load {
        Load::Messages => "messages",
        Load::Churn => "churn",
        Load::Stream => "stream",
        Load::Datagrams => "datagrams",
    }
}

pub(super) fn duration(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// The counts, with their names.
pub(super) fn totals(results: &Results) -> Vec<(&'static str, String)> {
    let totals = &results.totals;
    let elapsed = nanoseconds(results.elapsed_ns);
    let throughput = units::throughput(results.throughput_bytes_per_s);
    let mut rows = match results.plan.load {
        Load::Stream => {
            let echoed = units::whole(totals.echoed_bytes);
            let sent = units::count(totals.sent_bytes, "byte", "bytes");
            let echoed = format!("{echoed} of {sent} sent, in {elapsed}");
            vec![("throughput", throughput), ("echoed", echoed)]
        }
        Load::Messages | Load::Churn | Load::Datagrams => {
            let echoed = units::whole(totals.echoed);
            let (one, many) = match results.plan.load {
                Load::Datagrams => ("datagram", "datagrams"),
                _ => ("message", "messages"),
            };
            let sent = units::count(totals.sent, one, many);
            let echoed = format!("{echoed} of {sent} sent, in {elapsed}");
            let rate = units::rate(results.rate_per_s);
            vec![
                ("round trips", rate),
                ("throughput", throughput),
                ("echoed", echoed),
            ]
        }
    };
    // A flow is no connection, and what became of datagrams is told apart.
    let is_datagrams = results.plan.load == Load::Datagrams;
    if !is_datagrams {
        rows.push(("connections", connections(results)));
    }
    let rare = [
        ("in flight at the end", totals.in_flight),
        ("due and not sent", totals.unsent),
        ("lost", totals.lost),
        ("lost bytes", totals.lost_bytes),
        ("errors", totals.errors.total()),
    ];
    let seen = rare.into_iter().filter(|(name, number)| {
        let told_apart = is_datagrams && ["lost", "lost bytes"].contains(name);
        *number > 0 && !told_apart
    });
    rows.extend(seen.map(|(name, number)| (name, units::whole(number))));
    rows
}

/// How many connections were open and had an echo, and how many were made.
#[expect(clippy::cast_precision_loss, reason = "connections are below 2^53")]
fn connections(results: &Results) -> String {
    let made = format!("{} made", units::whole(results.totals.connected));
    if let Some(missing) = missing_connections(results) {
        return format!("{}; {made}", missing.seen);
    }
    let asked = results.plan.connections;
    match results.connections_open() {
        Some(_) if results.plan.load == Load::Churn => made,
        Some((mean, least)) if mean < asked as f64 - 0.05 => {
            format!("{mean:.1} of {asked} open on average, {least:.0} at the least; {made}")
        }
        Some(_) => format!("{} open, {made}", units::whole(asked as u64)),
        None => made,
    }
}

/// The suspicion that figures are those of some of the connections alone.
fn missing_connections(results: &Results) -> Option<&Suspicion> {
    let mut suspicions = results.suspicions.iter();
    suspicions.find(|each| each.kind == Doubt::ConnectionsMissing)
}

/// A note that a run was stopped before its end; `None` if it was not.
pub(super) fn interruption(results: &Results) -> Option<String> {
    let after = nanoseconds(results.elapsed_ns);
    let what = match results.search.is_empty() {
        true => format!("the run was stopped after {after}, before its end"),
        false => String::from("the search was stopped before its end"),
    };
    results.interrupted.then_some(what)
}

/// The kinds of errors that occurred, with their numbers, and at the end those of the warm-up.
pub(super) fn errors(results: &Results) -> Vec<(&'static str, String)> {
    let warmup = of_kinds(&results.warmup_errors);
    let warmup: Vec<_> = warmup
        .map(|(name, number)| format!("{} {name}", units::whole(number)))
        .collect();
    let warmup = (!warmup.is_empty()).then(|| ("in the warm-up", warmup.join(", ")));
    of_kinds(&results.totals.errors)
        .map(|(name, number)| (name, units::whole(number)))
        .chain(warmup)
        .collect()
}

/// The kinds of errors that occurred, with their names.
fn of_kinds(errors: &Errors) -> impl Iterator<Item = (&'static str, u64)> {
    let kinds = errors.kinds().into_iter();
    let kinds = kinds.map(|(name, number)| match name {
        // As a word alone it reads as if the cause were unknown.
        "unknown" => ("never sent", number),
        _ => (name, number),
    });
    kinds.filter(|(_, number)| *number > 0)
}

/// The latencies, a column each; `None` if nothing was timed.
pub(super) fn latencies(results: &Results) -> Option<Table> {
    let timed: Vec<_> = results.latencies().collect();
    if timed.is_empty() {
        return None;
    }
    let corner = match results.round_trips().count() {
        0 => "time",
        _ => "round trip",
    };
    let header = std::iter::once(corner).chain(timed.iter().map(|(name, _)| *name));
    let row = |name: String, value: &dyn Fn(&Latency) -> Option<String>| {
        let values = timed.iter().map(|(_, latency)| value(latency));
        let cells: Vec<_> = values.collect();
        let has_values = cells.iter().any(Option::is_some);
        let cells = cells
            .into_iter()
            .map(|cell| cell.unwrap_or_else(|| NONE.to_owned()));
        has_values.then(|| std::iter::once(name).chain(cells).collect())
    };
    let mut rows = vec![row("min".into(), &|latency| latency.min().map(nanoseconds))];
    for percentile in PERCENTILES {
        rows.push(row(format!("p{percentile}"), &|latency| {
            latency.percentile(percentile).map(nanoseconds)
        }));
    }
    rows.push(row("max".into(), &|latency| latency.max().map(nanoseconds)));
    rows.push(row("mean".into(), &|latency| {
        latency.mean().map(units::time)
    }));
    rows.push(row("stddev".into(), &|latency| {
        latency.stddev().map(units::time)
    }));
    rows.push(row("samples".into(), &|latency| {
        Some(units::whole(latency.count()))
    }));
    Some(Table {
        header: header.map(String::from).collect(),
        rows: rows.into_iter().flatten().collect(),
    })
}

/// The trials of a search.
pub(super) fn search(trials: &[Trial]) -> Table {
    let header = ["rate asked for", "came back", "p50", "p99", "max", "held"];
    let time = |time: Option<u64>| time.map_or_else(|| NONE.to_owned(), nanoseconds);
    let row = |trial: &Trial| {
        vec![
            units::rate(trial.rate_per_s),
            units::rate(trial.echoed_per_s),
            time(trial.p50_ns),
            time(trial.p99_ns),
            time(trial.max_ns),
            held(trial),
        ]
    };
    Table {
        header: header.map(String::from).into(),
        rows: trials.iter().map(row).collect(),
    }
}

/// Whether a trial held, or what did not.
fn held(trial: &Trial) -> String {
    let text = match (trial.held, trial.condition_held, trial.schedule_kept) {
        (true, ..) => "yes",
        _ if trial.undamaged == Some(false) => "no: bytes changed",
        (_, Some(false), Some(false)) => "no: neither condition nor schedule",
        (_, Some(false), _) => "no: condition",
        (_, _, Some(false)) => "no: schedule",
        _ => "no",
    };
    text.to_owned()
}

/// One outage in words.
pub(super) fn outage(outage: &Outage) -> String {
    let recovery = outage.length_ns.map_or_else(
        || String::from("not recovered by the end"),
        |length| format!("recovered after {}", nanoseconds(length)),
    );
    #[expect(clippy::cast_precision_loss, reason = "a run is shorter than 2^53 ns")]
    let start = outage.start_ns as f64 / 1e9;
    format!(
        "at {start:.3} s: {recovery}; {} lost ({} reset, {} closed), {}, {}",
        units::count(outage.connections, "connection", "connections"),
        units::whole(outage.reset),
        units::whole(outage.closed),
        units::count(outage.refused, "attempt refused", "attempts refused"),
        units::count(outage.lost_bytes, "byte lost", "bytes lost"),
    )
}

/// The title of a suspicion.
pub(super) const fn doubt(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::GeneratorSaturated => "the generator was saturated",
        Doubt::ScheduleMissed => "the schedule was missed",
        Doubt::PortsRanOut => "local ports ran out",
        Doubt::DescriptorsRanOut => "descriptors ran out",
        Doubt::DelayedAck => "Nagle's algorithm met delayed ACKs",
        Doubt::ConnectionsMissing => "connections were missing",
        Doubt::NotSent => "this machine did not send everything",
        Doubt::DroppedHere => "this machine dropped what came back",
        Doubt::NotTogether => "the runs were not made at the same time",
    }
}

/// The outcome of an expectation, as in `PASS p99<1ms: 840 us`.
pub(super) const fn verdict(expectation: &Expectation) -> &'static str {
    match expectation.held {
        true => "PASS",
        false => "FAIL",
    }
}

/// A time in a unit that fits its size.
pub(super) fn nanoseconds(nanoseconds: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a run is shorter than 2^53 ns")]
    units::time(nanoseconds as f64)
}
