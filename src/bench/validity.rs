//! Whether the results of a run are valid: checks for causes that would make them
//! those of the generator or the path instead of the server.

use super::plan::Arrivals;
use super::results::{Doubt, Results, Suspicion};
use crate::base::units;
use crate::probe::latency::Latency;

/// A thread that works for this fraction of the time limits the run.
const SATURATED: f64 = 0.95;

/// The shortest run, in nanoseconds, that is checked for it: in a run of three
/// messages in 200 us, a thread is busy throughout and limits nothing.
const SATURATED_LEAST: u64 = 100_000_000;

/// A thread that is ready and has no processor for this fraction of the time adds
/// its own delay to what it measures.
const STARVED: f64 = 0.20;

/// The shortest run, in nanoseconds, that is checked for it: in a shorter one a
/// moment without a processor means nothing.
const STARVED_LEAST: u64 = 500_000_000;

/// The schedule was missed below this fraction of the planned rate.
const KEPT: f64 = 0.99;

/// The generator's own lateness, which the response times contain, is too large
/// above this fraction of them.
const LATE: f64 = 0.5;

/// A lateness up to this, in nanoseconds, is normal for a thread that sleeps.
const LATENESS_ALLOWED: u64 = 250_000;

/// Linux delays an ACK by at least 40 ms, and its timer adds a few.
const DELAYED_ACK_NS: std::ops::RangeInclusive<u64> = 38_000_000..=45_000_000;

/// A delayed ACK shows only if hardly any round trip took this long.
const BELOW_DELAYED_ACK_NS: std::ops::RangeInclusive<u64> = 20_000_000..=37_999_999;

/// What the checks are made on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence<'a> {
    pub(super) results: &'a Results,
    /// The largest fraction of its time that a thread was ready and had no processor.
    pub(super) starved_fraction: f64,
    /// Attempts to connect for which there was no local port.
    pub(super) without_port: u64,
    /// Attempts to connect for which there was no descriptor.
    pub(super) without_descriptor: u64,
    /// Whether the run was stopped before its end.
    pub(super) interrupted: bool,
}

/// All reasons for which the results may be invalid.
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
    let seen = if busy >= SATURATED && evidence.results.elapsed_ns >= SATURATED_LEAST {
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
    let planned = asked * results.elapsed_ns as f64 / 1e9;
    // The standard deviation of a Poisson count is its square root.
    let chance = match results.plan.arrivals {
        Arrivals::Uniform => 1.0,
        Arrivals::Poisson => 4.0 * planned.sqrt() + 1.0,
    };
    let lateness = quantile(results.lateness.as_ref()?, 0.99);
    let response = quantile(results.response.as_ref()?, 0.99);
    let counted_out = results.plan.count.is_some() || evidence.interrupted;
    let seen = if began < KEPT {
        format!(
            "{} of {due} messages were due and could not be sent before the end",
            totals.unsent
        )
    } else if !counted_out && due as f64 + chance < planned * KEPT {
        let part = due as f64 * 100.0 / planned;
        format!("only {part:.1} % of the rate that was asked for was offered")
    } else if lateness > LATENESS_ALLOWED && lateness as f64 > response as f64 * LATE {
        format!(
            "the generator was late by {} and more for 1 % of the messages, where the response \
             times of 1 % were {} and more",
            units::time(lateness as f64),
            units::time(response as f64)
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
            "connect from more local addresses with --source, make fewer connections, widen \
             net.ipv4.ip_local_port_range, or use more machines",
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
    // A path with such a round trip shows it in the connect times.
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

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;
    use std::time::Duration;

    use super::*;
    use crate::bench::plan::{Arrivals, Load, Plan};
    use crate::bench::results::{FORMAT, Generator, Totals};

    fn latency(values: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::new();
        for value in values {
            latency.histogram.record(value).unwrap();
        }
        latency
    }

    /// Ten seconds of a thousand round trips each, of 50 us, as they should be.
    fn healthy(rate: Option<f64>) -> Results {
        let round_trips = || latency((0..10_000).map(|n| 50_000 + n));
        Results {
            format: String::from(FORMAT),
            generators: vec![Generator {
                version: String::new(),
                host: String::new(),
                system: String::new(),
                cpus: 2,
                address: String::new(),
                addresses: Vec::new(),
                started_at: String::new(),
                busy_fraction: 0.3,
            }],
            plan: Plan {
                load: Load::Messages,
                connections: 1,
                size_bytes: 64..=64,
                depth: 1,
                rate_per_s: rate,
                arrivals: Arrivals::Uniform,
                duration: Some(Duration::from_secs(10)),
                count: None,
                warmup: Duration::ZERO,
                threads: 1,
                reconnect: false,
                sources: Vec::new(),
                timeout: Duration::from_secs(10),
                seed: 1,
            },
            elapsed_ns: 10_000_000_000,
            rate_per_s: 1000.0,
            throughput_bytes_per_s: 64_000.0,
            totals: Totals {
                sent: 10_000,
                echoed: 10_000,
                ..Totals::default()
            },
            service: round_trips(),
            response: rate.map(|_| round_trips()),
            lateness: rate.map(|_| latency([5_000; 10_000])),
            connect: latency([40_000]),
            first_byte: None,
            exchange: None,
            timeline: Vec::new(),
            outages: Vec::new(),
            examples: Vec::new(),
            suspicions: Vec::new(),
            expectations: Vec::new(),
            search: Vec::new(),
        }
    }

    fn evidence(results: &Results) -> Evidence<'_> {
        Evidence {
            results,
            starved_fraction: 0.01,
            without_port: 0,
            without_descriptor: 0,
            interrupted: false,
        }
    }

    fn doubts(results: &Results) -> Vec<Doubt> {
        let suspicions = suspicions(&evidence(results));
        suspicions.iter().map(|suspicion| suspicion.kind).collect()
    }

    #[test]
    fn a_healthy_run_is_trusted() {
        assert_eq!(doubts(&healthy(None)), []);
        assert_eq!(doubts(&healthy(Some(1000.0))), []);
    }

    #[test]
    fn a_busy_or_starved_generator_is_doubted() {
        let mut results = healthy(None);
        results.generators[0].busy_fraction = 0.97;
        let suspicion = suspicions(&evidence(&results)).remove(0);
        assert_eq!(suspicion.kind, Doubt::GeneratorSaturated);
        assert!(suspicion.seen.contains("97.0 %"), "{}", suspicion.seen);
        assert!(
            suspicion.seen.contains("generator's limit"),
            "{}",
            suspicion.seen
        );
        results.elapsed_ns = 200_000;
        assert_eq!(doubts(&results), [], "a few messages");
        let results = healthy(None);
        let starved = Evidence {
            starved_fraction: 0.5,
            ..evidence(&results)
        };
        assert_eq!(suspicions(&starved)[0].kind, Doubt::GeneratorSaturated);
    }

    #[test]
    fn an_open_loop_that_was_not_open_is_doubted() {
        let mut results = healthy(Some(1000.0));
        (results.totals.sent, results.totals.unsent) = (9_000, 1_000);
        assert_eq!(doubts(&results), [Doubt::ScheduleMissed]);
        results.totals.unsent = 0;
        assert_eq!(doubts(&results), [Doubt::ScheduleMissed]);
        // A number of messages, or a person, may end a run before its time.
        results.plan.count = Some(9_000);
        assert_eq!(doubts(&results), []);
        results.plan.count = None;
        let interrupted = Evidence {
            interrupted: true,
            ..evidence(&results)
        };
        assert_eq!(suspicions(&interrupted), []);
    }

    #[test]
    fn poisson_arrivals_are_allowed_their_chance() {
        let mut results = healthy(Some(1000.0));
        results.totals.sent = 9_800;
        assert_eq!(doubts(&results), [Doubt::ScheduleMissed]);
        results.plan.arrivals = Arrivals::Poisson;
        assert_eq!(doubts(&results), []);
        results.totals.sent = 9_400;
        assert_eq!(doubts(&results), [Doubt::ScheduleMissed]);
    }

    #[test]
    fn lateness_that_is_most_of_the_response_time_is_doubted() {
        let mut results = healthy(Some(1000.0));
        let late = |count: u64| (0..10_000).map(move |n| if n < count { 900_000 } else { 5_000 });
        results.lateness = Some(latency(late(50)));
        results.response = Some(latency(late(50)));
        assert_eq!(doubts(&results), [], "one in two hundred");
        results.lateness = Some(latency(late(300)));
        results.response = Some(latency(late(300).map(|late| late + 50_000)));
        assert_eq!(doubts(&results), [Doubt::ScheduleMissed]);
        // A server that stalls is not the generator's lateness.
        results.response = Some(latency(late(300).map(|late| late * 100)));
        assert_eq!(doubts(&results), []);
    }

    #[test]
    fn ports_and_descriptors_that_ran_out_are_reported() {
        let results = healthy(None);
        let without = Evidence {
            without_port: 3,
            without_descriptor: 1,
            ..evidence(&results)
        };
        let suspicions = suspicions(&without);
        let kinds: Vec<_> = suspicions.iter().map(|suspicion| suspicion.kind).collect();
        assert_eq!(kinds, [Doubt::PortsRanOut, Doubt::DescriptorsRanOut]);
        assert!(suspicions[0].seen.contains('3'), "{}", suspicions[0].seen);
    }

    /// Latencies in milliseconds: each range, repeated as often as its number says.
    fn milliseconds(spread: &[(RangeInclusive<u64>, usize)]) -> Latency {
        let values = spread.iter().flat_map(|(range, times)| {
            let range = range.clone();
            std::iter::repeat_with(move || range.clone())
                .take(*times)
                .flatten()
        });
        latency(values.map(|ms| ms * 1_000_000))
    }

    #[test]
    fn a_cluster_at_40_ms_is_a_delayed_ack() {
        let mut results = healthy(None);
        results.service = milliseconds(&[(1..=1, 970), (40..=42, 10)]);
        assert_eq!(doubts(&results), [Doubt::DelayedAck]);
        results.service = milliseconds(&[(40..=44, 100)]);
        assert_eq!(doubts(&results), [Doubt::DelayedAck], "each of them");
    }

    #[test]
    fn a_tail_that_passes_40_ms_is_none() {
        let mut results = healthy(None);
        results.service = milliseconds(&[(1..=1, 900), (2..=100, 5)]);
        assert_eq!(doubts(&results), [], "a broad tail");
        results.service = milliseconds(&[(1..=1, 9_990), (41..=41, 10)]);
        assert_eq!(doubts(&results), [], "one in a thousand");
        results.service = milliseconds(&[(40..=44, 100)]);
        results.connect = milliseconds(&[(40..=40, 1)]);
        assert_eq!(doubts(&results), [], "a path of that length");
    }
}
