//! Memory or descriptors run short: which clients are shed, and that others are served.
#![cfg(target_os = "linux")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::gap::{fill_behind_gap, losing_socket};
use common::load::alone;
use common::serve::{limit_descriptors, log_of, reported, serve, serve_after, stop};
use common::{Program, connect, connect_narrow, is_reset, pour, round_trip, wait_until};
use echopool::proto::Protocol;
use echopool::server::{Config, Listener, Server, Stop};
use echopool::worker::eviction::Reason;
use rustix::process::Signal;

#[test]
fn where_memory_is_short_the_most_stalled_are_shed_and_others_served_on() {
    let _alone = alone();
    let limits = ["--memory-limit", "8MiB", "--stall-timeout", "0s"];
    let (mut program, address) = serve(&[&limits[..], &["--workers", "2"]].concat());
    let mut healthy = connect(address);
    round_trip(&mut healthy, b"hello");
    let greedy: Vec<_> = (0..8).map(|_| connect_narrow(address)).collect();
    for client in &greedy {
        pour(client);
        round_trip(&mut healthy, b"one that takes its bytes");
    }
    program.wait_for("memory is short");
    program.wait_for("clients are accepted again");
    wait_until("one of them to be reset", || greedy.iter().any(is_reset));
    drop(greedy);
    round_trip(&mut healthy, b"still there");
    round_trip(&mut connect(address), b"a new one");
    let log = log_of(program);
    let total = reported(&log, "total: 2 workers");
    assert!(total.contains(" shed, memory short "), "{total}");
    assert!(total.ends_with(" --memory-limit"), "{total}");
    reported(
        &log,
        "evicted: memory is short, and it accepted no echo for",
    );
}

#[test]
fn many_clients_whose_few_bytes_all_fit_the_kernels_buffers_are_shed_in_time() {
    let _alone = alone();
    /// What each holds at the least, beside what its own narrow buffer takes.
    const EACH: usize = 32 * 1024;
    /// Without a check for this reason they would be found after 15 s.
    const SOON: Duration = Duration::from_secs(10);
    let options = ["--memory-limit", "8MiB", "--stall-timeout", "0s"];
    let (mut program, address) = serve(&[&options[..], &["--workers", "2"]].concat());
    let mut reading = connect(address);
    round_trip(&mut reading, b"hello");
    let start = Instant::now();
    let greedy: Vec<_> = (0..400).map(|_| connect_narrow(address)).collect();
    let mut writes = greedy.iter();
    wait_until("memory to be short", || {
        // Those that wait to be accepted are not read yet. Some at a time, so that it is the
        // server's time that is looked at, whatever a turn of this takes.
        for mut client in writes.by_ref().take(8) {
            client.write_all(&[7; 2 * EACH]).unwrap();
        }
        round_trip(&mut reading, b"one that takes its bytes");
        greedy.iter().any(is_reset)
    });
    let seen = start.elapsed();
    assert!(seen < SOON, "{seen:?}");
    program.wait_for("clients are accepted again");
    round_trip(&mut connect(address), b"a new one");
    round_trip(&mut reading, b"still there");
    drop(greedy);
    let log = log_of(program);
    let total = reported(&log, "total: 2 workers");
    assert!(total.contains(" shed, memory short "), "{total}");
    assert!(total.ends_with(" --memory-limit"), "{total}");
}

#[test]
fn clients_whose_bytes_lie_behind_a_gap_are_shed_where_memory_is_short() {
    let _alone = alone();
    let listener = Listener::new(Protocol::Echo, losing_socket()).unwrap();
    let address = listener.address();
    let config = Config {
        workers: 2,
        memory_limit: Some(8 << 20),
        ..Config::default()
    };
    let stop = Stop::new();
    let running = thread::spawn({
        let stop = stop.clone();
        move || Server::start(vec![listener], &config)?.run(&stop)
    });
    let mut clients: Vec<_> = (0..300).map(|_| connect(address)).collect();
    clients.iter_mut().for_each(fill_behind_gap);
    wait_until("one of them to be reset", || clients.iter().any(is_reset));
    round_trip(&mut connect(address), b"a new one");
    drop(clients);
    stop.request();
    wait_until("the server to stop", || running.is_finished());
    let report = running.join().unwrap().unwrap();
    assert!(report.evicted().of(Reason::Shed) > 0, "{report}");
}

/// Streams that are ended when this is dropped, also when a test fails before.
struct Streams(Vec<TcpStream>);

impl Drop for Streams {
    fn drop(&mut self) {
        for stream in &self.0 {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Clients that stream and read hold some megabytes each, as much as the kernel gives them.
#[test]
fn a_few_that_read_and_hold_all_the_memory_do_not_keep_others_out_for_ever() {
    let _alone = alone();
    let (mut program, address) = serve(&["--memory-limit", "2MiB", "--workers", "2"]);
    let streams = Streams((0..4).map(|_| connect(address)).collect());
    for stream in &streams.0 {
        let (mut sends, mut reads) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        thread::spawn(move || while sends.write_all(&[7; 64 * 1024]).is_ok() {});
        thread::spawn(move || {
            let mut block = vec![0; 64 * 1024];
            // It reads slower than the sender sends, but never pauses for long.
            while let Ok(1..) = reads.read(&mut block) {
                thread::sleep(Duration::from_millis(1));
            }
        });
    }
    program.wait_for("memory is short");
    round_trip(&mut connect(address), b"a new one");
    drop(streams);
    let log = log_of(program);
    // On a busy machine some may have stalled for long enough to be shed for that.
    reported(&log, "evicted: memory is short, and it ");
}

/// As many clients as there are descriptors for do not read, and one more comes.
fn assert_room_is_made(program: Program, address: SocketAddr) {
    let greedy: Vec<_> = (0..50).map(|_| connect_narrow(address)).collect();
    greedy.iter().for_each(pour);
    round_trip(&mut connect(address), b"a new one");
    wait_until("one of them to be reset", || greedy.iter().any(is_reset));
    drop(greedy);
    let log = log_of(program);
    reported(&log, "evicted: room is short, and it accepted no echo for");
}

#[test]
fn where_the_limit_on_files_bounds_the_clients_the_most_stalled_make_room() {
    let _alone = alone();
    let options = ["--stall-timeout", "0s", "--workers", "1"];
    let (program, address) = serve_after("ulimit -n 64", &options);
    assert_room_is_made(program, address);
}

#[test]
fn where_descriptors_run_out_before_that_limit_the_most_stalled_make_room() {
    let _alone = alone();
    let options = ["--stall-timeout", "0s", "--workers", "1"];
    let (program, address) = serve(&options);
    limit_descriptors(&program, 40);
    assert_room_is_made(program, address);
}

#[test]
fn clients_that_wait_at_a_stop_while_no_descriptor_is_free_are_counted() {
    let _alone = alone();
    let (mut program, address) = serve(&["--workers", "1"]);
    limit_descriptors(&program, 20);
    let clients: Vec<_> = (0..30)
        .map(|_| {
            let mut client = connect(address);
            client.write_all(b"x").unwrap();
            client
        })
        .collect();
    program.wait_for("could not accept");
    let (code, _) = stop(&mut program, Signal::TERM);
    assert_eq!(code, Some(3), "{:#?}", program.log);
    let total = reported(&program.log, "total: 1 worker, ");
    let numbers = total.split(|c: char| !c.is_ascii_digit());
    let numbers: Vec<usize> = numbers.filter_map(|text| text.parse().ok()).collect();
    let [_, served, echoed, waited] = numbers[..] else {
        panic!("{total}");
    };
    assert_eq!(
        (served, served + waited),
        (echoed, clients.len()),
        "{total}"
    );
}
