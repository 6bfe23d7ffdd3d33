//! Which side of a measurement was the limit: the server, or the load.

use std::fmt;

use serde::Serialize;

/// From this part of the CPU time that it may use on, a side has nothing left: the
/// rest goes to the pauses in which nothing is in flight.
const EXHAUSTED: f64 = 0.9;

/// The side without which the figures would have been higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitedBy {
    /// It used all CPU time that it could.
    Server,
    /// It did: a faster server would show as a draw.
    Load,
    /// Each waited for the other, or for a CPU that something else used.
    Neither,
}

impl LimitedBy {
    /// The verdict on the parts of their CPU time that server and load were busy,
    /// from 0 to 1. Of two that were busy all the time it is the busier one.
    #[must_use]
    pub fn of(server: f64, load: f64) -> Self {
        match server.max(load) < EXHAUSTED {
            true => Self::Neither,
            false if server >= load => Self::Server,
            false => Self::Load,
        }
    }
}

impl fmt::Display for LimitedBy {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str(match self {
            Self::Server => "server",
            Self::Load => "load",
            Self::Neither => "neither",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busier_side_is_the_limit_if_it_has_nothing_left() {
        assert_eq!(LimitedBy::of(0.98, 0.60), LimitedBy::Server);
        assert_eq!(LimitedBy::of(0.60, 0.98), LimitedBy::Load);
        assert_eq!(LimitedBy::of(0.99, 0.95), LimitedBy::Server);
        assert_eq!(LimitedBy::of(0.91, 0.97), LimitedBy::Load);
    }

    #[test]
    fn neither_is_the_limit_while_both_have_time_left() {
        assert_eq!(LimitedBy::of(0.89, 0.85), LimitedBy::Neither);
        assert_eq!(LimitedBy::of(0.0, 0.0), LimitedBy::Neither);
    }
}
