//! `echopool bench --udp`, against good echoes and bad ones.
#![cfg(unix)]

mod common;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use common::datagrams::{
    answering_elsewhere, changing, delayed, doubling, echo, peer, refusing, serve, socket, swapping,
};
#[cfg(target_os = "linux")]
use common::datagrams::{refusing_with_few_bytes, with_wrong_checksums};
use common::load::{Run, assert_accounts, bench, doubts, end, start};
use common::{DEADLINE, Program, finish};
use echopool::bench::datagram_counts::{DatagramCounts, Datagrams};
use echopool::bench::plan::Load;
use echopool::bench::results::{Doubt, Errors, Suspicion, Trial};
use rustix::process::Signal;

fn datagrams(run: &Run) -> &Datagrams {
    run.results.datagrams.as_ref().expect("the load is of them")
}

/// Loses each tenth.
fn losing_every_tenth() -> SocketAddr {
    peer(|got| {
        if got.number % 10 != 9 {
            got.echo();
        }
    })
}

mod counts {
    use super::*;

    #[test]
    fn a_healthy_echo_has_all_back_once_in_order_and_verified() {
        let run = bench(echo(), "--udp --connections 3 --rate 3k --count 300");
        assert_eq!(run.code, Some(0), "{run:?}");
        let (results, datagrams) = (&run.results, datagrams(&run));
        assert_accounts(results);
        assert_eq!(results.totals.errors, Errors::default());
        assert_eq!((results.totals.sent, results.totals.echoed), (300, 300));
        assert_eq!(
            (results.totals.connected, results.plan.load),
            (0, Load::Datagrams)
        );
        let want = DatagramCounts {
            sent: 300,
            dropped_here: datagrams.counts.dropped_here,
            ..DatagramCounts::default()
        };
        assert_eq!(
            (datagrams.counts, datagrams.loss_fraction),
            (want, Some(0.0))
        );
        #[cfg(target_os = "linux")]
        assert_eq!(want.dropped_here, Some(0));
        assert_eq!((datagrams.losing_flows, datagrams.silent_flows), (0, 0));
        let of_flow = |flow: usize| {
            (
                datagrams.flows[flow].echoed,
                datagrams.flows[flow].counts.sent,
            )
        };
        assert_eq!([0, 1, 2].map(of_flow), [(100, 100); 3]);
        let response = results.response.as_ref().unwrap();
        assert_eq!((response.count(), results.service.count()), (300, 300));
        assert!(response.max() >= results.service.max());
        let seconds = results
            .timeline
            .iter()
            .filter_map(|second| second.datagrams);
        assert_eq!(seconds.map(|second| second.sent).sum::<u64>(), 300);
    }

    #[test]
    fn sizes_are_all_that_a_datagram_can_have() {
        // One at a time: the peer's queue holds few of the largest.
        for size in ["8..1400", "1", "65507"] {
            let options =
                format!("--udp --size {size} --rate 200 --count 40 --depth 1 --timeout 10s");
            let run = bench(echo(), &options);
            assert_eq!(run.code, Some(0), "{run:?}");
            let totals = &run.results.totals;
            assert_eq!(
                (totals.echoed, totals.echoed_bytes),
                (40, totals.sent_bytes),
                "{size}"
            );
        }
    }

    #[test]
    fn datagrams_of_a_byte_are_told_apart_however_long_they_are_under_way() {
        let time = Duration::from_millis(300);
        let run = bench(
            delayed(time),
            "--udp --size 1 --rate 1k --count 600 --timeout 20s",
        );
        assert_eq!(run.code, Some(0), "{run:?}");
        let (results, counts) = (&run.results, datagrams(&run).counts);
        assert_eq!(results.plan.depth, 256);
        assert_eq!((results.totals.echoed, results.totals.lost), (600, 0));
        assert_eq!((counts.duplicates, counts.reordered), (0, 0));
        // A histogram's values are rounded.
        let least = Duration::from_nanos(results.service.min().unwrap());
        assert!(least > time.mul_f64(0.99), "{least:?}");
    }

    #[test]
    fn an_echo_of_few_bytes_is_that_of_a_datagram_of_as_many() {
        let run = bench(
            delayed(Duration::from_millis(300)),
            "--udp --size 1..16 --rate 2k --count 1200 --timeout 20s",
        );
        assert_eq!(run.code, Some(0), "{run:?}");
        let totals = &run.results.totals;
        assert_eq!((totals.echoed, totals.errors.foreign), (1200, 0));
    }

    #[test]
    fn one_in_ten_is_lost_and_has_the_time_out_in_the_response_times() {
        let run = bench(
            losing_every_tenth(),
            "--udp --rate 1k --count 200 --timeout 1500ms",
        );
        assert_eq!(run.code, Some(0), "{run:?}");
        let (results, datagrams) = (&run.results, datagrams(&run));
        assert_eq!((results.totals.lost, results.totals.echoed), (20, 180));
        assert_eq!(datagrams.loss_fraction, Some(0.1));
        assert_eq!((datagrams.counts.lost, datagrams.counts.late), (20, 0));
        let response = results.response.as_ref().unwrap();
        assert_eq!((response.count(), results.service.count()), (200, 180));
        let timeout = 1_500_000_000;
        assert_eq!(
            response
                .histogram
                .count_between(timeout * 999 / 1000, u64::MAX),
            20
        );
        // It belongs to the second in which it was sent, though it is known to be lost later.
        let seconds = results
            .timeline
            .iter()
            .filter_map(|second| second.datagrams);
        let lost: Vec<_> = seconds.map(|second| (second.sent, second.lost)).collect();
        assert_eq!(lost[0], (200, 20), "{lost:?}");
        assert!(
            results.elapsed_ns < timeout,
            "the wait for the last one is no part of the run"
        );
    }

    #[test]
    fn copies_and_reordered_ones_are_counted_and_no_error() {
        let run = bench(doubling(), "--udp --rate 1k --count 200");
        assert_eq!(run.code, Some(0), "{run:?}");
        assert_eq!(datagrams(&run).counts.duplicates, 200);
        assert_eq!(run.results.totals.lost, 0);
        let run = bench(swapping(), "--udp --rate 1k --count 200 --timeout 10s");
        assert_eq!(run.code, Some(0), "{run:?}");
        let counts = datagrams(&run).counts;
        assert_eq!(
            (counts.reordered, counts.duplicates, counts.lost),
            (100, 0, 0)
        );
    }

    #[test]
    fn a_late_one_is_late_and_not_the_echo_of_another() {
        let mut held = VecDeque::new();
        let slow = peer(move |got| {
            if got.number < 10 {
                held.push_back(got.bytes.to_vec());
                return;
            }
            got.echo();
            // One and a half second later.
            if got.number >= 75
                && let Some(first) = held.pop_front()
            {
                got.answer(&first);
            }
        });
        let run = bench(slow, "--udp --rate 50 --count 100 --timeout 1s");
        assert_eq!(run.code, Some(0), "{run:?}");
        let counts = datagrams(&run).counts;
        assert_eq!((counts.lost, counts.late, counts.duplicates), (10, 10, 0));
        assert_eq!((run.results.totals.echoed, counts.reordered), (90, 0));
    }

    #[test]
    fn one_that_comes_late_at_the_end_is_late_and_a_failure_says_so() {
        let slow = delayed(Duration::from_millis(1300));
        let run = bench(slow, "--udp --rate 50 --count 3 --timeout 1s");
        assert_eq!(run.code, Some(1), "{run:?}");
        let counts = datagrams(&run).counts;
        assert_eq!((counts.lost, counts.late), (3, 3), "{run:?}");
        let words = "3 came later: choose a longer --timeout";
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }

    #[test]
    fn a_changed_byte_is_damage_and_its_place_is_told() {
        let run = bench(changing(40), "--udp --rate 1k --count 50");
        assert_eq!(run.code, Some(1), "{run:?}");
        assert_eq!(
            (run.results.totals.errors.changed, run.results.totals.lost),
            (50, 0)
        );
        assert!(
            run.results.examples[0].contains("datagram 1: byte 40: "),
            "{run:?}"
        );
    }

    #[test]
    fn a_rare_cause_has_an_example_among_many_of_another() {
        let other = socket();
        let from = other.local_addr().unwrap();
        let damaging = peer(move |got| match got.number {
            0..40 => got.answer(&got.changed(40)),
            40..60 => got.answer(b"nothing that was sent"),
            60..80 => drop(other.send_to(got.bytes, got.from)),
            _ => got.echo(),
        });
        let run = bench(damaging, "--udp --rate 1k --count 100 --timeout 500ms");
        assert_eq!(run.code, Some(1), "{run:?}");
        let examples = &run.results.examples;
        let number = |words: &str| examples.iter().filter(|it| it.contains(words)).count();
        let stranger = format!("{from} answered, and {damaging} was asked");
        assert_eq!(number("nothing that was sent from this port"), 1, "{run:?}");
        assert_eq!(number(&stranger), 1, "{run:?}");
        assert_eq!((number("byte 40"), examples.len()), (8, 10), "{run:?}");
    }

    #[test]
    fn flows_whose_echoes_are_changed_are_not_silent_and_lose_nothing() {
        let mut flows = Vec::new();
        let damaging = peer(move |got| {
            if !flows.contains(&got.from) {
                flows.push(got.from);
            }
            match flows.iter().position(|from| *from == got.from) {
                Some(0 | 2) => got.answer(&got.changed(40)),
                _ => got.echo(),
            }
        });
        let run = bench(
            damaging,
            "--udp --connections 4 --rate 1k --count 100 --timeout 1500ms",
        );
        assert_eq!(run.code, Some(1), "{run:?}");
        let (results, datagrams) = (&run.results, datagrams(&run));
        assert_eq!((results.totals.lost, results.totals.echoed), (0, 50));
        assert_eq!(results.totals.errors.changed, 50);
        assert_eq!((datagrams.silent_flows, datagrams.losing_flows), (0, 0));
        assert!(!doubts(results, Doubt::ConnectionsMissing), "{run:?}");
        let changed: Vec<_> = datagrams.flows.iter().map(|it| it.counts.changed).collect();
        assert_eq!(changed, [25, 25, 0, 0]);
        for flow in &datagrams.flows {
            let accounted = flow.echoed + flow.counts.lost + flow.counts.changed;
            assert_eq!(flow.counts.sent, accounted, "{flow:?}");
        }
        let seconds = results.timeline.iter().filter_map(|it| it.datagrams);
        assert_eq!(seconds.map(|second| second.changed).sum::<u64>(), 50);
        // No percentile is better for it.
        let response = results.response.as_ref().unwrap();
        assert_eq!(response.count(), 100);
        let given_up = response.histogram.count_between(1_498_000_000, u64::MAX);
        assert_eq!(given_up, 50);
    }

    #[test]
    fn what_goes_wrong_in_the_warm_up_is_told_apart_and_damage_is_a_failure() {
        let early = peer(|got| match got.number {
            0..20 => got.answer(&got.changed(40)),
            20..30 => {
                got.echo();
                got.answer(b"nothing that was sent");
            }
            _ => got.echo(),
        });
        let run = bench(
            early,
            "--udp --rate 200 --warmup 1s --count 50 --timeout 10s --expect errors=0",
        );
        assert_eq!(run.code, Some(1), "{run:?}");
        let results = &run.results;
        assert_eq!(results.totals.errors, Errors::default());
        assert!(results.expectations[0].held, "{run:?}");
        assert_accounts(results);
        assert_eq!(results.totals.echoed, 50);
        let want = Errors {
            changed: 20,
            foreign: 10,
            ..Errors::default()
        };
        assert_eq!(results.warmup_errors, want);
        let in_warmup = results.timeline.iter().filter(|second| second.start_ns < 0);
        assert_eq!(in_warmup.map(|second| second.errors).sum::<u64>(), 30);
    }

    #[test]
    fn an_icmp_error_of_the_warm_up_is_told_apart() {
        let (_socket, nobody) = refusing();
        let run = bench(
            nobody,
            "--udp --rate 100 --warmup 500ms --count 10 --timeout 1s",
        );
        let results = &run.results;
        assert_eq!(results.totals.lost, 10, "{run:?}");
        assert_eq!(results.totals.errors.refused, 10, "{run:?}");
        assert!(results.warmup_errors.refused > 0, "{run:?}");
    }

    #[test]
    fn an_answer_from_another_address_is_foreign_and_both_are_named() {
        let (asked, from) = answering_elsewhere();
        let run = bench(asked, "--udp --rate 1k --count 20 --timeout 500ms");
        assert_eq!(run.code, Some(1), "{run:?}");
        assert_eq!(
            (run.results.totals.errors.foreign, run.results.totals.lost),
            (20, 20)
        );
        let words = format!("{from} answered, and {asked} was asked");
        assert!(run.results.examples[0].contains(&words), "{run:?}");
    }

    #[test]
    fn a_depth_bounds_what_is_in_flight_on_each_flow() {
        let (first, mut flows) = (Instant::now(), Vec::new());
        let slow = peer(move |got| {
            // The second of a flow comes after the echo of its first alone.
            let number = flows.iter().filter(|from| **from == got.from).count();
            flows.push(got.from);
            if number == 0 {
                std::thread::sleep(Duration::from_millis(50));
                assert!(first.elapsed() < DEADLINE);
            }
            got.echo();
        });
        let run = bench(
            slow,
            "--udp --depth 1 --connections 2 --rate 2k --count 40 --timeout 10s",
        );
        assert_eq!(run.code, Some(0), "{run:?}");
        let results = &run.results;
        assert_eq!(results.totals.echoed, 40);
        // All were due in 20 ms, and waited for their turn: no service time has that, response
        // times do.
        let response = results.response.as_ref().unwrap();
        let median = |at: &echopool::probe::latency::Latency| at.percentile(50.0).unwrap();
        assert!(median(response) > 30_000_000, "{}", median(response));
        assert!(median(response) > median(&results.service));
    }
}

mod silence {
    use super::*;

    #[test]
    fn nothing_back_is_a_failure_that_says_so() {
        let run = bench(peer(|_| ()), "--udp --rate 100 --count 20 --timeout 300ms");
        assert_eq!(run.code, Some(1), "{run:?}");
        assert_eq!(
            (run.results.totals.lost, datagrams(&run).counts.refused),
            (20, 0)
        );
        assert!(
            run.stderr.contains("none of 20 datagrams came back"),
            "{run:?}"
        );
    }

    #[test]
    fn a_port_that_nobody_has_is_told_apart_from_silence() {
        let (_socket, nobody) = refusing();
        let run = bench(nobody, "--udp --rate 200 --count 20 --timeout 5s");
        assert_eq!(run.code, Some(1), "{run:?}");
        let counts = datagrams(&run).counts;
        assert_eq!((counts.lost, counts.refused), (20, 20));
        assert_eq!(run.results.totals.errors.refused, 20);
        assert!(run.stderr.contains("ICMP port unreachable"), "{run:?}");
        // The percentiles are not better for it.
        assert!(run.results.response.unwrap().min() >= Some(4_990_000_000));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn refusals_that_name_no_datagram_are_counted_and_told() {
        // More than one is awaited when it comes.
        let Some(refusing) = refusing_with_few_bytes(3) else {
            return;
        };
        let run = bench(refusing, "--udp --rate 1k --count 50 --timeout 2s");
        assert_eq!(run.code, Some(1), "{run:?}");
        let counts = datagrams(&run).counts;
        assert_eq!(counts.lost, 50);
        assert_eq!((counts.refused, counts.unnamed_errors), (0, 47));
        assert_eq!(run.results.totals.errors.refused, 47);
        assert!(run.stderr.contains("ICMP port unreachable"), "{run:?}");
    }

    #[test]
    fn flows_without_an_echo_are_doubted_with_their_number() {
        let mut flows = Vec::new();
        let partial = peer(move |got| {
            if !flows.contains(&got.from) {
                flows.push(got.from);
            }
            if flows.iter().position(|from| *from == got.from) > Some(1) {
                got.echo();
            }
        });
        let run = bench(
            partial,
            "--udp --connections 5 --rate 500 --count 50 --timeout 500ms",
        );
        assert_eq!(run.code, Some(0), "{run:?}");
        assert_eq!(
            (datagrams(&run).silent_flows, datagrams(&run).losing_flows),
            (2, 2)
        );
        assert!(doubts(&run.results, Doubt::ConnectionsMissing), "{run:?}");
        let seen = |suspicion: &Suspicion| suspicion.seen.clone();
        let seen: Vec<_> = run.results.suspicions.iter().map(seen).collect();
        assert!(
            seen.contains(&String::from("2 of 5 flows had no echo")),
            "{seen:?}"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_wrong_checksum_is_no_lack_of_room() {
        let Some(damaging) = with_wrong_checksums() else {
            return;
        };
        let run = bench(
            damaging,
            "--udp --size 100 --rate 500 --count 50 --timeout 300ms",
        );
        assert_eq!(run.code, Some(1), "{run:?}");
        let counts = datagrams(&run).counts;
        assert_eq!((counts.lost, counts.dropped_here), (50, Some(50)));
        assert_eq!(counts.wrong_checksums, Some(50));
        assert!(!doubts(&run.results, Doubt::DroppedHere), "{run:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_our_own_socket_dropped_is_no_loss_of_the_path() {
        // While the program is stopped, more comes than its socket holds.
        let (sender, asked) = channel();
        let (go, goes) = channel();
        let (flooded, all_sent) = channel();
        let flooding = peer(move |got| {
            got.echo();
            if got.number == 20 {
                sender.send(()).unwrap();
                goes.recv_timeout(DEADLINE).unwrap();
                for _ in 0..40_000 {
                    got.echo();
                }
                flooded.send(()).unwrap();
            }
        });
        let program = start(flooding, "--udp --rate 100 --count 100 --timeout 10s");
        asked.recv_timeout(DEADLINE).unwrap();
        program.signal(Signal::STOP);
        go.send(()).unwrap();
        all_sent.recv_timeout(DEADLINE).unwrap();
        program.signal(Signal::CONT);
        let run = end(program);
        assert_eq!(run.code, Some(0), "{run:?}");
        let counts = datagrams(&run).counts;
        assert!(counts.dropped_here > Some(0), "{counts:?}");
        assert!(counts.duplicates > 0, "{counts:?}");
        assert!(doubts(&run.results, Doubt::DroppedHere), "{run:?}");
    }
}

mod conditions {
    use super::*;

    #[test]
    fn loss_order_and_copies_can_be_expected() {
        for (condition, code) in [
            ("loss<1%", 3),
            ("loss<=10%", 0),
            ("lost=20", 0),
            ("lost<5%", 3),
            ("reordered=0", 0),
            ("duplicates=0", 0),
            ("duplicates>0.5%", 3),
            ("not_sent=0", 0),
        ] {
            let options = format!("--udp --rate 1k --count 200 --timeout 1s --expect {condition}");
            let run = bench(losing_every_tenth(), &options);
            assert_eq!(run.code, Some(code), "{condition}: {run:?}");
            let expectation = &run.results.expectations[0];
            assert_eq!(expectation.held, code == 0, "{expectation:?}");
            if condition.starts_with("loss") {
                assert_eq!(expectation.seen, "10.0 %");
            }
        }
    }

    #[test]
    fn a_search_finds_the_rate_that_a_limited_echo_carries() {
        // A bucket of 50 that 500 a second drip into.
        let (mut tokens, mut at) = (50.0, Instant::now());
        let limited = peer(move |got| {
            let now = Instant::now();
            tokens = f64::min(tokens + (now - at).as_secs_f64() * 500.0, 50.0);
            at = now;
            if tokens >= 1.0 {
                tokens -= 1.0;
                got.echo();
            }
        });
        let options = "--udp --connections 4 --duration 600ms --timeout 300ms --find-rate loss<20%";
        let run = bench(limited, options);
        assert_eq!(run.code, Some(0), "{run:?}");
        let results = &run.results;
        assert!(
            results.search.iter().any(|trial| trial.held),
            "{:?}",
            results.search
        );
        // Where the machine is held by others, lower rates fail for that.
        let kept = |trial: &Trial| trial.schedule_kept == Some(true);
        if results.search.iter().all(kept) {
            let failed = |trial: &Trial| trial.condition_held == Some(false);
            assert!(results.search.iter().any(failed), "{:?}", results.search);
            let rate = results.plan.rate_per_s.unwrap();
            // The bucket's first fill allows some more.
            assert!((100.0..1200.0).contains(&rate), "{:?}", results.search);
        }
    }

    #[test]
    fn a_search_ends_where_every_rate_loses() {
        let run = bench(
            losing_every_tenth(),
            "--udp --duration 300ms --timeout 300ms --find-rate loss<5%",
        );
        assert_eq!(run.code, Some(3), "{run:?}");
        assert!(run.results.search.iter().all(|trial| !trial.held));
        let end = run.results.search_end.unwrap();
        assert!(end.starts_with("no rate holds"), "{end}");
    }
}

mod usage {
    use super::*;

    #[test]
    fn what_only_connections_have_is_refused_with_the_reason() {
        for (line, words) in [
            ("--udp --reconnect", "--reconnect is for TCP"),
            ("--udp --churn", "--churn is for TCP"),
            ("--udp --stream", "--stream is for TCP"),
            ("--udp --size 65508", "at most 65,507 bytes"),
            ("--udp --size 1 --depth 257", "--depth of 256 at the most"),
            ("--udp --size 2..64 --depth 65537", "--depth of 65,536"),
            ("--arrivals poisson", "--udp"),
            ("--expect loss<1 --udp", "such as 1%"),
        ] {
            let all = format!("bench 127.0.0.1:9 {line}");
            let ended = finish(all.split(' '), "");
            assert_eq!(ended.code, Some(2), "{line}: {ended:?}");
            assert!(ended.stderr.contains(words), "{line}: {ended:?}");
        }
    }

    #[test]
    fn too_few_descriptors_are_named_with_what_to_do() {
        let mut command = Command::new("sh");
        let script = "ulimit -n 30; exec \"$0\" bench --udp --connections 50 \"$1\"";
        let server = echo().to_string();
        command.args(["-c", script, env!("CARGO_BIN_EXE_echopool"), &server]);
        command.stdout(Stdio::piped());
        let ended = common::end(Program::spawn(command));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let words = "too many open files, each flow has two: raise their limit (ulimit -n), or ask \
                     for fewer --connections";
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }

    #[test]
    fn the_text_has_what_became_of_the_datagrams_and_nothing_of_connections() {
        let server = losing_every_tenth().to_string();
        let options = "--udp -c 4 -r 1k -n 200 --warmup 0s --timeout 1s";
        let all = format!("bench {server} {options}");
        let ended = finish(all.split(' '), "");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let text = String::from_utf8(ended.stdout).unwrap();
        for words in [
            "UDP, 4 flows, datagrams of 64 B, 1 thread, seed ",
            "180 of 200 datagrams sent",
            " lost                  20 (10.0 %)\n",
            " duplicates            0\n",
            " reordered             0\n",
            " of 4 flows lost some; most of all 127.0.0.1:",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains("connect") && !text.contains("TCP"), "{text}");
    }

    #[test]
    fn without_a_rate_it_is_a_modest_one() {
        let run = bench(echo(), "--udp --count 20");
        assert_eq!(run.results.plan.rate_per_s, Some(1000.0));
        assert_eq!(run.results.plan.timeout, Duration::from_secs(1));
    }

    #[test]
    fn an_interrupt_ends_it_with_a_report_of_what_was() {
        let (sender, got) = channel();
        let program = start(
            serve(socket(), move |got| {
                let _ = sender.send(());
                got.echo();
            }),
            "--udp --rate 100 --duration 60s",
        );
        got.recv_timeout(DEADLINE).unwrap();
        program.signal(Signal::INT);
        let run = end(program);
        assert_eq!(run.code, Some(130), "{run:?}");
        assert!(run.results.interrupted && run.results.elapsed_ns < 60_000_000_000);
        assert_accounts(&run.results);
    }

    #[test]
    fn an_interrupt_in_the_last_wait_ends_it_with_what_is_in_flight() {
        let (sender, got) = channel();
        let program = start(
            serve(socket(), move |got| {
                if got.number < 3 {
                    got.echo();
                }
                let _ = sender.send(());
            }),
            "--udp --rate 100 --count 5 --timeout 1h",
        );
        (0..5).for_each(|_| got.recv_timeout(DEADLINE).unwrap());
        program.signal(Signal::INT);
        let run = end(program);
        assert_eq!(run.code, Some(130), "{run:?}");
        let totals = &run.results.totals;
        let of_sent = (totals.echoed, totals.in_flight, totals.lost);
        assert_eq!((totals.sent, of_sent), (5, (3, 2, 0)), "{totals:?}");
    }
}
