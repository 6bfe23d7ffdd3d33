//! The limits: which clients the server refuses or ends, and what it logs of them.
#![cfg(unix)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::serve::{descriptors, log_of, reported, suspend};
use common::{
    Program, connect, connect_narrow, expect, expect_end, fill, full_duplex, keyed, pour, reset,
    round_trip, try_fill, wait_for_reset, wait_until,
};
use echopool::base::open_files::raise_open_files;
use rustix::process::Signal;
use socket2::{SockFilter, SockRef};

/// Starts the program with an echo listener of its own.
fn serve(arguments: &[&str]) -> (Program, SocketAddr) {
    serve_on("127.0.0.1:0", arguments)
}

fn serve_on(address: &str, arguments: &[&str]) -> (Program, SocketAddr) {
    let mut program = Program::start([&["serve", "--echo", address], arguments].concat());
    let address = program.wait_for_listener("echo");
    (program, address)
}

/// Whether the server ends this connection without having echoed anything.
fn is_refused(client: &mut TcpStream) -> bool {
    match client.read(&mut [0]) {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// A client that is served, once its source has a place for it.
fn served(address: SocketAddr) -> TcpStream {
    let mut found = None;
    wait_until("a place for one more client", || {
        let mut client = connect(address);
        let echoed =
            client.write_all(b"x").is_ok() && client.read(&mut [0]).is_ok_and(|bytes| bytes == 1);
        found = echoed.then_some(client);
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_source_has_as_many_clients_as_allowed_and_the_next_is_closed_at_once() {
    let (program, address) = serve(&["--max-per-source", "3", "--workers", "2"]);
    let mut inside: Vec<_> = (0..3).map(|_| connect(address)).collect();
    inside.iter_mut().for_each(|c| round_trip(c, b"hello"));
    for _ in 0..5 {
        assert!(is_refused(&mut connect(address)));
    }
    inside.iter_mut().for_each(|c| round_trip(c, b"still here"));
    // A place for each that leaves, whichever way, and not one more.
    drop(inside.pop());
    inside.push(served(address));
    assert!(is_refused(&mut connect(address)));
    reset(inside.pop().unwrap());
    inside.push(served(address));
    assert!(is_refused(&mut connect(address)));
    inside.iter_mut().for_each(|c| round_trip(c, b"to the end"));
    let log = log_of(program);
    inside.iter_mut().for_each(expect_end);
    let total = reported(&log, "total: 2 workers, 5 connections");
    let (_, refused) = total.split_once(" bytes echoed, ").unwrap();
    let number: u64 = refused.split_once(' ').unwrap().0.parse().unwrap();
    // `served` is refused as well until the worker has seen which client left.
    assert!(number >= 7, "{total}");
    let want = format!("{number} refused or evicted: {number} over --max-per-source");
    assert_eq!(refused, want);
    let lines = log
        .iter()
        .filter(|line| line.contains("refused: its source"));
    assert!((1..number as usize).contains(&lines.count()), "{log:#?}");
    assert_eq!(
        logged_clients(&log, "refused: its source", "over --max-per-source"),
        number
    );
}

/// How many clients of a reason are in the log: those with a line, those left out before
/// a line, and those left out at the end.
fn logged_clients(log: &[String], words: &str, reason: &str) -> u64 {
    let number = |text: &str| text.rsplit(['(', ' ']).next()?.parse::<u64>().ok();
    let counts = log.iter().map(|line| {
        if line.contains(words) {
            let others = line.split_once(" more since the last such line");
            1 + others.map_or(0, |(before, _)| number(before).unwrap())
        } else if line.ends_with(&format!("since the last such line: {reason}")) {
            number(line.split_once(" more clients").unwrap().0).unwrap()
        } else {
            0
        }
    });
    counts.sum()
}

#[test]
fn ipv4_counts_as_one_source_also_where_ipv6_carries_it_and_ipv6_as_another() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return;
    }
    let (program, address) = serve_on(":0", &["--max-per-source", "1"]);
    let mut v4 = connect((Ipv4Addr::LOCALHOST, address.port()).into());
    round_trip(&mut v4, b"by IPv4");
    let mut v6 = connect((Ipv6Addr::LOCALHOST, address.port()).into());
    round_trip(&mut v6, b"by IPv6");
    assert!(is_refused(&mut connect(
        (Ipv4Addr::LOCALHOST, address.port()).into()
    )));
    assert!(is_refused(&mut connect(
        (Ipv6Addr::LOCALHOST, address.port()).into()
    )));
    let log = log_of(program);
    let total = reported(&log, "total:");
    assert!(
        total.ends_with("2 refused or evicted: 2 over --max-per-source"),
        "{total}"
    );
}

#[test]
fn where_no_limit_was_met_the_report_says_nothing_of_them() {
    let (program, address) = serve(&["--max-per-source", "1", "--workers", "1"]);
    round_trip(&mut connect(address), b"hello");
    let log = log_of(program);
    assert_eq!(
        reported(&log, "total:"),
        "total: 1 worker, 1 connection, 5 bytes echoed"
    );
}

/// A second behind its time a limit must have been noticed; a busy machine may
/// take a while to let the test see it.
const LATE: Duration = Duration::from_secs(5);

#[test]
fn an_idle_client_is_ended_in_time_and_one_byte_now_and_then_keeps_another() {
    const IDLE: Duration = Duration::from_secs(1);
    let (program, address) = serve(&["--idle-timeout", "1s", "--workers", "1"]);
    let opened = Instant::now();
    let mut busy = connect(address);
    let mut silent = connect(address);
    let mut talked = connect(address);
    thread::sleep(IDLE / 2);
    let last_byte = Instant::now();
    round_trip(&mut talked, b"hello");
    let talking = thread::spawn(move || {
        while opened.elapsed() < 3 * IDLE {
            round_trip(&mut busy, b"x");
            thread::sleep(IDLE / 20);
        }
        expect_end(&mut busy);
    });
    expect_end(&mut silent);
    let ended = opened.elapsed();
    assert!(ended >= IDLE && ended < IDLE + LATE, "{ended:?}");
    expect_end(&mut talked);
    let ended = last_byte.elapsed();
    assert!(ended >= IDLE && ended < IDLE + LATE, "{ended:?}");
    talking.join().unwrap();
    let log = log_of(program);
    let total = reported(&log, "total: 1 worker, 3 connections");
    assert!(total.ends_with(", 3 refused or evicted: 3 idle"), "{total}");
    reported(&log, "evicted: no data for 1s (--idle-timeout)");
}

/// More clients than one wait for events tells of, and one alone.
#[test]
fn clients_that_sent_while_the_server_was_suspended_are_not_idle() {
    const IDLE: Duration = Duration::from_secs(2);
    raise_open_files();
    for count in [1, 1500] {
        let (program, address) = serve(&["--idle-timeout", "2s", "--workers", "1"]);
        let mut clients: Vec<_> = (0..count).map(|_| connect(address)).collect();
        // Until the last is connected, the first may have been idle for too long.
        let start = Instant::now();
        for client in &mut clients {
            if client.write_all(b"x").is_err() || client.read_exact(&mut [0]).is_err() {
                *client = connect(address);
                round_trip(client, b"x");
            }
        }
        suspend(&program);
        let was_busy = start.elapsed() > IDLE / 2;
        for client in &mut clients {
            client.write_all(b"y").unwrap();
        }
        thread::sleep(IDLE + IDLE / 4);
        program.signal(Signal::CONT);
        let mut lost = 0;
        for client in &mut clients {
            lost += usize::from(client.read_exact(&mut [0]).is_err());
        }
        drop(clients);
        drop(log_of(program));
        assert!(lost == 0 || was_busy, "{lost} of {count} were evicted");
    }
}

/// Drops all segments that reach a socket, as if its network were gone.
#[cfg(target_os = "linux")]
fn deafen(socket: &TcpStream) {
    let drop_all = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);
    SockRef::from(socket).attach_filter(&[drop_all]).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn silent_clients_whose_network_is_gone_are_ended_and_counted_and_others_are_not() {
    let (program, address) = serve(&["--keepalive", "1s", "--workers", "2"]);
    let mut silent: Vec<_> = (0..50).map(|_| connect(address)).collect();
    silent
        .iter_mut()
        .for_each(|client| round_trip(client, b"hello"));
    // Whether its own host has acknowledged all, the server's is not asked.
    thread::sleep(Duration::from_millis(300));
    let mut healthy = silent.pop().unwrap();
    silent.iter().for_each(deafen);
    let ended = |program: &Program| descriptors(program.child.id());
    let before = ended(&program);
    wait_until("those that are gone to be closed", || {
        ended(&program) <= before - silent.len()
    });
    round_trip(&mut healthy, b"silent, but there");
    let log = log_of(program);
    let total = reported(&log, "total: 2 workers, 50 connections");
    assert!(
        total.ends_with(", 49 refused or evicted: 49 vanished"),
        "{total}"
    );
    reported(
        &log,
        "evicted: its host or its network is gone (--keepalive)",
    );
}

#[test]
fn a_client_that_accepts_none_of_its_pending_echo_is_reset() {
    let (program, address) = serve(&["--stall-timeout", "500ms", "--workers", "1"]);
    // One whose echo waits in the program as well, and one whose echo the kernel holds.
    let full = connect_narrow(address);
    let mut little = connect_narrow(address);
    little.write_all(&[1; 300_000]).unwrap();
    expect_bytes(&mut little, 1);
    pour(&full);
    let mut idle = connect(address);
    round_trip(&mut idle, b"hello");
    wait_for_reset(&full);
    wait_for_reset(&little);
    round_trip(&mut idle, b"one without pending echo may be silent");
    let log = log_of(program);
    let worker = reported(&log, "worker 0: exited ok, 3 connections");
    assert!(
        worker.ends_with(", 2 refused or evicted: 2 stalled"),
        "{worker}"
    );
    reported(
        &log,
        "evicted: it accepted none of its pending echo for 500ms (--stall-timeout)",
    );
}

fn expect_bytes(client: &mut TcpStream, length: usize) {
    client.read_exact(&mut vec![0; length]).unwrap();
}

/// What comes of an attempt under a limit of so many seconds, which proves nothing where the
/// machine runs this test late by as much. Then the limit is doubled.
fn on_time<T>(seconds: u64, attempt: impl FnMut(u64) -> Option<T>) -> T {
    let limits = [seconds, 2 * seconds, 4 * seconds];
    let result = limits.into_iter().find_map(attempt);
    result.unwrap_or_else(|| panic!("the machine is late by more than the limits {limits:?} s"))
}

/// As [`fill`], of stream 1. Nothing if it took so long that the server may have been right to
/// evict the client, which reads nothing meanwhile and whose limit is `limit`.
fn fill_in_time(client: &mut TcpStream, limit: Duration) -> Option<usize> {
    let start = Instant::now();
    let filled = try_fill(client, 1);
    (start.elapsed() < limit * 3 / 4).then(|| filled.unwrap())
}

/// Takes the echo of stream 1 in small pieces for `time`, and returns how much it was. Nothing
/// if it was once late by so much that the server may have been right to evict the client,
/// whose limit is `limit`.
fn take_slowly(client: &mut TcpStream, time: Duration, limit: Duration) -> Option<usize> {
    let start = Instant::now();
    let (mut taken, mut last) = (0, start);
    while start.elapsed() < time {
        if last.elapsed() > limit * 3 / 4 {
            return None;
        }
        last = Instant::now();
        expect(client, 1, taken, 4096);
        taken += 4096;
        thread::sleep(limit / 40);
    }
    Some(taken)
}

#[test]
fn a_client_that_takes_its_echo_slowly_keeps_its_connection_and_gets_all_of_it() {
    let (program, sent) = on_time(2, |seconds| {
        let (time, limit) = (format!("{seconds}s"), Duration::from_secs(seconds));
        let limits = ["--stall-timeout", &time, "--idle-timeout", &time];
        let (program, address) = serve(&[&limits[..], &["--workers", "1"]].concat());
        let mut client = connect_narrow(address);
        let sent = fill_in_time(&mut client, limit)?;
        let taken = take_slowly(&mut client, 3 * limit, limit)?;
        // A server that runs late takes little before it seems to take no more.
        if taken >= sent / 2 {
            return None;
        }
        client.shutdown(Shutdown::Write).unwrap();
        expect(&mut client, 1, taken, sent - taken);
        expect_end(&mut client);
        Some((program, sent))
    });
    let log = log_of(program);
    let total = format!("total: 1 worker, 1 connection, {sent} bytes echoed");
    assert_eq!(reported(&log, "total:"), total);
}

#[test]
fn a_client_that_has_half_closed_is_ended_if_it_does_not_read_and_not_if_it_is_slow() {
    const SENT: usize = 600_000;
    let (program, mut slow, mut stubborn, taken) = on_time(2, |seconds| {
        let (time, limit) = (format!("{seconds}s"), Duration::from_secs(seconds));
        let options = ["--idle-timeout", &time, "--max-lifetime", "3s"];
        let (program, address) = serve(&[&options[..], &["--stall-timeout", "0s"]].concat());
        let [mut slow, stubborn] = [1, 2].map(|key| {
            let mut client = connect_narrow(address);
            client.write_all(&keyed(key, 0, SENT)).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            client
        });
        let taken = take_slowly(&mut slow, 3 * limit, limit)?;
        Some((program, slow, stubborn, taken))
    });
    assert!(taken < SENT, "it was to be slow");
    wait_for_reset(&stubborn);
    expect(&mut slow, 1, taken, SENT - taken);
    expect_end(&mut slow);
    assert!(stubborn.read_to_end(&mut Vec::new()).is_err());
    let log = log_of(program);
    let total = reported(&log, "total:");
    assert!(total.ends_with(", 1 refused or evicted: 1 idle"), "{total}");
}

#[test]
fn a_connection_ends_in_order_when_it_is_too_old_however_busy() {
    const LIFETIME: Duration = Duration::from_millis(700);
    let (program, address) = serve(&["--max-lifetime", "700ms", "--workers", "1"]);
    let opened = Instant::now();
    let mut busy = connect(address);
    let mut silent = connect(address);
    let mut echo = [0; 1000];
    let last = loop {
        busy.write_all(&[7; 1000]).unwrap();
        match busy.read(&mut echo[..1]).unwrap() {
            0 => break opened.elapsed(),
            _ => busy.read_exact(&mut echo[1..]).unwrap(),
        }
    };
    assert!(last >= LIFETIME && last < LIFETIME + LATE, "{last:?}");
    expect_end(&mut silent);
    let log = log_of(program);
    let total = reported(&log, "total: 1 worker, 2 connections");
    assert!(
        total.ends_with(", 2 refused or evicted: 2 over --max-lifetime"),
        "{total}"
    );
}

#[test]
fn a_client_that_ignores_its_end_loses_its_connection_all_the_same() {
    let options = ["--max-lifetime", "1s", "--stall-timeout", "1s"];
    let (program, address) = serve(&[&options[..], &["--max-connections", "1"]].concat());
    let stubborn = connect_narrow(address);
    pour(&stubborn);
    // There is one place, so the client that is served has it.
    round_trip(&mut connect(address), b"hello");
    wait_for_reset(&stubborn);
    let log = log_of(program);
    let total = reported(&log, "total:");
    assert!(total.contains(" 1 over --max-lifetime"), "{total}");
    assert!(!total.contains("stalled"), "counted twice: {total}");
}

#[test]
fn a_client_whose_time_is_over_gets_all_that_was_read_however_slowly_it_takes_it() {
    /// Longer than a client has that has taken all and goes on sending.
    const SLOW: Duration = Duration::from_secs(8);
    let (program, mut client, sent, taken) = on_time(3, |seconds| {
        let (time, limit) = (format!("{seconds}s"), Duration::from_secs(seconds));
        let options = ["--max-lifetime", "1s", "--stall-timeout", &time];
        let (program, address) = serve(&options);
        let mut client = connect_narrow(address);
        let sent = fill_in_time(&mut client, limit)?;
        let taken = take_slowly(&mut client, SLOW, limit)?;
        // A server that runs late takes little before it seems to take no more.
        (taken < sent).then_some((program, client, sent, taken))
    });
    let mut rest = Vec::new();
    // The end may be a reset, since the server does not read the rest of what was sent.
    let _ = client.read_to_end(&mut rest);
    assert!(rest == keyed(1, taken, rest.len()), "another echo");
    let got = taken + rest.len();
    assert!(taken < got && got <= sent, "{taken} of {got} of {sent}");
    let log = log_of(program);
    let total = reported(&log, "total:");
    let (_, counts) = total.split_once("1 connection, ").unwrap();
    let want = format!("{got} bytes echoed, 1 refused or evicted: 1 over --max-lifetime");
    assert_eq!(counts, want);
}

#[test]
fn a_client_that_does_not_read_costs_no_more_than_the_socket_buffers() {
    let taken_by = |arguments: &[&str]| {
        let (program, address) = serve(arguments);
        let mut client = connect_narrow(address);
        SockRef::from(&client)
            .set_send_buffer_size(16 * 1024)
            .unwrap();
        let taken = fill(&mut client, 1);
        // What was taken is not lost, and a stream passes whole.
        client.shutdown(Shutdown::Write).unwrap();
        expect(&mut client, 1, 0, taken);
        expect_end(&mut client);
        full_duplex(connect(address), 2, 4 << 20);
        log_of(program);
        taken
    };
    let (bound, free) = (taken_by(&["--socket-buffer", "32KiB"]), taken_by(&[]));
    assert!(bound < 512 * 1024, "{bound} bytes are on their way");
    assert!(free > 2 * bound, "{free} bytes without a bound");
}

#[cfg(target_os = "linux")]
#[test]
fn a_buffer_size_that_the_kernel_changes_is_logged() {
    let (program, address) = serve(&["--socket-buffer", "2147483647"]);
    round_trip(&mut connect(address), b"hello");
    let log = log_of(program);
    reported(&log, "the kernel limits the buffers of a client ");
    let (program, _) = serve(&["--socket-buffer", "64KiB"]);
    let log = log_of(program);
    assert!(!log.iter().any(|line| line.contains(" WARN ")), "{log:#?}");
}
