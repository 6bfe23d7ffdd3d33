//! Datagrams that go to and fro: as fast as they come back, or at a given rate.

use std::io;
use std::time::Duration;

use echopool::bench::plan::{Load, NO_DEPTH, Plan};

use super::definition::{SMALL, Scenario};
use super::sides::{as_f64, busy_sides, latency_us};
use crate::load::datagram::flow::{Counts, Shape};
use crate::load::datagram::round_trips::RoundTrips;
use crate::load::engine;
use crate::load::threads;
use crate::load::times::Times;
use crate::load::usage::{Reading, Usage};
use crate::results::metric::{Metric, Sample};
use crate::server::running::Running;

/// The part of a rate that has to be reached: what is due at the end is not.
const REACHED: f64 = 0.98;

impl Scenario {
    /// Every flow sends the next datagram when one is back.
    pub(super) fn datagrams(
        &self,
        server: &Running,
        shape: Shape,
        times: Times,
    ) -> io::Result<Sample> {
        let address = server.address();
        let open =
            |first, count| RoundTrips::open(address, (first, count), shape, times.timeout(count));
        let (clients, threads) = (self.clients, self.load_threads);
        let measured = threads::measure(server, clients, threads, times, open)?;
        let mut all = Counts::default();
        measured.counts.iter().for_each(|counts| all.add(counts));
        if all.echoed == 0 {
            return Err(io::Error::other("given up, nothing came back"));
        }
        let mut sample = busy_sides(&measured.usage, measured.busy);
        let cpu_us = measured.usage.server.as_secs_f64() * 1e6;
        let a_second = as_f64(all.echoed) / measured.time.as_secs_f64();
        let server_share = measured.usage.server.as_secs_f64() / measured.time.as_secs_f64();
        sample.extend([
            (Metric::Datagrams, a_second),
            (Metric::CpuPerDatagram, cpu_us / as_f64(all.echoed)),
            (Metric::Lost, all.lost_percent()),
            (Metric::DroppedByLoad, all.dropped_percent()),
            // Not of the time in which the load awaits the lost ones, and the server does nothing.
            (Metric::ServerCpu, server_share * 100.0),
            (Metric::P50, latency_us(&all.latency, 0.5)),
            (Metric::P99, latency_us(&all.latency, 0.99)),
        ]);
        Ok(sample)
    }

    /// So many datagrams a second are sent, whether or not any come back.
    pub(super) fn paced(&self, server: &Running, rate: u32, times: Times) -> io::Result<Sample> {
        let plan = Plan {
            rate_per_s: Some(f64::from(rate)),
            depth: NO_DEPTH,
            threads: self.load_threads,
            ..engine::plan(server, Load::Datagrams, self.clients, SMALL, times)
        };
        let mut readings = Vec::new();
        let results = engine::make(server, &plan, || readings.push(Reading::at_rest(server)))?;
        let usage = Usage::between(&readings)?;
        let busy = results.generators.iter().map(|one| one.busy_fraction);
        let mut sample = busy_sides(&usage, busy.fold(0.0, f64::max));
        let counts = results.datagrams.unwrap_or_default().counts;
        let dropped = counts.dropped_here.unwrap_or(0);
        let percent = |count| as_f64(count) * 100.0 / as_f64(counts.sent.max(1));
        let cpu_us = usage.server.as_secs_f64() * 1e6;
        let latency = results.response.as_ref().unwrap_or(&results.service);
        // At most so long after the first one was sent the last one came back; then the load
        // awaits the lost ones, and the server does nothing.
        let slowest = results.service.histogram.value_at_quantile(1.0);
        let worked = Duration::from_nanos(results.elapsed_ns + slowest).min(usage.time);
        let server_share = usage.server.as_secs_f64() / worked.as_secs_f64();
        sample.extend([
            (Metric::Datagrams, results.rate_per_s),
            (
                Metric::CpuPerDatagram,
                cpu_us / as_f64(results.totals.echoed.max(1)),
            ),
            (Metric::Lost, percent(counts.lost.saturating_sub(dropped))),
            (Metric::DroppedByLoad, percent(dropped + counts.not_sent)),
            (Metric::ServerCpu, server_share * 100.0),
            (Metric::P50, latency_us(latency, 0.5)),
            (Metric::P99, latency_us(latency, 0.99)),
        ]);
        Ok(sample)
    }

    /// Whether a server that is sent so many datagrams a second loses none and answers all
    /// the while.
    ///
    /// # Errors
    /// The load failed.
    pub fn keeps_up(&self, server: &Running, rate: u32, times: Times) -> io::Result<bool> {
        let sample = self.paced(server, rate, times)?;
        let is_reached = sample[&Metric::Datagrams] >= f64::from(rate) * REACHED;
        Ok(is_reached && sample[&Metric::Lost] + sample[&Metric::DroppedByLoad] == 0.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{SocketAddrV4, UdpSocket};
    use std::sync::mpsc;
    use std::thread;

    use super::super::definition::ONE;
    use super::super::testing::{BRIEF, LONG, echo, named, serve_datagrams};
    use super::*;
    use crate::load::datagram::drops;
    use crate::load::threads::Load as _;

    const METRICS: [Metric; 9] = [
        Metric::Datagrams,
        Metric::CpuPerDatagram,
        Metric::Lost,
        Metric::DroppedByLoad,
        Metric::P50,
        Metric::P99,
        Metric::ServerCpu,
        Metric::LoadBusy,
        Metric::OtherCpu,
    ];

    #[test]
    fn all_that_comes_back_is_counted() {
        for name in ["udp-64-1", "udp-1200-50-deep", "udp-trains-50"] {
            let server = Running::stand_in(serve_datagrams(echo));
            let sample = named(name).run(&server, BRIEF).unwrap();
            assert!(sample.keys().eq(&METRICS), "{name}: {sample:?}");
            for metric in [Metric::Datagrams, Metric::P50, Metric::LoadBusy] {
                assert!(sample[&metric] > 0.0, "{name}: {metric:?} of {sample:?}");
            }
            let lost = sample[&Metric::Lost] + sample[&Metric::DroppedByLoad];
            assert!(lost == 0.0, "{name}: {sample:?}");
        }
    }

    #[test]
    fn datagrams_are_spread_over_threads() {
        let server = Running::stand_in(serve_datagrams(echo));
        let scenario = Scenario {
            load_threads: 3,
            ..*named("udp-64-50")
        };
        let sample = scenario.run(&server, BRIEF).unwrap();
        assert!(sample[&Metric::Datagrams] > 0.0, "{sample:?}");
    }

    #[test]
    fn what_a_server_loses_is_counted_and_sent_anew() {
        let mut number = 0_u64;
        let address = serve_datagrams(move |socket: &UdpSocket, bytes: &mut [u8], client| {
            number += 1;
            if !number.is_multiple_of(1_000) {
                echo(socket, bytes, client);
            }
        });
        let server = Running::stand_in(address);
        let sample = named("udp-64-50-deep").run(&server, LONG).unwrap();
        let lost = sample[&Metric::Lost];
        assert!((0.05..0.2).contains(&lost), "{sample:?}");
        assert!(sample[&Metric::DroppedByLoad] == 0.0, "{sample:?}");
        assert!(!named("udp-loss").keeps_up(&server, 2_000, LONG).unwrap());
    }

    #[test]
    fn a_rate_at_which_nothing_is_lost_is_kept_up_with_if_it_is_reached() {
        let server = Running::stand_in(serve_datagrams(echo));
        let scenario = named("udp-loss");
        assert!(scenario.keeps_up(&server, 2_000, LONG).unwrap());
        assert!(!scenario.keeps_up(&server, 50_000_000, BRIEF).unwrap());
        let sample = scenario.paced(&server, 2_000, LONG).unwrap();
        assert!(sample.keys().eq(&METRICS), "{sample:?}");
    }

    #[test]
    fn a_load_that_has_to_wait_is_no_error() {
        // With one byte, 256 may be on their way; a thousand a second come back.
        let address = serve_datagrams(|socket: &UdpSocket, bytes: &mut [u8], client| {
            thread::sleep(Duration::from_millis(1));
            echo(socket, bytes, client);
        });
        let server = Running::stand_in(address);
        let plan = Plan {
            rate_per_s: Some(20_000.0),
            depth: NO_DEPTH,
            ..engine::plan(&server, Load::Datagrams, 1, 1, BRIEF)
        };
        let results = engine::make(&server, &plan, || ()).unwrap();
        assert!(
            results.examples[0].contains("sending waited"),
            "{results:?}"
        );
        assert_eq!(results.totals.errors.total(), 0);
        assert!(results.totals.unsent > 0);
    }

    /// Changes a datagram. Returns how long it is then.
    type Change = fn(&mut [u8]) -> usize;

    #[test]
    fn a_wrong_byte_and_a_wrong_length_are_errors() {
        let wrong: [(&str, Change); 3] = [
            ("a wrong byte", |bytes| {
                bytes[63] ^= 1;
                bytes.len()
            }),
            ("a wrong byte", |bytes| {
                bytes[7] ^= 1;
                bytes.len()
            }),
            ("63 bytes came back of 64", |_| 63),
        ];
        for (expected, change) in wrong {
            let address = serve_datagrams(move |socket: &UdpSocket, bytes: &mut [u8], client| {
                let length = change(bytes);
                echo(socket, &mut bytes[..length], client);
            });
            let server = Running::stand_in(address);
            let error = named("udp-64-50").run(&server, BRIEF).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    fn one_flow(server: SocketAddrV4) -> RoundTrips {
        RoundTrips::open(server, (0, 1), ONE, LONG.timeout(1)).unwrap()
    }

    #[test]
    fn copies_are_not_counted() {
        let address = serve_datagrams(|socket: &UdpSocket, bytes: &mut [u8], client| {
            for _ in 0..2 {
                echo(socket, bytes, client);
            }
        });
        let counts = one_flow(address).run_and_drain(BRIEF.measure).unwrap();
        assert!(counts.sent > 2, "{counts:?}");
        assert_eq!((counts.echoed, counts.lost), (counts.sent, 0));
    }

    #[test]
    fn an_echo_that_is_late_is_lost() {
        let mut first = None;
        let (is_late, late) = mpsc::channel();
        let address = serve_datagrams(move |socket: &UdpSocket, bytes: &mut [u8], client| {
            let Some(held) = &mut first else {
                first = Some(bytes.to_vec());
                return;
            };
            if !held.is_empty() {
                echo(socket, &mut std::mem::take(held), client);
                is_late.send(()).unwrap();
            }
            echo(socket, bytes, client);
        });
        let mut load = one_flow(address);
        let counts = load.run_and_drain(BRIEF.measure).unwrap();
        assert_eq!((counts.sent, counts.echoed, counts.lost), (1, 0, 1));
        let counts = load.run_and_drain(BRIEF.measure).unwrap();
        assert_eq!((counts.echoed, counts.lost), (counts.sent, 0));
        late.recv().unwrap();
    }

    #[test]
    fn what_the_queue_of_the_load_has_no_room_for_is_not_lost_by_the_server() {
        let (fill, is_to_fill) = mpsc::channel();
        let (is_full, full) = mpsc::channel();
        let mut first = None;
        let address = serve_datagrams(move |socket: &UdpSocket, bytes: &mut [u8], client| {
            let first = first.get_or_insert_with(|| bytes.to_vec());
            let is_filled = is_to_fill.try_recv().is_ok();
            let port = BTreeSet::from([client.port()]);
            while is_filled && drops::at_ports(&port).unwrap() == 0 {
                for _ in 0..64 {
                    echo(socket, first, client);
                }
            }
            echo(socket, bytes, client);
            if is_filled {
                is_full.send(()).unwrap();
            }
        });
        let mut load = one_flow(address);
        load.run_and_drain(BRIEF.measure).unwrap();
        fill.send(()).unwrap();
        // Nothing is received until the queue is full.
        let run = |load: &mut RoundTrips, time: Duration| {
            if time > Duration::ZERO {
                full.recv().unwrap();
            }
            load.turn().map(drop)
        };
        let drained = load.drained(BRIEF.measure, Duration::ZERO, run);
        let (counts, _) = drained.unwrap();
        assert_eq!((counts.sent, counts.echoed, counts.lost), (1, 0, 1));
        assert!(counts.dropped_percent() > 0.0, "{counts:?}");
        assert!(counts.lost_percent() == 0.0, "{counts:?}");
    }
}
