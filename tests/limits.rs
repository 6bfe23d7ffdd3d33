//! What the server refuses and ends of its own accord, and what it says of that.
#![cfg(unix)]

mod common;

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use common::{Program, connect, expect_end, reset, round_trip, wait_until};
use rustix::process::Signal;

/// Starts the program with an echo listener of its own.
fn serve(arguments: &[&str]) -> (Program, SocketAddr) {
    serve_on("127.0.0.1:0", arguments)
}

fn serve_on(address: &str, arguments: &[&str]) -> (Program, SocketAddr) {
    let mut program = Program::start([&["serve", "--echo", address], arguments].concat());
    let address = program.wait_for_listener("echo");
    (program, address)
}

/// Ends the program, which must have ended well, and returns all that it logged.
fn log_of(mut program: Program) -> Vec<String> {
    program.signal(Signal::TERM);
    let code = program.wait().code();
    assert_eq!(code, Some(0), "{:#?}", program.log);
    std::mem::take(&mut program.log)
}

/// The line of the closing report that begins so, from there on.
fn reported<'a>(log: &'a [String], start: &str) -> &'a str {
    let line = log.iter().find_map(|line| Some(&line[line.find(start)?..]));
    line.unwrap_or_else(|| panic!("no {start:?} in {log:#?}"))
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
        let echoed = std::io::Write::write_all(&mut client, b"x").is_ok()
            && client.read(&mut [0]).is_ok_and(|bytes| bytes == 1);
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
    // `served` is refused as well until the worker has seen who left.
    assert!(number >= 7, "{total}");
    let want = format!("{number} refused or evicted: {number} over --max-per-source");
    assert_eq!(refused, want);
    let told = log
        .iter()
        .filter(|line| line.contains("refused: its source"));
    assert!((1..number as usize).contains(&told.count()), "{log:#?}");
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
        "total: 1 workers, 1 connections, 5 bytes echoed"
    );
}
