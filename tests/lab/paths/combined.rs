//! Two faults at once.

use std::time::Duration;

use super::cut::quota;
use super::make::{routed, through, to};
use crate::claims::{Claim, End, Urgent};
use crate::faulty;
use crate::middlebox::{self as nft, By, Counted, Direction};
use crate::path::Path;

/// Two faults at once: neither may hide the other.
pub(super) fn combined() -> Vec<Path> {
    let hole = nft::lose_above(1300, Direction::Both);
    let crowded = hole.clone().and(nft::limit_connections(30, By::Reset));
    let forgetful = nft::forget(2, By::Silence).and(nft::lose_urgent());
    let slow = routed().shaped(10_000);
    let limited = nft::quota(1_000_000, Counted::BothWays, By::Reset);
    vec![
        through(
            "black-hole-and-limit",
            "nft drops packets above 1,300 bytes, and resets above 30 connections",
            routed().rules(crowded),
        )
        .cause(&["mtu-black-hole"])
        .within("packet_bytes", 1300.0, 1300.0)
        .is("direction", &["both"])
        .cause(&["connection-limit"])
        // Of one that was reset after several retransmissions the firewall counts on for minutes.
        .within("connections", 28.0, 30.0)
        .is("ends_by", &["reset"])
        .claim(Claim::LargestPacket {
            bytes: 1300,
            direction: Direction::Both,
        })
        .claim(Claim::Connections {
            most: 30,
            by: End::Reset,
        }),
        through(
            "idle-and-urgent",
            "nft forgets after 2 s in silence, and drops urgent packets",
            routed().rules(forgetful),
        )
        .options("--idle 5s")
        .cause(&["idle-limit"])
        .within("alive_s", 0.4, 2.05)
        .within("dead_s", 1.95, 4.0)
        .is("ends_by", &["silence"])
        .cause(&["urgent-lost"])
        .claim(Claim::Urgent(Urgent::Stalls))
        .claim(Claim::Idles {
            alive: Duration::from_millis(500),
            dead: Duration::from_millis(3500),
            by: End::Silence,
        }),
        to(
            "seven-bit-four-at-a-time",
            "a pool of four blocked workers that carry seven bits",
            faulty::seven_bit_four_at_a_time,
        )
        .cause(&["bytes-changed"])
        .is("how", &["seven-bit"])
        .cause(&["connection-limit"])
        .within("connections", 4.0, 4.0)
        .is("ends_by", &["waits"])
        .claim(Claim::Becomes {
            sent: b"h\xe9",
            got: b"hi",
        })
        .claim(Claim::Connections {
            most: 4,
            by: End::Silence,
        }),
        quota(
            through(
                "quota-1m-slow",
                "nft resets after 1,000,000 bytes of packets, at 10 Mbit/s",
                slow.rules(limited),
            ),
            (350_000, 500_000),
            1_000_000,
            End::Reset,
        )
        .alone(),
    ]
}
