//! The load generator on its command line: what it sends, counts, reports and exits with.
#![cfg(unix)]

mod common;

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::faulty::{Faulty, Timed, crumbling, echo, narrow, swallow};
use common::load::{Machine, Run, assert_accounts, bench, clean, end, start};
use common::{Ended, Program, Server, finish, reserve, wait_until};
use echopool::bench::results::Doubt;
use rustix::process::Signal;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An echo that passes on every read of every connection.
fn tapped() -> (Faulty, Receiver<(usize, Vec<u8>)>) {
    let (tell, told) = channel();
    let server = Faulty::serve(move |mut stream, connection| {
        let mut block = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            let bytes = &block[..length];
            tell.send((connection, bytes.to_vec())).unwrap();
            if std::io::Write::write_all(&mut stream, bytes).is_err() {
                return;
            }
        }
    });
    (server, told)
}

/// An echo that counts the bytes that came.
fn counting() -> (Faulty, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let server = Faulty::serve({
        let count = Arc::clone(&count);
        move |mut stream, _| {
            let mut block = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = stream.read(&mut block) {
                count.fetch_add(length as u64, Ordering::SeqCst);
                if std::io::Write::write_all(&mut stream, &block[..length]).is_err() {
                    return;
                }
            }
        }
    });
    (server, count)
}

/// Runs it as a person would, with no option but these.
fn plain(server: SocketAddr, options: &str) -> Ended {
    let all = format!("bench {server} {options}");
    finish(all.split_whitespace(), "")
}

mod load {
    use super::*;

    #[test]
    fn any_mix_of_connections_depth_size_and_rate_completes() {
        let server = Server::with_workers(2);
        for options in [
            "--connections 1 --depth 1 --size 1 --count 1000",
            "--connections 3 --depth 7 --size 13 --count 5000",
            "--connections 1 --depth 1000 --size 1 --count 20000",
            "--connections 2 --depth 300 --size 64 --count 3001",
            "--connections 10 --depth 16 --size 1..5000 --count 2000",
            "--connections 4 --depth 4 --size 1MiB --count 64",
            "--connections 1 --depth 64 --size 1MiB --count 128",
            "--connections 2 --depth 2 --size 16MiB --count 8",
            "--connections 200 --depth 3 --size 100..200 --count 5000",
            "--connections 7 --threads 2 --depth 5 --size 333 --count 3333",
            "--connections 1 --threads 2 --count 500",
            "--connections 50 --count 7",
            "--connections 3 --rate 20000 --count 4000",
            "--connections 1 --depth 100 --rate 20000 --size 1..100 --count 4000",
            "--connections 5 --depth 3 --rate 3000 --arrivals poisson --count 1000",
            "--connections 4 --threads 2 --depth 8 --rate 200 --size 256KiB --count 60",
            "--connections 3 --churn --count 300",
            "--connections 2 --threads 2 --churn --size 100KiB --count 50",
            "--connections 2 --churn --rate 500 --count 200",
        ] {
            let totals = clean(server.echo, options).totals;
            let count = options.rsplit(' ').next().unwrap().parse().unwrap();
            let seen = (totals.sent, totals.echoed, totals.in_flight, totals.unsent);
            assert_eq!(seen, (count, count, 0, 0), "{options}");
            assert_eq!(totals.sent_bytes, totals.echoed_bytes, "{options}");
        }
        server.stop();
    }

    #[test]
    fn a_server_that_reads_only_after_it_could_write_is_no_deadlock() {
        for options in [
            "--depth 1 --size 4MiB --count 4",
            "--depth 64 --size 256KiB --count 64",
            "--depth 5000 --size 700 --count 10000",
            "--depth 16 --size 64KiB --connections 8 --count 200",
            "--stream --duration 300ms",
        ] {
            let results = clean(narrow().address, options);
            assert!(results.totals.echoed_bytes > 1 << 20, "{results:?}");
        }
    }

    #[test]
    fn an_echo_in_crumbs_is_an_echo() {
        let options = "--connections 2 --depth 3 --size 1..3000 --count 200";
        assert_eq!(clean(crumbling().address, options).totals.echoed, 200);
    }

    #[test]
    fn what_was_sent_is_what_the_server_counts() {
        for options in [
            "--size 77 --count 999",
            "--connections 5 --depth 9 --size 1..1000 --count 3000",
            "--connections 3 --threads 2 --churn --count 100",
            "--connections 2 --rate 5000 --duration 300ms",
            "--connections 4 --depth 4 --duration 300ms",
            "--stream --duration 300ms",
        ] {
            let (server, count) = counting();
            let totals = clean(server.address, options).totals;
            assert_eq!(totals.sent_bytes, count.load(Ordering::SeqCst), "{options}");
            assert!(totals.echoed_bytes <= totals.sent_bytes, "{totals:?}");
        }
    }

    #[test]
    fn fixed_sizes_make_the_bytes_known() {
        let server = Server::with_workers(1);
        let totals = clean(server.echo, "--connections 2 --size 1000 --count 300").totals;
        assert_eq!((totals.sent_bytes, totals.echoed_bytes), (300_000, 300_000));
        assert_eq!((totals.connected, totals.lost_bytes), (2, 0));
        let churned = clean(server.echo, "--connections 2 --churn --count 300").totals;
        assert_eq!((churned.connected, churned.echoed), (300, 300));
        server.stop();
    }

    #[test]
    fn the_warm_up_is_load_that_is_not_counted() {
        let (server, count) = counting();
        let results = clean(server.address, "--warmup 300ms --count 500");
        assert_eq!(results.totals.echoed, 500);
        assert_eq!(results.service.histogram.len(), 500);
        assert_eq!(results.totals.sent_bytes, 500 * 64);
        assert!(count.load(Ordering::SeqCst) > 600 * 64, "no warm-up");
        let first = results.timeline.first().unwrap();
        assert!(first.start_ns < 0, "{:?}", results.timeline);
    }

    #[test]
    fn each_size_of_a_range_is_as_likely() {
        // At depth 1 a message of so few bytes is a read of the server.
        let (server, told) = tapped();
        clean(server.address, "--size 3..10 --count 4000 --seed 1");
        drop(server);
        let mut counts = [0_u32; 64];
        for (_, bytes) in told.iter().take(4000) {
            counts[bytes.len()] += 1;
        }
        let outside = counts[..3].iter().chain(&counts[11..]).sum::<u32>();
        assert_eq!(outside, 0, "{counts:?}");
        // Chi-squared of seven degrees of freedom: beyond 30 in 1 of 10,000.
        let each = counts[3..=10].iter().map(|&count| f64::from(count));
        let chi_squared: f64 = each.map(|count| (count - 500.0).powi(2) / 500.0).sum();
        assert!(chi_squared < 30.0, "{chi_squared}: {counts:?}");
    }

    #[test]
    fn a_seed_gives_the_same_bytes_and_another_seed_others() {
        let sent = |seed: &str| {
            let (server, told) = tapped();
            let options = format!("--size 1..100 --count 200 --seed {seed}");
            let results = clean(server.address, &options);
            assert_eq!(results.plan.seed.to_string(), seed);
            let reads = told.iter().take(200).map(|(_, bytes)| bytes);
            reads.collect::<Vec<_>>()
        };
        assert_eq!(sent("7"), sent("7"));
        assert_ne!(sent("7"), sent("8"));
    }

    #[test]
    fn a_seed_of_its_own_is_reported() {
        let server = Server::with_workers(1);
        let seeds = [(); 2].map(|()| clean(server.echo, "--count 1").plan.seed);
        assert_ne!(seeds[0], seeds[1]);
        server.stop();
    }

    #[test]
    fn each_connection_has_bytes_of_its_own() {
        let (server, told) = tapped();
        clean(server.address, "--connections 2 --size 512 --count 20");
        let reads: Vec<_> = told.iter().take(20).collect();
        let of = |number| {
            let mut own = reads.iter().filter(move |(of, _)| *of == number);
            own.next().unwrap().1.clone()
        };
        assert_ne!(of(0), of(1));
    }

    #[test]
    fn a_duration_and_a_count_end_at_the_first_of_both() {
        let server = Server::with_workers(1);
        let machine = Machine::watch();
        let few = clean(server.echo, "--count 10 --duration 60s");
        let elapsed = Duration::from_nanos(few.elapsed_ns);
        assert!(
            elapsed < Duration::from_secs(10) + machine.delay(),
            "{elapsed:?}"
        );
        assert_eq!(few.totals.sent, 10);
        let short = clean(server.echo, "--count 1000000000 --duration 500ms");
        let elapsed = Duration::from_nanos(short.elapsed_ns);
        let (least, most) = (Duration::from_millis(500), Duration::from_secs(1));
        let most = most + machine.delay();
        assert!((least..most).contains(&elapsed), "{elapsed:?}, {most:?}");
        server.stop();
    }

    #[test]
    fn a_stream_comes_back_byte_for_byte() {
        let server = Server::with_workers(1);
        let results = clean(server.echo, "--stream --connections 2 --duration 2s");
        let totals = &results.totals;
        assert!(totals.echoed_bytes > 10 << 20, "{totals:?}");
        assert!(totals.echoed_bytes <= totals.sent_bytes);
        // What comes after the end is not of the measured time.
        let seconds = results.elapsed_ns as f64 / 1e9;
        let most = totals.echoed_bytes as f64 / seconds;
        let throughput = results.throughput_bytes_per_s;
        assert!(throughput <= most * 1.001, "{throughput}: {totals:?}");
        assert!(throughput > most * 0.7, "{throughput}: {totals:?}");
        server.stop();
    }
}

mod report {
    use super::*;

    #[test]
    fn the_settings_and_the_machine_are_reported() {
        let server = Server::with_workers(1);
        let options = "--connections 3 --size 5..9 --depth 2 --count 100 --timeout 7s";
        let results = clean(server.echo, options);
        let plan = &results.plan;
        assert_eq!((plan.connections, plan.depth, plan.threads), (3, 2, 1));
        assert_eq!((plan.size_bytes.clone(), plan.count), (5..=9, Some(100)));
        assert_eq!(plan.timeout, Duration::from_secs(7));
        assert_eq!(plan.rate_per_s, None);
        let [generator] = &results.generators[..] else {
            panic!("{:?}", results.generators);
        };
        assert_eq!(generator.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(generator.address, server.echo.to_string());
        assert!((0.0..=1.0).contains(&generator.busy_fraction));
        assert!(generator.started_at.starts_with("20"), "{generator:?}");
        assert!(generator.started_at.ends_with('Z'), "{generator:?}");
        assert_eq!(results.connect.histogram.len(), 3);
        server.stop();
    }

    #[test]
    fn a_rate_is_taken_as_people_write_it() {
        let server = Server::with_workers(1);
        for (text, rate) in [("2000", 2000.0), ("2000/s", 2000.0), ("2k", 2000.0)] {
            let options = format!("--rate {text} --count 20");
            let results = clean(server.echo, &options);
            assert_eq!(results.plan.rate_per_s, Some(rate));
        }
        server.stop();
    }

    #[test]
    fn a_size_is_taken_as_people_write_it() {
        let server = Server::with_workers(1);
        for (text, sizes) in [
            ("100", 100..=100),
            ("2k", 2000..=2000),
            ("2KiB", 2048..=2048),
            ("1M", 1_000_000..=1_000_000),
            ("1MiB", 1 << 20..=1 << 20),
            ("1..1KiB", 1..=1024),
            ("5..5", 5..=5),
        ] {
            let results = clean(server.echo, &format!("--size {text} --count 3"));
            assert_eq!(results.plan.size_bytes, sizes, "{text}");
        }
        server.stop();
    }

    #[test]
    fn a_server_is_found_by_name_at_any_of_its_addresses() {
        let server = Server::with_workers(1);
        let port = server.echo.port();
        let name = format!("localhost:{port}");
        let options = [
            "bench", &name, "--count", "5", "--warmup", "0s", "--json", "-",
        ];
        let run = common::load::read(finish(options, ""));
        assert_eq!(run.code, Some(0), "{run:?}");
        let used = &run.results.generators[0].address;
        assert_eq!(*used, server.echo.to_string());
        assert_eq!(run.results.totals.errors.total(), 0, "{run:?}");
        server.stop();
    }

    #[test]
    fn the_readable_report_says_which_loop_it_was_and_that_it_is_a_round_trip() {
        let server = Server::with_workers(1);
        for (options, loops) in [
            ("--count 5000 --warmup 0s", "closed"),
            ("--count 5000 --warmup 0s --rate 20000", "open"),
        ] {
            let ended = plain(server.echo, options);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            let text = String::from_utf8(ended.stdout).unwrap().to_lowercase();
            for word in [loops, "round trip", "p50", "p99"] {
                assert!(text.contains(word), "no {word:?} in {text}");
            }
            assert!(!text.contains('\x1b'), "colours in a pipe: {text:?}");
        }
        server.stop();
    }

    #[test]
    fn a_percentile_that_so_few_samples_cannot_support_is_not_printed() {
        let server = Server::with_workers(1);
        let text = |count| {
            let options = format!("--count {count} --warmup 0s --quiet");
            String::from_utf8(plain(server.echo, &options).stdout).unwrap()
        };
        let (few, many) = (text(20), text(20_000));
        assert!(few.contains("p50") && !few.contains("p99"), "{few}");
        assert!(many.contains("p99") && !many.contains("p99.999"), "{many}");
        server.stop();
    }

    #[test]
    fn progress_is_a_line_a_second_unless_it_is_to_be_quiet() {
        let server = Server::with_workers(1);
        let told = plain(server.echo, "--duration 2500ms --warmup 0s --rate 100");
        let lines = told.stderr.lines().count();
        assert!((2..=5).contains(&lines), "{}", told.stderr);
        // Also the last line, which is told when the run is over.
        let open = told.stderr.matches("  1 connection ").count();
        assert_eq!(open, lines, "{}", told.stderr);
        let quiet = plain(server.echo, "--duration 1200ms --warmup 0s --rate 100 -q");
        assert_eq!((quiet.code, &*quiet.stderr), (Some(0), ""));
        server.stop();
    }

    #[test]
    fn progress_does_not_get_into_the_json() {
        let server = Server::with_workers(1);
        let ended = plain(server.echo, "--duration 1200ms --warmup 0s --json -");
        let run = common::load::read(ended);
        assert_eq!(run.code, Some(0));
        assert_accounts(&run.results);
        server.stop();
    }

    #[test]
    fn files_are_written_beside_the_readable_report() {
        let server = Server::with_workers(1);
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        let name = |end: &str| folder.join(format!("bench-{}.{end}", std::process::id()));
        let (json, csv) = (name("json"), name("csv"));
        let options = format!(
            "--count 100 --warmup 0s --json {} --csv {}",
            json.display(),
            csv.display()
        );
        let ended = plain(server.echo, &options);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!ended.stdout.is_empty());
        let written = std::fs::read(&json).unwrap();
        let results: echopool::bench::results::Results = serde_json::from_slice(&written).unwrap();
        assert_eq!(results.totals.echoed, 100);
        assert!(std::fs::read_to_string(&csv).unwrap().contains(','));
        for path in [json, csv] {
            std::fs::remove_file(path).unwrap();
        }
        server.stop();
    }

    #[test]
    fn a_report_that_cannot_be_written_is_an_error() {
        let server = Server::with_workers(1);
        let ended = plain(server.echo, "--count 1 --warmup 0s --json /nowhere/a.json");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("/nowhere/a.json"), "{ended:?}");
        server.stop();
    }
}

mod exits {
    use super::*;

    #[test]
    fn usage_errors_exit_with_2() {
        for options in [
            "--connections 0",
            "--connections many",
            "--depth 0",
            "--threads 0",
            "--size 0",
            "--size 10..5",
            "--size 0..5",
            "--size -1",
            "--rate 0",
            "--rate -5",
            "--rate inf",
            "--rate NaN",
            "--rate 1e300",
            "--rate 1e-300",
            "--count 0",
            "--duration 0s",
            "--duration soon",
            "--warmup -1s",
            "--timeout 0s",
            "--arrivals sometimes",
            "--arrivals poisson",
            "--churn --stream",
            "--expect p99",
            "--expect p101<1ms",
            "--expect p99<1",
            "--expect colour<1ms",
            "--find-rate errors",
            "--find-rate p99>1ms",
            "--find-rate late<1",
            "--expect late<1",
            "--stream --expect p99<1ms",
            "--json same --csv same",
            "--csv same --html ./same",
            "--json - --csv -",
            "--json=",
            "--unheard-of",
        ] {
            let all = format!("bench 127.0.0.1:9 {options}");
            let ended = finish(all.split_whitespace(), "");
            assert_eq!(ended.code, Some(2), "{options}: {ended:?}");
            assert!(ended.stdout.is_empty(), "{options}: {ended:?}");
        }
    }

    #[test]
    fn a_refused_connection_names_the_address_and_the_cause() {
        let (_reserved, nobody) = reserve(LOCALHOST, 0).unwrap();
        for options in ["", "--churn", "--rate 100", "--stream", "--connections 10"] {
            let (begun, machine) = (Instant::now(), Machine::watch());
            let ended = plain(nobody, &format!("--duration 60s {options}"));
            let message = format!("could not connect to {nobody}: connection refused");
            assert_eq!(ended.code, Some(1), "{options}: {ended:?}");
            assert!(ended.stderr.contains(&message), "{options}: {ended:?}");
            assert!(
                begun.elapsed() < Duration::from_secs(3) + machine.delay(),
                "{options}"
            );
        }
    }

    #[test]
    fn an_unknown_host_is_named() {
        let host = "h".repeat(64);
        let ended = finish(["bench", &format!("{host}:7")], "");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let message = format!("could not resolve {host}: ");
        assert!(ended.stderr.contains(&message), "{ended:?}");
    }

    #[test]
    fn expectations_that_hold_are_reported_and_exit_with_0() {
        let server = Server::with_workers(1);
        let held = "--expect p99<10s --expect errors=0 --expect rate>1 --expect lost=0 \
                    --expect max<=20s --expect mean<10s --expect p50>1ns";
        let results = clean(server.echo, &format!("--count 1000 {held}"));
        assert_eq!(results.expectations.len(), 7);
        assert!(results.expectations.iter().all(|at| at.held));
        assert_eq!(results.expectations[0].text, "p99<10s");
        server.stop();
    }

    #[test]
    fn an_expectation_that_fails_is_named_and_exits_with_3() {
        let server = Server::with_workers(1);
        let options = "--count 1000 --expect errors=0 --expect p99<1ns --expect rate>1000000000";
        let run = bench(server.echo, options);
        assert_eq!(run.code, Some(3), "{run:?}");
        for (text, failed) in [("p99<1ns", true), ("rate>1000", true), ("errors=0", false)] {
            assert_eq!(run.stderr.contains(text), failed, "{text}: {}", run.stderr);
        }
        let held = run.results.expectations.iter().map(|at| at.held);
        assert_eq!(held.collect::<Vec<_>>(), [true, false, false]);
        server.stop();
    }

    #[test]
    fn a_run_without_a_single_echo_exits_with_1() {
        let server = Faulty::serve(|stream, _| swallow(&stream));
        let run = bench(server.address, "--duration 200ms");
        assert_eq!(run.code, Some(1), "{run:?}");
        assert_eq!(run.results.totals.echoed, 0);
    }

    #[test]
    fn a_failed_expectation_of_a_run_without_echo_is_named_as_well() {
        let server = Faulty::serve(|stream, _| swallow(&stream));
        let options = "--duration 200ms --timeout 100ms --expect errors=0 --expect p99<1ms";
        let run = bench(server.address, options);
        assert_ne!(run.code, Some(0), "{run:?}");
        assert!(run.stderr.contains("errors=0"), "{}", run.stderr);
        let held = run.results.expectations.iter().any(|at| at.held);
        assert!(!held, "{:?}", run.results.expectations);
    }
}

mod sources {
    use std::net::IpAddr;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn connections_come_from_each_source_in_turn() {
        let peers = Arc::new(Mutex::new(Vec::new()));
        let server = Faulty::serve({
            let peers = Arc::clone(&peers);
            move |stream, _| {
                peers.lock().unwrap().push(stream.peer_addr().unwrap().ip());
                echo(&stream);
            }
        });
        let options = "--source 127.0.0.2..127.0.0.3 --source 127.0.9.1 --source ::1";
        let results = clean(server.address, &format!("{options} --churn --count 9"));
        assert_eq!(results.plan.sources.len(), 3);
        let came = peers.lock().unwrap().clone();
        let turn: [IpAddr; 3] =
            ["127.0.0.2", "127.0.0.3", "127.0.9.1"].map(|at| at.parse().unwrap());
        assert_eq!(came, [turn; 3].concat());
    }

    #[test]
    fn an_ipv6_source_serves_an_ipv6_server() {
        let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else {
            return; // This machine has no IPv6.
        };
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || echo(&listener.accept().unwrap().0));
        clean(address, "--source ::1 --count 5");
    }

    #[test]
    fn a_source_that_cannot_be_is_an_error_that_names_it() {
        let server = Server::with_workers(1);
        for (source, said) in [
            ("192.0.2.1", "not from 192.0.2.1"),
            ("::1", "no --source is an IPv4 address"),
        ] {
            let address = server.echo.to_string();
            let ended = finish(["bench", "--source", source, &address], "");
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(ended.stderr.contains(said), "{}", ended.stderr);
        }
        server.stop();
    }
}

mod signals {
    use super::*;

    fn end_early(
        server: SocketAddr,
        started: impl FnMut() -> bool,
        options: &str,
    ) -> (Run, Duration) {
        let program = start(server, options);
        wait_until("the first message", started);
        std::thread::sleep(Duration::from_millis(400));
        program.signal(Signal::INT);
        let signalled = Instant::now();
        let run = end(program);
        (run, signalled.elapsed())
    }

    #[test]
    fn ctrl_c_ends_the_run_and_it_still_reports() {
        for options in [
            "--duration 60s",
            "--rate 1000 --duration 60s",
            "--churn --connections 2 --duration 60s",
            "--stream --duration 60s",
            "--count 1000000000",
        ] {
            let (server, count) = counting();
            let started = || count.load(Ordering::SeqCst) > 0;
            // What it takes on this machine to start, to report and to end.
            let begun = Instant::now();
            bench(server.address, "--count 1");
            let overhead = begun.elapsed();
            count.store(0, Ordering::SeqCst);
            let begun = Instant::now();
            let (run, took) = end_early(server.address, started, options);
            assert_eq!(run.code, Some(130), "{options}: {run:?}");
            assert!(run.results.interrupted, "{options}");
            // The last echoes are awaited for a second. Nor may it be a part of the minute.
            let most = Duration::from_millis(1500) + 3 * overhead;
            let most = most.min(Duration::from_secs(5));
            assert!(took < most, "{options}: {took:?} of {most:?}");
            let measured = Duration::from_nanos(run.results.elapsed_ns);
            let in_all = begun.elapsed();
            assert!(
                measured >= Duration::from_millis(400),
                "{options}: {measured:?}"
            );
            assert!(measured < in_all, "{options}: {measured:?} of {in_all:?}");
            assert!(run.results.totals.echoed_bytes > 0, "{options}");
            assert_accounts(&run.results);
            let sent = run.results.totals.sent_bytes;
            assert_eq!(sent, count.load(Ordering::SeqCst), "{options}");
        }
    }

    #[test]
    fn ctrl_c_in_the_warm_up_ends_the_run() {
        let (server, count) = counting();
        let started = || count.load(Ordering::SeqCst) > 0;
        let program = start(server.address, "--warmup 60s --duration 60s");
        wait_until("the first message", started);
        program.signal(Signal::INT);
        let (signalled, machine) = (Instant::now(), Machine::watch());
        let Run { results, code, .. } = end(program);
        assert!(signalled.elapsed() < Duration::from_secs(3) + machine.delay());
        assert_eq!((code, results.interrupted), (Some(130), true));
        assert_eq!((results.totals.sent, results.totals.echoed), (0, 0));
        assert!(results.rate_per_s.abs() < f64::EPSILON, "{results:?}");
    }

    #[test]
    fn any_signal_marks_the_run_in_every_output() {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let (server, count) = counting();
            let folder = tempfile::tempdir().unwrap();
            let file = |name: &str| folder.path().join(name);
            let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
            command.args(["bench", &server.address.to_string(), "--quiet"]);
            command.args([
                "--warmup",
                "0s",
                "--duration",
                "60s",
                "--expect",
                "errors=0",
            ]);
            for output in ["json", "csv", "html"] {
                command.arg(format!("--{output}")).arg(file(output));
            }
            let program = Program::spawn({
                command.stdout(std::process::Stdio::piped());
                command
            });
            wait_until("the first message", || count.load(Ordering::SeqCst) > 0);
            program.signal(signal);
            let ended = common::end(program);
            assert_eq!(ended.code, Some(130), "{signal:?}: {ended:?}");
            let text = String::from_utf8(ended.stdout).unwrap();
            assert!(
                text.contains("\nINTERRUPTED: the run was stopped after "),
                "{text}"
            );
            let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
            assert!(read("json").contains("\"interrupted\": true"));
            assert!(read("html").contains("<strong>INTERRUPTED: "));
            let csv = read("csv");
            let cells: Vec<Vec<_>> = csv.lines().map(|line| line.split(',').collect()).collect();
            let at = cells[0].iter().position(|name| *name == "interrupted");
            assert_eq!(cells[1][at.unwrap()], "true");
            // What is shown of its file later says so, too.
            let ended = finish(["report", file("json").to_str().unwrap()], "");
            let text = String::from_utf8(ended.stdout).unwrap();
            assert!(text.contains("\nINTERRUPTED: "), "{text}");
        }
    }

    #[test]
    fn a_search_that_is_cut_short_is_marked() {
        let (server, count) = counting();
        let started = || count.load(Ordering::SeqCst) > 0;
        let (run, _) = end_early(server.address, started, "--find-rate p50<10s");
        assert_eq!(run.code, Some(130), "{run:?}");
        assert!(run.results.interrupted && run.results.search_end.is_none());
    }

    #[test]
    fn a_run_that_came_to_its_end_is_not_marked() {
        let (server, _) = counting();
        for options in [
            "--count 10",
            "--duration 200ms",
            "--rate 100 --duration 200ms",
        ] {
            assert!(!clean(server.address, options).interrupted, "{options}");
        }
    }

    #[test]
    fn a_second_ctrl_c_exits_at_once() {
        let (tell, told) = channel();
        let server = Faulty::serve(move |mut stream, _| {
            let _ = stream.read(&mut [0; 64]);
            tell.send(()).unwrap();
            swallow(&stream);
        });
        let mut program = start(server.address, "--duration 60s");
        told.recv().unwrap();
        program.signal(Signal::INT);
        // It awaits what is under way for a second.
        std::thread::sleep(Duration::from_millis(200));
        program.signal(Signal::INT);
        assert_eq!(program.wait().code(), Some(130));
    }
}

mod limits {
    use super::*;

    /// What the generator needs once every connection had some echoes.
    #[cfg(target_os = "linux")]
    fn memory(server: &Server, connections: usize) -> u64 {
        let options = format!("--connections {connections} --rate 10000 --duration 60s");
        let program = start(server.echo, &options);
        let pid = program.child.id();
        let open = || {
            let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
            entries.count() > connections
        };
        wait_until("the connections", open);
        std::thread::sleep(Duration::from_millis(1200));
        let memory = common::serve::memory(pid);
        program.signal(Signal::INT);
        let results = end(program).results;
        assert_eq!(results.totals.connected, connections as u64);
        assert!(results.totals.echoed > connections as u64);
        memory
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_connection_needs_less_than_a_kibibyte() {
        let server = Server::with_workers(1);
        let one = memory(&server, 1);
        let many = memory(&server, 5001);
        let each = many.saturating_sub(one) / 5000;
        assert!(each < 1024, "{each} bytes a connection");
        server.stop();
    }

    #[test]
    fn ten_thousand_connections_are_open_within_seconds() {
        let server = Server::with_workers(1);
        let (begun, machine) = (Instant::now(), Machine::watch());
        let options = "--connections 10000 --count 20000";
        let results = clean(server.echo, options);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(10) + machine.delay(), "{took:?}");
        assert_eq!(results.totals.connected, 10_000);
        server.stop();
    }

    #[test]
    fn descriptors_that_ran_out_are_said_so() {
        let server = Server::with_workers(1);
        let mut command = Command::new("sh");
        let script = "ulimit -n 32; exec \"$0\" \"$@\"";
        command.args(["-c", script, env!("CARGO_BIN_EXE_echopool")]);
        let options = "--connections 100 --count 1000 --warmup 0s --quiet --json -";
        command.arg("bench").arg(server.echo.to_string());
        command.args(options.split(' ')).env_remove("RUST_LOG");
        let output = command.output().unwrap();
        let run = common::load::read(Ended {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        });
        let suspicions = &run.results.suspicions;
        let of = suspicions
            .iter()
            .find(|at| at.kind == Doubt::DescriptorsRanOut);
        let of = of.unwrap_or_else(|| panic!("{run:?}"));
        assert!(of.advice.contains("ulimit"), "{of:?}");
        server.stop();
    }
}

// `cargo test -- --ignored` on a Linux that lets its users make namespaces.
mod needs_namespaces {
    use super::*;

    #[test]
    #[ignore = "needs unshare(1) and ip(8)"]
    fn ports_that_ran_out_are_said_so() {
        let run = with_64_ports("ports.log", "");
        let doubted = common::load::doubts(&run.results, Doubt::PortsRanOut);
        assert!(doubted, "{run:?}");
        let mut suspicions = run.results.suspicions.iter();
        assert!(suspicions.any(|at| at.advice.contains("--source")));
    }

    #[test]
    #[ignore = "needs unshare(1) and ip(8)"]
    fn each_source_has_ports_of_its_own() {
        let run = with_64_ports("sources.log", "--source 127.0.0.1..127.0.0.2");
        assert_eq!(run.results.totals.connected, 100);
        let doubted = common::load::doubts(&run.results, Doubt::PortsRanOut);
        assert!(!doubted, "{run:?}");
    }

    /// A hundred connections where there are 64 local ports.
    fn with_64_ports(log: &str, options: &str) -> Run {
        let script = "set -e; ip link set lo up
            echo 40000 40063 > /proc/sys/net/ipv4/ip_local_port_range
            $P serve --echo 127.0.0.1:4444 2> $LOG & server=$!
            trap 'kill $server' EXIT
            until grep -q waiting $LOG; do sleep 0.01; done
            $P bench 127.0.0.1:4444 --connections 100 --duration 1s --warmup 0s -q --json - \
                $OPTIONS || true";
        let mut command = Command::new("unshare");
        command.args(["-rn", "sh", "-c", script]);
        command.env_remove("RUST_LOG");
        command.envs([("LOG", log), ("OPTIONS", options)]);
        command.current_dir(env!("CARGO_TARGET_TMPDIR"));
        let output = command.env("P", env!("CARGO_BIN_EXE_echopool")).output();
        let output = output.unwrap();
        common::load::read(Ended {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        })
    }
}

mod several_addresses {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    use common::Program;
    use echopool::bench::plan::{Arrivals, Load, Plan};
    use echopool::bench::progress::{Progress, Watch};
    use echopool::bench::results::{AddressCounts, Errors, Results};
    use echopool::probe::addresses::Addresses;

    use super::*;

    /// Calls the function about ten times a second, with the connections that are open.
    struct Watching<F>(F);

    impl<F: FnMut(u64, usize)> Watch for Watching<F> {
        fn progress(&mut self, progress: &Progress<'_>) {
            (self.0)(progress.totals.echoed, progress.connections);
        }
    }

    /// Runs ten connections until `each`, which gets the echoes so far and the connections
    /// that are open, has said no.
    fn run(
        addresses: impl Into<Addresses>,
        reconnect: bool,
        mut each: impl FnMut(u64, usize) -> bool,
    ) -> Results {
        let plan = Plan {
            load: Load::Messages,
            connections: 10,
            size_bytes: 64..=64,
            depth: 1,
            rate_per_s: Some(200.0),
            arrivals: Arrivals::Uniform,
            duration: Some(common::DEADLINE),
            count: None,
            warmup: Duration::ZERO,
            threads: 2,
            reconnect,
            sources: Vec::new(),
            timeout: common::DEADLINE,
            seed: 1,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let watch = &mut Watching(|echoed, open| {
            if !each(echoed, open) {
                stop.store(true, Ordering::SeqCst);
            }
        });
        echopool::bench::run(addresses, &plan, &stop, watch).unwrap()
    }

    #[track_caller]
    fn counts(results: &Results, address: SocketAddr) -> &AddressCounts {
        let mut all = results.generators[0].addresses.iter();
        let found = all.find(|at| at.address == address.to_string());
        found.unwrap_or_else(|| panic!("no {address}: {:?}", results.generators))
    }

    fn program() -> (Program, SocketAddr) {
        let mut server = Program::start(["serve", "--echo", "127.0.0.1:0"]);
        let address = server.wait_for_listener("echo");
        (server, address)
    }

    #[test]
    fn they_are_used_in_turn_and_one_that_dies_is_left_for_the_other() {
        let ((mut dying, first), (_other, second)) = (program(), program());
        let mut killed_at = None;
        let results = run([first, second], true, |echoed, open| {
            if killed_at.is_none() && echoed > 10 {
                dying.signal(Signal::KILL);
                dying.wait();
                killed_at = Some(echoed);
            }
            killed_at.is_none_or(|before| echoed < before + 100 || open < 10)
        });
        let [first, second] = [first, second].map(|at| counts(&results, at));
        // Its sockets are closed one after another: each that was lost may have been made
        // again before the listener was gone, and be lost once more.
        assert!((5..=10).contains(&first.connected), "{results:?}");
        assert_eq!(first.lost, first.connected, "{results:?}");
        assert_eq!((second.connected, second.lost), (10, 0), "{results:?}");
        let text = report(&results);
        let made = first.connected;
        let line = format!(" to {}: {made} connections made, ", first.address);
        assert!(text.contains(&line), "{text}");
    }

    fn report(results: &Results) -> String {
        let mut text = Vec::new();
        echopool::report::text::write(results, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn one_that_does_not_answer_at_the_start_is_no_error() {
        let (_reserved, refusing) = reserve(LOCALHOST, 0).unwrap();
        let server = Server::with_workers(1);
        for reconnect in [true, false] {
            let results = run([refusing, server.echo], reconnect, |echoed, _| echoed < 10);
            assert_eq!(results.totals.errors, Errors::default());
            assert_eq!(results.generators[0].address, server.echo.to_string());
            assert_eq!(results.generators[0].addresses.len(), 1);
            assert_eq!(counts(&results, server.echo).connected, 10);
            assert!(!report(&results).contains(" to 127.0.0.1"));
        }
    }

    #[test]
    fn without_reconnection_all_go_to_the_first_that_answers() {
        let servers = [Server::with_workers(1), Server::with_workers(1)];
        let addresses = [servers[0].echo, servers[1].echo];
        let results = run(addresses, false, |echoed, _| echoed < 10);
        assert_eq!(results.generators[0].addresses.len(), 1);
        assert_eq!(results.totals.connected, 10);
    }

    #[test]
    fn a_name_that_moves_is_followed() {
        let ((old, first), (_new, second)) = (program(), program());
        let answer = Arc::new(Mutex::new(first));
        let addresses = Addresses::resolved_by({
            let answer = Arc::clone(&answer);
            move || Ok(vec![*answer.lock().unwrap()])
        });
        let mut moved_at = None;
        let results = run(addresses.unwrap(), true, |echoed, open| {
            if moved_at.is_none() && echoed > 10 {
                *answer.lock().unwrap() = second;
                old.signal(Signal::KILL);
                moved_at = Some(echoed);
            }
            moved_at.is_none_or(|before| echoed < before + 100 || open < 10)
        });
        // One more may have been made to the first before its listener was gone.
        let first = counts(&results, first);
        assert_eq!(first.connected, first.lost, "{results:?}");
        assert!(first.connected >= 10, "{results:?}");
        assert_eq!(counts(&results, second).connected, 10, "{results:?}");
    }
}

mod hanging {
    use super::*;

    #[test]
    fn what_is_never_answered_is_in_flight_and_counted_with_its_age() {
        let server = Faulty::serve(|stream, _| swallow(&stream));
        let run = bench(server.address, "--connections 3 --depth 2 --duration 700ms");
        let totals = &run.results.totals;
        assert_eq!((totals.sent, totals.in_flight, totals.lost), (6, 6, 0));
        let service = &run.results.service.histogram;
        assert_eq!(service.len(), 6);
        let (least, most) = (service.min() / 1_000_000, service.max() / 1_000_000);
        assert!(least >= 650 && most <= 2500, "{least} to {most} ms");
    }

    #[test]
    fn what_froze_in_the_middle_is_counted_with_its_age() {
        let answered = 100;
        let server = Timed::start(64, move |number, at| (number < answered).then_some(at));
        let begun = Instant::now();
        let run = bench(server.server.address, "--connections 2 --duration 700ms");
        let most = begun.elapsed();
        let totals = &run.results.totals;
        assert_eq!((totals.echoed, totals.in_flight), (200, 2));
        let service = &run.results.service.histogram;
        assert_eq!(service.len(), 202);
        let age = Duration::from_nanos(service.max());
        assert!(age > Duration::from_millis(500) && age < most, "{age:?}");
        assert_eq!(service.count_between(500_000_000, u64::MAX), 2);
    }

    /// An echo that never answers on its second connection.
    fn deaf_to_one() -> Faulty {
        Faulty::serve(|stream, connection| match connection {
            1 => swallow(&stream),
            _ => echo(&stream),
        })
    }

    #[test]
    fn what_hangs_from_the_warm_up_on_is_counted_with_its_age() {
        for options in ["", "--rate 300"] {
            let server = deaf_to_one();
            let all = format!("--connections 3 --warmup 400ms --duration 400ms {options}");
            let run = bench(server.address, &all);
            let totals = &run.results.totals;
            assert_eq!((totals.in_flight, totals.lost), (1, 0), "{all}: {totals:?}");
            assert_accounts(&run.results);
            let hung = totals.sent_bytes - totals.echoed_bytes;
            assert_eq!(hung, 64, "{all}: {totals:?}");
            let age = Duration::from_nanos(run.results.round_trips().max().unwrap());
            assert!(age > Duration::from_millis(750), "{all}: {age:?}");
        }
    }

    #[test]
    fn what_was_due_in_the_warm_up_and_never_sent_is_counted() {
        let server = Faulty::serve(|stream, _| swallow(&stream));
        let options = "--rate 100 --warmup 500ms --duration 500ms";
        let results = bench(server.address, options).results;
        let totals = &results.totals;
        assert_eq!((totals.sent, totals.in_flight), (1, 1), "{totals:?}");
        assert_eq!(totals.unsent, 99, "{totals:?}");
        let response = results.response.as_ref().unwrap();
        assert_eq!(response.count(), 100, "{totals:?}");
    }

    #[test]
    fn what_hung_from_the_warm_up_on_and_was_given_up_is_lost() {
        let server = deaf_to_one();
        let options = "--connections 3 --warmup 300ms --duration 1s --timeout 600ms";
        let run = bench(server.address, options);
        let totals = &run.results.totals;
        assert_eq!((totals.lost, totals.errors.timed_out), (1, 1), "{totals:?}");
        assert_eq!(totals.lost_bytes, 64, "{totals:?}");
        assert_accounts(&run.results);
        let longest = Duration::from_nanos(run.results.service.max().unwrap());
        assert!(longest >= Duration::from_millis(600), "{longest:?}");
    }

    #[test]
    fn the_bytes_of_a_stream_that_hangs_from_the_warm_up_on_are_counted() {
        let server = Faulty::serve(|stream, connection| match connection {
            // It does not even read, so nothing more is sent once buffers are full.
            1 => loop {
                std::thread::park();
            },
            _ => echo(&stream),
        });
        let options = "--stream --connections 2 --warmup 500ms --duration 300ms";
        let totals = bench(server.address, options).results.totals;
        assert!(totals.sent_bytes > totals.echoed_bytes, "{totals:?}");
    }

    #[test]
    fn a_churn_that_finds_no_server_reports_an_outage() {
        let (server, count) = counting();
        let options = "--churn --rate 100 --reconnect --duration 2s";
        let program = start(server.address, options);
        let served = || count.load(Ordering::SeqCst) > 0;
        wait_until("the first message", served);
        drop(server);
        let results = end(program).results;
        assert!(results.totals.errors.refused > 0, "{results:?}");
        let refused: u64 = results.outages.iter().map(|outage| outage.refused).sum();
        assert_eq!(refused, results.totals.errors.refused, "{results:?}");
        let last = results.outages.last().unwrap();
        assert_eq!(last.length_ns, None, "{last:?}");
    }

    #[test]
    fn what_takes_longer_than_the_time_out_is_given_up() {
        let server = Faulty::serve(|stream, _| swallow(&stream));
        let options = "--connections 3 --duration 60s --timeout 300ms";
        let (begun, machine) = (Instant::now(), Machine::watch());
        let run = bench(server.address, options);
        assert!(begun.elapsed() < Duration::from_secs(4) + machine.delay());
        let totals = &run.results.totals;
        assert_eq!(totals.errors.timed_out, 3, "{totals:?}");
        assert_eq!((totals.lost, totals.lost_bytes), (3, 3 * 64), "{totals:?}");
        assert_eq!(run.code, Some(1));
        assert_accounts(&run.results);
    }

    #[test]
    fn an_open_loop_hides_nothing_that_was_due() {
        let server = Timed::start(64, |number, at| (number < 50).then_some(at));
        let options = "--rate 500 --duration 1s";
        let results = bench(server.server.address, options).results;
        let totals = &results.totals;
        assert_eq!((totals.echoed, totals.in_flight), (50, 1), "{totals:?}");
        let due = totals.sent + totals.unsent;
        assert!((499..=501).contains(&due), "{totals:?}");
        // Nine of ten messages were due and had no echo: no median can be quick.
        let response = &results.response.as_ref().unwrap().histogram;
        assert_eq!(response.len(), due, "{totals:?}");
        let median = Duration::from_nanos(response.value_at_quantile(0.5));
        assert!(median > Duration::from_millis(400), "{median:?}");
    }

    #[test]
    fn to_count_what_was_never_sent_is_not_the_servers_time() {
        let server = Server::with_workers(1);
        let machine = Machine::watch();
        let results = bench(server.echo, "--rate 100M --duration 300ms").results;
        let totals = &results.totals;
        assert_eq!(totals.sent + totals.unsent, 30_000_000, "{totals:?}");
        let longest = Duration::from_nanos(results.service.max().unwrap());
        let most = Duration::from_millis(800) + machine.delay();
        assert!(longest < most, "{longest:?}");
        server.stop();
    }

    #[test]
    fn a_server_that_does_not_accept_is_given_up_after_the_time_out() {
        let (socket, address) = reserve(LOCALHOST, 0).unwrap();
        socket.listen(0).unwrap();
        let brief = Duration::from_millis(300);
        let queued = || std::net::TcpStream::connect_timeout(&address, brief).ok();
        let _queued: Vec<_> = std::iter::from_fn(queued).collect();
        let (begun, machine) = (Instant::now(), Machine::watch());
        let ended = plain(address, "--timeout 300ms --duration 60s");
        assert!(begun.elapsed() < Duration::from_secs(4) + machine.delay());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let message = format!("could not connect to {address}: ");
        assert!(ended.stderr.contains(&message), "{ended:?}");
        assert!(ended.stderr.contains("timed out"), "{ended:?}");
    }
}

#[test]
fn one_echo_is_enough_for_any_server() {
    // Not even one of ours.
    let server = Faulty::serve(|stream, _| echo(&stream));
    assert_eq!(clean(server.address, "--count 1").totals.echoed, 1);
}

mod trusted {
    use echopool::server::Config;

    use super::*;

    /// The doubt about missing connections, in words.
    fn missing(run: &Run) -> &str {
        let mut suspicions = run.results.suspicions.iter();
        let found = suspicions.find(|at| at.kind == Doubt::ConnectionsMissing);
        &found.unwrap_or_else(|| panic!("{run:?}")).seen
    }

    #[test]
    fn connections_that_a_full_server_does_not_serve_are_reported() {
        let server = Server::start(Config {
            max_connections: Some(10),
            ..Config::default()
        });
        for options in [
            "--connections 50 --duration 1s",
            "--connections 50 --duration 1s --warmup 200ms --rate 2000",
            "--connections 50 --duration 1s --stream",
            "--connections 50 --duration 1s --threads 2",
            "--connections 50 --duration 1s --reconnect",
        ] {
            let run = bench(server.echo, options);
            let seen = missing(&run);
            assert!(
                seen.starts_with("40 of 50 connections had no echo; "),
                "{options}: {seen}"
            );
        }
        server.stop();
    }

    #[test]
    fn connections_that_were_refused_or_closed_are_counted_in_the_report() {
        for options in [
            "--duration 500ms",
            "--duration 500ms --rate 1000",
            "--duration 500ms --stream",
        ] {
            let server = Faulty::serve(|stream, connection| match connection {
                0..10 => echo(&stream),
                _ => drop(stream),
            });
            let run = bench(server.address, &format!("--connections 100 {options}"));
            let seen = missing(&run);
            let words = "90 of 100 connections had no echo; 1";
            assert!(seen.starts_with(words), "{options}: {seen}");
            let (mean, least) = run.results.connections_open().unwrap();
            assert!((9.9..30.0).contains(&mean), "{options}: {mean}");
            assert!((9.9..30.0).contains(&least), "{options}: {least}");
        }
    }

    #[test]
    fn a_connection_that_ends_in_the_midst_is_missing_from_then_on() {
        // Half of them end after their first echoes.
        let server = Faulty::serve(|stream, connection| match connection % 2 {
            0 => echo(&stream),
            _ => {
                common::faulty::echo_some(&stream, 640);
            }
        });
        let run = bench(server.address, "--connections 20 --duration 500ms");
        let seen = missing(&run);
        assert!(!seen.contains("no echo"), "{seen}");
        assert!(seen.contains(" of 20 were open on average, "), "{seen}");
    }

    #[test]
    fn connections_that_had_nothing_to_do_are_not_missed() {
        let server = Server::with_workers(1);
        for options in [
            "--connections 50 --count 7",
            "--connections 50 --rate 20 --duration 500ms",
            "--connections 50 --duration 500ms",
            "--connections 5 --stream --duration 500ms",
            "--connections 20 --churn --duration 500ms",
        ] {
            let results = clean(server.echo, options);
            let kinds: Vec<_> = results.suspicions.iter().map(|at| at.kind).collect();
            assert!(
                !kinds.contains(&Doubt::ConnectionsMissing),
                "{options}: {results:?}"
            );
        }
        server.stop();
    }

    #[test]
    fn no_message_that_came_back_whole_is_a_failure() {
        for options in [
            "--duration 300ms",
            "--count 20",
            "--churn --count 20",
            "--rate 100 --count 20",
        ] {
            // Half of each message comes back.
            let server = Faulty::serve(|stream, _| {
                common::faulty::echo_some(&stream, 32);
            });
            let run = bench(
                server.address,
                &format!("--reconnect --connections 2 {options}"),
            );
            assert_eq!(run.results.totals.echoed, 0, "{run:?}");
            assert!(run.results.totals.echoed_bytes > 0, "{run:?}");
            assert_eq!(run.code, Some(1), "{options}: {run:?}");
            assert!(
                run.stderr.contains("messages came back whole"),
                "{}",
                run.stderr
            );
        }
    }

    #[test]
    fn a_hopeless_schedule_counts_what_was_sent_and_echoed() {
        // A message of one connection takes a millisecond.
        let slow = || {
            Faulty::serve(|stream, _| {
                let mut stream = stream;
                let mut message = [0; 64];
                while stream.read_exact(&mut message).is_ok() {
                    std::thread::sleep(Duration::from_millis(1));
                    if std::io::Write::write_all(&mut stream, &message).is_err() {
                        return;
                    }
                }
            })
        };
        for options in ["", "--churn", "--threads 2 --connections 2", "--depth 4"] {
            let server = slow();
            let all = format!("--rate 50k --warmup 400ms --duration 400ms {options}");
            let run = bench(server.address, &all);
            let totals = &run.results.totals;
            assert!(totals.echoed > 0, "{options}: {run:?}");
            let in_all = totals.echoed + totals.in_flight + totals.lost;
            assert_eq!(totals.sent, in_all, "{options}: {totals:?}");
            assert_eq!(run.results.service.count(), totals.sent, "{options}");
            let response = run.results.response.as_ref().unwrap();
            assert_eq!(response.count(), totals.sent + totals.unsent, "{options}");
            assert_eq!(totals.sent_bytes, totals.sent * 64, "{options}");
            assert_eq!(totals.echoed_bytes, totals.echoed * 64, "{options}");
            let mut doubts = run.results.suspicions.iter();
            let missed = doubts.find(|at| at.kind == Doubt::ScheduleMissed).unwrap();
            assert!(
                missed.seen.contains("could not be sent before the end"),
                "{missed:?}"
            );
            assert_eq!(run.code, Some(0), "{options}: {run:?}");
            let expected = bench(server.address, &format!("{all} --expect p50<1ms"));
            assert_eq!(expected.code, Some(3), "{options}: {expected:?}");
        }
    }

    #[test]
    fn a_count_behind_a_hopeless_warm_up_is_exact() {
        let server = Server::with_workers(1);
        for options in [
            "",
            "--depth 3 --connections 2",
            "--threads 2 --connections 2",
        ] {
            let all = format!("--rate 1M --warmup 200ms --count 300 {options}");
            let totals = bench(server.echo, &all).results.totals;
            assert_eq!(
                (totals.sent, totals.echoed),
                (300, 300),
                "{options}: {totals:?}"
            );
            assert_eq!(totals.sent_bytes, 300 * 64, "{options}");
        }
        server.stop();
    }

    #[test]
    fn a_rate_that_can_not_hold_ends_the_search_soon() {
        let server = Server::with_workers(1);
        let run = bench(server.echo, "--find-rate p99<1ns --duration 200ms");
        assert_eq!(run.code, Some(3), "{run:?}");
        let search = &run.results.search;
        assert!(search.len() <= 8, "{search:?}");
        let end = run.results.search_end.unwrap();
        assert!(end.starts_with("no rate holds: "), "{end}");
        assert!(
            search
                .iter()
                .all(|trial| trial.condition_held == Some(false))
        );
        server.stop();
    }

    /// As a reader has a number that keeps all of them as doubles.
    fn as_double(json: &[u8], pointer: &str) -> u64 {
        let value: serde_json::Value = serde_json::from_slice(json).unwrap();
        value.pointer(pointer).unwrap().as_f64().unwrap() as u64
    }

    #[test]
    fn seeds_and_times_are_exact_in_a_reader_with_doubles() {
        let server = Server::with_workers(1);
        for options in [
            "",
            "--seed 9007199254740991",
            "--timeout 300days --warmup 1ms",
        ] {
            let ended = plain(
                server.echo,
                &format!("--count 2 --quiet --json - {options}"),
            );
            assert_eq!(ended.code, Some(0), "{ended:?}");
            let text = String::from_utf8(ended.stdout.clone()).unwrap();
            for pointer in ["/plan/seed", "/plan/timeout_ns", "/plan/warmup_ns"] {
                let seen = as_double(&ended.stdout, pointer);
                assert!(
                    text.contains(&format!(": {seen}")),
                    "{pointer} {seen}: {text}"
                );
            }
        }
        for refused in ["--seed 9007199254740992", "--count 9007199254740992"] {
            let ended = plain(server.echo, refused);
            assert_eq!(ended.code, Some(2), "{ended:?}");
            assert!(ended.stderr.contains("9,007,199,254,740,991"), "{ended:?}");
        }
        server.stop();
    }
}

/// What takes long before or between the seconds of a run says what it is and how far.
mod steps {
    use echopool::bench::results::Results;
    use rexpect::session::{PtySession, spawn_command};

    use super::*;

    /// A listener that completes one connection and whose queue is full then.
    fn full() -> (socket2::Socket, SocketAddr) {
        let (socket, address) = reserve(IpAddr::V4(Ipv4Addr::LOCALHOST), 0).unwrap();
        socket.listen(0).unwrap();
        (socket, address)
    }

    /// The program on a terminal, whose every byte can be waited for.
    fn on_terminal(arguments: &str) -> PtySession {
        let mut command = Command::new("sh");
        let script = "stty rows 24 cols 80; exec \"$0\" \"$@\"";
        command.args(["-c", script, env!("CARGO_BIN_EXE_echopool")]);
        command
            .args(arguments.split_whitespace())
            .env("TERM", "xterm");
        let deadline = common::DEADLINE.as_millis().try_into().unwrap();
        spawn_command(command, Some(deadline)).unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn connecting_has_a_line_a_second_with_how_many_are_made() {
        let (_socket, address) = full();
        let ended = plain(address, "-c 3 --timeout 2500ms -d 100ms --warmup 0");
        let lines = ended.stderr.lines();
        let lines: Vec<_> = lines
            .filter(|line| line.starts_with("connecting: "))
            .collect();
        assert_eq!(lines[0], "connecting: 1 of 3 connections", "{ended:?}");
        let quiet = plain(address, "-c 3 --timeout 1500ms -d 100ms --warmup 0 -q");
        assert!(!quiet.stderr.contains("connecting"), "{quiet:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_server_without_an_answer_is_named_while_it_is_awaited() {
        let (_socket, address) = full();
        let _queued = std::net::TcpStream::connect(address).unwrap();
        let ended = plain(address, "--timeout 2500ms");
        assert_eq!(ended.code, Some(1));
        let first = ended.stderr.lines().next().unwrap();
        let begin = format!("connecting: no answer from {address} for 1.");
        assert!(first.starts_with(&begin), "{ended:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn on_a_terminal_the_line_is_redrawn_and_erased() {
        let (_socket, address) = full();
        let mut session = on_terminal(&format!("bench {address} -c 3 --timeout 2s -d 1s"));
        for _ in 0..2 {
            let line = "\rconnecting: 1 of 3 connections\x1b[K";
            session.exp_string(line).unwrap();
        }
        session.exp_string("\r\x1b[K").unwrap();
        // The view, and then the report.
        session.exp_string("warming up").unwrap();
        session.exp_string("connections").unwrap();
        session.exp_eof().unwrap();
    }

    #[test]
    fn each_step_of_a_search_names_its_rate_and_what_is_known() {
        let server = Server::with_workers(1);
        let ended = plain(
            server.echo,
            "--find-rate p50<10s -d 100ms --warmup 0 --json -",
        );
        let steps = ended
            .stderr
            .lines()
            .filter(|line| line.starts_with("step "));
        let steps: Vec<_> = steps.collect();
        assert_eq!(
            steps[0],
            "step 1: as fast as replies come, for a first rate"
        );
        let results: Results = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(steps.len(), results.search.len() + 1, "{steps:#?}");
        assert!(steps[1].starts_with("step 2: "), "{steps:#?}");
        assert!(
            steps[1].ends_with("; no rate was tried so far"),
            "{steps:#?}"
        );
        let bisects = |step: &&&str| step.contains(" held, ") && step.contains(" to go");
        assert!(steps.iter().any(|step| bisects(&step)), "{steps:#?}");
        server.stop();
    }

    #[test]
    fn on_a_terminal_the_view_shows_the_step() {
        let server = Server::with_workers(1);
        let options = "--find-rate p50<10s -d 300ms --warmup 0";
        let mut session = on_terminal(&format!("bench {} {options}", server.echo));
        session
            .exp_string("step 1: as fast as replies come")
            .unwrap();
        session.exp_string("step 2: ").unwrap();
        session.exp_string("; no rate was tried so far").unwrap();
        session.exp_string("step 3: ").unwrap();
        session.send_control('c').unwrap();
        session.exp_eof().unwrap();
        server.stop();
    }
}
