//! Results told: read, shown, compared, merged and drawn.
#![cfg(unix)]

mod common;

use std::path::{Path, PathBuf};

use common::results::{
    MS, US, barren, churned, closed, datagrams, eventful, expectation, latency, searched, streamed,
    suspicion,
};
use common::{Ended, finish};
use echopool::bench::results::{Doubt, Results};
use echopool::report::{Run, compare, csv, html, merge, read, text};

/// Every kind of run.
fn all() -> [(&'static str, Results); 7] {
    [
        ("closed", closed("a")),
        ("eventful", eventful("a")),
        ("searched", searched()),
        ("churned", churned()),
        ("streamed", streamed()),
        ("datagrams", datagrams("a")),
        ("barren", barren()),
    ]
}

fn run(name: &str, results: Results) -> Run {
    Run {
        name: name.to_owned(),
        results,
    }
}

fn written(write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut text = Vec::new();
    write(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn json(results: &Results) -> String {
    serde_json::to_string_pretty(results).unwrap()
}

/// Results in a file of a folder that is gone when the test ends.
fn save(folder: &Path, name: &str, results: &Results) -> String {
    let path = folder.join(name);
    std::fs::write(&path, json(results)).unwrap();
    path.into_os_string().into_string().unwrap()
}

fn report(arguments: &[&str]) -> Ended {
    finish(std::iter::once(&"report").chain(arguments), "")
}

#[track_caller]
fn assert_success(ended: &Ended) -> String {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.is_empty(), "{ended:?}");
    String::from_utf8(ended.stdout.clone()).unwrap()
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

mod in_text {
    use super::*;

    fn of(results: &Results) -> String {
        written(|to| text::write(results, to))
    }

    #[test]
    fn a_closed_loop_says_so_and_that_it_hides_stalls() {
        let text = of(&closed("a"));
        assert_has(
            &text,
            &[
                "echopool 0.1.0 on a (Linux 6.18, 2 CPUs) against 127.0.0.1:20162",
                "50 connections, messages of 64 B, 1 in flight on each, 1 thread, seed 7",
                "Closed loop: a new message waits for a reply, so latency hides stalls: use --rate",
                "round trips           1,000/s",
                "throughput            64.0 kB/s",
                "10,000 of 10,050 messages sent, in 10.0 s",
                "in flight at the end  50",
            ],
        );
        for word in ["SUSPECT", "Errors", "Outages", "response", "lateness"] {
            assert!(!text.contains(word), "{word} in\n{text}");
        }
    }

    #[test]
    fn an_open_loop_shows_its_times_side_by_side() {
        let text = of(&eventful("a"));
        assert_has(&text, &["Open loop: 1,000/s at random (Poisson)"]);
        let mut lines = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let header = [
            "round", "trip", "response", "service", "lateness", "connect",
        ];
        assert!(lines.any(|words| words == header), "{text}");
        let rows: Vec<_> = lines.collect();
        let row = |name: &str| {
            rows.iter()
                .find(|words| words.first() == Some(&name))
                .unwrap()
        };
        assert_eq!(row("p99")[3..5], ["119", "us"], "{text}");
        assert_eq!(row("p99.9")[3..6], ["120", "us", "3.00"], "{text}");
        assert_eq!(
            row("p99.9").last(),
            Some(&"–"),
            "50 connects don't tell p99.9"
        );
        assert_eq!(row("max")[1..5], ["240", "ms", "5.00", "ms"], "{text}");
        assert_eq!(row("samples")[1..], ["11,000", "10,000", "10,000", "50"]);
        assert!(!text.contains("p99.99"), "nothing supports it:\n{text}");
    }

    #[test]
    fn what_went_wrong_is_set_off() {
        assert_has(
            &of(&eventful("a")),
            &[
                "lost                  3\n",
                "due and not sent      2\n",
                "\nErrors\n refused               4\n reset                 2\n changed               1\n",
                " for instance: connection 3, byte 4,711: 0x41 came instead of 0x42\n",
                "\nOutages\n at 4.750 s: recovered after 750 ms; 2 connections lost (2 reset, 0 \
                 closed), 4 attempts refused, 192 bytes lost\n",
                " at 9.500 s: not recovered by the end; 1 connection lost",
                "\nSUSPECT: Nagle's algorithm met delayed ACKs: 9 % of the round trips took 40 to \
                 44 ms\n         set TCP_NODELAY in the server\n",
                "\nPASS p50<1ms: 70.0 us\nFAIL errors=0: 7\n",
            ],
        );
    }

    #[test]
    fn what_tcp_knows_has_its_rows_and_what_it_does_not_know_is_no_zero() {
        let mut results = closed("a");
        assert_has(
            &of(&results),
            &[
                "TCP retransmits       12, 0.12 % of 10,050 segments\n",
                "TCP round trip        least 20.0 us, smoothed 42.5 us on average, 45.0 us at most\n",
                "TCP segments          MSS 1,448 B, path MTU 1,500 B\n",
                "TCP limited by        receive window 25.0 %, send buffer 0.0 % of the busy time\n",
            ],
        );
        assert!(!of(&results).contains("TCP sample"));
        let tcp = results.tcp.as_mut().unwrap();
        tcp.connections = 32;
        tcp.counts.most_mss_bytes = Some(9000);
        tcp.counts.busy_ns = None;
        tcp.counts.retransmits = None;
        assert_has(
            &of(&results),
            &[
                "TCP retransmits       –\n",
                "MSS 1,448 to 9,000 B",
                "receive window –, send buffer – of the busy time",
                "TCP sample            32 of 50 connections\n",
            ],
        );
        results.tcp = None;
        assert_has(&of(&results), &[" TCP                   not available\n"]);
    }

    #[test]
    fn the_headline_says_how_many_connections_there_were() {
        let mut results = closed("a");
        let whole = [
            "\n50 connections, messages",
            " connections           50 open, 50 made\n",
        ];
        assert_has(&of(&results), &whole);
        // Outages are told of elsewhere.
        results.plan.reconnect = true;
        for second in &mut results.timeline {
            second.connections = Some(10.0);
        }
        let few = "connections           10.0 of 50 open on average, 10 at the least; 50 made\n";
        assert_has(&of(&results), &["\n50 connections, messages", few]);
        results.suspicions = vec![suspicion(Doubt::ConnectionsMissing)];
        results.suspicions[0].seen = String::from("40 of 50 connections had no echo");
        let missing = [
            "\n50 connections asked for, messages",
            "connections           40 of 50 connections had no echo; 50 made\n",
        ];
        assert_has(&of(&results), &missing);
        let page = written(|to| html::write(&results, to));
        assert_has(
            &page,
            &[
                "50 connections asked for, messages",
                "had no echo; 50 made<",
            ],
        );
        results.timeline.clear();
        results.suspicions.clear();
        assert_has(&of(&results), &["connections           50 made\n"]);
        assert_has(&of(&churned()), &["connections           50 made\n"]);
    }

    #[test]
    fn one_of_a_kind_has_its_singular() {
        let mut results = closed("a");
        (results.totals.sent, results.totals.echoed) = (1, 1);
        results.plan.connections = 1;
        assert_has(
            &of(&results),
            &["\n1 connection, ", "1 of 1 message sent, in 10.0 s\n"],
        );
    }

    #[test]
    fn every_kind_of_run_is_described() {
        assert_has(
            &of(&churned()),
            &["first byte", "exchange", "then a new one"],
        );
        assert_has(&of(&streamed()), &["Stream: throughput", "2.50 GB/s"]);
        assert_has(
            &of(&searched()),
            &["rate asked for", "40,000/s", "39,960/s"],
        );
        assert_has(&of(&barren()), &["refused               1"]);
    }
}

mod in_a_row {
    use super::*;

    fn of(results: &Results) -> (Vec<String>, Vec<String>) {
        let text = written(|to| csv::write(results, to));
        let mut lines = ::csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(text.as_bytes())
            .into_records()
            .map(|record| record.unwrap().iter().map(String::from).collect::<Vec<_>>())
            .collect::<Vec<_>>()
            .into_iter();
        let row = (lines.next().unwrap(), lines.next().unwrap());
        assert!(lines.next().is_none());
        row
    }

    #[test]
    fn every_kind_of_run_has_the_same_columns() {
        let (names, _) = of(&closed("a"));
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        for (name, results) in all() {
            let (other, values) = of(&results);
            assert_eq!(other, names, "{name}");
            assert_eq!(values.len(), names.len(), "{name}");
        }
    }

    #[test]
    fn numbers_stand_under_their_names_and_what_is_unknown_is_empty() {
        let (names, values) = of(&eventful("a, \"b\""));
        let value = |name: &str| &*values[names.iter().position(|each| each == name).unwrap()];
        for (name, expected) in [
            ("host", "a, \"b\""),
            ("rate_per_s", "1000"),
            ("loop", "open"),
            ("arrivals", "poisson"),
            ("response_count", "11000"),
            ("service_min_ns", "20000"),
            ("service_p99_ns", "119039"),
            ("service_p99.99_ns", ""),
            ("exchange_p50_ns", ""),
            ("errors", "7"),
            ("errors_timed_out", "0"),
            ("lost", "3"),
            ("suspicions", "1"),
            ("expectations_failed", "1"),
            ("size_max_bytes", "64"),
            ("tcp_retransmits", "12"),
            ("tcp_least_rtt_ns", "20000"),
            ("tcp_least_mss_bytes", "1448"),
            ("tcp_receive_window_limited_fraction", "0.25"),
            ("tcp_send_buffer_limited_fraction", "0"),
        ] {
            assert_eq!(value(name), expected, "{name}");
        }
    }
}

mod compared {
    use super::*;

    #[test]
    fn runs_stand_side_by_side_with_ratios_to_the_first() {
        let mut half = closed("b");
        half.rate_per_s = 500.0;
        half.service = latency([30 * US; 1_000]);
        half.plan.connections = 100;
        half.suspicions = vec![suspicion(Doubt::GeneratorSaturated)];
        let text = written(|to| compare::write(&[run("one", closed("a")), run("two", half)], to));
        let lines: Vec<_> = text
            .lines()
            .map(|l| l.split_whitespace().collect::<Vec<_>>())
            .collect();
        let row = |name: &str| {
            lines
                .iter()
                .find(|words| words.join(" ").starts_with(name))
                .unwrap()
        };
        assert_eq!(row("round trip")[2..], ["one", "two"]);
        assert_eq!(row("rate")[1..], ["1,000/s", "500/s", "(0.50×)"]);
        assert_eq!(
            row("service p50")[2..],
            ["70.0", "us", "30.0", "us", "(0.43×)"]
        );
        assert_eq!(row("service p99.9")[2..], ["120", "us", "–"], "{text}");
        assert_eq!(row("connections")[1..], ["50", "100"]);
        assert!(!text.contains("response"), "no run has it:\n{text}");
        assert_has(
            &text,
            &[
                "SUSPECT: two: the generator was saturated",
                "not asked for the same",
            ],
        );
    }

    #[test]
    fn what_a_stream_does_not_have_is_not_shown_as_nothing() {
        let runs = [run("messages", closed("a")), run("stream", streamed())];
        let text = written(|to| compare::write(&runs, to));
        for name in ["rate", "echoed", "in flight at the end", "lost"] {
            let starts = |line: &&str| line.trim_start().starts_with(&format!("{name}  "));
            let row = text
                .lines()
                .find(starts)
                .unwrap_or_else(|| panic!("no {name}: {text}"));
            assert!(row.trim_end().ends_with('–'), "{row}");
        }
        assert!(!text.contains("0.00/s"), "{text}");
        let csv = written(|to| csv::write(&streamed(), to));
        let cells: Vec<Vec<_>> = csv.lines().map(|line| line.split(',').collect()).collect();
        for name in [
            "rate_per_s",
            "sent",
            "echoed",
            "in_flight",
            "unsent",
            "lost",
        ] {
            let at = cells[0].iter().position(|each| *each == name).unwrap();
            assert_eq!(cells[1][at], "", "{name}");
        }
        let at = cells[0]
            .iter()
            .position(|each| *each == "throughput_bytes_per_s");
        assert_eq!(cells[1][at.unwrap()], "2500000000");
    }

    #[test]
    fn kinds_of_latency_are_not_mixed_up() {
        let runs = [run("closed", closed("a")), run("open", eventful("b"))];
        let text = written(|to| compare::write(&runs, to));
        let row = text
            .lines()
            .find(|line| line.contains("response p50"))
            .unwrap();
        let words: Vec<_> = row.split_whitespace().collect();
        assert_eq!(words[2], "–");
        assert!(!row.contains('×'), "{row}");
        assert_has(&text, &["as the replies come (closed loop)"]);
    }
}

mod foreign {
    use super::*;

    /// A run whose every text tries to be a command to the terminal, and a line of its own.
    fn hostile() -> Results {
        let text = || String::from("\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\r\nPASS all: well\t");
        let mut results = eventful("a");
        let generator = &mut results.generators[0];
        for field in [
            &mut generator.version,
            &mut generator.host,
            &mut generator.system,
            &mut generator.address,
            &mut generator.started_at,
        ] {
            *field = text();
        }
        results.examples = vec![text()];
        results.suspicions[0].seen = text();
        results.suspicions[0].advice = text();
        results.expectations[0].text = text();
        results.expectations[0].seen = text();
        results.search = searched().search;
        results.search_end = Some(text());
        results
    }

    #[track_caller]
    fn assert_tame(text: &str) {
        let acted_on = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!text.contains(acted_on), "{text:?}");
        let forged = |line: &str| line.starts_with("PASS all");
        assert!(!text.lines().any(forged), "{text}");
        assert_has(
            text,
            &["\\x1b]0;owned\\x07\\u{9b}2J\\u{202e}\\x0d\\nPASS all"],
        );
    }

    #[test]
    fn texts_of_a_file_are_escaped_wherever_they_are_shown() {
        assert_tame(&written(|to| text::write(&hostile(), to)));
        assert_tame(&written(|to| html::write(&hostile(), to)));
        let name = "\u{1b}[2J";
        let runs = || [run("plain", closed("b")), run(name, hostile())];
        assert_tame(&written(|to| compare::write(&runs(), to)));
        assert_tame(&written(|to| html::write_comparison(&runs(), to)));
    }

    #[test]
    fn a_file_is_escaped_on_a_pipe_and_its_json_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = save(folder.path(), "a.json", &hostile());
        let other = save(folder.path(), "b.json", &closed("b"));
        assert_tame(&assert_success(&report(&[&file])));
        assert_tame(&assert_success(&report(&[&file, &other])));
        let mut single = hostile();
        single.search.clear();
        let file = save(folder.path(), "c.json", &single);
        let merged = assert_success(&report(&["--merge", &file]));
        let merged = read::parse(merged.as_bytes()).unwrap();
        assert_eq!(merged.generators, single.generators);
    }
}

mod datagram_loads {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn have_their_losses_and_the_worst_flows_in_place_of_connections() {
        let text = written(|to| text::write(&datagrams("a"), to));
        assert_has(
            &text,
            &[
                "UDP, 50 flows, datagrams of 64 B, 1 thread",
                "Response time counts from when a datagram was due, and of a lost one",
                " lost                  212 (2.12 %), 3 came late, 2 refused by the path, 4 refused \
                 without a number\n",
                " duplicates            5 (0.050 %)\n",
                " reordered             7 (0.070 %)\n",
                " dropped here          1\n",
                "2 of 50 flows lost some, 1 had no echo; most of all 127.0.0.1:40001: 200 of 200",
                " 127.0.0.1:40001   200   200   100 %     3           5          7",
            ],
        );
        assert!(
            !text.contains("TCP") && !text.contains("connected"),
            "{text}"
        );
        let page = written(|to| html::write(&datagrams("a"), to));
        assert_has(
            &page,
            &[
                "<h2>Datagrams</h2>",
                "Datagrams that went astray",
                "127.0.0.1:40001",
            ],
        );
        assert!(!page.contains("<h2>TCP</h2>"));
        let runs = [run("tcp", closed("a")), run("udp", datagrams("b"))];
        let table = written(|to| compare::write(&runs, to));
        let is_loss = |line: &&str| line.trim_start().starts_with("loss ");
        let loss = table.lines().find(is_loss).unwrap();
        assert!(loss.trim_end().ends_with(" 2.12 %"), "{loss}");
    }

    #[test]
    fn a_spreadsheet_has_their_columns_and_empty_cells_for_connections() {
        let cells = |results: &Results| {
            let csv = written(|to| csv::write(results, to));
            let mut reader = ::csv::Reader::from_reader(csv.as_bytes());
            let names: Vec<_> = reader.headers().unwrap().iter().map(String::from).collect();
            let row = reader.records().next().unwrap().unwrap();
            let values = row.iter().map(String::from);
            names.into_iter().zip(values).collect::<BTreeMap<_, _>>()
        };
        let (udp, tcp) = (cells(&datagrams("a")), cells(&closed("a")));
        for (name, value) in [
            ("loss_fraction", "0.0212"),
            ("changed", "9"),
            ("refused", "2"),
            ("late", "3"),
            ("duplicates", "5"),
            ("reordered", "7"),
            ("not_sent", "0"),
            ("dropped_here", "1"),
            ("wrong_checksums", "0"),
            ("unnamed_errors", "4"),
            ("losing_flows", "2"),
            ("silent_flows", "1"),
        ] {
            let name = format!("datagrams_{name}");
            assert_eq!((&*udp[&name], &*tcp[&name]), (value, ""), "{name}");
        }
    }

    #[test]
    fn merged_ones_add_up_whatever_their_order() {
        let runs = [run("a", datagrams("a")), run("b", datagrams("b"))];
        let merged = merge::merge(&runs).unwrap();
        let all = merged.datagrams.as_ref().unwrap();
        assert_eq!((all.counts.sent, all.counts.lost), (20_000, 424));
        assert_eq!(
            (all.losing_flows, all.silent_flows, all.flows.len()),
            (4, 2, 100)
        );
        assert_eq!(all.loss_fraction, Some(0.0212));
        assert_eq!(merged.timeline[0].datagrams.unwrap().sent, 2_000);
        let [a, b] = runs;
        assert_eq!(merge::merge(&[b, a]).unwrap(), merged);
    }

    #[test]
    fn with_another_time_out_other_datagrams_are_lost_so_they_do_not_add_up() {
        let slower = |mut results: Results| {
            results.plan.timeout *= 100;
            results
        };
        let runs = [run("a", datagrams("a")), run("b", slower(datagrams("b")))];
        let error = merge::merge(&runs).unwrap_err().to_string();
        assert!(error.contains("time-out"), "{error}");
        // Of connections it only ends the wait for one that hangs.
        let runs = [run("a", closed("a")), run("b", slower(closed("b")))];
        assert!(merge::merge(&runs).is_ok());
    }

    #[test]
    fn what_a_file_says_of_a_flow_is_escaped() {
        let mut results = datagrams("a");
        results.datagrams.as_mut().unwrap().flows[0].source = String::from("\x1b[31m");
        let text = written(|to| text::write(&results, to));
        assert!(!text.contains('\x1b'), "{text:?}");
    }
}

mod merged {
    use super::*;

    fn not_together(results: &Results) -> Option<&str> {
        let mut suspicions = results.suspicions.iter();
        let found = suspicions.find(|each| each.kind == Doubt::NotTogether);
        Some(&found?.seen)
    }

    fn began(host: &str, at: &str) -> Results {
        let mut results = closed(host);
        results.generators[0].started_at = format!("2026-11-22T{at}Z");
        results
    }

    #[test]
    fn runs_that_were_not_made_together_are_doubted_with_their_times() {
        let a = began("a", "06:00:00");
        for (at, common) in [
            ("07:00:00", Some("0 ns")),
            ("06:00:10", Some("0 ns")),
            ("06:00:05", Some("5.00 s")),
            ("05:59:58", Some("8.00 s")),
            ("06:00:00.900", None),
            ("06:00:00", None),
        ] {
            let b = began("b", at);
            let merged = merge_of(&[&a, &b]).unwrap();
            let seen = not_together(&merged);
            assert_eq!(seen.is_some(), common.is_some(), "{at}: {seen:?}");
            if let (Some(seen), Some(common)) = (seen, common) {
                assert_has(
                    seen,
                    &[
                        &format!("{common} were common to all runs"),
                        "a measured from 2026-11-22T06:00:00Z for 10.0 s",
                        &format!("b measured from 2026-11-22T{at}Z for 10.0 s"),
                    ],
                );
            }
        }
    }

    #[test]
    fn runs_that_were_merged_before_are_judged_each() {
        let runs = [
            began("a", "06:00:00"),
            began("b", "06:00:00"),
            began("c", "06:00:30"),
        ];
        let all = merge_of(&[&runs[0], &runs[1], &runs[2]]).unwrap();
        let two = merge_of(&[&runs[0], &runs[2]]).unwrap();
        let steps = merge_of(&[&two, &runs[1]]).unwrap();
        assert_eq!(json(&steps), json(&all));
        assert_eq!(all.suspicions.len(), 1, "{:?}", all.suspicions);
        // A file of an older version does not tell how long each run was.
        let mut old = began("d", "06:00:00");
        old.generators[0].elapsed_ns = None;
        let merged = merge_of(&[&old, &runs[2]]).unwrap();
        assert!(not_together(&merged).is_some());
        assert_eq!(merged.generators[0].elapsed_ns, Some(10_000 * MS));
        let twice = merge_of(&[&merged, &old]).unwrap_err().to_string();
        assert!(twice.contains("would count twice"), "{twice}");
    }

    #[test]
    fn an_interrupted_part_makes_the_whole_interrupted() {
        let mut part = closed("b");
        part.interrupted = true;
        assert!(merge_of(&[&closed("a"), &part]).unwrap().interrupted);
        assert!(!merge_of(&[&closed("a"), &closed("b")]).unwrap().interrupted);
    }

    fn merge_of(runs: &[&Results]) -> Result<Results, echopool::report::error::MergeError> {
        let named =
            |(place, results): (usize, &&Results)| run(&place.to_string(), (*results).clone());
        merge::merge(&runs.iter().enumerate().map(named).collect::<Vec<_>>())
    }

    #[test]
    fn histograms_totals_and_rates_add_up() {
        let (mut a, mut b) = (eventful("a"), eventful("b"));
        a.service = latency([10, 20, 30]);
        b.service = latency([20, 5 * MS]);
        b.response = None;
        b.plan.rate_per_s = Some(500.5);
        b.plan.connections = 7;
        b.plan.threads = 3;
        b.elapsed_ns = 11_000 * MS;
        b.totals.errors.closed = 5;
        b.totals.echoed = 3;
        b.rate_per_s = 0.25;
        let merged = merge_of(&[&a, &b]).unwrap();
        assert_eq!(merged.service, latency([10, 20, 20, 30, 5 * MS]));
        assert_eq!(merged.response, a.response);
        assert_eq!(merged.plan.rate_per_s, Some(1_500.5));
        assert_eq!((merged.plan.connections, merged.plan.threads), (57, 4));
        assert_eq!(merged.elapsed_ns, 11_000 * MS);
        assert_eq!(merged.rate_per_s.to_bits(), 1_000.25_f64.to_bits());
        assert_eq!(merged.totals.sent, 20_100);
        assert_eq!(merged.totals.echoed, 10_003);
        assert_eq!(merged.totals.in_flight, 100);
        assert_eq!(merged.totals.unsent, 4);
        assert_eq!(merged.totals.lost, 6);
        assert_eq!(merged.totals.sent_bytes, 1_286_400);
        assert_eq!(merged.totals.echoed_bytes, 1_280_000);
        assert_eq!(merged.totals.lost_bytes, 384);
        assert_eq!(merged.totals.connected, 100);
        assert_eq!(merged.totals.errors.refused, 8);
        assert_eq!(merged.totals.errors.total(), 19);
        assert_eq!(merged.generators.len(), 2);
        assert_eq!(merged.outages.len(), 4);
        assert_eq!(merged.suspicions.len(), 1, "both said the same");
    }

    #[test]
    fn what_tcp_counted_adds_up_and_is_unknown_where_one_does_not_know_it() {
        let (a, mut b) = (closed("a"), closed("b"));
        let merged = merge_of(&[&a, &b]).unwrap();
        let tcp = merged.tcp.unwrap();
        assert_eq!((tcp.connections, tcp.counts.retransmits), (100, Some(24)));
        assert_eq!(tcp.counts.least_rtt_ns, Some(20 * US));
        assert_eq!(tcp.smoothed_rtt.count(), 1000);
        let second = |results: &Results| results.timeline[3].tcp.unwrap().retransmits;
        let both = second(&a).unwrap() + second(&b).unwrap();
        assert_eq!(merged.timeline[3].tcp.unwrap().retransmits, Some(both));
        b.tcp.as_mut().unwrap().counts.retransmits = None;
        b.timeline[3].tcp = None;
        let merged = merge_of(&[&a, &b]).unwrap();
        let counts = merged.tcp.unwrap().counts;
        assert_eq!(
            (counts.retransmits, counts.busy_ns),
            (None, Some(2_000 * MS))
        );
        assert_eq!(merged.timeline[3].tcp, None);
        b.tcp = None;
        assert_eq!(merge_of(&[&a, &b]).unwrap().tcp, None);
    }

    #[test]
    fn every_kind_of_error_adds_up_on_its_own() {
        let mut a = closed("a");
        for kind in 0..11 {
            let mut value = serde_json::to_value(&a.totals.errors).unwrap();
            let key = value.as_object().unwrap().keys().nth(kind).unwrap().clone();
            value[key] = (1_u64 << kind).into();
            a.totals.errors = serde_json::from_value(value).unwrap();
        }
        let mut b = a.clone();
        b.generators[0].host = String::from("b");
        let merged = merge_of(&[&a, &b]).unwrap();
        let doubled = a
            .totals
            .errors
            .kinds()
            .map(|(name, number)| (name, number * 2));
        assert_eq!(merged.totals.errors.kinds(), doubled);
        assert_eq!(merged.totals.errors.total(), 2 * 2047);
    }

    #[test]
    fn counts_that_only_a_damaged_file_has_do_not_begin_anew_at_nothing() {
        let mut a = closed("a");
        a.totals.errors.refused = u64::MAX;
        a.totals.errors.unknown = u64::MAX;
        a.totals.sent = u64::MAX;
        a.plan.connections = usize::MAX;
        a.plan.threads = usize::MAX;
        a.plan.count = Some(u64::MAX);
        a.timeline[0].echoed = u64::MAX;
        let mut b = a.clone();
        b.generators[0].host = String::from("b");
        let merged = merge_of(&[&a, &b]).unwrap();
        assert_eq!(merged.totals.sent, u64::MAX);
        assert_eq!(merged.totals.errors.total(), u64::MAX);
        assert_eq!(merged.plan.connections, usize::MAX);
        assert_eq!(merged.plan.count, Some(u64::MAX));
        assert_eq!(merged.timeline[0].echoed, u64::MAX);
    }

    #[test]
    fn seconds_are_added_at_their_place() {
        let (a, mut b) = (closed("a"), closed("b"));
        b.timeline.remove(0);
        b.timeline[3].start_ns += 1;
        b.timeline.push(b.timeline[9].clone());
        b.timeline[10].start_ns = 10_000_000_000;
        let merged = merge_of(&[&a, &b]).unwrap();
        assert_eq!(merged.timeline.len(), 12);
        assert_eq!(merged.timeline[0], a.timeline[0], "b had no warm-up");
        assert_eq!(merged.timeline[11], b.timeline[10], "a had ended");
        let both = &merged.timeline[4];
        assert_eq!(both.start_ns, 3_000_000_000);
        assert_eq!(both.echoed, a.timeline[4].echoed * 2);
        assert_eq!(both.echoed_bytes, a.timeline[4].echoed_bytes * 2);
        assert_eq!((both.p50_ns, both.p99_ns), (None, None));
        assert_eq!(both.max_ns, a.timeline[4].max_ns);
    }

    #[test]
    fn neither_order_nor_steps_matter() {
        let (mut a, mut b, c) = (eventful("a"), eventful("b"), eventful("c"));
        a.service.histogram.record(3_600_000 * MS).unwrap();
        (a.plan.seed, b.plan.seed) = (1, 2);
        b.examples = vec![String::from("another")];
        let all = json(&merge_of(&[&a, &b, &c]).unwrap());
        for order in [[&c, &b, &a], [&b, &c, &a], [&b, &a, &c]] {
            assert_eq!(json(&merge_of(&order).unwrap()), all);
        }
        let two = merge_of(&[&b, &c]).unwrap();
        assert_eq!(json(&merge_of(&[&two, &a]).unwrap()), all);
        let read = read::parse(json(&two).as_bytes()).unwrap();
        assert_eq!(
            json(&merge_of(&[&a, &read]).unwrap()),
            all,
            "through a file"
        );
    }

    #[test]
    fn fractions_are_added_in_one_order_whatever_the_files() {
        let mut runs = ["a", "b", "c"].map(closed);
        for (run, rate) in runs.iter_mut().zip([0.1, 0.2, 0.3]) {
            run.rate_per_s = rate;
        }
        let [a, b, c] = &runs;
        // 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in binary.
        let forward = merge_of(&[a, b, c]).unwrap().rate_per_s;
        let backward = merge_of(&[c, b, a]).unwrap().rate_per_s;
        assert_eq!(forward.to_bits(), backward.to_bits());
    }

    #[test]
    fn expectations_are_judged_over_the_whole() {
        let (mut a, mut b) = (closed("a"), closed("b"));
        a.service = latency([US; 500]);
        b.service = latency([US; 500]);
        a.expectations = vec![
            expectation("p99<1ms", false, "too few"),
            expectation("rate>1500", false, "1,000/s"),
        ];
        b.expectations = vec![
            expectation("p99<1ms", false, "too few"),
            expectation("in_flight<60", true, "50"),
        ];
        let merged = merge_of(&[&a, &b]).unwrap();
        assert_eq!(
            merged.expectations,
            [
                expectation("in_flight<60", false, "100"),
                expectation("p99<1ms", true, "1.00 us"),
                expectation("rate>1500", true, "2,000/s"),
            ]
        );
    }

    type Change = fn(&mut Results);

    #[test]
    fn runs_that_are_not_parts_of_one_are_refused_with_the_reason() {
        let a = closed("a");
        let differing = |change: Change| {
            let mut b = closed("b");
            change(&mut b);
            merge_of(&[&a, &b])
                .map(drop)
                .map_err(|error| error.to_string())
        };
        let error = differing(|b| {
            b.plan.size_bytes = 64..=1024;
            b.plan.depth = 2;
        });
        let text = "1 with 0: they did not do the same: message size 64 to 1,024 B instead of 64 \
                    B, depth 2 instead of 1;";
        assert!(error.as_ref().unwrap_err().starts_with(text), "{error:?}");
        let refused: [(&str, Change); 6] = [
            ("load churn instead of messages", |b| {
                b.plan.load = churned().plan.load
            }),
            ("pace 9.00/s", |b| b.plan.rate_per_s = Some(9.0)),
            ("duration 20s instead of 10s", |b| {
                b.plan.duration = b.plan.duration.map(|d| d * 2)
            }),
            ("reconnect yes instead of no", |b| b.plan.reconnect = true),
            ("searched for a rate", |b| b.search = searched().search),
            ("would count twice", |b| {
                b.generators[0].host = String::from("a")
            }),
        ];
        for (reason, change) in refused {
            let error = differing(change).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let mut open = [eventful("a"), eventful("b")];
        open[1].plan.rate_per_s = Some(3.0);
        merge_of(&[&open[0], &open[1]]).unwrap();
        open[1].plan.arrivals = closed("a").plan.arrivals;
        assert!(merge_of(&[&open[0], &open[1]]).is_err());
        differing(|b| b.plan.seed = 9).unwrap();
        assert!(merge_of(&[]).is_err());
    }
}

mod by_the_program {
    use super::*;

    #[test]
    fn one_file_is_shown_and_several_are_compared() {
        let folder = tempfile::tempdir().unwrap();
        let a = save(folder.path(), "a.json", &closed("a"));
        let b = save(folder.path(), "b.json", &eventful("b"));
        let text = assert_success(&report(&[&a]));
        assert_eq!(text, written(|to| text::write(&closed("a"), to)));
        let text = assert_success(&report(&[&a, &b]));
        let runs = [run("a", closed("a")), run("b", eventful("b"))];
        assert_eq!(text, written(|to| compare::write(&runs, to)));
    }

    #[test]
    fn standard_input_is_a_file_too() {
        let ended = finish(["report", "-"], json(&closed("a")));
        assert_has(&assert_success(&ended), &["Closed loop"]);
        let ended = finish(["report", "-"], "");
        assert_eq!(ended.code, Some(1));
        assert_has(
            &ended.stderr,
            &["could not read results from standard input: it is empty"],
        );
    }

    #[test]
    fn merged_runs_go_to_standard_output_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let a = save(folder.path(), "a.json", &closed("a"));
        let b = save(folder.path(), "b.json", &closed("b"));
        let text = assert_success(&report(&["--merge", &a, &b]));
        let merged = read::parse(text.as_bytes()).unwrap();
        assert_eq!(merged.totals.echoed, 20_000);
        let (all, page) = (
            path(folder.path(), "all.json"),
            path(folder.path(), "all.html"),
        );
        let told = assert_success(&report(&[&b, &a, "--merge", "-o", &all, "--html", &page]));
        assert_has(
            &told,
            &[
                "echopool 0.1.0 on a",
                "echopool 0.1.0 on b",
                "100 connections",
            ],
        );
        assert_eq!(std::fs::read_to_string(&all).unwrap(), text);
        assert_has(
            &std::fs::read_to_string(&page).unwrap(),
            &["100 connections"],
        );
        assert_success(&report(&[&all]));
    }

    fn path(folder: &Path, name: &str) -> String {
        folder.join(name).into_os_string().into_string().unwrap()
    }

    #[test]
    fn a_terminal_does_not_obey_what_a_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let mut hostile = closed("\u{1b}]0;owned\u{7}");
        hostile.examples = vec![String::from("\u{1b}[2Jgone")];
        let file = save(folder.path(), "hostile.json", &hostile);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.args(["report", &file]);
        let mut session = rexpect::session::spawn_command(command, Some(10_000)).unwrap();
        let shown = session.exp_eof().unwrap();
        assert!(!shown.contains(['\u{1b}', '\u{7}']), "{shown:?}");
        assert!(shown.contains("gone"), "{shown:?}");
        // What goes into a pipe may reach a terminal later.
        let piped = assert_success(&report(&[&file]));
        assert!(piped.contains("\\x1b[2Jgone"), "{piped:?}");
    }

    #[test]
    fn an_error_quotes_a_file_and_a_terminal_does_not_obey_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = path(folder.path(), "hostile.json");
        let format = r#"{"format": "echopool-bench/\u001b[2J"}"#;
        std::fs::write(&file, format).unwrap();
        let ended = report(&[&file]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(!ended.stderr.contains('\u{1b}'), "{ended:?}");
        assert!(ended.stderr.contains("echopool-bench/"), "{ended:?}");
    }

    #[test]
    fn a_page_goes_to_standard_output_alone() {
        let folder = tempfile::tempdir().unwrap();
        let a = save(folder.path(), "a.json", &closed("a"));
        let page = assert_success(&report(&[&a, "--html", "-"]));
        assert_eq!(page, written(|to| html::write(&closed("a"), to)));
    }

    #[test]
    fn what_is_not_results_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let good = json(&closed("a"));
        let newer = good.replace("echopool-bench/1", "echopool-bench/2");
        let damaged = good.replace("\"echoed\": 10000", "\"echoed\": -1");
        let unzipped = good.replace("\"histogram_v2\": \"HIST", "\"histogram_v2\": \"TSIH");
        for (name, text, words) in [
            (
                "empty",
                " \n",
                "it is empty; make it with 'echopool bench --json FILE'",
            ),
            ("half", &good[..good.len() / 2], "it is cut off after line"),
            (
                "page",
                "<html>",
                "it is not JSON (expected value at line 1 column 1)",
            ),
            ("other", "{\"rps\": 5}", "it is JSON, but not of a load run"),
            ("list", "[]", "it is JSON, but not of a load run"),
            (
                "oha",
                "{\"format\": \"oha/1\"}",
                "it is JSON, but not of a load run",
            ),
            (
                "newer",
                &newer,
                "its format is echopool-bench/2, and this echopool reads echopool-bench/1",
            ),
            (
                "damaged",
                &damaged,
                "it is damaged: invalid value: integer `-1`",
            ),
            ("unzipped", &unzipped, "it is damaged: "),
        ] {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            let ended = report(&[file.to_str().unwrap()]);
            assert_eq!(ended.code, Some(1), "{name}: {ended:?}");
            let start = format!("echopool: could not read results from {}: ", file.display());
            assert!(ended.stderr.starts_with(&start), "{name}: {ended:?}");
            assert_has(&ended.stderr, &[words]);
            assert!(ended.stdout.is_empty(), "{name}");
        }
        let ended = report(&["missing.json"]);
        assert_has(&ended.stderr, &["missing.json: no such file or directory"]);
        assert_eq!(ended.code, Some(1));
    }

    #[test]
    fn a_refused_merge_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let a = save(folder.path(), "a.json", &closed("a"));
        let b = save(folder.path(), "b.json", &churned());
        let all = path(folder.path(), "all.json");
        std::fs::write(&all, "before").unwrap();
        let ended = report(&["--merge", &a, &b, "-o", &all]);
        assert_eq!(ended.code, Some(1));
        assert_has(
            &ended.stderr,
            &[
                "could not merge b with a: ",
                "load churn instead of messages",
            ],
        );
        assert_eq!(std::fs::read_to_string(&all).unwrap(), "before");
    }

    #[test]
    fn wrong_usage_is_named() {
        for (arguments, words) in [
            (&[][..], "<FILE>..."),
            (&["a", "-o", "b"], "--merge"),
            (
                &["a", "--merge", "--html", "-"],
                "can't both write standard output",
            ),
            (
                &["a", "--merge", "-o", "-", "--html", "-"],
                "can't both write",
            ),
            (
                &["a", "--merge", "-o", "all", "--html", "./all"],
                "--merge and --html can't both write ./all",
            ),
            (&["a", "--html", ""], "the path is empty"),
        ] {
            let ended = report(arguments);
            assert_eq!(ended.code, Some(2), "{ended:?}");
            assert_has(&ended.stderr, &[words]);
        }
    }
}

mod schema {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn read(name: &str) -> String {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(folder.join("docs").join(name)).unwrap()
    }

    fn schema() -> Value {
        serde_json::from_str(&read("results.schema.json")).unwrap()
    }

    fn faults(results: &Value) -> Vec<String> {
        let validator = jsonschema::draft202012::new(&schema()).unwrap();
        let errors = validator.iter_errors(results);
        errors
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect()
    }

    #[test]
    fn what_is_written_fits_and_reads_back() {
        jsonschema::draft202012::meta::validate(&schema()).unwrap();
        for (name, results) in all() {
            let value = serde_json::to_value(&results).unwrap();
            assert_eq!(faults(&value), [""; 0], "{name}");
            assert_eq!(
                read::parse(json(&results).as_bytes()).unwrap(),
                results,
                "{name}"
            );
        }
        let merged = [run("a", eventful("a")), run("b", eventful("b"))];
        let merged = serde_json::to_value(merge::merge(&merged).unwrap()).unwrap();
        assert_eq!(faults(&merged), [""; 0]);
    }

    #[test]
    fn a_failure_in_place_of_results_fits_and_is_reported_when_it_is_read() {
        // No name ends in .invalid, RFC 6761.
        let (_reserved, nobody) = common::reserve([127, 0, 0, 1].into(), 0).unwrap();
        let nobody = nobody.to_string();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let path = path.to_str().unwrap();
        for (server, said) in [
            ("host.invalid", "could not resolve host.invalid"),
            (&*nobody, "connection refused"),
        ] {
            for options in [&["--quiet"][..], &["--find-rate", "p50<1s"]] {
                let all = [&["bench", server, "--json", path], options].concat();
                let ended = finish(&all, "");
                assert_eq!(ended.code, Some(1), "{ended:?}");
                assert_has(&ended.stderr, &[said]);
                let text = std::fs::read_to_string(path).unwrap();
                let failure: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(faults(&failure), [""; 0]);
                assert_has(failure["error"].as_str().unwrap(), &[said]);
                let ended = report(&[path]);
                assert_eq!(ended.code, Some(1), "{ended:?}");
                assert_has(
                    &ended.stderr,
                    &["it holds no results, since the run failed: ", said],
                );
            }
            let on_standard = finish(["bench", server, "--json", "-"], "").stdout;
            let failure: Value = serde_json::from_slice(&on_standard).unwrap();
            assert_eq!(faults(&failure), [""; 0]);
        }
    }

    #[test]
    fn what_is_not_in_the_schema_does_not_fit() {
        let good = serde_json::to_value(eventful("a")).unwrap();
        for place in [
            "/plan",
            "/totals/errors",
            "/timeline/0",
            "/service",
            "/outages/1",
            "",
        ] {
            let mut more = good.clone();
            more.pointer_mut(place).unwrap()["surplus"] = 1.into();
            assert_eq!(faults(&more).len(), 1, "{place}");
            let mut less = good.clone();
            let object = less.pointer_mut(place).unwrap().as_object_mut().unwrap();
            let key = object.keys().next().unwrap().clone();
            object.remove(&key);
            assert_eq!(faults(&less).len(), 1, "{place}/{key}");
        }
    }

    /// `section key` of each property.
    fn in_the_schema() -> BTreeSet<String> {
        let schema = schema();
        let definitions = schema["$defs"].as_object().unwrap().iter();
        let objects = definitions.map(|(name, object)| (name.as_str(), object));
        let keys = objects.flat_map(|(name, object)| {
            let keys = object["properties"].as_object().unwrap().keys();
            keys.map(move |key| format!("{name} {key}"))
        });
        keys.collect()
    }

    /// `section key` of each row of a table.
    fn in_words() -> BTreeSet<String> {
        let mut section = String::new();
        let mut keys = BTreeSet::new();
        for line in read("results.md").lines() {
            if let Some(name) = line.strip_prefix("## ") {
                section = name.to_owned();
            }
            if let Some((key, _)) = line.strip_prefix("| `").and_then(|row| row.split_once('`')) {
                assert!(keys.insert(format!("{section} {key}")), "{key} twice");
            }
        }
        keys
    }

    #[test]
    fn every_key_is_documented_and_nothing_else() {
        assert_eq!(in_words(), in_the_schema());
        assert!(in_words().len() > 90);
    }
}

mod drawn {
    use super::*;

    fn page(results: &Results) -> String {
        written(|to| html::write(results, to))
    }

    #[test]
    fn a_page_needs_nothing_outside_it() {
        for (name, results) in all() {
            let page = page(&results);
            for outside in [
                "http:", "https:", "src=", "url(", "@import", "<script", "<iframe",
            ] {
                assert!(!page.contains(outside), "{outside} in the page of {name}");
            }
            assert_eq!(page.matches("href=").count(), 1, "the empty icon");
            for number in ["NaN", "inf "] {
                assert!(!page.contains(number), "{number} in the page of {name}");
            }
        }
    }

    #[test]
    fn a_page_has_all_that_the_text_has() {
        let page = page(&eventful("a"));
        assert_has(
            &page,
            &[
                "Open loop: 1,000/s at random (Poisson)",
                "<strong>SUSPECT: Nagle's algorithm met delayed ACKs</strong>",
                "set TCP_NODELAY in the server",
                "<strong>FAIL</strong> <code>errors=0</code>: 7",
                "byte 4,711: 0x41",
                "recovered after 750 ms",
                "<h3>Percentiles</h3>",
                "<h3>Histogram of the response time</h3>",
                "<h3>Rate</h3>",
                "<h2>TCP</h2>",
                "least 20.0 us, smoothed 42.5 us on average",
                "<h3>TCP retransmits in each second</h3>",
                "<h3>TCP round trip in each second</h3>",
                "99.9 %",
                "<th scope=\"row\">p99.9</th>",
                "warm-up",
                "outage",
                "time-out",
            ],
        );
        assert_has(
            &super::drawn::page(&searched()),
            &["Latency against rate", "40,000/s"],
        );
        assert_has(
            &super::drawn::page(&streamed()),
            &["bytes a second", "No round trip was timed"],
        );
        assert_has(&super::drawn::page(&barren()), &["The run was too short"]);
    }

    #[test]
    fn names_in_the_results_are_text_and_nothing_more() {
        let mut results = eventful("<script>alert(1)</script>");
        results.examples = vec![String::from("<img src=x>")];
        let single = page(&results);
        let name = "\"><b>";
        let runs = [run(name, results.clone()), run("b", results)];
        let several = written(|to| html::write_comparison(&runs, to));
        for page in [single, several] {
            for markup in ["<script", "<img", "<b>"] {
                assert!(!page.contains(markup), "{markup}");
            }
        }
    }

    #[test]
    fn compared_runs_have_a_curve_each() {
        let runs: Vec<_> = (0..10)
            .map(|n| run(&format!("run-{n}"), closed("a")))
            .collect();
        let page = written(|to| html::write_comparison(&runs, to));
        for n in 0..10 {
            // In both charts, as a line in each of two sizes and its key.
            let dashed = if n < 8 { "" } else { " dashed" };
            let class = format!("<path class=\"line c{}{dashed}\"", n % 8);
            assert_eq!(page.matches(&class).count(), 6, "{class}");
            assert_has(&page, &[&format!("run-{n} (service)")]);
        }
    }
}

/// Pages as a browser shows them.
mod in_chromium {
    use std::process::Command;

    use super::*;

    /// Measures what is drawn, since a page without scripts can't tell.
    const PROBE: &str =
        "<script>for (const path of document.querySelectorAll('figure > svg.broad > path')) {
        const box = path.getBoundingClientRect();
        path.setAttribute('data-drawn', box.width + box.height > 1);
    }</script>";

    struct Shown {
        dom: String,
        console: Vec<String>,
    }

    fn chromium(folder: &Path, arguments: &[String]) -> Shown {
        let output = Command::new("timeout")
            .args([
                "-k5",
                "60",
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
            ])
            .args([
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
            ])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--enable-logging=stderr",
            ])
            .args(["--hide-scrollbars", "--window-size=1280,2400"])
            .arg(format!(
                "--user-data-dir={}",
                folder.join("profile").display()
            ))
            .args(arguments)
            .output()
            .expect("chromium must be installed");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        Shown {
            dom: String::from_utf8(output.stdout).unwrap(),
            console: log
                .lines()
                .filter(|line| line.contains("CONSOLE"))
                .map(String::from)
                .collect(),
        }
    }

    fn show(page: &str) -> Shown {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("page.html");
        std::fs::write(&file, page).unwrap();
        let url = format!("file://{}", file.display());
        chromium(folder.path(), &[String::from("--dump-dom"), url])
    }

    fn pages() -> [(&'static str, String); 4] {
        let runs = [run("before", closed("a")), run("after", eventful("b"))];
        [
            ("eventful", written(|to| html::write(&eventful("a"), to))),
            ("searched", written(|to| html::write(&searched(), to))),
            ("streamed", written(|to| html::write(&streamed(), to))),
            ("compared", written(|to| html::write_comparison(&runs, to))),
        ]
    }

    #[test]
    #[ignore = "needs chromium"]
    fn a_page_is_shown_without_a_complaint_and_without_a_fetch() {
        for (name, page) in pages() {
            let shown = show(&page);
            assert_eq!(shown.console, [""; 0], "{name}");
            assert_has(&shown.dom, &["</main>", "round trip", "<figure>"]);
        }
        // The page forbids every fetch, so that one would be complained of.
        let (_, page) = &pages()[0];
        let fetching = page.replace("</main>", "<img src='https://example.org/a.png'></main>");
        assert_eq!(show(&fetching).console.len(), 1);
    }

    #[test]
    #[ignore = "needs chromium"]
    fn every_line_and_area_is_drawn() {
        for (name, page) in pages() {
            let policy = "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\"";
            assert!(page.contains(policy));
            let probed = page
                .replace(policy, "")
                .replace("</body>", &format!("{PROBE}</body>"));
            let dom = show(&probed).dom;
            assert!(dom.matches("data-drawn=\"true\"").count() > 10, "{name}");
            assert_eq!(dom.matches("data-drawn=\"false\"").count(), 0, "{name}");
        }
    }

    /// The size in pixels of the smallest label that is shown, and the labels that are cut.
    const LABELS: &str = "(() => {
        const shown = [...document.querySelectorAll('figure > svg text')]
            .filter((label) => label.getClientRects().length > 0);
        const scale = (label) => label.ownerSVGElement.getScreenCTM().a;
        const size = (label) => parseFloat(getComputedStyle(label).fontSize) * scale(label);
        const is_cut = (label) => {
            const [inner, outer] = [label, label.ownerSVGElement].map((part) => part.getBoundingClientRect());
            return inner.left < outer.left - 1 || inner.right > outer.right + 1;
        };
        return {
            least: Math.min(...shown.map(size)),
            cut: shown.filter(is_cut).map((label) => label.textContent),
        };
    })()";

    /// Leaves the pictures in the folder that `ECHOPOOL_SCREENSHOTS` names, to be looked at.
    #[test]
    #[ignore = "needs chromium"]
    fn a_page_is_readable_on_a_phone_a_screen_and_paper() {
        let folder = tempfile::tempdir().unwrap();
        let kept = std::env::var_os("ECHOPOOL_SCREENSHOTS").map(PathBuf::from);
        let file = folder.path().join("page.html");
        let mut browser = common::browser::Browser::start(1200, 1600);
        for (name, page) in pages() {
            std::fs::write(&file, &page).unwrap();
            browser.go(&format!("file://{}", file.display()));
            common::wait_until("the page", || {
                browser.evaluate("document.readyState") == "complete"
            });
            // A sheet of A4 is 718 pixels wide between its margins.
            for (width, medium) in [(400, ""), (718, "print"), (1200, "")] {
                browser.resize(width, 1600);
                for scheme in ["light", "dark"] {
                    browser.prefer(scheme);
                    if let Some(folder) = &kept {
                        let file = folder.join(format!("{name}-{width}-{scheme}.png"));
                        std::fs::write(file, browser.picture()).unwrap();
                    }
                }
                let media = serde_json::json!({"media": medium});
                browser.call("Emulation.setEmulatedMedia", media);
                let labels = browser.evaluate(LABELS);
                let place = format!("{name} at {width} pixels: {labels}");
                assert!(labels["least"].as_f64().unwrap() >= 9.0, "{place}");
                assert_eq!(labels["cut"], serde_json::json!([]), "{place}");
                assert_eq!(browser.hidden(), serde_json::json!([]), "{place}");
            }
            assert_has(&page, &[" UTC"]);
        }
    }

    /// Leaves the pictures in the folder that `ECHOPOOL_SCREENSHOTS` names, to be looked at.
    #[test]
    #[ignore = "needs chromium"]
    fn a_page_has_a_picture_in_the_light_and_in_the_dark() {
        let folder = tempfile::tempdir().unwrap();
        let kept = std::env::var_os("ECHOPOOL_SCREENSHOTS").map(PathBuf::from);
        let pictures = kept.unwrap_or_else(|| folder.path().to_owned());
        for (name, page) in pages() {
            let file = folder.path().join("page.html");
            std::fs::write(&file, page).unwrap();
            let picture = |scheme: &str, number: u8| {
                let picture = pictures.join(format!("{name}-{scheme}.png"));
                let arguments = [
                    format!("--blink-settings=preferredColorScheme={number}"),
                    format!("--screenshot={}", picture.display()),
                    format!("file://{}", file.display()),
                ];
                chromium(folder.path(), &arguments);
                std::fs::read(&picture).unwrap()
            };
            let (dark, light) = (picture("dark", 0), picture("light", 1));
            assert!(dark.len() > 20_000 && light.len() > 20_000, "{name}");
            assert!(dark != light, "{name}");
        }
    }
}

/// Files that can't be replaced, in namespaces and for another user.
#[cfg(target_os = "linux")]
mod overwritten {
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    use super::*;
    use common::Program;

    /// Merges a run into the file `out` of a folder after `before`, a line of shell that may
    /// use `$dir`. Returns the end of the program.
    fn merge(folder: &Path, before: &str, by: &str) -> Ended {
        let source = save(folder, "source.json", &closed("a"));
        let program = env!("CARGO_BIN_EXE_echopool");
        let out = folder.join("folder/out");
        let script = format!(
            "{before}\n{by} {program} report --merge {source} -o {} >/dev/null; code=$?; cat {}; exit $code",
            out.display(),
            out.display(),
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        command.env("dir", folder).stdout(Stdio::piped());
        common::end(Program::spawn(command))
    }

    fn folders() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        std::fs::write(folder.path().join("folder/out"), "x".repeat(100_000)).unwrap();
        folder
    }

    #[test]
    #[ignore = "needs unshare(1), mount(8), setpriv(1) and root"]
    fn a_mount_point_and_another_users_folder() {
        let bind = "touch $dir/other; mount --bind $dir/other $dir/folder/out";
        let remount = format!(
            "{bind}; mount --bind $dir/folder $dir/folder; mount -o remount,bind,ro $dir/folder; mount --bind $dir/other $dir/folder/out"
        );
        let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
        for (before, by) in [
            (bind, ""),
            (&*remount, ""),
            ("chmod 666 $dir/folder/out; chmod 755 $dir/folder", nobody),
            ("chmod 666 $dir/folder/out; chmod 1777 $dir/folder", nobody),
        ] {
            let folder = folders();
            let ended = merge(folder.path(), before, by);
            assert_eq!(ended.code, Some(0), "{before}: {ended:?}");
            let merged = read::parse(&ended.stdout).unwrap();
            assert_eq!(merged.generators, closed("a").generators, "{before}");
            let left = std::fs::read_dir(folder.path().join("folder")).unwrap();
            assert_eq!(left.count(), 1, "{before}: a temporary file is left");
        }
    }
}
