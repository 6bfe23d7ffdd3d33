//! What is measured, and in which unit.

use std::collections::BTreeMap;

/// One measured quantity. The order is that of the tables' columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Messages that came back whole, a second.
    RoundTrips,
    /// The server's CPU time a message.
    CpuPerRoundTrip,
    /// Datagrams that came back, a second.
    Datagrams,
    /// The server's CPU time a datagram.
    CpuPerDatagram,
    /// Of 100 datagrams those that did not come back, but for the next ones.
    Lost,
    /// Of 100 datagrams those that came back and found the queue of the load full.
    DroppedByLoad,
    /// Half the messages were back within this time.
    P50,
    /// 99 of 100 messages were back within this time.
    P99,
    /// Echoed bytes a second; a byte counts once, not for each direction.
    Bandwidth,
    /// The server's CPU time for 10^9 echoed bytes.
    CpuPerGb,
    /// Connections that were made, had one echo and were closed, a second.
    Connections,
    /// The server's CPU time for such a connection.
    CpuPerConnection,
    /// What the server's memory grew by, a connection.
    MemoryPerConnection,
    /// The median of the pingers before there are streams.
    P50Alone,
    /// The same beside streams.
    P50Beside,
    /// The 99th percentile of the pingers before there are streams.
    P99Alone,
    /// The same beside streams.
    P99Beside,
    /// The latter as a multiple of the former.
    P99Growth,
    /// What the firehose gets beside the pingers.
    FirehoseBandwidth,
    /// Datagrams of a flood that came back beside the pingers, a second.
    FloodDatagrams,
    /// How busy the server was, of one CPU.
    ServerCpu,
    /// The part of the time in which the load had something to do: its busiest
    /// thread, or the CPUs that its threads share. Near 100 it was the limit.
    LoadBusy,
    /// What everything else on the machine used meanwhile, of one CPU; it
    /// disturbs the measurement.
    OtherCpu,
}

/// The values of one run.
pub type Sample = BTreeMap<Metric, f64>;

impl Metric {
    /// The name in JSON, which ends with the unit.
    #[must_use]
    pub const fn key(self) -> &'static str {
        self.face().0
    }

    /// The heading of its column.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.face().1
    }

    /// The digits printed behind the decimal point.
    #[must_use]
    pub const fn decimals(self) -> usize {
        self.face().2
    }

    /// Whether servers are compared by it, and whether more of it is better.
    #[must_use]
    pub const fn more_is_better(self) -> Option<bool> {
        match self {
            Self::RoundTrips | Self::Datagrams | Self::Bandwidth | Self::Connections => Some(true),
            Self::ServerCpu | Self::LoadBusy | Self::OtherCpu | Self::DroppedByLoad => None,
            Self::FirehoseBandwidth | Self::FloodDatagrams => None,
            Self::P50Alone | Self::P99Alone => None,
            _ => Some(false),
        }
    }

    const fn face(self) -> (&'static str, &'static str, usize) {
        match self {
            Self::RoundTrips => ("round_trips_per_s", "round trips/s", 0),
            Self::CpuPerRoundTrip => (
                "server_cpu_us_per_round_trip",
                "server CPU µs/round trip",
                2,
            ),
            Self::Datagrams => ("datagrams_per_s", "datagrams/s", 0),
            Self::CpuPerDatagram => ("server_cpu_us_per_datagram", "server CPU µs/datagram", 2),
            Self::Lost => ("lost_percent", "lost %", 4),
            Self::DroppedByLoad => ("dropped_by_load_percent", "dropped by load %", 4),
            Self::P50 => ("latency_p50_us", "p50 µs", 1),
            Self::P99 => ("latency_p99_us", "p99 µs", 1),
            Self::Bandwidth => ("mb_per_s", "MB/s", 0),
            Self::CpuPerGb => ("server_cpu_ms_per_gb", "server CPU ms/GB", 0),
            Self::Connections => ("connections_per_s", "connections/s", 0),
            Self::CpuPerConnection => (
                "server_cpu_us_per_connection",
                "server CPU µs/connection",
                1,
            ),
            Self::MemoryPerConnection => (
                "server_memory_bytes_per_connection",
                "memory B/connection",
                0,
            ),
            Self::P50Alone => ("pinger_p50_alone_us", "p50 µs alone", 0),
            Self::P50Beside => ("pinger_p50_beside_us", "p50 µs beside", 0),
            Self::P99Alone => ("pinger_p99_alone_us", "p99 µs alone", 0),
            Self::P99Beside => ("pinger_p99_beside_us", "p99 µs beside", 0),
            Self::P99Growth => ("pinger_p99_ratio", "beside ÷ alone", 2),
            Self::FirehoseBandwidth => ("firehose_mb_per_s", "firehose MB/s", 0),
            Self::FloodDatagrams => ("flood_datagrams_per_s", "flood datagrams/s", 0),
            Self::ServerCpu => ("server_cpu_percent", "server CPU %", 0),
            Self::LoadBusy => ("load_busy_percent", "load busy %", 0),
            Self::OtherCpu => ("other_cpu_percent", "other CPU %", 0),
        }
    }
}
