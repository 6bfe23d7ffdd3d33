//! Packets of a size are lost, or connections end after so many bytes, an age or a silence.

use std::time::Duration;

use super::make::{routed, through, to};
use crate::claims::{Claim, End};
use crate::faulty::{self, Leave};
use crate::made::Routed;
use crate::middlebox::{self as nft, By, Counted, Direction};
use crate::path::Path;
use crate::relay::Treatment;

/// Packets of more than so many bytes are lost in that direction.
pub(super) fn black_hole(
    name: &'static str,
    also: &str,
    bytes: u16,
    direction: Direction,
    way: Routed,
) -> Path {
    let (word, whither): (&'static [&'static str], _) = match direction {
        Direction::ToServer => (&["to-server"], " to the server"),
        Direction::ToClient => (&["to-client"], " to the client"),
        Direction::Both => (&["both"], ""),
    };
    let what = format!("nft drops packets above {bytes} bytes{whither}{also}");
    through(name, what, way.rules(nft::lose_above(bytes, direction)))
        .cause(&["mtu-black-hole"])
        .within("packet_bytes", bytes.into(), bytes.into())
        .is("direction", word)
        .claim(Claim::LargestPacket {
            bytes: bytes.into(),
            direction,
        })
}

pub(super) fn black_holes() -> Vec<Path> {
    use Direction::{Both, ToClient, ToServer};
    let far = Treatment {
        delay: Duration::from_millis(50),
        ..Treatment::default()
    };
    vec![
        black_hole("black-hole-1280", "", 1280, Both, routed()),
        black_hole("black-hole-1400-to-client", "", 1400, ToClient, routed()),
        black_hole("black-hole-1476-to-server", "", 1476, ToServer, routed()),
        black_hole("black-hole-576", "", 576, Both, routed()),
        black_hole(
            "black-hole-1420-v6",
            ", by IPv6",
            1420,
            Both,
            routed().by_v6(),
        ),
        black_hole(
            "black-hole-far",
            ", 100 ms away",
            1372,
            Both,
            routed().relayed(far),
        ),
    ]
}

/// The word for how a connection ends or is denied.
pub(super) fn word(end: End) -> &'static [&'static str] {
    match end {
        End::Close => &["close"],
        End::Reset => &["reset"],
        End::Silence => &["silence"],
        End::Whole | End::Changed => unreachable!("it is no fault"),
    }
}

/// An exchange ends when so many bytes have come back. A check may stream, and have much
/// more on its way when it ends; `most` bytes end it however they are counted.
pub(super) fn quota(path: Path, bytes: (usize, usize), most: usize, by: End) -> Path {
    path.cause(&["connection-quota"])
        .within("bytes", 0.5 * bytes.0 as f64, 1.1 * most as f64)
        .is("ends_by", word(by))
        .claim(Claim::EndsAfterBytes { bytes, by })
}

pub(super) fn quotas() -> Vec<Path> {
    let both = nft::quota(100_000, Counted::BothWays, By::Reset);
    let one = nft::quota(1_000_000, Counted::FromClient, By::Silence);
    let closing = || faulty::quota(300_000, Leave::Close);
    let resetting = || faulty::quota(5_000_000, Leave::Reset);
    let both = through(
        "quota-100k-reset",
        "nft resets after 100,000 bytes of packets, both directions added",
        routed().rules(both),
    );
    let one = through(
        "quota-1m-silence",
        "nft drops a connection's packets after 1,000,000 bytes of the client's",
        routed().rules(one),
    );
    let closing = to(
        "quota-300k-close",
        "a server closes after 300,000 bytes",
        closing,
    );
    let resetting = to(
        "quota-5m-reset",
        "a server resets after 5,000,000 bytes",
        resetting,
    );
    vec![
        quota(both, (35_000, 50_000), 100_000, End::Reset),
        quota(one, (800_000, 1_000_000), 1_000_000, End::Silence),
        quota(closing, (295_000, 300_000), 300_000, End::Close),
        quota(resetting, (4_995_000, 5_000_000), 5_000_000, End::Reset),
    ]
}

/// A server that leaves each client so many seconds after it came.
fn lifetime(name: &'static str, seconds: u64, leave: Leave) -> Path {
    let (does, by) = match leave {
        Leave::Close => ("closes", End::Close),
        Leave::Reset => ("resets", End::Reset),
        Leave::Silence => ("does nothing more", End::Silence),
    };
    let what = format!("a server {does} after {seconds} s");
    let lifetime = move || faulty::lifetime(Duration::from_secs(seconds), leave);
    let seconds = seconds as f64;
    to(name, what, lifetime)
        .cause(&["lifetime-limit"])
        .within("seconds", 0.8 * seconds, 1.5 * seconds)
        .is("ends_by", word(by))
        .claim(Claim::LivesFor {
            seconds: (seconds, 10.0),
            by,
        })
}

pub(super) fn lifetimes() -> Vec<Path> {
    vec![
        lifetime("lifetime-1s-reset", 1, Leave::Reset),
        lifetime("lifetime-1s-close", 1, Leave::Close),
        lifetime("lifetime-1s-silence", 1, Leave::Silence),
        // Whoever asks for a silence sees a limit of the lifetime as one of the silence.
        lifetime("lifetime-3s-idle", 3, Leave::Close).options("--idle 6s"),
    ]
}

/// What is silent for so many seconds is ended.
fn idle(path: Path, seconds: f64, by: End) -> Path {
    path.cause(&["idle-limit"])
        .within("alive_s", 0.2 * seconds, 1.02 * seconds)
        .within("dead_s", 0.98 * seconds, 2.0 * seconds)
        .is("ends_by", word(by))
        .claim(Claim::Idles {
            alive: Duration::from_secs_f64(seconds / 4.0),
            dead: Duration::from_secs_f64(seconds + 1.5),
            by,
        })
}

pub(super) fn idles() -> Vec<Path> {
    let forget = |seconds, by| routed().rules(nft::forget(seconds, by));
    let closing = || faulty::idle(Duration::from_secs(2), Leave::Close);
    let silent = through(
        "idle-3s-silence",
        "nft forgets what is silent for 3 s",
        forget(3, By::Silence),
    );
    let resetting = through(
        "idle-2s-reset",
        "nft forgets what is silent for 2 s, and resets",
        forget(2, By::Reset),
    );
    let closing = to(
        "idle-2s-close",
        "a server closes what is silent for 2 s",
        closing,
    );
    vec![
        idle(silent, 3.0, End::Silence).options("--idle 6s"),
        idle(resetting, 2.0, End::Reset).options("--idle 5s"),
        idle(closing, 2.0, End::Close).options("--idle 5s"),
    ]
}
