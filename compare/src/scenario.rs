//! What the servers are put through, and what is measured in each case.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::load::churn::{Churn, SLOTS};
use crate::load::fleet::Fleet;
use crate::load::stream::Streams;
use crate::load::{Load, drain, drive_for, own_cpu};
use crate::metric::{Metric, Sample};
use crate::process;
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
                "Streaming: {clients} client(s) write 64 KiB after 64 KiB and read the echo, \
                 as fast as they can."
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
        let address = server.address();
        match self.kind {
            Kind::PingPong(size) => {
                let mut fleet = Fleet::connect(address, self.clients, size)?;
                let window = Window::measure(&mut fleet, server, times)?;
                let tally = fleet.take_tally();
                let mut sample = window.sample(Metric::RoundTrips, 1.0);
                sample.insert(Metric::CpuPerRoundTrip, window.server_us_each());
                sample.insert(Metric::P50, tally.latency_us(0.5));
                sample.insert(Metric::P99, tally.latency_us(0.99));
                Ok(sample)
            }
            Kind::Stream => {
                let mut streams = Streams::connect(address, self.clients)?;
                let window = Window::measure(&mut streams, server, times)?;
                let mut sample = window.sample(Metric::Bandwidth, 1e6);
                // A microsecond a byte is 10^6 milliseconds a gigabyte.
                sample.insert(Metric::CpuPerGb, window.server_us_each() * 1e6);
                Ok(sample)
            }
            Kind::Churn => {
                let window = Window::measure(&mut Churn::new(address)?, server, times)?;
                let mut sample = window.sample(Metric::Connections, 1.0);
                sample.insert(Metric::CpuPerConnection, window.server_us_each());
                Ok(sample)
            }
            Kind::Idle => self.memory(server),
            Kind::Firehose => self.firehose(server, times),
        }
    }

    /// The memory that idle connections add to that of a server that has served.
    fn memory(&self, server: &Running) -> io::Result<Sample> {
        // As many as any server needs to have touched what all clients share.
        const FIRST: usize = 16;
        drop(Fleet::connect(server.address(), FIRST, SMALL)?);
        thread::sleep(SETTLE_MEMORY);
        let before = server.memory();
        let fleet = Fleet::connect(server.address(), self.clients, SMALL)?;
        thread::sleep(SETTLE_MEMORY);
        let grown = server.memory().saturating_sub(before);
        drop(fleet);
        let each = as_f64(grown) / as_f64(self.clients as u64);
        Ok(Sample::from([(Metric::MemoryPerConnection, each)]))
    }

    /// The latency of the same pingers without and with a firehose.
    fn firehose(&self, server: &Running, times: Times) -> io::Result<Sample> {
        let mut fleet = Fleet::connect(server.address(), self.clients, SMALL)?;
        fleet.start()?;
        drive_for(&mut fleet, times.warm_up)?;
        fleet.take_tally();
        drive_for(&mut fleet, times.measure)?;
        let alone = fleet.take_tally().latency_us(0.99);
        fleet.add_hose()?;
        drive_for(&mut fleet, times.warm_up)?;
        fleet.take_tally();
        let before = fleet.done();
        drive_for(&mut fleet, times.measure)?;
        let seconds = times.measure.as_secs_f64();
        let done = fleet.done() - before;
        let tally = fleet.take_tally();
        let beside = tally.latency_us(0.99);
        if tally.hose_bytes == 0 {
            return Err(io::Error::other("the firehose was not served"));
        }
        Ok(Sample::from([
            (Metric::P99Alone, alone),
            (Metric::P99Beside, beside),
            (Metric::P99Growth, beside / alone),
            (Metric::RoundTrips, as_f64(done) / seconds),
            (
                Metric::HoseBandwidth,
                as_f64(tally.hose_bytes) / seconds / 1e6,
            ),
        ]))
    }
}

/// How long a server has to put its memory in order.
const SETTLE_MEMORY: Duration = Duration::from_millis(100);

/// How long a server has to fall asleep, which brings its clocks up to date.
const SETTLE_CLOCKS: Duration = Duration::from_millis(2);

/// What one measurement counted. Before it and after it nothing was on its way,
/// so the CPU time belongs to what was done and to nothing else.
struct Window {
    /// The measured time, without the drain.
    time: Duration,
    /// Done within that.
    done: u64,
    /// The time with the drain.
    whole_time: Duration,
    /// Done within that.
    whole_done: u64,
    /// The server's CPU time within the whole time.
    server_cpu: Duration,
    /// The load generator's.
    load_cpu: Duration,
    /// That of all processes of the machine.
    machine_cpu: Duration,
}

impl Window {
    fn measure(load: &mut impl Load, server: &Running, times: Times) -> io::Result<Self> {
        load.start()?;
        drive_for(load, times.warm_up)?;
        drain(load)?;
        thread::sleep(SETTLE_CLOCKS);
        let (server_before, done_before) = (server.cpu_time(), load.done());
        let (machine_before, load_before) = (process::machine_time(), own_cpu());
        let start = Instant::now();
        load.start()?;
        drive_for(load, times.measure)?;
        let (time, done) = (start.elapsed(), load.done() - done_before);
        drain(load)?;
        let (whole_time, whole_done) = (start.elapsed(), load.done() - done_before);
        let load_cpu = own_cpu().saturating_sub(load_before);
        let machine_cpu = process::machine_time().saturating_sub(machine_before);
        thread::sleep(SETTLE_CLOCKS);
        Ok(Self {
            time,
            done,
            whole_time,
            whole_done,
            server_cpu: server.cpu_time().saturating_sub(server_before),
            load_cpu,
            machine_cpu,
        })
    }

    /// The rate in `unit`s a second and how busy both sides were.
    fn sample(&self, rate: Metric, unit: f64) -> Sample {
        let whole = self.whole_time.as_secs_f64();
        let percent = |cpu: Duration| cpu.as_secs_f64() / whole * 100.0;
        let own = self.server_cpu + self.load_cpu;
        Sample::from([
            (rate, as_f64(self.done) / self.time.as_secs_f64() / unit),
            (Metric::ServerCpu, percent(self.server_cpu)),
            (Metric::LoadCpu, percent(self.load_cpu)),
            (
                Metric::OtherCpu,
                percent(self.machine_cpu.saturating_sub(own)),
            ),
        ])
    }

    /// The server's CPU time in microseconds for each thing done.
    fn server_us_each(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / as_f64(self.whole_done)
    }
}

#[expect(clippy::cast_precision_loss, reason = "all counts are far below 2^53")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}
