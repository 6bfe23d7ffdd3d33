//! Pingers that are measured alone, and then beside what disturbs them.

use std::io;
use std::time::Duration;

use super::definition::{FLOOD_FLOWS, Kind, ONE, SMALL, SPARSE, Scenario};
use super::sides::{as_f64, busy_sides, latency_us};
use crate::load::beside::{BesideFlood, BesideStreams, Counts, DatagramsBesideStreams, Pingers};
use crate::load::datagram::round_trips::RoundTrips;
use crate::load::mixed::MixedLoad;
use crate::load::times::Times;
use crate::load::usage::Reading;
use crate::results::metric::{Metric, Sample};
use crate::server::running::Running;

impl Scenario {
    /// The latency of the same pingers without and with a firehose.
    pub(super) fn firehose(&self, server: &Running, times: Times) -> io::Result<Sample> {
        let load = self.pingers(server, self.clients, times)?;
        let streams = self.streams();
        let (beside, mut sample) = self.beside(server, BesideStreams { load, streams }, times)?;
        let a_second = |count| as_f64(count) / times.measure.as_secs_f64();
        sample.insert(Metric::RoundTrips, a_second(beside.round_trips));
        let bytes = a_second(beside.others);
        sample.insert(Metric::FirehoseBandwidth, bytes / 1e6);
        Ok(sample)
    }

    /// The latency of one client that has little to say, without and with streams.
    pub(super) fn sparse(&self, server: &Running, times: Times) -> io::Result<Sample> {
        let load = self.pingers(server, 1, times)?.sparse(SPARSE);
        let streams = self.streams();
        let (beside, mut sample) = self.beside(server, BesideStreams { load, streams }, times)?;
        let bytes_a_second = as_f64(beside.others) / times.measure.as_secs_f64();
        sample.insert(Metric::Bandwidth, bytes_a_second / 1e6);
        Ok(sample)
    }

    /// The latency of pingers over TCP without and with a flood of datagrams.
    pub(super) fn beside_flood(&self, server: &Running, times: Times) -> io::Result<Sample> {
        let pingers = BesideFlood {
            load: self.pingers(server, self.clients, times)?,
            server: server.address(),
            shape: (FLOOD_FLOWS, SMALL),
            flood: None,
        };
        let (beside, mut sample) = self.beside(server, pingers, times)?;
        let a_second = |count| as_f64(count) / times.measure.as_secs_f64();
        sample.insert(Metric::RoundTrips, a_second(beside.round_trips));
        sample.insert(Metric::FloodDatagrams, a_second(beside.others));
        Ok(sample)
    }

    /// The latency of datagrams without and with streams over TCP.
    pub(super) fn datagrams_beside_streams(
        &self,
        server: &Running,
        times: Times,
    ) -> io::Result<Sample> {
        let flows = self.clients - self.streams();
        let timeout = times.timeout(self.clients);
        let pingers = DatagramsBesideStreams {
            load: RoundTrips::open(server.address(), (0, flows), ONE, timeout)?,
            others: (self.pingers(server, 0, times)?, self.streams()),
            is_disturbed: false,
        };
        let (beside, mut sample) = self.beside(server, pingers, times)?;
        let a_second = |count| as_f64(count) / times.measure.as_secs_f64();
        sample.insert(Metric::Datagrams, a_second(beside.round_trips));
        sample.insert(Metric::Bandwidth, a_second(beside.others) / 1e6);
        if let Some(datagrams) = beside.datagrams {
            sample.insert(Metric::Lost, datagrams.lost_percent());
            sample.insert(Metric::DroppedByLoad, datagrams.dropped_percent());
        }
        Ok(sample)
    }

    fn pingers(&self, server: &Running, count: usize, times: Times) -> io::Result<MixedLoad> {
        let timeout = times.timeout(self.clients);
        MixedLoad::connect(server.address(), count, SMALL, timeout)
    }

    /// Lets pingers run alone, and then beside what disturbs them. Returns what was counted
    /// then, and both latencies.
    fn beside(
        &self,
        server: &Running,
        mut load: impl Pingers,
        times: Times,
    ) -> io::Result<(Counts, Sample)> {
        load.run_for(times.warm_up)?;
        let alone = with_answers(load.run_for(times.measure)?, times)?;
        load.disturb()?;
        load.run_for(times.warm_up)?;
        let (before, busy) = (Reading::now(server), load.busy());
        // The answers that waited for the reading are not counted.
        load.run_for(AFTER_READING)?;
        let beside = with_answers(load.run_for(times.measure)?, times)?;
        let busy = load.busy() - busy;
        let usage = before.usage_until(&Reading::now(server));
        if beside.others == 0 {
            let others = match self.streams() {
                0 => String::from("flood"),
                streams => format!("{streams} stream(s)"),
            };
            return Err(nothing_came_back(&others, times));
        }
        let mut sample = busy_sides(&usage, usage.share(busy));
        sample.extend(growth(&alone, &beside));
        if self.kind == Kind::Sparse {
            sample.insert(Metric::P50Alone, latency_us(&alone.latency, 0.5));
            sample.insert(Metric::P50Beside, latency_us(&beside.latency, 0.5));
        }
        Ok((beside, sample))
    }
}

/// How long pingers run after clocks were read, until they are measured again.
const AFTER_READING: Duration = Duration::from_millis(5);

/// The same counts, if any pinger has a latency in it: the percentiles of none are 0.
fn with_answers(counts: Counts, times: Times) -> io::Result<Counts> {
    match counts.round_trips {
        0 => Err(nothing_came_back("pingers", times)),
        _ => Ok(counts),
    }
}

fn nothing_came_back(clients: &str, times: Times) -> io::Error {
    let time = humantime::format_duration(times.measure);
    io::Error::other(format!(
        "given up, nothing came back to the {clients} for {time}"
    ))
}

/// The 99th percentiles and their ratio.
fn growth(alone: &Counts, beside: &Counts) -> Sample {
    let [alone, beside] = [alone, beside].map(|counts| latency_us(&counts.latency, 0.99));
    Sample::from([
        (Metric::P99Alone, alone),
        (Metric::P99Beside, beside),
        (Metric::P99Growth, beside / alone),
    ])
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpStream, UdpSocket};

    use super::super::testing::{Datagram, LONG, echo, named, serve_both};
    use super::*;

    /// A server of both, which echoes all streams.
    fn server(datagram: impl Datagram) -> Running {
        let echo_stream = |mut stream: TcpStream| {
            let mut block = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut block) {
                if stream.write_all(&block[..length]).is_err() {
                    return;
                }
            }
        };
        Running::stand_in(serve_both(echo_stream, datagram))
    }

    #[test]
    fn pingers_are_measured_beside_what_the_other_transport_carries() {
        for (name, rate) in [
            ("udp-flood-beside-pingers", Metric::FloodDatagrams),
            ("udp-pingers-beside-streams", Metric::Bandwidth),
        ] {
            let sample = named(name).run(&server(echo), LONG).unwrap();
            for metric in [rate, Metric::P99Alone, Metric::P99Beside, Metric::P99Growth] {
                assert!(sample[&metric] > 0.0, "{name}: {metric:?} of {sample:?}");
            }
        }
    }

    #[test]
    fn what_is_lost_beside_streams_is_counted_to_the_last() {
        let mut number = 0_u64;
        let datagram = move |socket: &UdpSocket, bytes: &mut [u8], client| {
            number += 1;
            if !number.is_multiple_of(50) {
                echo(socket, bytes, client);
            }
        };
        let scenario = named("udp-pingers-beside-streams");
        let sample = scenario.run(&server(datagram), LONG).unwrap();
        assert!((1.0..4.0).contains(&sample[&Metric::Lost]), "{sample:?}");
        assert!(sample[&Metric::DroppedByLoad] == 0.0, "{sample:?}");
    }
}
