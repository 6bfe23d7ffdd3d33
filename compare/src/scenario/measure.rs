//! Runs one case against one server and takes the sample of it.

use std::io;
use std::thread;
use std::time::Duration;

use echopool::bench::plan::{Load, Plan};
use echopool::bench::results::Results;

use super::definition::{Kind, SETTLE_MEMORY, SMALL, Scenario};
use super::sides::{as_f64, busy_sides, latency_us};
use crate::load::engine;
use crate::load::mixed::MixedLoad;
use crate::load::threads;
use crate::load::times::Times;
use crate::load::usage::{Reading, Usage};
use crate::results::metric::{Metric, Sample};
use crate::server::running::Running;

impl Scenario {
    /// Runs the load once against a server.
    ///
    /// # Errors
    /// A connection failed, a byte was wrong, or nothing came back.
    pub fn run(&self, server: &Running, times: Times) -> io::Result<Sample> {
        match self.kind {
            Kind::PingPong(size) => {
                let (results, mut sample) = self.messages(server, Load::Messages, size, times)?;
                sample.insert(Metric::P50, latency_us(&results.service, 0.5));
                sample.insert(Metric::P99, latency_us(&results.service, 0.99));
                Ok(sample)
            }
            Kind::Churn => Ok(self.messages(server, Load::Churn, SMALL, times)?.1),
            Kind::Stream => self.stream(server, times),
            Kind::Idle => self.memory(server, times),
            Kind::Firehose => self.firehose(server, times),
            Kind::Sparse => self.sparse(server, times),
            Kind::Datagrams(shape) => self.datagrams(server, shape, times),
            Kind::Flood => self.beside_flood(server, times),
            Kind::DatagramPingers => self.datagrams_beside_streams(server, times),
            Kind::Paced(rate) => self.paced(server, rate, times),
        }
    }

    /// Streams through a server for a while and compares every byte: the load that
    /// measures streams only counts them. Does nothing where the scenario has none.
    ///
    /// # Errors
    /// A connection failed, a byte was wrong, or nothing came back.
    pub fn verify(&self, server: &Running, times: Times) -> io::Result<()> {
        if self.streams() == 0 {
            return Ok(());
        }
        let plan = Plan {
            duration: Some(times.measure / 2),
            warmup: Duration::ZERO,
            ..engine::plan(server, Load::Stream, self.streams(), SMALL, times)
        };
        engine::run(server, &plan, || ()).map(drop)
    }

    /// Sends messages by the engine, on connections that stay or on a new one each.
    /// Returns what it saw, and the rate and the cost of a message.
    fn messages(
        &self,
        server: &Running,
        load: Load,
        size: usize,
        times: Times,
    ) -> io::Result<(Results, Sample)> {
        let plan = Plan {
            threads: self.load_threads,
            ..engine::plan(server, load, self.clients, size, times)
        };
        let mut readings = Vec::new();
        let results = engine::run(server, &plan, || readings.push(Reading::at_rest(server)))?;
        let usage = Usage::between(&readings)?;
        let busy = results.generators.iter().map(|one| one.busy_fraction);
        let mut sample = busy_sides(&usage, busy.fold(0.0, f64::max));
        let cpu_us = usage.server.as_secs_f64() * 1e6 / as_f64(results.totals.echoed);
        let (rate, cost) = match load {
            Load::Churn => (Metric::Connections, Metric::CpuPerConnection),
            _ => (Metric::RoundTrips, Metric::CpuPerRoundTrip),
        };
        sample.insert(rate, results.rate_per_s);
        sample.insert(cost, cpu_us);
        Ok((results, sample))
    }

    /// Streams that are only counted, so that the load is not the limit.
    fn stream(&self, server: &Running, times: Times) -> io::Result<Sample> {
        let connect = |_, count| {
            let mut load = MixedLoad::connect(server.address(), 0, 0, times.timeout(count))?;
            load.add_streams(count)?;
            Ok(load)
        };
        let (clients, threads) = (self.clients, self.load_threads);
        let streamed = threads::measure(server, clients, threads, times, connect)?;
        let mut sample = busy_sides(&streamed.usage, streamed.busy);
        let bytes = as_f64(streamed.counts.iter().sum());
        let cpu_ms = streamed.usage.server.as_secs_f64() * 1e3;
        let mb_a_second = bytes / 1e6 / streamed.time.as_secs_f64();
        sample.insert(Metric::Bandwidth, mb_a_second);
        sample.insert(Metric::CpuPerGb, cpu_ms / (bytes / 1e9));
        Ok(sample)
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
}

/// Lets so many clients have one message echoed each. Returns the server's
/// memory while they are silent and stay.
fn once_each(server: &Running, clients: usize, times: Times) -> io::Result<u64> {
    let mut memory = 0;
    let plan = Plan {
        duration: None,
        count: Some(clients as u64),
        warmup: Duration::ZERO,
        ..engine::plan(server, Load::Messages, clients, SMALL, times)
    };
    engine::run(server, &plan, || {
        thread::sleep(SETTLE_MEMORY);
        memory = server.memory();
    })?;
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddrV4, TcpStream};
    use std::time::Instant;

    use super::super::list::SCENARIOS;
    use super::super::testing::{BRIEF, LONG, listen, named, serve};
    use super::*;
    use crate::scenario::definition::SPARSE;

    /// The error of a run that ends within its bound.
    fn given_up(scenario: &Scenario, address: SocketAddrV4, times: Times) -> String {
        let server = Running::stand_in(address);
        let start = Instant::now();
        let error = scenario.run(&server, times).unwrap_err().to_string();
        let (took, most) = (start.elapsed(), scenario.longest(times));
        assert!(took < most, "{}: {took:?} of {most:?}", scenario.name);
        error
    }

    #[test]
    fn a_server_that_never_answers_is_given_up_within_its_bound() {
        thread::scope(|scope| {
            let rare = ["firehose", "pinger-beside-streams", "udp-trains-50"];
            let more = ["udp-flood-beside-pingers", "udp-pingers-beside-streams"];
            let rare = rare.into_iter().chain(more).map(named);
            let quick = SCENARIOS.iter().filter(|one| one.quick);
            for scenario in quick.chain(rare) {
                scope.spawn(move || {
                    // The kernel connects all clients and queues all datagrams; nobody
                    // looks at them.
                    let (_listener, _socket, address) = listen();
                    let error = given_up(scenario, address, BRIEF);
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
        let error = given_up(named("stream-1"), address, BRIEF);
        assert!(error.contains("did not come back within 2s"), "{error}");
    }

    #[test]
    fn a_server_that_echoes_in_drops_is_given_up_within_its_bound() {
        let address = serve(|mut stream| {
            let mut byte = [0];
            while matches!(stream.read(&mut byte), Ok(1)) && stream.write_all(&byte).is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let error = given_up(named("stream-1"), address, BRIEF);
        assert!(error.contains("did not come back within 2s"), "{error}");
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
        let error = given_up(named("pinger-beside-streams"), address, LONG);
        assert!(
            error.contains("nothing came back to the 16 stream(s)"),
            "{error}"
        );
    }

    #[test]
    fn streams_are_counted_by_several_threads() {
        let address = serve(|mut stream| echo_up_to(&mut stream, usize::MAX));
        let server = Running::stand_in(address);
        let scenario = Scenario {
            load_threads: 2,
            ..*named("stream-4")
        };
        let sample = scenario.run(&server, BRIEF).unwrap();
        for metric in [Metric::Bandwidth, Metric::LoadBusy] {
            assert!(sample[&metric] > 0.0, "{metric:?} of {sample:?}");
        }
    }

    #[test]
    fn a_wrong_byte_is_found_before_streams_are_measured() {
        for right in [true, false] {
            let address = match right {
                true => serve(|mut stream| echo_up_to(&mut stream, usize::MAX)),
                false => serve(echo_one_byte_wrong),
            };
            let server = Running::stand_in(address);
            let verdict = named("stream-1").verify(&server, BRIEF);
            assert_eq!(verdict.is_ok(), right, "{verdict:?}");
            // The load that measures does not look at bytes.
            named("stream-1").run(&server, BRIEF).unwrap();
        }
    }

    fn echo_one_byte_wrong(mut stream: TcpStream) {
        let mut block = [0; 4096];
        let mut wrong = 1;
        while let Ok(length @ 1..) = stream.read(&mut block) {
            block[0] ^= std::mem::take(&mut wrong);
            if stream.write_all(&block[..length]).is_err() {
                return;
            }
        }
    }

    #[test]
    fn a_sparse_pinger_is_measured_alone_and_beside_streams() {
        let address = serve(|mut stream| echo_up_to(&mut stream, usize::MAX));
        let server = Running::stand_in(address);
        let scenario = named("pinger-beside-streams");
        let sample = scenario.run(&server, LONG).unwrap();
        let expected = [
            Metric::Bandwidth,
            Metric::P50Alone,
            Metric::P50Beside,
            Metric::P99Alone,
            Metric::P99Beside,
            Metric::P99Growth,
            Metric::ServerCpu,
            Metric::LoadBusy,
            Metric::OtherCpu,
        ];
        assert!(sample.keys().eq(&expected), "{sample:?}");
        // The process that stands for the server only sleeps, and nobody else need run.
        let of_others = [Metric::ServerCpu, Metric::OtherCpu];
        for metric in expected {
            let is_seen = sample[&metric] > 0.0 || of_others.contains(&metric);
            assert!(is_seen, "{metric:?} of {sample:?}");
        }
    }

    #[test]
    fn a_sparse_pinger_sends_no_more_often_than_it_should() {
        let address = serve(|mut stream| echo_up_to(&mut stream, usize::MAX));
        let mut load = MixedLoad::connect(address, 1, SMALL, Duration::from_secs(10)).unwrap();
        load = load.sparse(SPARSE);
        let counts = load.run_for(SPARSE * 20).unwrap();
        // The first one is sent at once, and one may be back from before the last turn.
        assert!((1..=21).contains(&counts.round_trips), "{counts:?}");
    }
}
