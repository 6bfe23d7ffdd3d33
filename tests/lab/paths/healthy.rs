//! Paths with nothing the matter.

use std::time::Duration;

use super::make::{BROKEN, LONG, QUICK, SLOW, by, routed, through};
use crate::claims::{Claim, Packets, Urgent};
use crate::made::on_the_same_host;
use crate::middlebox::{self as nft, Direction};
use crate::path::Path;
use crate::proxies::Software;
use crate::relay::Treatment;

const MIB: usize = 1 << 20;

pub(super) fn healthy() -> Vec<Path> {
    let mut paths = sound();
    paths.extend(distant());
    paths.extend(slow());
    paths.extend(meddled());
    paths.extend(proxies());
    paths
}

/// Nothing between, and small packets of which the ends are told.
fn sound() -> Vec<Path> {
    let whole = Claim::Echoes(4 * MIB);
    let clamped = nft::clamp_mss(1240).and(nft::lose_above(1280, Direction::Both));
    vec![
        Path::new(
            "plain",
            "our server on the same host",
            BROKEN,
            on_the_same_host,
        )
        .claim(whole)
        .claim(Claim::Urgent(Urgent::Kept))
        .passes_within(QUICK),
        through("routed", "a router", routed())
            .claim(whole)
            .claim(Claim::Options {
                has: &["ts", "sack", "wscale"],
                lacks: &[],
            })
            .passes_within(LONG),
        through("routed-v6", "a router, by IPv6", routed().by_v6())
            .claim(whole)
            .passes_within(LONG),
        through(
            "narrow-1280",
            "an MTU of 1,280 bytes with ICMP",
            routed().narrow(1280),
        )
        .claim(whole)
        .claim(Claim::PathMtu(1280))
        .passes_within(LONG),
        through(
            "narrow-1400-v6",
            "an MTU of 1,400 bytes with ICMPv6, by IPv6",
            routed().narrow(1400).by_v6(),
        )
        .claim(whole)
        .claim(Claim::PathMtu(1400))
        .passes_within(LONG),
        through(
            "clamped",
            "nft drops packets above 1,280 bytes and clamps the MSS",
            routed().rules(clamped),
        )
        .claim(whole)
        // 12 bytes of it are for the timestamps.
        .claim(Claim::Options {
            has: &["mss:1228"],
            lacks: &[],
        })
        .passes_within(LONG),
    ]
}

/// Long, and restless.
fn distant() -> Vec<Path> {
    let whole = Claim::Echoes(4 * MIB);
    let ms = Duration::from_millis;
    let calm = Treatment::default();
    let is = |name, what, treatment, packets| {
        through(name, what, routed().relayed(treatment))
            .claim(whole)
            .claim(Claim::Packets(packets))
    };
    let far = Treatment {
        delay: ms(100),
        ..calm
    };
    let jitter = Treatment {
        delay: ms(5),
        jitter: ms(20),
        ..calm
    };
    let reorders = Treatment {
        delay: ms(2),
        reordered: 20,
        late: ms(3),
        ..calm
    };
    let duplicates = Treatment {
        duplicated: 20,
        ..calm
    };
    let bursts = Treatment {
        delay: ms(5),
        bursts: 4,
        burst: 3,
        ..calm
    };
    let round_trip = |least| Packets {
        round_trip: least,
        ..Packets::default()
    };
    let some = (0.1, 4.0);
    vec![
        is(
            "far-200ms",
            "a round trip of 200 ms",
            far,
            round_trip(ms(200)),
        )
        .passes_within(LONG),
        is(
            "far-600ms",
            "a round trip of 600 ms",
            Treatment {
                delay: ms(300),
                ..calm
            },
            round_trip(ms(600)),
        )
        .passes_within(BROKEN),
        is(
            "jitter",
            "10 ms, and up to 20 ms more each way",
            jitter,
            Packets {
                spread: ms(10),
                ..round_trip(ms(10))
            },
        )
        .passes_within(LONG),
        is(
            "reorders",
            "2 packets in 100 come 3 ms late",
            reorders,
            Packets {
                reordered: (0.5, 10.0),
                ..round_trip(ms(4))
            },
        )
        .passes_within(LONG),
        is(
            "duplicates",
            "2 packets in 100 come twice",
            duplicates,
            Packets {
                duplicated: (0.5, 5.0),
                ..Packets::default()
            },
        )
        .passes_within(LONG),
        is(
            "bursts-lost",
            "1 packet in 100 is lost, three in a row",
            bursts,
            Packets {
                lost_to_server: some,
                lost_to_client: some,
                ..round_trip(ms(10))
            },
        )
        .passes_within(SLOW),
    ]
}

/// Slow, and lossy.
fn slow() -> Vec<Path> {
    let whole = Claim::Echoes(4 * MIB);
    let one = (0.3, 2.5);
    vec![
        through(
            "loss-1",
            "nft drops 1 packet in 100",
            routed().rules(nft::lose_at_random(10, Direction::Both)),
        )
        .claim(whole)
        .claim(Claim::Packets(Packets {
            lost_to_server: one,
            lost_to_client: one,
            ..Packets::default()
        }))
        .passes_within(SLOW),
        through("slow-10", "10 Mbit/s", routed().shaped(10_000))
            .claim(Claim::NotAbove { mbit_s: 10.0 })
            .passes_within(LONG),
        through("slow-2", "2 Mbit/s", routed().shaped(2_000))
            .claim(Claim::NotAbove { mbit_s: 2.0 })
            .passes_within(SLOW),
        through(
            "slow-64k",
            "64 kbit/s, with a queue of 64 KiB, which is 8 s",
            routed().shaped(64).queue(64 << 10),
        )
        .claim(Claim::NotAbove { mbit_s: 0.064 })
        .passes_within(BROKEN),
        // What is sent at once at first passes the bucket without a delay.
        through(
            "far-512k",
            "512 kbit/s behind a bucket of 16 KiB, and a round trip of 600 ms",
            routed().shaped(512).relayed(Treatment {
                delay: Duration::from_millis(300),
                ..Treatment::default()
            }),
        )
        .claim(Claim::NotAbove { mbit_s: 0.512 })
        .passes_within(BROKEN),
    ]
}

/// What a router may do without harm.
fn meddled() -> Vec<Path> {
    let whole = Claim::Echoes(4 * MIB);
    let strip = |options: &[&str]| routed().rules(nft::strip(options));
    let is = |path: Path, lacks| {
        path.claim(whole)
            .claim(Claim::Options { has: &[], lacks })
            .passes_within(LONG)
    };
    vec![
        is(
            through("without-sack", "nft strips SACK", strip(&["sack-perm"])),
            &["sack"],
        ),
        is(
            through(
                "without-scaling",
                "nft strips window scaling",
                strip(&["window"]),
            ),
            &["wscale"],
        ),
        is(
            through(
                "without-timestamps",
                "nft strips timestamps",
                strip(&["timestamp"]),
            ),
            &["ts"],
        ),
        is(
            through(
                "without-options",
                "nft strips SACK, window scaling and timestamps",
                strip(&["sack-perm", "window", "timestamp"]),
            ),
            &["sack", "wscale", "ts"],
        ),
        through(
            "ecn-bleached",
            "nft bleaches ECN",
            routed().ecn().rules(nft::bleach_ecn()),
        )
        .claim(whole)
        .claim(Claim::Options {
            has: &["ecn"],
            lacks: &[],
        })
        .passes_within(LONG),
        through(
            "urgent-cleared",
            "nft clears URG",
            routed().rules(nft::clear_urgent()),
        )
        .claim(whole)
        .claim(Claim::Urgent(Urgent::Kept))
        .passes_within(LONG),
        through(
            "translated",
            "nft translates the address",
            routed().rules(nft::translate()),
        )
        .claim(whole)
        .claim(Claim::Rewrites)
        .passes_within(LONG),
        through(
            "whoami",
            "a router, and the address asked for",
            routed().whoami(),
        )
        .options("--whoami")
        .claim(Claim::TellsOwnAddress)
        .passes_within(LONG),
    ]
}

/// Proxies that pass all on but urgent data, which each of them reads out of line.
fn proxies() -> Vec<Path> {
    let is = |path: Path| {
        path.claim(Claim::Echoes(4 * MIB))
            .claim(Claim::Urgent(Urgent::TakenOut))
            .passes_within(QUICK)
    };
    let nginx = Software::Nginx { half_close: true };
    vec![
        is(by("haproxy", "HAProxy", Software::HaProxy)),
        is(by("socat", "socat, waiting for both ends", Software::Socat)),
        is(by("nginx", "nginx stream with proxy_half_close on", nginx)),
    ]
}
