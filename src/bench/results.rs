//! What a run saw: the shape of its JSON, too. Keys carry their units.
//!
//! It is always a *round trip*: from a message's first byte on its way out to
//! its last byte back.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::bench::plan::Plan;
use crate::probe::latency::Latency;

/// The name and version of the JSON format; the number grows when a reader of
/// the one before would be misled.
pub const FORMAT: &str = "echopool-bench/1";

/// One run, or several merged into one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`FORMAT`].
    pub format: String,
    /// Who made the load, one entry a run.
    pub generators: Vec<Generator>,
    /// What was asked for.
    pub plan: Plan,
    /// How long load was measured, of the longest run if there are several.
    pub elapsed_ns: u64,
    /// Messages that came back whole and unchanged while load was measured, a
    /// second; of several runs the sum. Those awaited after the end are not in it.
    pub rate_per_s: f64,
    /// Verified bytes that came back while load was measured, a second; of several runs the sum.
    pub throughput_bytes_per_s: f64,
    /// What was counted while load was measured.
    pub totals: Totals,
    /// From a message's send to its last byte back. The closed loop's only
    /// latency, and what an open loop calls service time.
    pub service: Latency,
    /// Open loop: from when a message was due to its last byte back. Those that
    /// were due and not sent count with the age they had at the end.
    pub response: Option<Latency>,
    /// Open loop: how late the generator itself was to see that a message was due.
    pub lateness: Option<Latency>,
    /// How long connections took to be made.
    pub connect: Latency,
    /// Churn: from the message's send to the first byte back.
    pub first_byte: Option<Latency>,
    /// Churn: from the start of the connection to the message's last byte back.
    pub exchange: Option<Latency>,
    /// One entry a second of the run, warm-up included.
    pub timeline: Vec<Interval>,
    /// Times without service, with `reconnect`.
    pub outages: Vec<Outage>,
    /// Examples of what went wrong: the first few, in words.
    pub examples: Vec<String>,
    /// Why the run is not to be trusted, if so.
    pub suspicions: Vec<Suspicion>,
    /// What was expected, and whether it held.
    pub expectations: Vec<Expectation>,
    /// The rates that a search tried, in its order.
    pub search: Vec<Trial>,
}

impl Results {
    /// What a client at the planned pace would feel: the response time of an
    /// open loop, the service time of a closed one.
    pub fn round_trips(&self) -> &Latency {
        self.response.as_ref().unwrap_or(&self.service)
    }

    /// Everything timed that has at least one duration, by the name it goes by.
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

/// Who made the load, against whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Version of echopool.
    pub version: String,
    /// The machine's name.
    pub host: String,
    /// System and its version.
    pub system: String,
    /// Processors that it may use.
    pub cpus: usize,
    /// The server, as it was resolved.
    pub address: String,
    /// When load was first measured, RFC 3339, UTC.
    pub started_at: String,
    /// The part of the time that its busiest thread was working, 0 to 1.
    pub busy_fraction: f64,
}

/// What was counted while load was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Messages whose sending has begun.
    pub sent: u64,
    /// Messages that came back whole and unchanged.
    pub echoed: u64,
    /// Messages still on their way when the run ended. Percentiles count them
    /// with the age they had by then.
    pub in_flight: u64,
    /// Open loop: messages that were due and could not be sent before the end.
    pub unsent: u64,
    /// Messages lost with their connection, or given up after the time-out;
    /// percentiles count the latter with the time they took until then.
    pub lost: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes that came back as they were sent.
    pub echoed_bytes: u64,
    /// Bytes that were sent on a connection that ended before they came back.
    pub lost_bytes: u64,
    /// Connections made.
    pub connected: u64,
    /// What went wrong, by kind.
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

/// What went wrong, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// Connections that the server's side refused.
    pub refused: u64,
    /// Connections that could not be made for another reason.
    pub not_connected: u64,
    /// Connections that were reset.
    pub reset: u64,
    /// Connections that the server closed before everything was back.
    pub closed: u64,
    /// Connections given up because nothing came for the time-out.
    pub timed_out: u64,
    /// Connections that failed otherwise.
    pub failed: u64,
    /// Places where bytes were changed on their way.
    pub changed: u64,
    /// Places where bytes were missing.
    pub missing: u64,
    /// Places where bytes came again.
    pub repeated: u64,
    /// Places where bytes of another connection came.
    pub foreign: u64,
    /// Places where bytes came that were never sent.
    pub unknown: u64,
}

impl Errors {
    /// Each kind by the name it goes by.
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

    /// Places where other bytes came than were sent.
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

/// Adds a count that a file may have made up: past the last number is the last.
const fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

/// One second of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its start, from the start of the measured part; negative in the warm-up.
    pub start_ns: i64,
    /// How long it was.
    pub length_ns: u64,
    /// Messages that came back in it.
    pub echoed: u64,
    /// Verified bytes that came back in it.
    pub echoed_bytes: u64,
    /// What went wrong in it.
    pub errors: u64,
    /// Percentiles of its round trips (response time in an open loop), where it has enough.
    pub p50_ns: Option<u64>,
    /// Ninety-nine of a hundred.
    pub p99_ns: Option<u64>,
    /// The longest.
    pub max_ns: Option<u64>,
}

/// A time in which some connections had no server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// When the first connection was lost, from the start of the measured part.
    pub start_ns: i64,
    /// Until the last of them had an echo again; `None` if that did not happen.
    pub length_ns: Option<u64>,
    /// Connections that were lost or refused in it, each once.
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

/// A reason not to trust a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// Which.
    pub kind: Doubt,
    /// What was seen.
    pub seen: String,
    /// What to do.
    pub advice: String,
}

/// The kinds of reasons not to trust a run.
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
    /// Round trips pile up at 40 ms: Nagle's algorithm waits for a delayed ACK.
    DelayedAck,
}

/// Something a user expected of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// As it was given: `p99<1ms`.
    pub text: String,
    /// Whether it held.
    pub held: bool,
    /// What was measured, with its unit.
    pub seen: String,
}

/// One rate that a search tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The rate asked for.
    pub rate_per_s: f64,
    /// The rate that came back.
    pub echoed_per_s: f64,
    /// Percentiles of the response time.
    pub p50_ns: Option<u64>,
    /// Ninety-nine of a hundred.
    pub p99_ns: Option<u64>,
    /// The longest.
    pub max_ns: Option<u64>,
    /// Whether what was sought held.
    pub held: bool,
}
