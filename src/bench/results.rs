//! The results of a run, which are also the shape of its JSON. Keys carry their units.
//!
//! A *round trip* lasts from the send of a message's first byte to the arrival of
//! its last byte.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::bench::datagram_counts::{DatagramCounts, Datagrams};
use crate::bench::plan::{Load, Plan};
use crate::bench::tcp::{Tcp, TcpCounts};
use crate::probe::latency::Latency;

/// The name and version of the JSON format. The version grows when a reader of the
/// previous one would be misled.
pub const FORMAT: &str = "echopool-bench/1";

/// The results of one run, or of several merged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`FORMAT`].
    pub format: String,
    /// The programs that made the load, one entry a run.
    pub generators: Vec<Generator>,
    /// The plan of the run.
    pub plan: Plan,
    /// Whether it was stopped before its end, so that it is a part of what was planned.
    #[serde(default)]
    pub interrupted: bool,
    /// How long load was measured; of several runs, that of the longest.
    pub elapsed_ns: u64,
    /// Messages a second that came back complete and unchanged while load was
    /// measured; of several runs, the sum. Echoes after the end are not in it.
    pub rate_per_s: f64,
    /// Verified bytes a second that came back while load was measured; of several runs,
    /// the sum.
    pub throughput_bytes_per_s: f64,
    /// The counts of the measured part.
    pub totals: Totals,
    /// What went wrong in the warm-up with the bytes of connections, and with datagrams; none in
    /// files of older versions, which have it in `totals`. What went wrong with connections
    /// themselves is in `totals`, whenever it was.
    #[serde(default)]
    pub warmup_errors: Errors,
    /// Service time: from a message's send to its last byte back. A closed loop has
    /// no other latency.
    pub service: Latency,
    /// Open loop: response time, from a message's due time to its last byte back.
    /// Messages that were due and not sent count with their age at the end.
    pub response: Option<Latency>,
    /// Open loop: the delay from a message's due time until the generator queued it.
    pub lateness: Option<Latency>,
    /// The time to make a connection.
    pub connect: Latency,
    /// Churn: from the message's send to the first byte back.
    pub first_byte: Option<Latency>,
    /// Churn: from the start of the connection to the message's last byte back.
    pub exchange: Option<Latency>,
    /// What the generator's TCP knows of the connections; `None` where the system does not
    /// report it, none was read, or an older version made the file.
    #[serde(default)]
    pub tcp: Option<Tcp>,
    /// What became of datagrams; `None` where connections made the load.
    #[serde(default)]
    pub datagrams: Option<Datagrams>,
    /// One entry a second of the run, warm-up included.
    pub timeline: Vec<Interval>,
    /// Times without a server, with `reconnect`.
    pub outages: Vec<Outage>,
    /// The first few errors, in words.
    pub examples: Vec<String>,
    /// Reasons for which the results may be invalid.
    pub suspicions: Vec<Suspicion>,
    /// The conditions on the run, and whether they held.
    pub expectations: Vec<Expectation>,
    /// The trials of a search, in its order.
    pub search: Vec<Trial>,
    /// Why the search ended; `None` without one, or where it was interrupted.
    #[serde(default)]
    pub search_end: Option<String>,
}

impl Results {
    /// The latency that a client at the planned rate sees: the response time of an
    /// open loop, the service time of a closed loop.
    pub fn round_trips(&self) -> &Latency {
        self.response.as_ref().unwrap_or(&self.service)
    }

    /// Whether bytes came back otherwise than they were sent, in the warm-up or later.
    pub fn is_damaged(&self) -> bool {
        self.totals.errors.damage() > 0 || self.warmup_errors.damage() > 0
    }

    /// Whether no message came back whole, or of a stream no byte.
    pub const fn is_barren(&self) -> bool {
        match self.plan.load {
            Load::Messages | Load::Churn | Load::Datagrams => self.totals.echoed == 0,
            Load::Stream => self.totals.echoed_bytes == 0,
        }
    }

    /// The connections that were open while load was measured: on average, and in the
    /// second with the fewest. `None` where that is unknown.
    #[expect(clippy::cast_precision_loss, reason = "times are below 2^53 ns")]
    pub fn connections_open(&self) -> Option<(f64, f64)> {
        let measured = self.timeline.iter().filter(|second| second.start_ns >= 0);
        let known = measured.map(|second| Some((second.connections?, second.length_ns as f64)));
        let known: Vec<(f64, f64)> = known.collect::<Option<_>>()?;
        let time: f64 = known.iter().map(|(_, time)| time).sum();
        let total: f64 = known.iter().map(|(open, time)| open * time).sum();
        let least = known.iter().map(|(open, _)| *open).reduce(f64::min)?;
        (time > 0.0).then(|| (total / time, least))
    }

    /// The latencies that have at least one sample, with their names.
    pub fn latencies(&self) -> impl Iterator<Item = (&'static str, &Latency)> {
        let all = [
            ("response", self.response.as_ref()),
            ("service", Some(&self.service)),
            ("lateness", self.lateness.as_ref()),
            ("first byte", self.first_byte.as_ref()),
            ("exchange", self.exchange.as_ref()),
            ("connect", Some(&self.connect)),
        ];
        let timed = all.into_iter();
        timed
            .filter_map(|(name, latency)| Some((name, latency?)))
            .filter(|(_, latency)| latency.count() > 0)
    }
}

/// The program that made the load, its machine and its server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Version of echopool.
    pub version: String,
    /// The machine's name.
    pub host: String,
    /// The operating system, its version and the architecture.
    pub system: String,
    /// Processors that the process may use.
    pub cpus: usize,
    /// The server's resolved address; of several, the one that answered first.
    pub address: String,
    /// The addresses that connections were made to, or tried, with what became of them.
    #[serde(default)]
    pub addresses: Vec<AddressCounts>,
    /// When the measured part began: RFC 3339, UTC.
    pub started_at: String,
    /// How long it measured; unknown in files of older versions.
    #[serde(default)]
    pub elapsed_ns: Option<u64>,
    /// The fraction of the time that the busiest thread was working, 0 to 1.
    pub busy_fraction: f64,
}

/// What became of the connections to one address, warm-up included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressCounts {
    /// The address, with its port.
    pub address: String,
    /// Connections made.
    pub connected: u64,
    /// Connections that could not be made.
    pub failed: u64,
    /// Connections made and lost before the end.
    pub lost: u64,
}

/// The counts of the measured part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Messages of which at least one byte was sent.
    pub sent: u64,
    /// Messages that came back complete and unchanged.
    pub echoed: u64,
    /// Messages in flight when the run ended. Percentiles count them with their age at
    /// that time.
    pub in_flight: u64,
    /// Open loop: messages that were due and could not be sent before the end.
    pub unsent: u64,
    /// Messages lost with their connection, or given up after the time-out. Percentiles
    /// count the latter with their age at that time.
    pub lost: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes that came back unchanged.
    pub echoed_bytes: u64,
    /// Bytes sent on a connection that ended before they came back.
    pub lost_bytes: u64,
    /// Connections made.
    pub connected: u64,
    /// Errors by kind.
    pub errors: Errors,
}

impl AddAssign<&Self> for Totals {
    fn add_assign(&mut self, other: &Self) {
        add(&mut self.sent, other.sent);
        add(&mut self.echoed, other.echoed);
        add(&mut self.in_flight, other.in_flight);
        add(&mut self.unsent, other.unsent);
        add(&mut self.lost, other.lost);
        add(&mut self.sent_bytes, other.sent_bytes);
        add(&mut self.echoed_bytes, other.echoed_bytes);
        add(&mut self.lost_bytes, other.lost_bytes);
        add(&mut self.connected, other.connected);
        self.errors += &other.errors;
    }
}

/// Errors by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// Connections that were refused.
    pub refused: u64,
    /// Connections that failed to be made for another reason.
    pub not_connected: u64,
    /// Connections that were reset.
    pub reset: u64,
    /// Connections that the server closed before everything was back.
    pub closed: u64,
    /// Connections given up because no complete echo came within the time-out.
    pub timed_out: u64,
    /// Connections that failed for another reason.
    pub failed: u64,
    /// Faults: bytes that were changed.
    pub changed: u64,
    /// Faults: bytes that are missing.
    pub missing: u64,
    /// Faults: bytes that were repeated.
    pub repeated: u64,
    /// Faults: bytes of another connection.
    pub foreign: u64,
    /// Faults: bytes that were never sent.
    pub unknown: u64,
}

impl Errors {
    /// Each kind with its name.
    pub const fn kinds(&self) -> [(&'static str, u64); 11] {
        [
            ("refused", self.refused),
            ("not connected", self.not_connected),
            ("reset", self.reset),
            ("closed", self.closed),
            ("timed out", self.timed_out),
            ("failed", self.failed),
            ("changed", self.changed),
            ("missing", self.missing),
            ("repeated", self.repeated),
            ("foreign", self.foreign),
            ("unknown", self.unknown),
        ]
    }

    /// Faults: places where the echo differs from what was sent.
    pub fn damage(&self) -> u64 {
        let kinds = [
            self.changed,
            self.missing,
            self.repeated,
            self.foreign,
            self.unknown,
        ];
        kinds.into_iter().fold(0, u64::saturating_add)
    }

    /// All kinds together.
    pub fn total(&self) -> u64 {
        let kinds = self.kinds().into_iter();
        kinds.fold(0, |sum, (_, count)| sum.saturating_add(count))
    }
}

impl AddAssign<&Self> for Errors {
    fn add_assign(&mut self, other: &Self) {
        add(&mut self.refused, other.refused);
        add(&mut self.not_connected, other.not_connected);
        add(&mut self.reset, other.reset);
        add(&mut self.closed, other.closed);
        add(&mut self.timed_out, other.timed_out);
        add(&mut self.failed, other.failed);
        add(&mut self.changed, other.changed);
        add(&mut self.missing, other.missing);
        add(&mut self.repeated, other.repeated);
        add(&mut self.foreign, other.foreign);
        add(&mut self.unknown, other.unknown);
    }
}

/// Adds a count without overflow: one read from a file may be any number.
const fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

/// One second of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The start of the second, relative to the start of the measured part; negative in the
    /// warm-up.
    pub start_ns: i64,
    /// The length of the interval: a second, or less at the end.
    pub length_ns: u64,
    /// Messages that came back in it.
    pub echoed: u64,
    /// Verified bytes that came back in it.
    pub echoed_bytes: u64,
    /// Errors in it.
    pub errors: u64,
    /// The median of its round trips (response time in an open loop), if it has enough.
    pub p50_ns: Option<u64>,
    /// The 99th percentile.
    pub p99_ns: Option<u64>,
    /// The maximum.
    pub max_ns: Option<u64>,
    /// The connections that were open in it, on average; unknown in files of older versions.
    #[serde(default)]
    pub connections: Option<f64>,
    /// What TCP counted on the connections that were read in it, if any were.
    #[serde(default)]
    pub tcp: Option<TcpCounts>,
    /// What became of the datagrams that were sent in it, where the load is of those.
    #[serde(default)]
    pub datagrams: Option<DatagramCounts>,
}

/// A time in which some connections had no server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// When the first connection was lost, relative to the start of the measured part.
    pub start_ns: i64,
    /// The time until the last of them had an echo again; `None` if that did not happen.
    pub length_ns: Option<u64>,
    /// Connections that were lost or refused in it, each counted once.
    pub connections: u64,
    /// Bytes that were lost with them.
    pub lost_bytes: u64,
    /// Attempts to connect that were refused in it.
    pub refused: u64,
    /// Connections that were reset.
    pub reset: u64,
    /// Connections that were closed.
    pub closed: u64,
}

/// A reason for which the results may be invalid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// The kind of reason.
    pub kind: Doubt,
    /// The observation.
    pub seen: String,
    /// What to do about it.
    pub advice: String,
}

/// The kinds of reasons for which results may be invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// A thread of the generator was busy nearly all the time.
    GeneratorSaturated,
    /// An open loop could not keep to its schedule.
    ScheduleMissed,
    /// No local port was free for a connection.
    PortsRanOut,
    /// No descriptor was free for a connection.
    DescriptorsRanOut,
    /// Many round trips took 40 ms: Nagle's algorithm waits for a delayed ACK.
    DelayedAck,
    /// Some connections were not open, or had no echo; or some flows.
    ConnectionsMissing,
    /// This machine did not send some datagrams.
    NotSent,
    /// Our own sockets' queues had no room for datagrams that came back.
    DroppedHere,
    /// Merged runs did not make their load at the same time.
    NotTogether,
}

/// A condition on the run, and whether it held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// The condition's text: `p99<1ms`.
    pub text: String,
    /// Whether it held.
    pub held: bool,
    /// The measured value, with its unit.
    pub seen: String,
}

/// One rate that a search tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The planned rate.
    pub rate_per_s: f64,
    /// The rate of the echoes.
    pub echoed_per_s: f64,
    /// The median of the response time.
    pub p50_ns: Option<u64>,
    /// The 99th percentile.
    pub p99_ns: Option<u64>,
    /// The maximum.
    pub max_ns: Option<u64>,
    /// Whether the condition held; unknown in files of older versions.
    #[serde(default)]
    pub condition_held: Option<bool>,
    /// Whether the generator kept its schedule; unknown in files of older versions.
    #[serde(default)]
    pub schedule_kept: Option<bool>,
    /// Whether nothing came back changed; unknown in files of older versions.
    #[serde(default)]
    pub undamaged: Option<bool>,
    /// Whether all three are so.
    pub held: bool,
}
