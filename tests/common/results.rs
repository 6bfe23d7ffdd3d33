//! Runs that never were, with numbers that a test can count on.

use std::time::Duration;

use echopool::bench::datagram_counts::{DatagramCounts, Datagrams, FlowCounts};
use echopool::bench::plan::{Arrivals, Load, NO_DEPTH, Plan};
use echopool::bench::results::{
    Doubt, Errors, Expectation, FORMAT, Generator, Interval, Outage, Results, Suspicion, Totals,
    Trial,
};
use echopool::bench::tcp::{Tcp, TcpCounts};
use echopool::probe::latency::Latency;

/// One microsecond in nanoseconds.
pub const US: u64 = 1_000;
/// One millisecond in nanoseconds.
pub const MS: u64 = 1_000_000;
/// One second in nanoseconds.
pub const S: i64 = 1_000_000_000;

pub fn latency(values: impl IntoIterator<Item = u64>) -> Latency {
    let mut latency = Latency::new();
    for value in values {
        latency.histogram.record(value).unwrap();
    }
    latency
}

/// 10,000 durations: from 20 us up to 120 us, and ten of 5 ms.
fn spread() -> Latency {
    let usual = (0..9_990).map(|n| 20 * US + n * 10);
    latency(usual.chain([5 * MS; 10]))
}

/// A closed loop of ten seconds without anything amiss, made by `host`.
pub fn closed(host: &str) -> Results {
    Results {
        format: FORMAT.to_owned(),
        generators: vec![Generator {
            version: String::from("0.1.0"),
            host: host.to_owned(),
            system: String::from("Linux 6.18"),
            cpus: 2,
            address: String::from("127.0.0.1:20162"),
            addresses: Vec::new(),
            started_at: String::from("2026-11-22T06:00:00Z"),
            elapsed_ns: Some(10_000 * MS),
            busy_fraction: 0.42,
        }],
        plan: Plan {
            load: Load::Messages,
            connections: 50,
            size_bytes: 64..=64,
            depth: 1,
            rate_per_s: None,
            arrivals: Arrivals::Uniform,
            duration: Some(Duration::from_secs(10)),
            count: None,
            warmup: Duration::from_secs(1),
            threads: 1,
            reconnect: false,
            sources: Vec::new(),
            timeout: Duration::from_secs(10),
            seed: 7,
        },
        interrupted: false,
        elapsed_ns: 10_000 * MS,
        rate_per_s: 1_000.0,
        throughput_bytes_per_s: 64_000.0,
        warmup_errors: Errors::default(),
        totals: Totals {
            sent: 10_050,
            echoed: 10_000,
            in_flight: 50,
            sent_bytes: 643_200,
            echoed_bytes: 640_000,
            connected: 50,
            ..Totals::default()
        },
        service: spread(),
        response: None,
        lateness: None,
        connect: latency((0..50).map(|n| 100 * US + n * US)),
        first_byte: None,
        exchange: None,
        tcp: Some(tcp()),
        datagrams: None,
        timeline: (-1..10).map(second).collect(),
        outages: Vec::new(),
        examples: Vec::new(),
        suspicions: Vec::new(),
        expectations: Vec::new(),
        search: Vec::new(),
        search_end: None,
    }
}

fn second(number: i64) -> Interval {
    let wave = number.rem_euclid(3).unsigned_abs();
    Interval {
        start_ns: number * S,
        length_ns: 1_000 * MS,
        echoed: 950 + wave * 50,
        echoed_bytes: (950 + wave * 50) * 64,
        errors: 0,
        p50_ns: Some(70 * US + wave * 2 * US),
        p99_ns: Some(119 * US + wave * 30 * US),
        max_ns: Some(5 * MS + wave * MS),
        connections: Some(50.0),
        tcp: Some(tcp_counts(wave)),
        datagrams: None,
    }
}

/// What TCP knows of the connections of those ten seconds.
fn tcp() -> Tcp {
    Tcp {
        connections: 50,
        counts: tcp_counts(12),
        smoothed_rtt: latency((0..500).map(|n| 40 * US + n * 10)),
    }
}

fn tcp_counts(retransmits: u64) -> TcpCounts {
    TcpCounts {
        retransmits: Some(retransmits),
        retransmitted_bytes: Some(retransmits * 64),
        data_segments_sent: Some(10_050),
        busy_ns: Some(1_000 * MS),
        receive_window_limited_ns: Some(250 * MS),
        send_buffer_limited_ns: Some(0),
        least_rtt_ns: Some(20 * US),
        most_smoothed_rtt_ns: Some(45 * US),
        least_mss_bytes: Some(1448),
        most_mss_bytes: Some(1448),
        least_path_mtu_bytes: Some(1500),
    }
}

/// An open loop in which everything happened that can.
pub fn eventful(host: &str) -> Results {
    let mut results = closed(host);
    results.plan.rate_per_s = Some(1_000.0);
    results.plan.arrivals = Arrivals::Poisson;
    results.plan.reconnect = true;
    let mut response = spread();
    response.add(&latency((0..1_000).map(|n| 40 * MS + n * 200 * US)));
    results.response = Some(response);
    results.lateness = Some(latency((0..10_000).map(|n| n % 3_000)));
    results.totals.lost = 3;
    results.totals.lost_bytes = 192;
    results.totals.unsent = 2;
    results.totals.errors = Errors {
        refused: 4,
        reset: 2,
        changed: 1,
        ..Errors::default()
    };
    results.timeline[6].echoed = 100;
    results.timeline[6].p99_ns = None;
    results.outages = vec![
        Outage {
            start_ns: 5 * S - S / 4,
            length_ns: Some(750 * MS),
            connections: 2,
            lost_bytes: 192,
            refused: 4,
            reset: 2,
            closed: 0,
        },
        Outage {
            start_ns: 9 * S + S / 2,
            length_ns: None,
            connections: 1,
            lost_bytes: 0,
            refused: 0,
            reset: 0,
            closed: 1,
        },
    ];
    results.examples = vec![String::from(
        "connection 3, byte 4,711: 0x41 came instead of 0x42",
    )];
    results.suspicions = vec![suspicion(Doubt::DelayedAck)];
    results.expectations = vec![
        expectation("p50<1ms", true, "70.0 us"),
        expectation("errors=0", false, "7"),
    ];
    results
}

pub fn suspicion(kind: Doubt) -> Suspicion {
    Suspicion {
        kind,
        seen: String::from("9 % of the round trips took 40 to 44 ms"),
        advice: String::from("set TCP_NODELAY in the server"),
    }
}

pub fn expectation(text: &str, held: bool, seen: &str) -> Expectation {
    Expectation {
        text: text.to_owned(),
        held,
        seen: seen.to_owned(),
    }
}

/// A run that searched for the highest rate.
pub fn searched() -> Results {
    let trial = |rate: f64, p99: u64, held| Trial {
        rate_per_s: rate,
        echoed_per_s: rate * 0.999,
        p50_ns: Some(50 * US),
        p99_ns: Some(p99),
        max_ns: Some(p99 * 10),
        condition_held: Some(held),
        schedule_kept: Some(true),
        undamaged: Some(true),
        held,
    };
    let mut results = eventful("searcher");
    results.search = vec![
        trial(10_000.0, 90 * US, true),
        trial(40_000.0, 4 * MS, false),
        trial(20_000.0, 200 * US, true),
    ];
    results
}

/// Connections that are made for one message each.
pub fn churned() -> Results {
    let mut results = closed("churner");
    results.plan.load = Load::Churn;
    results.first_byte = Some(spread());
    results.exchange = Some(spread());
    results
}

/// Bytes without messages.
pub fn streamed() -> Results {
    let mut results = closed("streamer");
    results.plan.load = Load::Stream;
    results.service = Latency::new();
    results.rate_per_s = 0.0;
    results.throughput_bytes_per_s = 2.5e9;
    for interval in &mut results.timeline {
        interval.echoed = 0;
        interval.echoed_bytes *= 40_000;
        (interval.p50_ns, interval.p99_ns, interval.max_ns) = (None, None, None);
    }
    results
}

/// Datagrams of 50 flows, of which the first lost a few and the second all.
pub fn datagrams(host: &str) -> Results {
    let mut results = eventful(host);
    results.plan.load = Load::Datagrams;
    results.plan.reconnect = false;
    results.plan.depth = NO_DEPTH;
    results.totals.connected = 0;
    results.totals.lost = 212;
    results.connect = Latency::new();
    results.tcp = None;
    results.outages.clear();
    results.suspicions.clear();
    let counts = |sent, lost| DatagramCounts {
        sent,
        lost,
        changed: 9,
        refused: 2,
        unnamed_errors: 4,
        late: 3,
        duplicates: 5,
        reordered: 7,
        not_sent: 0,
        dropped_here: Some(1),
        wrong_checksums: Some(0),
    };
    let flow = |port: u64, lost| FlowCounts {
        source: format!("127.0.0.1:{}", 40_000 + port),
        echoed: 200 - lost,
        counts: counts(200, lost),
    };
    results.datagrams = Some(Datagrams {
        loss_fraction: Some(0.0212),
        counts: counts(10_000, 212),
        losing_flows: 2,
        silent_flows: 1,
        flows: (0..50)
            .map(|port| match port {
                0 => flow(1, 200),
                1 => flow(0, 12),
                port => flow(port, 0),
            })
            .collect(),
    });
    for interval in &mut results.timeline {
        interval.tcp = None;
        interval.datagrams = Some(counts(1_000, 21));
    }
    results
}

/// A run in which nothing came back.
pub fn barren() -> Results {
    let mut results = closed("desert");
    results.rate_per_s = 0.0;
    results.throughput_bytes_per_s = 0.0;
    results.totals = Totals::default();
    results.totals.errors.refused = 1;
    results.service = Latency::new();
    results.connect = Latency::new();
    results.timeline.clear();
    results
}
