//! What the times in an answer tell.

use std::time::Duration;

use serde::Serialize;

use super::one_way::OneWay;
use crate::probe::latency::Latency;
use crate::proto::stamp::{Clock, Format, Reflection};

/// What an answer says of its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reflected {
    /// The answer's own number.
    pub server_seq: u32,
    /// How long the server had the packet, which is not part of the round trip; `None` where
    /// its times can't be right.
    pub server_ns: Option<u64>,
    /// From sending to the server's receiving; `None` unless both clocks are synchronized.
    /// Negative where they differ by more than the way takes.
    pub to_server_ns: Option<i64>,
    /// From the server's sending to receiving, likewise.
    pub to_client_ns: Option<i64>,
    /// The TTL or hop limit with which the request arrived there, if the server says.
    pub server_ttl: Option<u8>,
}

/// When a packet was sent and its answer received, by our clock, as Unix time.
#[derive(Clone, Copy, Debug)]
pub struct Ours {
    /// Just before it was sent.
    pub sent: Duration,
    /// When the kernel received the answer.
    pub received: Duration,
    /// Our clock.
    pub clock: Clock,
}

/// A clock as it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClockReport {
    /// An external source sets it.
    pub is_synchronized: bool,
    /// How wrong it may be at the most, as it says.
    pub error_ns: u64,
    /// The format of the times: `ntp` or `ptp`.
    pub format: &'static str,
}

impl From<Clock> for ClockReport {
    fn from(clock: Clock) -> Self {
        Self {
            is_synchronized: clock.is_synchronized,
            error_ns: u64::try_from(clock.error.as_nanos()).unwrap_or(u64::MAX),
            format: match clock.format {
                Format::Ntp => "ntp",
                Format::Ptp => "ptp",
            },
        }
    }
}

/// The times of a session.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// How long the server had each packet, in nanoseconds.
    pub server: Latency,
    /// One-way times while both clocks were synchronized.
    pub to_server: OneWay,
    /// The same on the way back.
    pub to_client: OneWay,
    /// By how much the one-way times of two packets in a row differ, without sign: RFC 3393.
    /// That needs no common clock.
    pub variation_to_server: Latency,
    /// The same on the way back.
    pub variation_to_client: Latency,
    /// The greatest error of both clocks together, in nanoseconds.
    pub error: u64,
    /// The server's clock, as its last answer says.
    pub server_clock: Option<Clock>,
    /// The last packet that was answered, with its one-way times between unequal clocks.
    last: Option<(u64, i64, i64)>,
}

impl Times {
    /// Reads what the answer to the request of this number says. `whole` is the round trip
    /// with the server's own time, in nanoseconds.
    pub fn read(&mut self, answer: &Reflection, ours: Ours, whole: u64) -> Reflected {
        let clock = Clock::from_estimate(answer.estimate);
        let format = clock.format;
        let server = u64::try_from(answer.sent.since_ns(answer.received, format)).ok();
        let are_synchronized = clock.is_synchronized && ours.clock.is_synchronized;
        let (there, back) = one_way(answer, ours, format);
        self.server_clock = Some(clock);
        Reflected {
            server_seq: answer.sequence,
            server_ns: server.filter(|&server| server <= whole),
            to_server_ns: are_synchronized.then_some(there),
            to_client_ns: are_synchronized.then_some(back),
            server_ttl: (answer.ttl > 0).then_some(answer.ttl),
        }
    }

    /// Records an answer that came in time.
    pub fn record(&mut self, number: u64, answer: &Reflection, ours: Ours, read: &Reflected) {
        if let Some(server) = read.server_ns {
            let _ = self.server.histogram.record(server);
        }
        let clock = Clock::from_estimate(answer.estimate);
        if let (Some(there), Some(back)) = (read.to_server_ns, read.to_client_ns) {
            self.to_server.record(there);
            self.to_client.record(back);
            let error = (clock.error + ours.clock.error).as_nanos();
            self.error = self.error.max(u64::try_from(error).unwrap_or(u64::MAX));
        }
        let (there, back) = one_way(answer, ours, clock.format);
        if let Some((before, last_there, last_back)) = self.last
            && before + 1 == number
        {
            for (histogram, now, last) in [
                (&mut self.variation_to_server, there, last_there),
                (&mut self.variation_to_client, back, last_back),
            ] {
                // It can't fail: the histogram grows as needed.
                let _ = histogram.histogram.record(now.abs_diff(last));
            }
        }
        self.last = Some((number, there, back));
    }

    /// Adds those of another session. Of the server's clock the other's is taken.
    pub fn add(&mut self, other: &Self) {
        self.server.add(&other.server);
        self.to_server.add(&other.to_server);
        self.to_client.add(&other.to_client);
        self.variation_to_server.add(&other.variation_to_server);
        self.variation_to_client.add(&other.variation_to_client);
        self.error = self.error.max(other.error);
        self.server_clock = other.server_clock.or(self.server_clock);
    }
}

/// The times there and back, as the two clocks have them.
fn one_way(answer: &Reflection, ours: Ours, format: Format) -> (i64, i64) {
    let there = answer.received.since_unix_ns(ours.sent, format);
    let back = answer.sent.since_unix_ns(ours.received, format);
    (there, back.saturating_neg())
}
