//! The load generator against our own server: each way of making load, once.

mod common;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::faulty::Faulty;
use common::{Server, finish};
use echopool::bench::plan::{Arrivals, Load, Plan};
use echopool::bench::progress::{Progress, Watch};
use echopool::bench::results::{Errors, Results};
use echopool::bench::{run, run_quiesced};

/// Counts how often it was told something, and the seconds that ended.
#[derive(Default)]
struct Watcher {
    told: usize,
    seconds: usize,
    connections: usize,
}

impl Watch for Watcher {
    fn progress(&mut self, progress: &Progress<'_>) {
        self.told += 1;
        self.seconds += usize::from(progress.finished.is_some());
        self.connections = self.connections.max(progress.connections);
    }
}

/// A fifth of a second of closed loop on four connections.
fn plan() -> Plan {
    Plan {
        load: Load::Messages,
        connections: 4,
        size_bytes: 64..=64,
        depth: 1,
        rate_per_s: None,
        arrivals: Arrivals::Uniform,
        duration: Some(Duration::from_millis(200)),
        count: None,
        warmup: Duration::from_millis(50),
        threads: 1,
        reconnect: false,
        sources: Vec::new(),
        timeout: Duration::from_secs(10),
        seed: 1,
    }
}

/// Runs it, and checks what holds for every run against a good server.
fn load(plan: &Plan) -> Results {
    let server = Server::with_workers(1);
    let stop = Arc::new(AtomicBool::new(false));
    let mut watcher = Watcher::default();
    let results = run([server.echo], plan, &stop, &mut watcher).unwrap();
    server.stop();
    let totals = &results.totals;
    assert_eq!(totals.errors, Errors::default(), "{:?}", results.examples);
    assert_eq!(totals.sent, totals.echoed + totals.in_flight);
    assert_eq!(totals.sent_bytes, totals.echoed_bytes);
    assert_eq!((totals.lost, totals.lost_bytes), (0, 0));
    assert_eq!(results.service.count(), totals.sent);
    let round_trips = results.timeline.iter().map(|second| second.echoed);
    assert!(round_trips.sum::<u64>() >= totals.echoed);
    assert!(watcher.told > 0 && watcher.seconds > 0);
    results
}

#[test]
fn a_closed_loop_goes_as_fast_as_replies_come() {
    let results = load(&plan());
    assert!(results.totals.echoed > 100, "{:?}", results.totals);
    assert_eq!(results.totals.connected, 4);
    assert_eq!(results.connect.count(), 4);
    assert!(results.response.is_none());
}

#[test]
fn an_open_loop_sends_what_is_due() {
    for (arrivals, threads) in [(Arrivals::Uniform, 2), (Arrivals::Poisson, 1)] {
        let results = load(&Plan {
            rate_per_s: Some(1000.0),
            arrivals,
            threads,
            // What is due in a warm-up and sent after it counts, its lateness doesn't.
            warmup: Duration::ZERO,
            ..plan()
        });
        // What was due at the very end may not have been sent; it counts all the same.
        let due = results.totals.sent + results.totals.unsent;
        assert!((100..300).contains(&due), "{arrivals:?}: {due}");
        assert_eq!(results.response.unwrap().count(), due);
        assert_eq!(results.lateness.unwrap().count(), due);
    }
}

#[test]
fn a_number_of_messages_ends_a_run() {
    let results = load(&Plan {
        duration: None,
        count: Some(1000),
        threads: 3,
        depth: 7,
        size_bytes: 1..=5000,
        ..plan()
    });
    assert_eq!(results.totals.echoed, 1000);
}

#[test]
fn churn_has_a_connection_for_each_message() {
    let results = load(&Plan {
        load: Load::Churn,
        duration: None,
        count: Some(100),
        warmup: Duration::ZERO,
        ..plan()
    });
    assert_eq!(results.totals.connected, 100);
    assert_eq!(results.connect.count(), 100);
    assert_eq!(results.first_byte.unwrap().count(), 100);
    assert_eq!(results.exchange.unwrap().count(), 100);
}

#[test]
fn a_stream_has_bytes_and_no_latency() {
    let results = load(&Plan {
        load: Load::Stream,
        connections: 2,
        ..plan()
    });
    assert_eq!(results.totals.sent, 0);
    assert!(
        results.totals.echoed_bytes > 1 << 20,
        "{:?}",
        results.totals
    );
    assert!(results.throughput_bytes_per_s > 1e6);
}

/// An echo server that counts: connections that ended, and bytes.
fn counting() -> (Faulty, Arc<[AtomicU64; 2]>) {
    let counts = Arc::new([const { AtomicU64::new(0) }; 2]);
    let counted = Arc::clone(&counts);
    let server = Faulty::serve(move |mut stream, _| {
        let mut block = vec![0; 1 << 16];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            counted[1].fetch_add(length as u64, Ordering::SeqCst);
            if stream.write_all(&block[..length]).is_err() {
                break;
            }
        }
        counted[0].fetch_add(1, Ordering::SeqCst);
    });
    (server, counts)
}

#[test]
fn what_a_server_does_between_two_rests_is_what_is_counted() {
    for load in [Load::Messages, Load::Churn, Load::Stream] {
        let (server, counts) = counting();
        let plan = Plan {
            load,
            depth: if load == Load::Churn { 1 } else { 5 },
            size_bytes: 100..=30_000,
            threads: 2,
            ..plan()
        };
        let mut seen = Vec::new();
        let results = run_quiesced(
            [server.address],
            &plan,
            &Arc::new(AtomicBool::new(false)),
            &mut Watcher::default(),
            &mut || seen.push([0, 1].map(|of| counts[of].load(Ordering::SeqCst))),
        );
        let totals = results.unwrap().totals;
        let [[ended, bytes], [ended_after, bytes_after]] = seen[..] else {
            panic!("{} rests", seen.len());
        };
        assert!(bytes > 0, "{load:?}: there was no warm-up");
        assert_eq!(bytes_after - bytes, totals.echoed_bytes, "{load:?}");
        assert_eq!(totals.sent_bytes, totals.echoed_bytes, "{load:?}");
        assert_eq!((totals.in_flight, totals.unsent), (0, 0), "{load:?}");
        let connections = if load == Load::Churn {
            totals.echoed
        } else {
            0
        };
        assert_eq!(ended_after - ended, connections, "{load:?}");
    }
}

#[test]
fn a_rest_waits_for_what_comes_late() {
    let server = Faulty::serve(|mut stream, _| {
        let mut block = [0; 64];
        for number in 0.. {
            if stream.read_exact(&mut block).is_err() {
                return;
            }
            // Later than an ordinary run would wait for it.
            if number == 1 {
                std::thread::sleep(Duration::from_millis(1300));
            }
            stream.write_all(&block).unwrap();
        }
    });
    let plan = Plan {
        connections: 1,
        warmup: Duration::ZERO,
        ..plan()
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut rests = 0;
    let mut at_rest = || rests += 1;
    let watch = &mut Watcher::default();
    let results = run_quiesced([server.address], &plan, &stop, watch, &mut at_rest).unwrap();
    assert_eq!((results.totals.echoed, rests), (2, 2));
}

#[test]
fn the_command_prints_json_that_reads_back() {
    let server = Server::with_workers(1);
    let address = server.echo.to_string();
    let ended = finish(
        ["bench", &address, "--count", "500", "--json", "-", "-q"],
        "",
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let results: Results = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(results.totals.echoed, 500);
    server.stop();
}
