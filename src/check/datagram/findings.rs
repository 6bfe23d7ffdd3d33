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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) mtu: Mtu,
    /// Which way larger packets are lost, if there is a hole and that can be seen.
    pub(super) direction: Option<Direction>,
    /// The longest datagram, in bytes, that may be fragmented; `None` where none is longer than
    /// one packet carries.
    pub(super) datagram: Option<usize>,
    /// The bytes of a datagram that one packet carries.
    pub(super) in_one: usize,
    /// Whether all of some lengths up to it come back, and none of some above.
    pub(super) is_sharp: bool,
    /// Where not: lengths in a row of which these are lost each time, and others are not.
    pub(super) lost_lengths: Option<Vec<usize>>,
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

/// Bytes for which datagrams are lost each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filtered {
    /// The least that is lost between other bytes.
    pub(super) bytes: Vec<u8>,
    /// Where they are in the datagram.
    pub(super) offset: usize,
    /// Datagrams that are lost each time, of so many.
    pub(super) lost: usize,
    pub(super) of: usize,
    /// Whether the longest datagram comes back where it lacks them.
    pub(super) is_all: bool,
}

/// What becomes of a source that sends many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ban {
    /// So many of them came back, and nothing for so long at the least.
    After { silence: Duration, came: usize },
    /// Nothing has come back for so long, before it sent any.
    Gone { since: Duration },
}

/// What all experiments found.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub(super) hello: Option<Hello>,
    pub(super) changes: Option<Changes>,
    pub(super) refusal: Option<Refusal>,
    /// Whether datagrams without a byte are lost each time, and others not.
    pub(super) empty: Option<bool>,
    /// The marks with which datagrams are lost each time, and without them not.
    pub(super) marks: Option<&'static str>,
    pub(super) filtered: Option<Filtered>,
    pub(super) ban: Option<Ban>,
    /// How many of those sent at once come back before one is lost.
    pub(super) burst: Option<usize>,
    /// In what protocol one answers that is no echo.
    pub(super) speaks: Option<&'static str>,
    /// The clauses that failed by silence and pass now.
    pub(super) again: Vec<&'static str>,
    pub(super) late: Option<Late>,
    /// How many datagrams a socket is served.
    pub(super) messages: Option<usize>,
    pub(super) rate: Option<Rate>,
    pub(super) sizes: Option<Sizes>,
    /// The source ports that again got nothing, where others got something each time.
    pub(super) ports: Option<Vec<u16>>,
    /// Whether no new source port gets anything, and one that was used before does.
    pub(super) is_full_of_flows: bool,
    pub(super) loss: Option<Loss>,
    pub(super) silences: Option<Silences>,
}
