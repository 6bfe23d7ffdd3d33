//! What `echopool bench` reports of the system's TCP.
#![cfg(any(target_os = "linux", target_os = "android"))]

mod common;

use std::io::{Read, Write};
use std::thread::sleep;
use std::time::Duration;

use common::Server;
use common::faulty::Faulty;
use common::load::{bench, clean};
use echopool::bench::results::Results;
use echopool::bench::tcp::{Tcp, TcpCounts};

fn tcp(results: &Results) -> &Tcp {
    results.tcp.as_ref().expect("Linux reports it")
}

#[test]
fn a_run_over_loopback_has_figures_of_its_connections() {
    let server = Server::with_workers(2);
    for options in [
        "--connections 3 --count 5000",
        "--connections 3 --threads 2 --rate 5000 --duration 300ms",
        "--connections 2 --stream --duration 300ms",
    ] {
        let results = clean(server.echo, options);
        let tcp = tcp(&results);
        assert_eq!(tcp.connections as usize, results.plan.connections);
        let counts = tcp.counts;
        // Where the receiver waits for a processor, TCP asks with a segment that it sent before
        // (RFC 8985, section 7): also loopback has some.
        assert!(counts.retransmits.is_some(), "{counts:?}");
        assert!(counts.data_segments_sent > Some(0), "{counts:?}");
        assert!(counts.least_rtt_ns > Some(0), "{counts:?}");
        assert!(
            counts.least_rtt_ns <= counts.most_smoothed_rtt_ns,
            "{counts:?}"
        );
        assert!(
            counts.least_mss_bytes < counts.least_path_mtu_bytes,
            "{counts:?}"
        );
        assert!(tcp.smoothed_rtt.count() >= tcp.connections, "{tcp:?}");
    }
}

#[test]
fn every_second_has_its_share_and_the_warm_up_is_not_in_the_total() {
    let server = Server::with_workers(1);
    let options = "--connections 2 --rate 2000 --warmup 1s --duration 2s";
    let results = clean(server.echo, options);
    let of = |interval: &echopool::bench::results::Interval| {
        let counts = interval.tcp.expect("each second is read");
        counts.data_segments_sent.unwrap()
    };
    assert_eq!(results.timeline.len(), 3, "{:?}", results.timeline);
    let all: u64 = results.timeline.iter().map(of).sum();
    // A message of 64 bytes is a segment, unless several are sent at once.
    let segments = tcp(&results).counts.data_segments_sent.unwrap();
    let warm_up = of(&results.timeline[0]);
    assert!(warm_up > 0 && segments == all - warm_up, "{results:?}");
    assert!(segments <= all && all <= 6100, "{all}");
}

#[test]
fn a_connection_that_is_used_for_one_message_is_read_as_it_ends() {
    let server = Server::with_workers(1);
    let results = clean(server.echo, "--connections 2 --churn --count 20");
    let tcp = tcp(&results);
    assert_eq!(tcp.connections, 20);
    assert_eq!(tcp.counts.data_segments_sent, Some(20));
}

#[test]
fn of_many_connections_a_sample_is_read_and_said_to_be_one() {
    let server = Server::with_workers(1);
    let results = clean(server.echo, "--connections 100 --count 2000");
    assert_eq!(tcp(&results).connections, 32);
    let address = server.echo.to_string();
    let options = [
        "bench",
        &address,
        "--connections",
        "100",
        "--count",
        "2000",
        "--warmup",
        "0s",
    ];
    let text = common::finish(options, "").stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("32 of 100 connections"), "{text}");
}

#[test]
fn a_server_that_reads_slowly_is_what_limits_the_stream() {
    let server = Faulty::serve(|mut stream, _| {
        let mut block = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            sleep(Duration::from_millis(20));
            if stream.write_all(&block[..length]).is_err() {
                return;
            }
        }
    });
    let results = bench(server.address, "--stream --duration 2s").results;
    let counts: TcpCounts = tcp(&results).counts;
    // The kernel counts it with a grain: on a busy machine some of the time is not in it.
    let share = counts.receive_window_limited().unwrap();
    assert!(share > 0.3, "{counts:?}");
}
