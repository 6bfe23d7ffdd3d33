//! Whether the results of a run are valid: checks for causes that would make them
//! those of the generator or the path instead of the server.

use super::plan::{Arrivals, Load};
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

/// A generator that works for less of its time than this is late since it was woken late.
const BUSY: f64 = 0.5;

/// A lateness up to this, in nanoseconds, is normal for a thread that sleeps.
const LATENESS_ALLOWED: u64 = 250_000;

/// Linux delays an ACK by at least 40 ms, and its timer adds a few.
const DELAYED_ACK_NS: std::ops::RangeInclusive<u64> = 38_000_000..=45_000_000;

/// A delayed ACK shows only if hardly any round trip took this long.
const BELOW_DELAYED_ACK_NS: std::ops::RangeInclusive<u64> = 20_000_000..=37_999_999;

/// The data that the checks use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence<'a> {
    pub(super) results: &'a Results,
    /// The largest fraction of its time that a thread was ready and had no processor.
    pub(super) starved_fraction: f64,
    /// Attempts to connect for which there was no local port.
    pub(super) without_port: u64,
    /// Attempts to connect for which there was no descriptor.
    pub(super) without_descriptor: u64,
    /// Connections on which nothing came back while load was measured.
    pub(super) without_echo: u64,
}

/// All reasons for which the results may be invalid.
pub(super) fn suspicions(evidence: &Evidence<'_>) -> Vec<Suspicion> {
    [
        saturated(evidence),
        schedule_missed(evidence),
        ports(evidence),
        descriptors(evidence),
        delayed_ack(evidence),
        connections_missing(evidence),
        flows_silent(evidence),
        not_sent(evidence.results),
        dropped_here(evidence.results),
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
    let busy = busy(evidence.results);
    let starved = evidence.starved_fraction;
    let limit = match evidence.results.plan.rate_per_s {
        None => ": the rate is the generator's limit, the server may carry more",
        Some(_) => ": its own work is part of the latencies",
    };
    let seen = if busy >= SATURATED && evidence.results.elapsed_ns >= SATURATED_LEAST {
        format!(
            "a generator thread worked {:.1} % of the time{limit}",
            busy * 100.0
        )
    } else if starved >= STARVED && evidence.results.elapsed_ns >= STARVED_LEAST {
        format!(
            "a generator thread waited for a CPU {:.1} % of the time",
            starved * 100.0
        )
    } else {
        return None;
    };
    Some(suspicion(
        Doubt::GeneratorSaturated,
        seen,
        "give the generator CPUs of its own and more --threads, spread it over more machines, \
         or ask for less",
    ))
}

fn schedule_missed(evidence: &Evidence<'_>) -> Option<Suspicion> {
    let results = evidence.results;
    results.plan.rate_per_s?;
    const LESS: &str = "lower --rate, or allow more with --connections, --depth or --threads";
    let (seen, advice) = match not_offered(results) {
        Some(seen) => (seen, LESS),
        None => late(results)?,
    };
    Some(suspicion(Doubt::ScheduleMissed, seen, advice))
}

/// How the load fell short of the rate that was asked for, if it did: what counts messages
/// means nothing then. How late each began does not matter for that.
#[expect(clippy::cast_precision_loss, reason = "counts and times below 2^53")]
pub(super) fn not_offered(results: &Results) -> Option<String> {
    let asked = results.plan.rate_per_s?;
    let totals = &results.totals;
    // What this machine's kernel did not take was begun in time all the same.
    let not_sent = results
        .datagrams
        .as_ref()
        .map_or(0, |it| it.counts.not_sent);
    let tried = totals.sent + not_sent;
    let due = tried + totals.unsent;
    let began = tried as f64 / (due as f64).max(1.0);
    let planned = asked * results.elapsed_ns as f64 / 1e9;
    // The standard deviation of a Poisson count is its square root.
    let chance = match results.plan.arrivals {
        Arrivals::Uniform => 1.0,
        Arrivals::Poisson => 4.0 * planned.sqrt() + 1.0,
    };
    let counted_out = results.plan.count.is_some() || results.interrupted;
    if due > 0 && began < KEPT {
        return Some(format!(
            "{} of {} due could not be sent before the end",
            units::whole(totals.unsent),
            units::count(due, "message", "messages")
        ));
    }
    let is_short = !counted_out && due as f64 + chance < planned * KEPT;
    is_short.then(|| {
        let part = due as f64 * 100.0 / planned;
        format!("only {part:.1} % of the rate that was asked for was offered")
    })
}

/// The generator's own lateness, if it is much of the response times: what was seen and
/// what to do. A percentile that too few messages support is not looked at.
#[expect(clippy::cast_precision_loss, reason = "times below 2^53")]
fn late(results: &Results) -> Option<(String, &'static str)> {
    let supported = [99.0, 90.0].into_iter().find_map(|percentile| {
        let lateness = results.lateness.as_ref()?.percentile(percentile)?;
        let response = results.response.as_ref()?.percentile(percentile)?;
        Some((percentile, lateness, response))
    });
    let (percentile, lateness, response) = supported?;
    if lateness <= LATENESS_ALLOWED || lateness as f64 <= response as f64 * LATE {
        return None;
    }
    let seen = format!(
        "{} % of the messages started at least {} late; response p{percentile} is {}",
        100.0 - percentile,
        units::time(lateness as f64),
        units::time(response as f64)
    );
    let busy = busy(results);
    Some(match busy < BUSY {
        true => (
            format!(
                "{seen}. The generator was woken late: it worked {:.0} % of the time",
                busy * 100.0
            ),
            "other programs or a power-saving CPU held it up: end them, give the generator CPUs \
             of its own, or set the CPU's governor to performance",
        ),
        false => (
            format!(
                "{seen}. The generator worked {:.0} % of the time",
                busy * 100.0
            ),
            "lower --rate, or give it more --threads, with a CPU each",
        ),
    })
}

/// The fraction of its time that the busiest thread worked.
fn busy(results: &Results) -> f64 {
    let generators = results.generators.iter();
    let busy = generators.map(|generator| generator.busy_fraction);
    busy.fold(0.0, f64::max)
}

/// Connections that were asked for and not open, or never had an echo: the figures are
/// those of the others alone. With `reconnect` the times without a server are told apart.
#[expect(clippy::cast_precision_loss, reason = "connections are below 2^53")]
fn connections_missing(evidence: &Evidence<'_>) -> Option<Suspicion> {
    let (results, without) = (evidence.results, evidence.without_echo);
    let plan = &results.plan;
    if matches!(plan.load, Load::Churn | Load::Datagrams) {
        return None;
    }
    let asked = plan.connections as f64;
    let open = results.connections_open();
    let too_few = !plan.reconnect && open.is_some_and(|(mean, _)| mean < asked * KEPT);
    if without == 0 && !too_few {
        return None;
    }
    let asked = units::whole(plan.connections as u64);
    let silent = (without > 0).then(|| {
        let all = units::count(plan.connections as u64, "connection", "connections");
        format!("{} of {all} had no echo", units::whole(without))
    });
    let open = open.map(|(mean, least)| {
        format!("{mean:.1} of {asked} were open on average, {least:.0} at the least")
    });
    let seen: Vec<_> = silent.into_iter().chain(open).collect();
    Some(suspicion(
        Doubt::ConnectionsMissing,
        seen.join("; "),
        "the figures are those of the connections that were served: raise the server's limits, \
         or ask for fewer --connections",
    ))
}

/// Flows that had no echo at all: something on the way loses all from some ports.
fn flows_silent(evidence: &Evidence<'_>) -> Option<Suspicion> {
    let results = evidence.results;
    let silent = results.datagrams.as_ref()?.silent_flows;
    let flows = units::count(results.plan.connections as u64, "flow", "flows");
    (silent > 0 && !results.is_barren()).then(|| {
        suspicion(
            Doubt::ConnectionsMissing,
            format!("{} of {flows} had no echo", units::whole(silent)),
            "their datagrams are in the loss: a member of a bundle of links, a server behind a \
             balancer or a translation of ports loses all from some ports; try \
             'echopool ping --udp --ports 32'",
        )
    })
}

/// Datagrams that this machine did not send are in no figure of the path.
fn not_sent(results: &Results) -> Option<Suspicion> {
    let counts = results.datagrams.as_ref()?.counts;
    let due = counts.sent.saturating_add(counts.not_sent);
    let due = units::count(due, "datagram", "datagrams");
    (counts.not_sent > 0).then(|| {
        let were = units::form(counts.not_sent, "was", "were");
        suspicion(
            Doubt::NotSent,
            format!("{} of {due} {were} not sent", units::whole(counts.not_sent)),
            "the examples have the cause: a firewall of this machine (EPERM), or its queues are \
             full (ENOBUFS, EAGAIN): ask for less, or lengthen them (ip link set DEV txqueuelen N)",
        )
    })
}

/// What came back and was dropped by this machine looks like loss. What had a wrong checksum
/// is the path's, and what was dropped may have been a copy.
fn dropped_here(results: &Results) -> Option<Suspicion> {
    let counts = results.datagrams.as_ref()?.counts;
    let dropped = Some(counts.had_no_room()).filter(|dropped| *dropped > 0)?;
    let lost = match dropped.min(counts.lost) {
        0 => String::new(),
        most => format!(
            ": as many as {} of the {} lost may not be the path's",
            units::whole(most),
            units::whole(counts.lost)
        ),
    };
    Some(suspicion(
        Doubt::DroppedHere,
        format!(
            "our own sockets had no room for {} that came back{lost}",
            units::count(dropped, "datagram", "datagrams")
        ),
        "raise net.core.rmem_max (4 MiB a socket are asked for), give the generator more --threads \
         or --connections, or ask for less",
    ))
}

fn ports(evidence: &Evidence<'_>) -> Option<Suspicion> {
    (evidence.without_port > 0).then(|| {
        suspicion(
            Doubt::PortsRanOut,
            format!(
                "no local port was free for {}",
                units::count(evidence.without_port, "connection", "connections")
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
                "no descriptor was free for {}",
                units::count(evidence.without_descriptor, "connection", "connections")
            ),
            "raise the limit on open files (ulimit -n), or ask for fewer --connections",
        )
    })
}

/// Nagle's algorithm holds a small write back until the one before is
/// acknowledged, and the other side delays that acknowledgement.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn delayed_ack(evidence: &Evidence<'_>) -> Option<Suspicion> {
    if evidence.results.plan.load == Load::Datagrams {
        return None;
    }
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
pub(super) mod tests {
    use std::ops::RangeInclusive;
    use std::time::Duration;

    use super::*;
    use crate::bench::datagram_counts::{DatagramCounts, Datagrams};
    use crate::bench::plan::Plan;
    use crate::bench::results::{Errors, FORMAT, Generator, Interval, Totals};

    pub(in crate::bench) fn latency(values: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::new();
        for value in values {
            latency.histogram.record(value).unwrap();
        }
        latency
    }

    /// Ten seconds of a thousand round trips each, of 50 us, as they should be.
    pub(in crate::bench) fn healthy(rate: Option<f64>) -> Results {
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
                elapsed_ns: None,
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
            interrupted: false,
            elapsed_ns: 10_000_000_000,
            rate_per_s: 1000.0,
            throughput_bytes_per_s: 64_000.0,
            totals: Totals {
                sent: 10_000,
                echoed: 10_000,
                ..Totals::default()
            },
            warmup_errors: Errors::default(),
            service: round_trips(),
            response: rate.map(|_| round_trips()),
            lateness: rate.map(|_| latency([5_000; 10_000])),
            connect: latency([40_000]),
            first_byte: None,
            exchange: None,
            tcp: None,
            datagrams: None,
            timeline: Vec::new(),
            outages: Vec::new(),
            examples: Vec::new(),
            suspicions: Vec::new(),
            expectations: Vec::new(),
            search: Vec::new(),
            search_end: None,
        }
    }

    fn evidence(results: &Results) -> Evidence<'_> {
        Evidence {
            results,
            starved_fraction: 0.01,
            without_port: 0,
            without_descriptor: 0,
            without_echo: 0,
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
        results.interrupted = true;
        assert_eq!(doubts(&results), []);
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
    fn lateness_has_the_cause_that_it_has_and_enough_messages() {
        let mut results = healthy(Some(1000.0));
        let late = |count| latency((0..count).map(|_| 3_000_000));
        (results.lateness, results.response) = (Some(late(10_000)), Some(late(10_000)));
        for (busy, seen, advice) in [
            (
                0.02,
                "woken late: it worked 2 % of the time",
                "power-saving CPU",
            ),
            (
                0.49,
                "woken late: it worked 49 % of the time",
                "power-saving CPU",
            ),
            (0.5, "The generator worked 50 % of the time", "lower --rate"),
            (0.9, "The generator worked 90 % of the time", "--threads"),
        ] {
            results.generators[0].busy_fraction = busy;
            let suspicion = suspicions(&evidence(&results)).remove(0);
            assert!(suspicion.seen.contains(seen), "{suspicion:?}");
            assert!(suspicion.advice.contains(advice), "{suspicion:?}");
            let first =
                "1 % of the messages started at least 3.00 ms late; response p99 is 3.00 ms";
            assert!(suspicion.seen.starts_with(first), "{suspicion:?}");
        }
        results.generators[0].busy_fraction = 0.02;
        (results.lateness, results.response) = (Some(late(500)), Some(late(500)));
        let seen = suspicions(&evidence(&results)).remove(0).seen;
        assert!(seen.starts_with("10 % of the messages started"), "{seen}");
        (results.lateness, results.response) = (Some(late(10)), Some(late(10)));
        assert_eq!(doubts(&results), [], "ten messages tell no percentile");
    }

    #[test]
    fn connections_that_were_not_open_or_had_no_echo_are_doubted_with_their_numbers() {
        let mut results = healthy(None);
        results.plan.connections = 200;
        let second = |number: i64, connections| Interval {
            start_ns: number * 1_000_000_000,
            length_ns: 1_000_000_000,
            connections: Some(connections),
            ..Interval::default()
        };
        results.timeline = vec![second(-1, 0.0), second(0, 200.0), second(1, 199.0)];
        assert_eq!(doubts(&results), [], "one that ended late");
        let silent = Evidence {
            without_echo: 190,
            ..evidence(&results)
        };
        let suspicion = suspicions(&silent).remove(0);
        assert_eq!(suspicion.kind, Doubt::ConnectionsMissing);
        assert_eq!(
            suspicion.seen,
            "190 of 200 connections had no echo; 199.5 of 200 were open on average, 199 at the \
             least"
        );
        results.timeline[2].connections = Some(10.0);
        let seen = suspicions(&evidence(&results)).remove(0).seen;
        assert_eq!(seen, "105.0 of 200 were open on average, 10 at the least");
        results.plan.reconnect = true;
        assert_eq!(doubts(&results), [], "outages are told apart");
        results.plan.reconnect = false;
        results.plan.load = Load::Churn;
        assert_eq!(doubts(&results), []);
    }

    /// A run of 50 flows with these counts.
    fn of_datagrams(counts: DatagramCounts, silent_flows: u64) -> Results {
        let mut results = healthy(Some(1000.0));
        results.plan.load = Load::Datagrams;
        results.plan.connections = 50;
        results.datagrams = Some(Datagrams {
            counts,
            silent_flows,
            ..Datagrams::default()
        });
        results
    }

    #[test]
    fn what_this_machine_did_to_datagrams_is_doubted() {
        let healthy = of_datagrams(DatagramCounts::default(), 0);
        assert_eq!(doubts(&healthy), []);
        let counts = DatagramCounts {
            sent: 9_000,
            lost: 70,
            not_sent: 1_000,
            dropped_here: Some(60),
            ..DatagramCounts::default()
        };
        let suspicions = suspicions(&evidence(&of_datagrams(counts, 3)));
        let seen: Vec<_> = suspicions.iter().map(|it| (it.kind, &*it.seen)).collect();
        let want = [
            (Doubt::ConnectionsMissing, "3 of 50 flows had no echo"),
            (Doubt::NotSent, "1,000 of 10,000 datagrams were not sent"),
            (
                Doubt::DroppedHere,
                "our own sockets had no room for 60 datagrams that came back: as many as 60 of \
                 the 70 lost may not be the path's",
            ),
        ];
        assert_eq!(seen, want);
        let seen = |dropped, wrong_checksums, lost| {
            let counts = DatagramCounts {
                lost,
                dropped_here: Some(dropped),
                wrong_checksums: Some(wrong_checksums),
                ..DatagramCounts::default()
            };
            let found = dropped_here(&of_datagrams(counts, 0));
            found.map(|suspicion| suspicion.seen)
        };
        // A path that damages datagrams is no lack of room.
        assert_eq!(seen(60, 60, 60), None);
        let few = seen(60, 59, 70).unwrap();
        assert!(few.contains("no room for 1 datagram that"), "{few}");
        let copies = seen(60, 0, 10).unwrap();
        assert!(copies.contains("as many as 10 of the 10 lost"), "{copies}");
        assert!(!seen(60, 0, 0).unwrap().contains("lost"));
        // What the system does not say is no drop.
        let unknown = DatagramCounts {
            dropped_here: None,
            ..DatagramCounts::default()
        };
        assert_eq!(doubts(&of_datagrams(unknown, 0)), []);
    }

    #[test]
    fn what_the_kernel_refuses_is_no_missed_schedule() {
        let of = |sent, not_sent| {
            let counts = DatagramCounts {
                sent,
                not_sent,
                ..DatagramCounts::default()
            };
            let mut results = of_datagrams(counts, 0);
            results.totals.sent = sent;
            doubts(&results)
        };
        assert_eq!(of(9_500, 500), [Doubt::NotSent]);
        assert_eq!(of(0, 10_000), [Doubt::NotSent]);
        assert_eq!(of(9_000, 500), [Doubt::ScheduleMissed, Doubt::NotSent]);
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
