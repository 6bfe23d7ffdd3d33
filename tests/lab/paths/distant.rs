//! Faults far away and behind slow links: each is told there as well, in as much time.

use std::time::Duration;

use super::cut::{black_hole, quota};
use super::make::{routed, through};
use crate::claims::{Claim, End, Packets};
use crate::made::Routed;
use crate::middlebox::{self as nft, By, Counted, Direction};
use crate::path::Path;
use crate::relay::Treatment;

/// A round trip of 200 ms.
fn far() -> Routed {
    routed().relayed(Treatment {
        delay: Duration::from_millis(100),
        ..Treatment::default()
    })
}

/// 2 Mbit/s each way.
fn slow() -> Routed {
    routed().shaped(2_000)
}

/// Both, each with its name.
fn both(
    name: [&'static str; 2],
    what: &str,
    path: impl Fn(&'static str, String, Routed) -> Path,
) -> [Path; 2] {
    let [far_name, slow_name] = name;
    [
        path(far_name, format!("{what}, 200 ms away"), far()),
        path(slow_name, format!("{what}, at 2 Mbit/s"), slow()).alone(),
    ]
}

pub(super) fn distant_faults() -> Vec<Path> {
    let mut paths = Vec::new();
    paths.extend(holes());
    paths.extend(both(
        ["quota-500k-far", "quota-500k-slow"],
        "nft resets after 500,000 bytes of packets",
        |name, what, way| {
            let rules = nft::quota(500_000, Counted::BothWays, By::Reset);
            let path = through(name, what, way.rules(rules));
            quota(path, (150_000, 250_000), 500_000, End::Reset)
        },
    ));
    paths.extend(both(
        ["lifetime-5s-far", "lifetime-5s-slow"],
        "a server closes after 5 s",
        |name, what, way| {
            through(name, what, way.serving(&["--max-lifetime", "5s"]))
                .cause(&["lifetime-limit"])
                .within("seconds", 4.5, 7.0)
                .is("ends_by", &["close", "reset"])
                .claim(Claim::LivesFor {
                    seconds: (5.0, 9.0),
                    by: End::Close,
                })
        },
    ));
    paths.extend(both(
        ["limit-20-far", "limit-20-slow"],
        "nft resets above 20 connections",
        |name, what, way| {
            through(name, what, way.rules(nft::limit_connections(20, By::Reset)))
                .cause(&["connection-limit"])
                .within("connections", 20.0, 20.0)
                .is("ends_by", &["reset"])
                .claim(Claim::Connections {
                    most: 20,
                    by: End::Reset,
                })
        },
    ));
    paths.push(lossy());
    paths
}

fn holes() -> [Path; 2] {
    [
        black_hole(
            "black-hole-200ms",
            ", 200 ms away",
            1400,
            Direction::Both,
            far(),
        ),
        black_hole(
            "black-hole-slow",
            ", at 2 Mbit/s",
            1400,
            Direction::Both,
            slow(),
        )
        .alone(),
    ]
}

fn lossy() -> Path {
    let five = (3.0, 8.0);
    let rules = nft::lose_at_random(50, Direction::Both);
    through(
        "loss-5-far",
        "nft drops 5 packets in 100, 200 ms away",
        far().rules(rules),
    )
    .cause(&["loss"])
    .within("percent", 3.0, 9.0)
    .claim(Claim::Packets(Packets {
        lost_to_server: five,
        lost_to_client: five,
        ..Packets::default()
    }))
    .alone()
}
