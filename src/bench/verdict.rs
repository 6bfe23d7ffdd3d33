//! Whether a run is to be trusted: what was seen in it, against what would make
//! its figures those of something else than the server.

use std::time::Duration;

use super::latency::Latency;
use super::results::{Doubt, Results, Suspicion};

/// A thread that works that much of the time is what limits the run.
const SATURATED: f64 = 0.95;

/// A thread that could work and has no processor for so much of the time adds
/// its own waiting to what it measures.
const STARVED: f64 = 0.20;

/// In less time, in nanoseconds, a moment without a processor says nothing.
const STARVED_LEAST: u64 = 500_000_000;

/// Less than this part of the rate that was asked for is another rate.
const KEPT: f64 = 0.99;

/// Round trips are not the server's alone when the generator's own lateness,
/// which they contain, is such a part of them.
const LATE: f64 = 0.5;

/// A lateness below this, in nanoseconds, is that of any sleeping thread.
const LATENESS_ALLOWED: u64 = 100_000;

/// Linux delays an ACK by 40 ms at the least, and a timer adds up to a few.
const DELAYED_ACK_NS: std::ops::RangeInclusive<u64> = 38_000_000..=45_000_000;

/// Below them hardly anything must lie that would join them to the others.
const BELOW_DELAYED_ACK_NS: std::ops::RangeInclusive<u64> = 20_000_000..=37_999_999;

/// What a run gives to judge it by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence<'a> {
    pub(super) results: &'a Results,
    /// Of the thread that had it worst.
    pub(super) starved_fraction: f64,
    /// Attempts to connect for which there was no local port.
    pub(super) without_port: u64,
    /// Attempts to connect for which there was no descriptor.
    pub(super) without_descriptor: u64,
    /// Whether somebody ended the run.
    pub(super) interrupted: bool,
}

/// All reasons not to trust the run.
pub(super) fn suspicions(evidence: &Evidence<'_>) -> Vec<Suspicion> {
    [
        saturated(evidence),
        schedule_missed(evidence),
        ports(evidence),
        descriptors(evidence),
        delayed_ack(evidence),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn suspicion(kind: Doubt, seen: String, advice: &str) -> Suspicion {
    Suspicion {
        kind,
        seen,
        advice: advice.to_owned(),
    }
}

fn saturated(evidence: &Evidence<'_>) -> Option<Suspicion> {
    let busy = evidence.results.generators.iter();
    let busy = busy
        .map(|generator| generator.busy_fraction)
        .fold(0.0, f64::max);
    let starved = evidence.starved_fraction;
    let limit = match evidence.results.plan.rate_per_s {
        None => ": the rate is the generator's limit, and the server may have more",
        Some(_) => ": its own work is part of the latencies",
    };
    let seen = if busy >= SATURATED {
        format!(
            "a thread of the generator worked {:.1} % of the time{limit}",
            busy * 100.0
        )
    } else if starved >= STARVED && evidence.results.elapsed_ns >= STARVED_LEAST {
        format!(
            "a thread of the generator had work and no processor for {:.1} % of the time",
            starved * 100.0
        )
    } else {
        return None;
    };
    Some(suspicion(
        Doubt::GeneratorSaturated,
        seen,
        "give the generator processors of its own and more --threads, spread it over more \
         machines, or ask for less",
    ))
}

#[expect(clippy::cast_precision_loss, reason = "counts and times below 2^53")]
fn schedule_missed(evidence: &Evidence<'_>) -> Option<Suspicion> {
    let results = evidence.results;
    let asked = results.plan.rate_per_s?;
    let totals = &results.totals;
    let due = totals.sent + totals.unsent;
    let began = totals.sent as f64 / (due as f64).max(1.0);
    let achieved = due as f64 / (asked * results.elapsed_ns as f64 / 1e9).max(1.0);
    let lateness = quantile(results.lateness.as_ref()?, 0.99);
    let response = quantile(results.response.as_ref()?, 0.5);
    let counted_out = results.plan.count.is_some() || evidence.interrupted;
    let seen = if began < KEPT {
        format!(
            "{} of {due} messages were due and could not be sent before the end",
            totals.unsent
        )
    } else if !counted_out
        && achieved < KEPT
        && due as f64 + 2.0 < asked * results.elapsed_ns as f64 / 1e9
    {
        format!(
            "only {:.1} % of the rate that was asked for was offered",
            achieved * 100.0
        )
    } else if lateness > LATENESS_ALLOWED && lateness as f64 > response as f64 * LATE {
        format!(
            "the generator was late by {} and more for 1 % of the messages, with a median \
             response time of {}",
            time(lateness),
            time(response)
        )
    } else {
        return None;
    };
    Some(suspicion(
        Doubt::ScheduleMissed,
        seen,
        "lower --rate, or allow more with --connections, --depth or --threads",
    ))
}

fn ports(evidence: &Evidence<'_>) -> Option<Suspicion> {
    (evidence.without_port > 0).then(|| {
        suspicion(
            Doubt::PortsRanOut,
            format!(
                "no local port was free for {} connections",
                evidence.without_port
            ),
            "make fewer connections, widen net.ipv4.ip_local_port_range, or use more machines",
        )
    })
}

fn descriptors(evidence: &Evidence<'_>) -> Option<Suspicion> {
    (evidence.without_descriptor > 0).then(|| {
        suspicion(
            Doubt::DescriptorsRanOut,
            format!(
                "no descriptor was free for {} connections",
                evidence.without_descriptor
            ),
            "raise the limit on open files (ulimit -n), or ask for fewer --connections",
        )
    })
}

/// Nagle's algorithm holds a small write back until the one before is
/// acknowledged, and the other side delays that acknowledgement.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn delayed_ack(evidence: &Evidence<'_>) -> Option<Suspicion> {
    let histogram = &evidence.results.service.histogram;
    let between = |range: std::ops::RangeInclusive<u64>| {
        histogram.count_between(*range.start(), *range.end())
    };
    let delayed = between(DELAYED_ACK_NS);
    let below = between(BELOW_DELAYED_ACK_NS);
    // A path that takes as long shows it when it connects.
    let far = quantile(&evidence.results.connect, 0.5) >= *BELOW_DELAYED_ACK_NS.start();
    if far || delayed < 2 || delayed * 100 < histogram.len() || below * 10 > delayed {
        return None;
    }
    let part = delayed as f64 * 100.0 / histogram.len() as f64;
    Some(suspicion(
        Doubt::DelayedAck,
        format!("{part:.1} % of the round trips took about 40 ms, and hardly any took 20 to 38 ms"),
        "this is Nagle's algorithm waiting for a delayed ACK: set TCP_NODELAY in the server, or \
         let it write an echo at once",
    ))
}

fn quantile(latency: &Latency, quantile: f64) -> u64 {
    latency.histogram.value_at_quantile(quantile)
}

fn time(nanoseconds: u64) -> String {
    format!("{:.1?}", Duration::from_nanos(nanoseconds))
}
