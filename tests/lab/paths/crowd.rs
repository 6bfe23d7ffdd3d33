//! So many connections are served, at once or in a time.

use std::time::Duration;

use super::cut::word;
use super::make::{by, routed, through, to};
use crate::claims::{Claim, End, Packets};
use crate::faulty::{self, Leave};
use crate::middlebox::{self as nft, By, Direction};
use crate::path::Path;
use crate::proxies::Software;

/// So many connections are served at once; what becomes of the next is called so.
fn limit(path: Path, most: usize, word: &'static [&'static str], by: End) -> Path {
    path.cause(&["connection-limit"])
        .within("connections", most as f64, most as f64)
        .is("ends_by", word)
        .claim(Claim::Connections { most, by })
}

/// By a firewall.
fn limited(name: &'static str, most: u32, by: By) -> Path {
    let (what, by_word) = match by {
        By::Reset => ("resets", End::Reset),
        By::Silence => ("drops SYNs", End::Silence),
        By::Icmp => ("answers SYNs with ICMP prohibited", End::Reset),
    };
    let what = format!("nft {what} above {most} connections");
    let way = routed().rules(nft::limit_connections(most, by));
    let path = through(name, what, way);
    let ends_by = match by {
        By::Icmp => &["icmp"],
        By::Reset | By::Silence => word(by_word),
    };
    limit(path, most as usize, ends_by, by_word)
}

/// The same on a path that loses a packet in a hundred.
fn limited_with_loss() -> Path {
    let rules = nft::lose_at_random(10, Direction::Both).and(nft::limit_connections(10, By::Reset));
    let what = "nft resets above 10 connections, and drops 1 packet in 100";
    let path = through("limit-10-loss-1", what, routed().rules(rules));
    path.cause(&["connection-limit"])
        .within("connections", 10.0, 10.0)
        .is("ends_by", &["reset"])
        .claim(Claim::Packets(Packets {
            lost_to_server: (0.2, 3.0),
            lost_to_client: (0.2, 3.0),
            ..Packets::default()
        }))
}

/// By a server.
fn full(name: &'static str, most: usize, leave: Leave) -> Path {
    let (what, by) = match leave {
        Leave::Close => ("closes", End::Close),
        Leave::Reset => ("resets", End::Reset),
        Leave::Silence => ("is silent", End::Silence),
    };
    let what = format!("a server {what} above {most} connections");
    let path = to(name, what, move || faulty::full_at(most, leave));
    limit(path, most, word(by), by)
}

/// By a pool of blocked workers.
fn pool(name: &'static str, workers: usize) -> Path {
    let what = format!("a server serves {workers} at a time, and the next ones wait");
    let path = to(name, what, move || faulty::at_a_time(workers));
    limit(path, workers, &["waits"], End::Silence)
}

/// By a proxy. One that is reset with its path full is kept there, and counts until its time-out.
fn proxied() -> [Path; 2] {
    let rejecting = by(
        "haproxy-rejects-above-7",
        "HAProxy rejects a client's connections above 7",
        Software::HaProxyRejectingAbove(7),
    );
    let queueing = by(
        "haproxy-queues-above-6",
        "HAProxy gives its server 6 connections, and the next ones wait",
        Software::HaProxyQueueingAbove(6),
    );
    let rejecting = limit(rejecting, 7, &["reset", "close"], End::Reset).at_least_likely();
    let queueing = limit(queueing, 6, &["waits"], End::Silence).at_least_likely();
    [rejecting, queueing]
}

pub(super) fn limits() -> Vec<Path> {
    let mut paths = own_limits();
    paths.extend(proxied());
    paths
}

fn own_limits() -> Vec<Path> {
    vec![
        limited("limit-10-reset", 10, By::Reset),
        limited("limit-50-silence", 50, By::Silence),
        limited("limit-10-icmp", 10, By::Icmp),
        limited_with_loss(),
        full("limit-16-close", 16, Leave::Close),
        full("limit-3-reset", 3, Leave::Reset),
        pool("one-at-a-time", 1),
        pool("four-at-a-time", 4),
    ]
}

pub(super) fn rates() -> Vec<Path> {
    let rate = routed().rules(nft::limit_connects(20, 20));
    let queue = || faulty::slow_to_accept(8, Duration::from_millis(10));
    let rate = through(
        "rate-20",
        "nft drops SYNs above 20/s, after a burst of 20",
        rate,
    );
    let queue = to(
        "short-queue",
        "a listen queue of 8, and an accept every 10 ms",
        queue,
    );
    vec![
        rate.cause(&["connect-rate-limit"])
            .within("per_s", 15.0, 25.0)
            .claim(Claim::ConnectRate {
                of: 100,
                burst: 20,
                per_s: 20.0,
            }),
        queue
            .cause(&["listen-queue"])
            .at_least_likely()
            .within("per_s", 70.0, 125.0)
            .claim(Claim::ConnectRate {
                of: 400,
                burst: 20,
                per_s: 100.0,
            }),
    ]
}
