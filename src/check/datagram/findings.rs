//! What the experiments found, as data. One that was not made, or came to nothing that can be
//! told, has none.

use std::time::Duration;

use super::mtu::Mtu;
use crate::check::findings::{Changes, Direction, Hello};

/// What becomes of datagrams at a low rate and at a high one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rate {
    /// So many a second come back of more, and at a low rate a greater part.
    Limited { per_s: f64, slow: Slow },
    /// As many are lost at either.
    Alike,
}

/// What comes back at so low a rate that no limit is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slow {
    pub(super) came: usize,
    pub(super) of: usize,
    /// So many were sent in a second.
    pub(super) per_s: u32,
}

impl Slow {
    /// Whether as good as all came back: one may be lost by chance.
    pub(super) const fn is_whole(self) -> bool {
        self.came + 1 >= self.of
    }
}

/// The largest that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) mtu: Mtu,
    /// Which way larger packets are lost, if there is a hole and that can be seen.
    pub(super) direction: Option<Direction>,
    /// The longest datagram, in bytes, that may be fragmented; `None` where none is longer than
    /// one packet carries.
    pub(super) datagram: Option<usize>,
    /// The bytes of a datagram that one packet carries.
    pub(super) in_one: usize,
}

/// What becomes of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silences {
    /// They live, or how they end follows no rule.
    Alive,
    /// So long a silence they survive, and so long a one not.
    Forgotten { alive: Duration, dead: Duration },
    /// They end at that age, and a busy one as well.
    Busy { age: Duration },
}

/// Datagrams lost, of those that were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) lost: usize,
    pub(super) of: usize,
}

impl Loss {
    /// The least that is one, in percent.
    const LEAST: f64 = 3.0;

    /// In percent, to a tenth.
    pub(super) fn percent(self) -> f64 {
        (self.lost as f64 * 1000.0 / self.of.max(1) as f64).round() / 10.0
    }

    /// Whether it is more than a healthy path has, and by chance: then some come back.
    pub(super) fn is_one(self) -> bool {
        self.percent() >= Self::LEAST && self.lost < self.of
    }
}

/// Who is refused by ICMP, though a socket had an echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Everybody, now: the server has ended.
    All,
    /// All but the socket that had the first echo.
    Others,
    /// Nobody any more.
    Over,
}

/// Echoes that came when nobody waited for them any more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Late {
    pub(super) came: usize,
    /// The longest time from sending to its echo.
    pub(super) slowest: Duration,
    /// How many come in a second.
    pub(super) per_s: f64,
}

/// What all experiments found.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub(super) hello: Option<Hello>,
    pub(super) changes: Option<Changes>,
    pub(super) refusal: Option<Refusal>,
    pub(super) late: Option<Late>,
    /// How many datagrams a socket is served.
    pub(super) messages: Option<usize>,
    pub(super) rate: Option<Rate>,
    pub(super) sizes: Option<Sizes>,
    /// The source ports that again got nothing, where others got something each time.
    pub(super) ports: Option<Vec<u16>>,
    pub(super) loss: Option<Loss>,
    pub(super) silences: Option<Silences>,
}
