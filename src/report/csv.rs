//! A run as CSV: a header and one row.
//!
//! Every run has the same columns, so that the rows of several runs can be joined.
//! A cell that was not measured is empty.

use std::io::{self, Write};

use super::describe::{kind, sources};
use crate::bench::datagram_counts::Datagrams;
use crate::bench::plan::{Arrivals, Load, Plan};
use crate::bench::results::Results;
use crate::bench::tcp::TcpCounts;
use crate::probe::latency::{Latency, PERCENTILES};

/// Writes the header and one row.
///
/// # Errors
/// The writer's errors.
pub fn write(results: &Results, to: &mut dyn Write) -> io::Result<()> {
    let (names, values): (Vec<_>, Vec<_>) = columns(results).into_iter().unzip();
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record(names)?;
    writer.write_record(values)?;
    writer.flush()
}

/// A name and a value.
type Column = (String, String);

fn column(name: &str, value: impl ToString) -> Column {
    (name.to_owned(), value.to_string())
}

/// A value, or an empty cell.
fn optional(name: &str, value: Option<impl ToString>) -> Column {
    let value = value.map_or_else(String::new, |value| value.to_string());
    (name.to_owned(), value)
}

fn columns(results: &Results) -> Vec<Column> {
    let each = |part: fn(&crate::bench::results::Generator) -> &str| {
        let parts: Vec<_> = results.generators.iter().map(part).collect();
        parts.join(" ")
    };
    let mut columns = vec![
        column("started_at", each(|generator| &generator.started_at)),
        column("host", each(|generator| &generator.host)),
        column("address", each(|generator| &generator.address)),
        column("version", each(|generator| &generator.version)),
        optional("rate_per_s", of_messages(results, results.rate_per_s)),
        column("throughput_bytes_per_s", results.throughput_bytes_per_s),
        column("elapsed_ns", results.elapsed_ns),
    ];
    columns.extend(times("response", results.response.as_ref()));
    columns.extend(times("service", Some(&results.service)));
    columns.extend(times("lateness", results.lateness.as_ref()));
    columns.extend(times("connect", Some(&results.connect)));
    columns.extend(times("first_byte", results.first_byte.as_ref()));
    columns.extend(times("exchange", results.exchange.as_ref()));
    columns.extend(counts(results));
    columns.extend(tcp(results));
    columns.extend(datagrams(results));
    columns.extend([
        column("outages", results.outages.len()),
        column("suspicions", results.suspicions.len()),
        column("interrupted", results.interrupted),
        column(
            "expectations_failed",
            results
                .expectations
                .iter()
                .filter(|each| !each.held)
                .count(),
        ),
    ]);
    columns.extend(plan(&results.plan));
    columns
}

fn times(name: &str, latency: Option<&Latency>) -> Vec<Column> {
    let latency = latency.filter(|latency| latency.count() > 0);
    let time = |what: &str, value| optional(&format!("{name}_{what}"), value);
    let mut columns = vec![
        time("count", latency.map(Latency::count)),
        time("min_ns", latency.and_then(Latency::min)),
    ];
    columns.extend(PERCENTILES.map(|percentile| {
        let value = latency.and_then(|latency| latency.percentile(percentile));
        time(&format!("p{percentile}_ns"), value)
    }));
    columns.push(time("max_ns", latency.and_then(Latency::max)));
    columns.extend([
        optional(&format!("{name}_mean_ns"), latency.and_then(Latency::mean)),
        optional(
            &format!("{name}_stddev_ns"),
            latency.and_then(Latency::stddev),
        ),
    ]);
    columns
}

/// A value that is counted by message; `None` for a stream, which has none.
fn of_messages<T>(results: &Results, value: T) -> Option<T> {
    (results.plan.load != Load::Stream).then_some(value)
}

fn counts(results: &Results) -> Vec<Column> {
    let totals = &results.totals;
    let messages = |name: &str, value: u64| optional(name, of_messages(results, value));
    let mut columns = vec![
        messages("sent", totals.sent),
        messages("echoed", totals.echoed),
        messages("in_flight", totals.in_flight),
        messages("unsent", totals.unsent),
        messages("lost", totals.lost),
        column("sent_bytes", totals.sent_bytes),
        column("echoed_bytes", totals.echoed_bytes),
        column("lost_bytes", totals.lost_bytes),
        column("connected", totals.connected),
        column("warmup_errors", results.warmup_errors.total()),
        column("errors", totals.errors.total()),
    ];
    let kinds = totals.errors.kinds().into_iter();
    columns.extend(kinds.map(|(name, number)| {
        let name = format!("errors_{}", name.replace(' ', "_"));
        column(&name, number)
    }));
    columns
}

fn tcp(results: &Results) -> Vec<Column> {
    let counts = results.tcp.as_ref().map(|tcp| tcp.counts);
    let cell = |name: &str, of: fn(&TcpCounts) -> Option<u64>| {
        optional(&format!("tcp_{name}"), counts.as_ref().and_then(of))
    };
    let share = |name: &str, of: fn(&TcpCounts) -> Option<f64>| {
        optional(
            &format!("tcp_{name}_fraction"),
            counts.as_ref().and_then(of),
        )
    };
    let smoothed = results.tcp.as_ref().map(|tcp| &tcp.smoothed_rtt);
    vec![
        optional(
            "tcp_connections",
            results.tcp.as_ref().map(|tcp| tcp.connections),
        ),
        cell("retransmits", |counts| counts.retransmits),
        cell("retransmitted_bytes", |counts| counts.retransmitted_bytes),
        cell("data_segments_sent", |counts| counts.data_segments_sent),
        cell("least_rtt_ns", |counts| counts.least_rtt_ns),
        optional("tcp_smoothed_rtt_mean_ns", smoothed.and_then(Latency::mean)),
        cell("most_smoothed_rtt_ns", |counts| counts.most_smoothed_rtt_ns),
        cell("least_mss_bytes", |counts| counts.least_mss_bytes),
        cell("most_mss_bytes", |counts| counts.most_mss_bytes),
        cell("least_path_mtu_bytes", |counts| counts.least_path_mtu_bytes),
        share("receive_window_limited", TcpCounts::receive_window_limited),
        share("send_buffer_limited", TcpCounts::send_buffer_limited),
    ]
}

fn datagrams(results: &Results) -> Vec<Column> {
    let datagrams = results.datagrams.as_ref();
    let cell = |name: &str, of: fn(&Datagrams) -> Option<u64>| {
        optional(&format!("datagrams_{name}"), datagrams.and_then(of))
    };
    vec![
        optional(
            "datagrams_loss_fraction",
            datagrams.and_then(|it| it.loss_fraction),
        ),
        cell("changed", |it| Some(it.counts.changed)),
        cell("refused", |it| Some(it.counts.refused)),
        cell("unnamed_errors", |it| Some(it.counts.unnamed_errors)),
        cell("late", |it| Some(it.counts.late)),
        cell("duplicates", |it| Some(it.counts.duplicates)),
        cell("reordered", |it| Some(it.counts.reordered)),
        cell("not_sent", |it| Some(it.counts.not_sent)),
        cell("dropped_here", |it| it.counts.dropped_here),
        cell("wrong_checksums", |it| it.counts.wrong_checksums),
        cell("losing_flows", |it| Some(it.losing_flows)),
        cell("silent_flows", |it| Some(it.silent_flows)),
    ]
}

fn plan(plan: &Plan) -> Vec<Column> {
    let open = plan.rate_per_s.is_some();
    vec![
        column("load", kind(plan.load)),
        column("loop", if open { "open" } else { "closed" }),
        column("connections", plan.connections),
        column("size_min_bytes", plan.size_bytes.start()),
        column("size_max_bytes", plan.size_bytes.end()),
        column("depth", plan.depth),
        optional("asked_rate_per_s", plan.rate_per_s),
        optional(
            "arrivals",
            open.then_some(match plan.arrivals {
                Arrivals::Uniform => "uniform",
                Arrivals::Poisson => "poisson",
            }),
        ),
        optional("duration_ns", plan.duration.map(|time| time.as_nanos())),
        optional("count", plan.count),
        column("warmup_ns", plan.warmup.as_nanos()),
        column("threads", plan.threads),
        column("reconnect", plan.reconnect),
        optional("sources", sources(plan)),
        column("timeout_ns", plan.timeout.as_nanos()),
        column("seed", plan.seed),
    ]
}
