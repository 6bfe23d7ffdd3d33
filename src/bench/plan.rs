//! The plan of a run: the load to make, and for how long.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bench::source::Source;

/// The load of one run, and its limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The kind of load.
    pub load: Load,
    /// Connections open at once.
    pub connections: usize,
    /// Bytes a message, from the smallest to the largest; all sizes are equally likely.
    pub size_bytes: RangeInclusive<usize>,
    /// The most messages in flight on a connection; [`NO_DEPTH`] is no limit.
    pub depth: usize,
    /// Open loop: messages a second, of all connections together. `None` is a closed
    /// loop, in which each message waits for the reply to an earlier one.
    pub rate_per_s: Option<f64>,
    /// How an open loop's messages are spread over time.
    pub arrivals: Arrivals,
    /// How long load is measured, after the warm-up.
    #[serde(rename = "duration_ns", with = "optional_nanoseconds")]
    pub duration: Option<Duration>,
    /// How many messages are measured, after the warm-up.
    pub count: Option<u64>,
    /// How long load is made before anything is counted.
    #[serde(rename = "warmup_ns", with = "nanoseconds")]
    pub warmup: Duration,
    /// Threads that make the load; the connections are divided among them.
    pub threads: usize,
    /// Whether lost connections are made again.
    pub reconnect: bool,
    /// The local addresses that connections are made from, in turn; if there are
    /// none, the system chooses.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// How long a connection may take to be made, and a message to come back.
    #[serde(rename = "timeout_ns", with = "nanoseconds")]
    pub timeout: Duration,
    /// The seed of the bytes, the sizes and the arrivals, up to [`EXACT`] so that every
    /// reader of JSON has it exactly.
    pub seed: u64,
}

/// The largest number up to which every reader of JSON is exact: many keep numbers as
/// doubles, which have 53 bits.
pub const EXACT: u64 = (1 << 53) - 1;

/// A depth that limits nothing.
pub const NO_DEPTH: usize = 1 << 24;

/// The kind of load: what each connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Messages and their echoes, on connections that stay open.
    Messages,
    /// One message a connection, and the next on a new one.
    Churn,
    /// Bytes as fast as the path takes them.
    Stream,
    /// Datagrams and their echoes over UDP, in an open loop; a connection is a flow.
    Datagrams,
}

/// How the messages of an open loop are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// One every 1/rate.
    Uniform,
    /// At random, as independent clients come; 1/rate apart on average.
    Poisson,
}

/// Whole nanoseconds, as JSON keeps a duration.
mod nanoseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        to.serialize_u64(exact(nanoseconds))
    }

    /// The number, or beyond 104 days one that is a double, too: no reader rounds it.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the loss is what is wanted, and none is negative"
    )]
    const fn exact(nanoseconds: u64) -> u64 {
        match nanoseconds {
            // The double above is 2^64.
            0xffff_ffff_ffff_fc00.. => 0xffff_ffff_ffff_f800,
            _ => nanoseconds as f64 as u64,
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_nanos)
    }
}

mod optional_nanoseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::nanoseconds::serialize(time, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_nanos))
    }
}
