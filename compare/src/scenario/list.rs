//! All cases, in the order of the report.

use super::definition::{
    DEEP, Kind, LARGE, MANY_SLOTS, ONE, PACKET, SLOTS, SMALL, STREAMS, Scenario,
};
use crate::load::datagram::flow::Shape;

const fn case(name: &'static str, kind: Kind, clients: usize) -> Scenario {
    Scenario {
        name,
        kind,
        clients,
        workers: 1,
        load_threads: 1,
        quick: false,
    }
}

const fn quick(scenario: Scenario) -> Scenario {
    Scenario {
        quick: true,
        ..scenario
    }
}

const fn two(scenario: Scenario) -> Scenario {
    Scenario {
        workers: 2,
        ..scenario
    }
}

/// Datagrams of `size` bytes, so many of a flow in flight.
const fn udp(name: &'static str, size: usize, depth: usize, clients: usize) -> Scenario {
    let shape = Shape { size, depth, ..ONE };
    case(name, Kind::Datagrams(shape), clients)
}

const TRAINS: Kind = Kind::Datagrams(Shape {
    size: PACKET,
    depth: DEEP,
    trains: true,
});

/// All cases, in the order of the report.
pub const SCENARIOS: &[Scenario] = &[
    quick(case("ping-64-1", Kind::PingPong(SMALL), 1)),
    quick(case("ping-64-50", Kind::PingPong(SMALL), 50)),
    quick(case("ping-64-1000", Kind::PingPong(SMALL), 1_000)),
    case("ping-64-10000", Kind::PingPong(SMALL), 10_000),
    case("ping-16k-1", Kind::PingPong(LARGE), 1),
    case("ping-16k-50", Kind::PingPong(LARGE), 50),
    case("ping-16k-200", Kind::PingPong(LARGE), 200),
    case("ping-16k-1000", Kind::PingPong(LARGE), 1_000),
    case("ping-16k-10000", Kind::PingPong(LARGE), 10_000),
    quick(case("stream-1", Kind::Stream, 1)),
    case("stream-4", Kind::Stream, 4),
    case("stream-16", Kind::Stream, 16),
    case("stream-64", Kind::Stream, 64),
    quick(case("churn", Kind::Churn, SLOTS)),
    Scenario {
        load_threads: 4,
        ..case("churn-saturated", Kind::Churn, MANY_SLOTS)
    },
    quick(case("idle-1000", Kind::Idle, 1_000)),
    case("idle-10000", Kind::Idle, 10_000),
    case("idle-18000", Kind::Idle, 18_000),
    case("firehose", Kind::Firehose, 50),
    case("pinger-beside-streams", Kind::Sparse, 17),
    two(case("ping-64-1000-workers-2", Kind::PingPong(SMALL), 1_000)),
    two(case("stream-16-workers-2", Kind::Stream, 16)),
    two(case("churn-workers-2", Kind::Churn, SLOTS)),
    udp("udp-64-1", SMALL, 1, 1),
    quick(udp("udp-64-50", SMALL, 1, 50)),
    udp("udp-64-1000", SMALL, 1, 1_000),
    udp("udp-1200-50", PACKET, 1, 50),
    udp("udp-1200-1000", PACKET, 1, 1_000),
    udp("udp-64-50-deep", SMALL, DEEP, 50),
    udp("udp-64-1000-deep", SMALL, DEEP, 1_000),
    udp("udp-1200-50-deep", PACKET, DEEP, 50),
    udp("udp-1200-1000-deep", PACKET, DEEP, 1_000),
    case("udp-trains-50", TRAINS, 50),
    case("udp-flood-beside-pingers", Kind::Flood, 50),
    case(
        "udp-pingers-beside-streams",
        Kind::DatagramPingers,
        50 + STREAMS,
    ),
    case("udp-loss", Kind::Paced(0), 50),
];
