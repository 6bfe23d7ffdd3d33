//! What the servers are put through, and what is measured in each case.

use std::io;
use std::thread;
use std::time::Duration;

use echopool::bench::latency::Latency;
use echopool::bench::plan::{Load, Plan};

use crate::load::fleet::Fleet;
use crate::load::{self, Window};
use crate::metric::{Metric, Sample};
use crate::roster::{BUSY, FLOOR};
use crate::server::Running;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every client has one message of so many bytes on its way.
    PingPong(usize),
    /// Every client sends and receives as fast as it can.
    Stream,
    /// Every client has one message echoed and makes room for the next one.
    Churn,
    /// Every client has had one message echoed and is silent.
    Idle,
    /// All clients ping, then with a firehose beside them.
    Firehose,
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name in options and results.
    pub name: &'static str,
    /// What the clients do.
    pub kind: Kind,
    /// How many there are.
    pub clients: usize,
    /// Threads that the server is to serve with.
    pub workers: usize,
    /// Whether it belongs to the quick run.
    pub quick: bool,
}

/// How long it takes.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Not counted, before each measurement.
    pub warm_up: Duration,
    /// Counted.
    pub measure: Duration,
}

/// Bytes of a small message.
const SMALL: usize = 64;

/// Bytes of a large one.
const LARGE: usize = 16 * 1024;

/// Connections of a churn that are open at any time.
const SLOTS: usize = 32;

const fn case(name: &'static str, kind: Kind, clients: usize) -> Scenario {
    Scenario {
        name,
        kind,
        clients,
        workers: 1,
        quick: false,
    }
}

const fn quick(scenario: Scenario) -> Scenario {
    Scenario {
        quick: true,
        ..scenario
    }
}

const fn two(scenario: Scenario) -> Scenario {
    Scenario {
        workers: 2,
        ..scenario
    }
}

/// All cases, in the order of the report.
pub const SCENARIOS: &[Scenario] = &[
    quick(case("ping-64-1", Kind::PingPong(SMALL), 1)),
    quick(case("ping-64-50", Kind::PingPong(SMALL), 50)),
    quick(case("ping-64-1000", Kind::PingPong(SMALL), 1_000)),
    case("ping-64-10000", Kind::PingPong(SMALL), 10_000),
    case("ping-16k-1", Kind::PingPong(LARGE), 1),
    case("ping-16k-50", Kind::PingPong(LARGE), 50),
    case("ping-16k-1000", Kind::PingPong(LARGE), 1_000),
    case("ping-16k-10000", Kind::PingPong(LARGE), 10_000),
    quick(case("stream-1", Kind::Stream, 1)),
    case("stream-16", Kind::Stream, 16),
    quick(case("churn", Kind::Churn, SLOTS)),
    quick(case("idle-1000", Kind::Idle, 1_000)),
    case("idle-10000", Kind::Idle, 10_000),
    case("idle-18000", Kind::Idle, 18_000),
    case("firehose", Kind::Firehose, 50),
    two(case("ping-64-1000-workers-2", Kind::PingPong(SMALL), 1_000)),
    two(case("stream-16-workers-2", Kind::Stream, 16)),
    two(case("churn-workers-2", Kind::Churn, SLOTS)),
];

impl Scenario {
    /// One sentence about it.
    #[must_use]
    pub fn describe(&self) -> String {
        let clients = self.clients;
        match self.kind {
            Kind::PingPong(size) => format!(
                "Ping-pong: {clients} client(s), each with one message of {size} bytes on its way."
            ),
            Kind::Stream => format!(
                "Streaming: {clients} client(s) write and read the echo, as fast as they can."
            ),
            Kind::Churn => format!(
                "Churn: {clients} clients at once connect, have 64 bytes echoed and close, \
                 again and again."
            ),
            Kind::Idle => {
                format!("Idle: {clients} clients have had 64 bytes echoed and are silent.")
            }
            Kind::Firehose => format!(
                "Firehose: {clients} clients ping with 64 bytes, alone and beside one that \
                 streams."
            ),
        }
    }

    /// Whether a server has no part in it although it could have: polling is for
    /// the latency of one client, and the floor is one for small messages only.
    #[must_use]
    pub fn leaves_out(&self, server: &str) -> bool {
        match server {
            BUSY => self.name != "ping-64-1",
            FLOOR => matches!(self.kind, Kind::Stream | Kind::Firehose),
            _ => false,
        }
    }

    /// Runs the load once against a server.
    ///
    /// # Errors
    /// A connection failed, a byte was wrong, or nothing came back.
    pub fn run(&self, server: &Running, times: Times) -> io::Result<Sample> {
        match self.kind {
            Kind::PingPong(size) => {
                let window = self.window(server, Load::Messages, size, times)?;
                let mut sample = sample(&window);
                sample.insert(Metric::RoundTrips, window.results.rate_per_s);
                sample.insert(Metric::CpuPerRoundTrip, us_each(&window));
                sample.insert(Metric::P50, latency_us(&window.results.service, 0.5));
                sample.insert(Metric::P99, latency_us(&window.results.service, 0.99));
                Ok(sample)
            }
            Kind::Stream => {
                let window = self.window(server, Load::Stream, SMALL, times)?;
                let mut sample = sample(&window);
                let results = &window.results;
                let cpu_ms = window.server_cpu.as_secs_f64() * 1e3;
                let gb = as_f64(results.totals.echoed_bytes) / 1e9;
                sample.insert(Metric::Bandwidth, results.throughput_bytes_per_s / 1e6);
                sample.insert(Metric::CpuPerGb, cpu_ms / gb);
                Ok(sample)
            }
            Kind::Churn => {
                let window = self.window(server, Load::Churn, SMALL, times)?;
                let mut sample = sample(&window);
                sample.insert(Metric::Connections, window.results.rate_per_s);
                sample.insert(Metric::CpuPerConnection, us_each(&window));
                Ok(sample)
            }
            Kind::Idle => self.memory(server),
            Kind::Firehose => self.firehose(server, times),
        }
    }

    fn window(
        &self,
        server: &Running,
        load: Load,
        size: usize,
        times: Times,
    ) -> io::Result<Window> {
        let times = (times.warm_up, times.measure);
        let plan = load::plan(server, load, self.clients, size, times);
        Window::measure(server, &plan)
    }

    /// The memory that idle connections add to that of a server that has served.
    fn memory(&self, server: &Running) -> io::Result<Sample> {
        // As many as any server needs to have touched what all clients share.
        const FIRST: usize = 16;
        once_each(server, FIRST)?;
        thread::sleep(SETTLE_MEMORY);
        let before = server.memory();
        let grown = once_each(server, self.clients)?.saturating_sub(before);
        let each = as_f64(grown) / as_f64(self.clients as u64);
        Ok(Sample::from([(Metric::MemoryPerConnection, each)]))
    }

    /// The latency of the same pingers without and with a firehose.
    fn firehose(&self, server: &Running, times: Times) -> io::Result<Sample> {
        let mut fleet = Fleet::connect(server.address(), self.clients, SMALL)?;
        fleet.run_for(times.warm_up)?;
        let alone = latency_us(&fleet.run_for(times.measure)?.latency, 0.99);
        fleet.add_hose()?;
        fleet.run_for(times.warm_up)?;
        let tally = fleet.run_for(times.measure)?;
        if tally.hose_bytes == 0 {
            return Err(io::Error::other("the firehose was not served"));
        }
        let beside = latency_us(&tally.latency, 0.99);
        let a_second = |count| as_f64(count) / times.measure.as_secs_f64();
        Ok(Sample::from([
            (Metric::P99Alone, alone),
            (Metric::P99Beside, beside),
            (Metric::P99Growth, beside / alone),
            (Metric::RoundTrips, a_second(tally.round_trips)),
            (Metric::HoseBandwidth, a_second(tally.hose_bytes) / 1e6),
        ]))
    }
}

/// How long a server has to put its memory in order.
const SETTLE_MEMORY: Duration = Duration::from_millis(100);

/// Lets so many clients have one message echoed each. Returns the server's
/// memory while they are silent and stay.
fn once_each(server: &Running, clients: usize) -> io::Result<u64> {
    let mut memory = 0;
    let plan = Plan {
        duration: None,
        count: Some(clients as u64),
        ..load::plan(server, Load::Messages, clients, SMALL, Default::default())
    };
    load::run(server, &plan, || {
        thread::sleep(SETTLE_MEMORY);
        memory = server.memory();
    })?;
    Ok(memory)
}

/// How busy both sides were.
fn sample(window: &Window) -> Sample {
    let percent = |cpu: Duration| cpu.as_secs_f64() / window.time.as_secs_f64() * 100.0;
    let own = window.server_cpu + window.load_cpu;
    let busy = window.results.generators[0].busy_fraction;
    let other = window.machine_cpu.saturating_sub(own);
    Sample::from([
        (Metric::ServerCpu, percent(window.server_cpu)),
        (Metric::LoadBusy, busy * 100.0),
        (Metric::OtherCpu, percent(other)),
    ])
}

/// The server's CPU time in microseconds for each message.
fn us_each(window: &Window) -> f64 {
    window.server_cpu.as_secs_f64() * 1e6 / as_f64(window.results.totals.echoed)
}

/// In microseconds; `quantile` is between 0 and 1.
fn latency_us(latency: &Latency, quantile: f64) -> f64 {
    as_f64(latency.histogram.value_at_quantile(quantile)) / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "all counts are far below 2^53")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}
