//! What becomes of connections as they begin: their first packets are lost.

use super::make::{routed, through};
use crate::claims::Claim;
use crate::middlebox::{self as nft, Direction, Rules};
use crate::path::Path;

fn by(name: &'static str, what: &'static str, rules: Rules) -> Path {
    through(name, what, routed().rules(rules))
}

pub(super) fn begun() -> Vec<Path> {
    vec![
        by(
            "syn-loss-30",
            "nft drops 30 SYNs in 100",
            nft::lose_handshakes(300, Direction::ToServer),
        )
        .cause(&["loss"])
        .within("connects_late_percent", 12.0, 50.0)
        .claim(Claim::Late {
            percent: (15.0, 45.0),
        }),
        by(
            "syn-ack-loss-30",
            "nft drops 30 answers to a SYN in 100",
            nft::lose_handshakes(300, Direction::ToClient),
        )
        .cause(&["loss"])
        .within("connects_late_percent", 12.0, 50.0)
        .claim(Claim::Late {
            percent: (15.0, 45.0),
        }),
        by(
            "first-syn-dropped",
            "nft drops the first SYN from each source port",
            nft::lose_first_syns(),
        )
        .cause(&["first-syn-dropped"])
        .within("delay_ms", 900.0, 1400.0)
        .claim(Claim::Late {
            percent: (99.0, 100.0),
        }),
    ]
}
