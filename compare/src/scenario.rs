//! What the servers are put through, and what is measured in each case.

use std::io;
use std::thread;
use std::time::Duration;

use echopool::bench::plan::{Load, Plan};
use echopool::probe::latency::Latency;

use crate::load::fleet::{Fleet, Tally};
use crate::load::{self, Window};
use crate::metric::{Metric, Sample};
use crate::roster::{BUSY, FLOOR};
use crate::server::{Running, START_TIME};

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
    /// The first client sends a small message now and then; then the others stream
    /// beside it.
    Sparse,
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

impl Times {
    /// How long nothing may come back to one of so many clients, until the server
    /// is given up: some measurements' time, and at least as long as a busy machine
    /// may keep any process waiting; with many threads or processes each has its
    /// turn late.
    #[must_use]
    pub fn patience(self, clients: usize) -> Duration {
        let turns = Duration::from_secs(clients as u64 / 1_000);
        (self.measure * 5).max(Duration::from_secs(2)) + turns
    }
}

/// Bytes of a small message.
const SMALL: usize = 64;

/// Bytes of a large one.
const LARGE: usize = 16 * 1024;

/// Connections of a churn that are open at any time.
const SLOTS: usize = 32;

/// From one message of a sparse pinger to the next: long enough for a server that
/// would rather wait for more work to do so.
const SPARSE: Duration = Duration::from_millis(2);

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
    case("pinger-beside-streams", Kind::Sparse, 17),
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
            Kind::Sparse => format!(
                "Sparse pinger: 1 client sends 64 bytes every {} ms, alone and beside {} that \
                 stream.",
                SPARSE.as_millis(),
                clients - 1
            ),
        }
    }

    /// Whether a server has no part in it although it could have: polling is for
    /// the latency of one client, and the floor is one for small messages only.
    #[must_use]
    pub fn leaves_out(&self, server: &str) -> bool {
        match server {
            BUSY => self.name != "ping-64-1",
            FLOOR => matches!(self.kind, Kind::Stream | Kind::Firehose | Kind::Sparse),
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
            Kind::Idle => self.memory(server, times),
            Kind::Firehose => self.firehose(server, times),
            Kind::Sparse => self.sparse(server, times),
        }
    }

    /// The longest that starting a server and running the load once takes,
    /// whatever the server does. Connecting counts as one message: the kernel
    /// connects clients that a server does not accept.
    #[must_use]
    pub fn longest(&self, times: Times) -> Duration {
        let once = times.warm_up + times.measure;
        let patience = times.patience(self.clients);
        let load = match self.kind {
            // All that is on its way is awaited after the warm-up and at the end.
            Kind::PingPong(_) | Kind::Stream | Kind::Churn => once + 3 * patience,
            Kind::Idle => 3 * SETTLE_MEMORY + 4 * patience,
            Kind::Firehose | Kind::Sparse => 2 * once,
        };
        START_TIME + load
    }

    fn window(
        &self,
        server: &Running,
        load: Load,
        size: usize,
        times: Times,
    ) -> io::Result<Window> {
        Window::measure(server, &load::plan(server, load, self.clients, size, times))
    }

    /// The memory that idle connections add to that of a server that has served.
    fn memory(&self, server: &Running, times: Times) -> io::Result<Sample> {
        // As many as any server needs to have touched what all clients share.
        const FIRST: usize = 16;
        once_each(server, FIRST, times)?;
        thread::sleep(SETTLE_MEMORY);
        let before = server.memory();
        let grown = once_each(server, self.clients, times)?.saturating_sub(before);
        let each = as_f64(grown) / as_f64(self.clients as u64);
        Ok(Sample::from([(Metric::MemoryPerConnection, each)]))
    }

    /// The latency of the same pingers without and with a firehose.
    fn firehose(&self, server: &Running, times: Times) -> io::Result<Sample> {
        let patience = times.patience(self.clients);
        let fleet = Fleet::connect(server.address(), self.clients, SMALL, patience)?;
        let [alone, beside] = beside(fleet, 1, times)?;
        let mut sample = growth(&alone, &beside);
        let a_second = |count| as_f64(count) / times.measure.as_secs_f64();
        sample.insert(Metric::RoundTrips, a_second(beside.round_trips));
        sample.insert(Metric::HoseBandwidth, a_second(beside.hose_bytes) / 1e6);
        Ok(sample)
    }

    /// The latency of one client that has little to say, without and with streams.
    fn sparse(&self, server: &Running, times: Times) -> io::Result<Sample> {
        let patience = times.patience(self.clients);
        let fleet = Fleet::connect(server.address(), 1, SMALL, patience)?.sparse(SPARSE);
        let [alone, beside] = beside(fleet, self.clients - 1, times)?;
        let mut sample = growth(&alone, &beside);
        sample.insert(Metric::P50Alone, latency_us(&alone.latency, 0.5));
        sample.insert(Metric::P50Beside, latency_us(&beside.latency, 0.5));
        let bytes_a_second = as_f64(beside.hose_bytes) / times.measure.as_secs_f64();
        sample.insert(Metric::Bandwidth, bytes_a_second / 1e6);
        Ok(sample)
    }
}

/// What a fleet counts alone, and then beside so many streams.
fn beside(mut fleet: Fleet, streams: usize, times: Times) -> io::Result<[Tally; 2]> {
    fleet.run_for(times.warm_up)?;
    let alone = heard(fleet.run_for(times.measure)?, times)?;
    fleet.add_hoses(streams)?;
    fleet.run_for(times.warm_up)?;
    let beside = heard(fleet.run_for(times.measure)?, times)?;
    match beside.hose_bytes {
        0 => Err(silent(&format!("{streams} stream(s)"), times)),
        _ => Ok([alone, beside]),
    }
}

/// The same tally, if any pinger has a latency in it: the percentiles of none are 0.
fn heard(tally: Tally, times: Times) -> io::Result<Tally> {
    match tally.round_trips {
        0 => Err(silent("pingers", times)),
        _ => Ok(tally),
    }
}

fn silent(clients: &str, times: Times) -> io::Error {
    let time = humantime::format_duration(times.measure);
    io::Error::other(format!(
        "given up, nothing came back to the {clients} for {time}"
    ))
}

/// The 99th percentiles and their ratio.
fn growth(alone: &Tally, beside: &Tally) -> Sample {
    let [alone, beside] = [alone, beside].map(|tally| latency_us(&tally.latency, 0.99));
    Sample::from([
        (Metric::P99Alone, alone),
        (Metric::P99Beside, beside),
        (Metric::P99Growth, beside / alone),
    ])
}

/// How long a server has to put its memory in order.
const SETTLE_MEMORY: Duration = Duration::from_millis(100);

/// Lets so many clients have one message echoed each. Returns the server's
/// memory while they are silent and stay.
fn once_each(server: &Running, clients: usize, times: Times) -> io::Result<u64> {
    let mut memory = 0;
    let plan = Plan {
        duration: None,
        count: Some(clients as u64),
        warmup: Duration::ZERO,
        ..load::plan(server, Load::Messages, clients, SMALL, times)
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
    use std::time::Instant;

    use super::*;
    use crate::rival::Order;

    const BRIEF: Times = Times {
        warm_up: Duration::from_millis(20),
        measure: Duration::from_millis(50),
    };

    fn named(name: &str) -> &'static Scenario {
        SCENARIOS.iter().find(|one| one.name == name).unwrap()
    }

    /// On a free port, with room for all clients that connect.
    fn listen() -> (TcpListener, SocketAddrV4) {
        let order = Order {
            port: 0,
            threads: 1,
            buffer: 1,
        };
        let listener = order.listen_shared().unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!("{} is of IPv4", Ipv4Addr::LOCALHOST);
        };
        (listener, address)
    }

    /// Serves every client in a thread of its own, until the test ends.
    fn serve(client: fn(TcpStream)) -> SocketAddrV4 {
        let (listener, address) = listen();
        listener.set_nonblocking(false).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                thread::spawn(move || client(stream.unwrap()));
            }
        });
        address
    }

    /// The error of a run that ends within its bound.
    fn given_up(scenario: &Scenario, address: SocketAddrV4) -> String {
        let server = Running::stand_in(address);
        let start = Instant::now();
        let error = scenario.run(&server, BRIEF).unwrap_err().to_string();
        let (took, most) = (start.elapsed(), scenario.longest(BRIEF));
        assert!(took < most, "{}: {took:?} of {most:?}", scenario.name);
        error
    }

    #[test]
    fn a_server_that_never_answers_is_given_up_within_its_bound() {
        thread::scope(|scope| {
            let rare = [named("firehose"), named("pinger-beside-streams")];
            let quick = SCENARIOS.iter().filter(|one| one.quick);
            for scenario in quick.chain(rare) {
                scope.spawn(move || {
                    // The kernel connects all clients; nobody accepts them.
                    let (_listener, address) = listen();
                    let error = given_up(scenario, address);
                    let name = scenario.name;
                    assert!(error.contains("given up"), "{name}: {error}");
                });
            }
        });
    }

    #[test]
    fn a_server_that_stalls_in_a_stream_is_given_up_within_its_bound() {
        let address = serve(|mut stream| {
            let mut block = [0; 4096];
            for _ in 0..16 {
                let length = stream.read(&mut block).unwrap();
                stream.write_all(&block[..length]).unwrap();
            }
            thread::sleep(Duration::from_secs(600));
        });
        let error = given_up(named("stream-1"), address);
        assert!(
            error.contains("given up, no whole echo within 2s"),
            "{error}"
        );
    }

    #[test]
    fn a_server_that_echoes_in_drops_is_given_up_within_its_bound() {
        let address = serve(|mut stream| {
            let mut byte = [0];
            while matches!(stream.read(&mut byte), Ok(1)) && stream.write_all(&byte).is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let error = given_up(named("stream-1"), address);
        assert!(error.contains("bytes only"), "{error}");
    }

    /// Echoes messages of up to so many bytes, and stalls at a longer one.
    fn echo_up_to(stream: &mut TcpStream, most: usize) {
        let mut block = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            if length > most {
                return thread::sleep(Duration::from_secs(600));
            }
            if stream.write_all(&block[..length]).is_err() {
                return;
            }
        }
    }

    #[test]
    fn streams_that_stall_beside_a_pinger_are_named() {
        let address = serve(|mut stream| echo_up_to(&mut stream, SMALL));
        let error = given_up(named("pinger-beside-streams"), address);
        assert!(
            error.contains("nothing came back to the 16 stream(s)"),
            "{error}"
        );
    }

    #[test]
    fn a_sparse_pinger_is_measured_alone_and_beside_streams() {
        let address = serve(|mut stream| echo_up_to(&mut stream, usize::MAX));
        let server = Running::stand_in(address);
        let scenario = named("pinger-beside-streams");
        let sample = scenario.run(&server, BRIEF).unwrap();
        let expected = [
            Metric::Bandwidth,
            Metric::P50Alone,
            Metric::P50Beside,
            Metric::P99Alone,
            Metric::P99Beside,
            Metric::P99Growth,
        ];
        assert!(sample.keys().eq(&expected), "{sample:?}");
        assert!(sample.values().all(|value| *value > 0.0), "{sample:?}");
    }

    #[test]
    fn a_sparse_pinger_sends_no_more_often_than_it_is_told() {
        let address = serve(|mut stream| echo_up_to(&mut stream, usize::MAX));
        let mut fleet = Fleet::connect(address, 1, SMALL, Duration::from_secs(10)).unwrap();
        fleet = fleet.sparse(SPARSE);
        let tally = fleet.run_for(SPARSE * 20).unwrap();
        // The first one is sent at once, and one may be back from before the last turn.
        assert!((1..=21).contains(&tally.round_trips), "{tally:?}");
    }

    #[test]
    fn patience_grows_with_the_measured_time_and_the_clients() {
        let times = Times {
            warm_up: Duration::ZERO,
            measure: Duration::from_secs(1),
        };
        assert_eq!(BRIEF.patience(999), Duration::from_secs(2));
        assert_eq!(times.patience(1), Duration::from_secs(5));
        assert_eq!(times.patience(10_000), Duration::from_secs(15));
    }
}
