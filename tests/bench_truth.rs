//! What the load generator measures, against clocks in the servers and arithmetic.
#![cfg(unix)]

mod common;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::Server;
use common::faulty::{Faulty, Leave, Restarting, Served, Timed, nagling, sleep_until};
use common::load::{
    Machine, assert_accounts, bench, clean, doubts, end, measured, quantile, quantile_of, start,
};
use echopool::bench::results::{Doubt, Results};

const SIZE: usize = 64;

/// What a percentile may be off besides a hundredth.
const SLACK: Duration = Duration::from_micros(50);

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// That `seen` is no more than a hundredth and the slack outside `least..=most`.
#[track_caller]
fn assert_within(seen: Duration, least: Duration, most: Duration, what: &str) {
    let (least, most) = (least.mul_f64(0.99), most.mul_f64(1.01) + SLACK);
    let least = least.saturating_sub(SLACK);
    assert!(
        (least..=most).contains(&seen),
        "{what}: {seen:?} is not within {least:?} and {most:?}"
    );
}

mod stalls {
    use super::*;

    /// With messages spread evenly and a stall of 200 ms in every 1,000 ms, a
    /// fifth of them fall into it and wait for what is left of it, evenly between
    /// 0 and 200 ms. So a part `p` of all above 0.8 has waited (p - 0.8) s.
    const EXPECTED_MS: [(f64, f64); 3] = [(0.90, 100.0), (0.95, 150.0), (0.99, 190.0)];

    /// `truth` is what the server's clock says, which may have been late for its part.
    #[track_caller]
    fn assert_shows_the_stall(
        results: &Results,
        truth: &[Duration],
        machine: &Machine,
        options: &str,
    ) {
        let response = results.response.as_ref().unwrap();
        let late = |part| millis(quantile_of(truth, part)) + machine.delay_ms();
        for (part, expected) in EXPECTED_MS {
            let seen = millis(quantile(response, part));
            let (least, most) = (expected * 0.95, (expected * 1.05).max(late(part)));
            let context = format!("{options}: p{} is {seen} ms", part * 100.0);
            assert!((least..most).contains(&seen), "{context}, at most {most}");
        }
        let longest = response.histogram.max() as f64 / 1e6;
        let most = late(1.0).max(215.0);
        assert!((195.0..most).contains(&longest), "{options}: {longest} ms");
        let typical = millis(quantile(response, 0.5));
        assert!(typical < late(0.5).max(5.0), "{options}: {typical} ms");
    }

    #[test]
    fn an_open_loop_shows_a_stall_whether_it_may_send_on_or_not() {
        for (rate, options) in [
            // At depth 1 those that wait are then sent one after another, so
            // there must not be so many that this takes long as well.
            (200, "--duration 2s"),
            (1000, "--connections 16 --threads 2 --duration 2s"),
            (2000, "--connections 16 --depth 64 --duration 2s"),
        ] {
            let options = format!("--rate {rate} {options}");
            measured(|machine| {
                let server = Timed::stalling(SIZE);
                let results = clean(server.server.address, &options);
                let truth = responses(&server.log(), f64::from(rate));
                assert_shows_the_stall(&results, &truth, machine, &options);
            });
        }
    }

    #[test]
    fn a_closed_loop_does_not_show_it() {
        measured(|machine| {
            let server = Timed::stalling(SIZE);
            let results = clean(server.server.address, "--connections 4 --duration 2s");
            let service = &results.service.histogram;
            for part in [0.9, 0.95] {
                let seen = quantile(&results.service, part);
                let most = Duration::from_millis(10) + machine.delay();
                assert!(seen < most, "{seen:?}");
            }
            // One a connection and stall, of however many there were.
            let stalled = service.count_between(100_000_000, u64::MAX);
            assert!((1..=3 * 4).contains(&stalled), "{stalled}");
            assert!(service.max() > 150_000_000);
        });
    }

    #[test]
    fn service_time_is_told_apart_from_waiting_for_a_turn() {
        measured(|machine| {
            let server = Timed::stalling(SIZE);
            // One in flight: only one message a second is under way in a stall.
            let results = clean(server.server.address, "--rate 1000 --duration 2s");
            let service = quantile(&results.service, 0.95);
            let most = Duration::from_millis(10) + machine.delay();
            assert!(service < most, "{service:?}");
            let stalled = results
                .service
                .histogram
                .count_between(100_000_000, u64::MAX);
            assert!((1..=3).contains(&stalled), "{stalled}");
            let response = quantile(results.response.as_ref().unwrap(), 0.9);
            assert!(response > Duration::from_millis(90), "{response:?}");
            // The generator itself was on time: what waited, waited for the server.
            let late = quantile(results.lateness.as_ref().unwrap(), 0.9);
            let most = Duration::from_millis(5) + machine.delay();
            assert!(late < most, "{late:?}");
        });
    }

    #[test]
    fn the_response_time_is_what_the_servers_clock_says() {
        measured(|machine| {
            let server = Timed::stalling(SIZE);
            let rate = 500.0;
            let options = "--rate 500 --depth 1000 --duration 2s";
            let results = clean(server.server.address, options);
            let truth = responses(&server.log(), rate);
            let seen = results.response.as_ref().unwrap();
            for part in [0.85, 0.9, 0.95, 0.99] {
                let truth = quantile_of(&truth, part);
                // Waking up takes its time: twice, here and there.
                let most = truth + Duration::from_millis(1) + machine.delay();
                assert_within(quantile(seen, part), truth, most, "response");
            }
        });
    }

    /// From when each message was due to when the server answered it, if the
    /// first of all was due when it came, or at most so much earlier that none
    /// came before it was due.
    fn responses(log: &[Served], rate: f64) -> Vec<Duration> {
        let due = |number: usize| Duration::from_secs_f64(number as f64 / rate);
        let starts = log.iter().enumerate();
        let start = starts.map(|(number, at)| at.received - due(number)).min();
        let start = start.unwrap();
        let answers = log.iter().enumerate();
        answers
            .map(|(number, at)| at.answered - (start + due(number)))
            .collect()
    }
}

mod delays {
    use super::*;

    /// Nine of ten messages take `usual`, the tenth takes `rare`.
    fn two_delays(usual: Duration, rare: Duration) -> Timed {
        Timed::start(SIZE, move |number, received| {
            let delay = if number % 10 == 9 { rare } else { usual };
            Some(received + delay)
        })
    }

    /// Beside the first and the last message of a connection.
    fn room(machine: &Machine) -> Duration {
        Duration::from_millis(1) + machine.delay()
    }

    /// The round trip of a closed loop cannot be shorter than the server kept the
    /// message, nor longer than from the answer before it until the next one came.
    #[track_caller]
    fn assert_true(results: &Results, server: &Timed, machine: &Machine, parts: &[f64]) {
        let (least, most) = server.round_trips(room(machine));
        assert_eq!(least.len() as u64, results.totals.echoed);
        for &part in parts {
            let (least, most) = (quantile_of(&least, part), quantile_of(&most, part));
            let seen = quantile(&results.service, part);
            assert_within(seen, least, most, &format!("p{}", part * 100.0));
        }
    }

    #[test]
    fn a_closed_loop_measures_known_delays() {
        let ms = Duration::from_millis;
        for (usual, rare, options) in [
            (ms(2), ms(20), "--count 400"),
            (ms(1), ms(5), "--connections 4 --count 4000"),
            (ms(10), ms(100), "--connections 10 --count 600"),
            (Duration::from_micros(200), ms(3), "--count 2000"),
        ] {
            measured(|machine| {
                let server = two_delays(usual, rare);
                let results = clean(server.server.address, options);
                assert_true(&results, &server, machine, &[0.5, 0.75, 0.95, 0.98]);
                let holds = server.holds();
                assert!(quantile_of(&holds, 0.5) >= usual && quantile_of(&holds, 0.95) >= rare);
            });
        }
    }

    #[test]
    fn the_mean_is_that_of_the_servers_clock() {
        measured(|machine| {
            let server = two_delays(Duration::from_millis(2), Duration::from_millis(20));
            let results = clean(server.server.address, "--count 400");
            let mean = |times: &[Duration]| times.iter().sum::<Duration>() / times.len() as u32;
            let seen = Duration::from_nanos(results.service.histogram.mean() as u64);
            let (least, most) = server.round_trips(room(machine));
            assert_within(seen, mean(&least), mean(&most), "mean");
        });
    }

    #[test]
    fn a_count_ends_with_its_last_echo() {
        measured(|machine| {
            let server = two_delays(Duration::from_millis(2), Duration::from_millis(3));
            let results = clean(server.server.address, "--count 40");
            let log = server.log();
            let least = log[39].answered - log[0].received;
            let elapsed = Duration::from_nanos(results.elapsed_ns);
            let most = least + Duration::from_millis(2) + machine.delay();
            assert_within(elapsed, least, most, "elapsed");
            let rate = 40.0 / elapsed.as_secs_f64();
            assert!((results.rate_per_s / rate - 1.0).abs() < 0.001, "{rate}");
        });
    }

    #[test]
    fn an_open_loop_that_is_not_late_responds_as_it_serves() {
        measured(|machine| {
            let server = two_delays(Duration::from_millis(2), Duration::from_millis(20));
            let options = "--rate 200 --connections 8 --depth 8 --duration 2s";
            let results = clean(server.server.address, options);
            let holds = server.holds();
            let response = results.response.as_ref().unwrap();
            for part in [0.5, 0.75] {
                let least = quantile_of(&holds, part);
                let service = quantile(&results.service, part);
                assert_within(service, least, least + room(machine), "service");
                let late = quantile(results.lateness.as_ref().unwrap(), 0.99);
                let most = service + late + machine.delay();
                assert_within(quantile(response, part), service, most, "response");
            }
        });
    }

    #[test]
    fn connecting_the_first_byte_and_the_rest_are_timed_apart() {
        measured(|machine| {
            let kept = Arc::new(Mutex::new(Vec::new()));
            let server = Faulty::serve({
                let kept = Arc::clone(&kept);
                move |mut stream, _| {
                    let mut message = [0; SIZE];
                    if std::io::Read::read_exact(&mut stream, &mut message).is_err() {
                        return;
                    }
                    let received = Instant::now();
                    sleep_until(received + Duration::from_millis(10));
                    let first = received.elapsed();
                    stream.write_all(&message[..1]).unwrap();
                    sleep_until(received + Duration::from_millis(40));
                    kept.lock().unwrap().push((first, received.elapsed()));
                    stream.write_all(&message[1..]).unwrap();
                    common::faulty::echo(&stream);
                }
            });
            let options = "--churn --connections 2 --count 50";
            let results = clean(server.address, options);
            let (firsts, wholes): (Vec<_>, Vec<_>) = kept.lock().unwrap().iter().copied().unzip();
            let room = room(machine);
            let median = |latency| quantile(latency, 0.5);
            let (first, whole) = (quantile_of(&firsts, 0.5), quantile_of(&wholes, 0.5));
            let first_byte = median(results.first_byte.as_ref().unwrap());
            assert_within(first_byte, first, first + room, "first byte");
            assert_within(median(&results.service), whole, whole + room, "service");
            let connect = median(&results.connect);
            let most = Duration::from_millis(2) + machine.delay();
            assert!(connect < most, "{connect:?}");
            let exchange = median(results.exchange.as_ref().unwrap());
            let least = median(&results.service);
            assert_within(exchange, least, least + connect + room, "exchange");
            let count = |latency: &Option<echopool::probe::latency::Latency>| {
                latency.as_ref().unwrap().histogram.len()
            };
            let counts = [count(&results.first_byte), count(&results.exchange)];
            assert_eq!(counts, [50, 50]);
            assert_eq!(results.connect.histogram.len(), 50);
        });
    }
}

mod rates {
    use super::*;

    /// The mean of the gaps between arrivals, in seconds, and their quartiles as
    /// parts of it. A moment in which nobody got the processor hardly moves those.
    fn gaps(server: &Timed) -> (f64, [f64; 3]) {
        let log = server.log();
        let pairs = log.windows(2);
        let gaps: Vec<_> = pairs.map(|at| at[1].received - at[0].received).collect();
        let all = log[log.len() - 1].received - log[0].received;
        let mean = all.as_secs_f64() / gaps.len() as f64;
        let quartile = |part| quantile_of(&gaps, part).as_secs_f64() / mean;
        (mean, [0.25, 0.5, 0.75].map(quartile))
    }

    /// `late` is what the machine may have added to a gap or taken from it, as a part of the
    /// mean.
    #[track_caller]
    fn assert_quartiles(seen: [f64; 3], expected: [f64; 3], late: f64, options: &str) {
        for (seen, expected) in seen.iter().zip(expected) {
            let off = (seen - expected).abs();
            let most = 0.15 * expected + late;
            assert!(off < most, "{options}: {seen} and not {expected}");
        }
    }

    /// What the machine may have added to so many seconds, as a part of them.
    fn part_of(machine: &Machine, seconds: f64) -> f64 {
        machine.delay().as_secs_f64() / seconds
    }

    fn immediate() -> Timed {
        Timed::start(SIZE, |_, received| Some(received))
    }

    #[test]
    fn uniform_arrivals_come_one_every_so_often() {
        for options in [
            "--rate 1000 --connections 4 --depth 64 --duration 2s",
            "--rate 1000 --connections 4 --depth 64 --threads 2 --duration 2s",
        ] {
            measured(|machine| {
                let server = immediate();
                let results = clean(server.server.address, options);
                let (mean, quartiles) = gaps(&server);
                let off = (mean / 1e-3 - 1.0).abs();
                assert!(off < 0.01 + part_of(machine, 2.0), "{options}: {mean} s");
                assert_quartiles(quartiles, [1.0; 3], part_of(machine, 1e-3), options);
                let echoed = results.totals.echoed;
                assert!((1990..=2010).contains(&echoed), "{options}: {echoed}");
                let rate = results.rate_per_s;
                let off = (rate / 1000.0 - 1.0).abs();
                assert!(off < 0.01 + part_of(machine, 2.0), "{options}: {rate}");
            });
        }
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_exponential_gaps() {
        for options in [
            "--rate 1000 --connections 16 --depth 8 --duration 3s",
            "--rate 1000 --connections 16 --depth 8 --threads 2 --duration 3s",
        ] {
            measured(|machine| {
                let server = immediate();
                let options = format!("{options} --arrivals poisson --seed 5");
                let results = clean(server.server.address, &options);
                // Of 3,000 gaps the mean is off by 1.8 % or less in two of three seeds.
                let (mean, quartiles) = gaps(&server);
                let off = (mean / 1e-3 - 1.0).abs();
                assert!(off < 0.05 + part_of(machine, 3.0), "{options}: {mean} s");
                // Of an exponential distribution: ln(4/3), ln 2 and ln 4.
                let late = part_of(machine, 1e-3);
                assert_quartiles(quartiles, [0.288, 0.693, 1.386], late, &options);
                let echoed = results.totals.echoed as f64;
                assert!((echoed / 3000.0 - 1.0).abs() < 0.05, "{options}: {echoed}");
            });
        }
    }

    #[test]
    fn a_high_rate_is_achieved() {
        measured(|machine| {
            let server = Server::with_workers(1);
            // Deep enough for all that is due while nobody runs.
            let options = "--rate 10000 --connections 20 --depth 400 --duration 2s";
            let results = clean(server.echo, options);
            let rate = results.rate_per_s;
            let off = (rate / 10_000.0 - 1.0).abs();
            assert!(off < 0.01 + part_of(machine, 2.0), "{rate}");
            server.stop();
        });
    }

    #[test]
    fn the_highest_rate_of_a_server_of_known_capacity_is_found() {
        measured(|machine| {
            let server = Timed::serving_one_at_a_time(SIZE, Duration::from_millis(1));
            // Well beyond what a busy machine adds, and soon reached by what is too much.
            let options = "--find-rate p99<50ms --duration 1s --connections 8 --depth 64";
            let mut program = start(server.server.address, options);
            // On a busy machine it has many trials.
            program.deadline *= 5;
            let run = end(program);
            assert_eq!(run.code, Some(0), "{run:?}");
            let search = &run.results.search;
            let held = search.iter().filter(|at| at.held);
            let best = held.map(|at| at.rate_per_s).fold(0.0, f64::max);
            // A generator that others keep from running trusts no trial of its own, and finds
            // less; more it never finds.
            let is_quiet = machine.is_quiet();
            assert!(best < 1080.0, "{search:?}");
            assert!(best >= 850.0 || !is_quiet, "{search:?}");
            let missed = search.iter().filter(|at| !at.held);
            let least = missed.map(|at| at.rate_per_s).fold(f64::MAX, f64::min);
            assert!(least < 1300.0, "{search:?}");
            assert!(least >= 950.0 || !is_quiet, "{search:?}");
            for trial in search {
                assert!(trial.echoed_per_s < 1100.0, "{trial:?}");
                let over = trial.p99_ns.is_some_and(|p99| p99 < 50_000_000);
                assert!(over || !trial.held, "{trial:?}");
                assert!(trial.held || !over || !is_quiet, "{trial:?}");
            }
        });
    }
}

mod doubt {
    use super::*;

    #[test]
    fn a_quiet_run_is_not_doubted() {
        for options in ["--rate 20 --connections 20", "--connections 4"] {
            measured(|machine| {
                let delay = Duration::from_millis(50);
                let server = Timed::start(SIZE, move |_, received| Some(received + delay));
                let options = format!("{options} --duration 1s");
                let results = clean(server.server.address, &options);
                let trusted =
                    results.suspicions.is_empty() && results.generators[0].busy_fraction < 0.5;
                // Another program may really delay the generator, and then it says so.
                let told = &results.suspicions;
                assert!(trusted || !machine.is_quiet(), "{options}: {told:?}");
            });
        }
    }

    #[test]
    fn a_rate_that_cannot_be_kept_is_a_missed_schedule() {
        measured(|_| {
            let server = Server::with_workers(1);
            let options = "--rate 20M --connections 4 --depth 1000 --duration 1s";
            let run = bench(server.echo, options);
            assert!(doubts(&run.results, Doubt::ScheduleMissed), "{run:?}");
            assert!(doubts(&run.results, Doubt::GeneratorSaturated), "{run:?}");
            assert!(run.results.totals.unsent > 0, "{run:?}");
            assert!(run.results.generators[0].busy_fraction > 0.9, "{run:?}");
            let response = quantile(run.results.response.as_ref().unwrap(), 0.5);
            assert!(response > Duration::from_millis(100), "{response:?}");
            assert_accounts(&run.results);
            server.stop();
        });
    }

    #[test]
    fn a_server_that_is_too_slow_does_not_saturate_the_generator() {
        measured(|machine| {
            // Few enough that no processor is short of time for them.
            let server = Timed::serving_one_at_a_time(SIZE, Duration::from_millis(100));
            let options = "--rate 30 --connections 4 --duration 2s";
            let run = bench(server.server.address, options);
            assert!(!doubts(&run.results, Doubt::GeneratorSaturated), "{run:?}");
            // Three times its capacity: after two seconds two are waiting for each done.
            let response = quantile(run.results.response.as_ref().unwrap(), 0.9);
            assert!(response > Duration::from_millis(800), "{response:?}");
            let late = quantile(run.results.lateness.as_ref().unwrap(), 0.9);
            let most = Duration::from_millis(5) + machine.delay();
            assert!(late < most, "{late:?}");
        });
    }

    #[test]
    fn forty_milliseconds_are_the_signature_of_a_delayed_acknowledgement() {
        measured(|machine| {
            let server = nagling(SIZE);
            let run = bench(server.address, "--connections 4 --duration 2s");
            assert!(doubts(&run.results, Doubt::DelayedAck), "{run:?}");
            let typical = millis(quantile(&run.results.service, 0.75));
            let most = 48.0 + machine.delay_ms();
            assert!((38.0..most).contains(&typical), "{typical} ms");
        });
    }

    #[test]
    fn a_slow_path_is_no_delayed_acknowledgement() {
        for micros in [5_000, 25_000, 60_000] {
            measured(|_| {
                let delay = Duration::from_micros(micros);
                let server = Timed::start(SIZE, move |number, received| {
                    let spread = Duration::from_micros(number as u64 * 7919 % micros);
                    Some(received + delay + spread)
                });
                let options = "--connections 20 --duration 700ms";
                let results = clean(server.server.address, options);
                assert!(!doubts(&results, Doubt::DelayedAck), "{results:?}");
            });
        }
    }
}

mod outages {
    use super::*;

    const CONNECTIONS: usize = 10;
    const OPTIONS: &str = "--connections 10 --reconnect --duration 60s";

    fn interrupted(leave: Leave) {
        measured(|machine| {
            let place = Restarting::new(CONNECTIONS);
            let life = place.start(SIZE);
            let program = start(place.address, OPTIONS);
            let (began, _) = life.wait_for_echoes();
            std::thread::sleep(Duration::from_millis(300));
            let ended = life.end(leave);
            std::thread::sleep(Duration::from_millis(500));
            let life = place.start(SIZE);
            let (_, back) = life.wait_for_echoes();
            std::thread::sleep(Duration::from_millis(300));
            program.signal(rustix::process::Signal::INT);
            let run = end(program);

            let [outage] = &run.results.outages[..] else {
                panic!("{:?}", run.results.outages);
            };
            let close = |seen_ns: i64, expected: Duration| {
                let off = (seen_ns as f64 / 1e6 - millis(expected)).abs();
                let most = 20.0 + machine.delay_ms();
                assert!(off < most, "{seen_ns} ns is not {expected:?}: {outage:?}");
            };
            close(outage.start_ns, ended - began);
            close(outage.length_ns.unwrap() as i64, back - ended);
            let recovery = millis(back - ended);
            // The longest pause between two attempts is a second.
            let most = 1800.0 + machine.delay_ms();
            assert!((500.0..most).contains(&recovery), "{recovery} ms");
            let all = CONNECTIONS as u64;
            assert_eq!(outage.connections, all);
            assert_eq!(outage.lost_bytes, all * SIZE as u64);
            let (closed, was_reset) = match leave {
                Leave::Close => (all, 0),
                Leave::Reset => (0, all),
            };
            assert_eq!((outage.closed, outage.reset), (closed, was_reset));
            assert!(outage.refused > 0, "{outage:?}");

            let totals = &run.results.totals;
            assert_eq!((totals.lost, totals.lost_bytes), (all, all * SIZE as u64));
            assert_eq!(totals.connected, 2 * all, "{totals:?}");
            let errors = &totals.errors;
            assert_eq!((errors.closed, errors.reset), (closed, was_reset));
            assert_eq!(errors.refused, outage.refused);
            assert_eq!(errors.changed + errors.unknown + errors.foreign, 0);
            assert_accounts(&run.results);
            assert_eq!(run.code, Some(130), "{run:?}");
        });
    }

    #[test]
    fn a_restart_that_closes_is_an_outage_of_known_length() {
        interrupted(Leave::Close);
    }

    #[test]
    fn a_restart_that_resets_is_an_outage_of_known_length() {
        interrupted(Leave::Reset);
    }

    #[test]
    fn two_restarts_are_two_outages() {
        measured(|_| {
            let place = Restarting::new(2);
            let mut life = place.start(SIZE);
            let program = start(place.address, "--connections 2 --reconnect --duration 60s");
            for leave in [Leave::Close, Leave::Reset] {
                life.wait_for_echoes();
                std::thread::sleep(Duration::from_millis(200));
                life.end(leave);
                std::thread::sleep(Duration::from_millis(100));
                life = place.start(SIZE);
            }
            life.wait_for_echoes();
            std::thread::sleep(Duration::from_millis(200));
            program.signal(rustix::process::Signal::INT);
            let run = end(program);
            let outages = &run.results.outages;
            let lost: Vec<_> = outages.iter().map(|at| (at.closed, at.reset)).collect();
            assert_eq!(lost, [(2, 0), (0, 2)], "{outages:?}");
            assert!(outages.iter().all(|at| at.length_ns.is_some()));
        });
    }

    #[test]
    fn a_server_that_does_not_come_back_is_an_outage_without_an_end() {
        let place = Restarting::new(2);
        let life = place.start(SIZE);
        let options = "--connections 2 --reconnect --duration 1s";
        let program = start(place.address, options);
        life.wait_for_echoes();
        life.end(Leave::Close);
        let run = end(program);
        let [outage] = &run.results.outages[..] else {
            panic!("{:?}", run.results.outages);
        };
        assert_eq!((outage.length_ns, outage.connections), (None, 2));
    }

    #[test]
    fn an_open_loop_feels_an_outage() {
        measured(|machine| {
            let place = Restarting::new(1);
            let life = place.start(SIZE);
            // With the depth, what fell due in the outage is made up for at once: one after
            // another, it would take as long as the outage where a round trip takes 5 ms.
            let options = "--rate 200 --depth 256 --reconnect --duration 3s";
            let program = start(place.address, options);
            life.wait_for_echoes();
            std::thread::sleep(Duration::from_millis(300));
            let ended = life.end(Leave::Close);
            std::thread::sleep(Duration::from_millis(600));
            let life = place.start(SIZE);
            let (_, back) = life.wait_for_echoes();
            let run = end(program);
            let outage = back - ended;
            // Of 3 s without a stall but this one, so many have waited half of it.
            let part = 1.0 - outage.as_secs_f64() / 2.0 / 3.0;
            let seen = quantile(run.results.response.as_ref().unwrap(), part);
            let off = (millis(seen) - millis(outage / 2)).abs();
            let most = 0.05 * millis(outage / 2) + machine.delay_ms();
            assert!(off < most, "{seen:?} in an outage of {outage:?}");
        });
    }
}

#[test]
fn the_timeline_has_an_entry_a_second() {
    measured(|machine| {
        let server = Server::with_workers(1);
        let options = "--rate 500 --depth 64 --duration 2500ms --warmup 1s";
        let results = clean(server.echo, options);
        let starts: Vec<_> = results.timeline.iter().map(|at| at.start_ns).collect();
        assert_eq!(starts, [-1_000_000_000, 0, 1_000_000_000, 2_000_000_000]);
        let lengths = results.timeline.iter().map(|at| at.length_ns / 1_000_000);
        let lengths: Vec<_> = lengths.collect();
        assert_eq!(lengths[..3], [1000, 1000, 1000]);
        assert!((400..1600).contains(&lengths[3]), "{lengths:?}");
        let echoed: Vec<_> = results.timeline.iter().map(|at| at.echoed).collect();
        // What comes late at the end of one second counts in the next.
        let late = 10 + (machine.delay().as_secs_f64() * 500.0) as u64;
        let in_time = 500 - late..=500 + late;
        assert!(
            echoed[..3].iter().all(|n| in_time.contains(n)),
            "{echoed:?}"
        );
        server.stop();
    });
}
