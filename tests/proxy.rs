//! Clients that come through a load balancer, which names them in a PROXY header.
#![cfg(unix)]

mod common;

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::{
    Program, connect, expect_end, full_duplex, is_silent, keyed, read_to_end, round_trip,
    wait_until,
};
use proxy_header::{ProxiedAddress, ProxyHeader};
use rustix::process::Signal;

/// The server behind a load balancer, with a listener for each protocol.
struct Behind {
    program: Program,
    echo: SocketAddr,
    counted: SocketAddr,
    whoami: SocketAddr,
}

impl Behind {
    fn start(arguments: &[&str]) -> Self {
        let any = "127.0.0.1:0";
        let listen = ["serve", "--echo", any, "--counted", any, "--whoami", any];
        let proxied = ["--proxy-protocol", "-v"];
        let mut program = Program::start([&listen[..], &proxied, arguments].concat());
        Self {
            echo: program.wait_for_listener("echo"),
            counted: program.wait_for_listener("counted"),
            whoami: program.wait_for_listener("whoami"),
            program,
        }
    }

    /// Ends the program, which must have ended well. Returns all that it logged.
    fn stop(mut self) -> Vec<String> {
        self.program.signal(Signal::TERM);
        let code = self.program.wait().code();
        assert_eq!(code, Some(0), "{:#?}", self.program.log);
        std::mem::take(&mut self.program.log)
    }
}

fn total(log: &[String]) -> &str {
    log.iter().find(|line| line.contains("total:")).unwrap()
}

/// A header that names `client`, of version 1 or 2.
fn header(client: &str, version: u8) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let server = SocketAddr::new(client.ip(), 7);
    let header = ProxyHeader::with_address(ProxiedAddress::stream(client, server));
    let mut bytes = Vec::new();
    match version {
        1 => header.encode_v1(&mut bytes).unwrap(),
        _ => header.encode_v2(&mut bytes).unwrap(),
    }
    bytes
}

fn announced(to: SocketAddr, client: &str, version: u8) -> TcpStream {
    let mut stream = connect(to);
    stream.write_all(&header(client, version)).unwrap();
    stream
}

/// Whether the server ends a connection without a byte.
fn is_refused(mut stream: TcpStream) -> bool {
    let mut bytes = Vec::new();
    let read = std::io::Read::read_to_end(&mut stream, &mut bytes);
    assert!(bytes.is_empty(), "{bytes:?}");
    // Bytes that the server had not read make a reset of its end.
    read.is_ok() || read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[test]
fn the_header_is_no_part_of_the_echo() {
    let server = Behind::start(&["--workers", "1"]);
    for version in [1, 2] {
        let mut client = announced(server.echo, "192.0.2.7:40112", version);
        round_trip(&mut client, b"behind the header");
        full_duplex(client, u64::from(version), 4 << 20);
    }
    let log = server.stop();
    let through = "client 192.0.2.7:40112 came through 127.0.0.1:";
    assert_eq!(log.iter().filter(|line| line.contains(through)).count(), 2);
    let closed = "client 192.0.2.7:40112 closed: ";
    assert_eq!(log.iter().filter(|line| line.contains(closed)).count(), 2);
}

#[test]
fn a_header_and_what_follows_may_come_in_any_segments() {
    let server = Behind::start(&["--workers", "1"]);
    for version in [1, 2] {
        let text = keyed(u64::from(version), 0, 100_000);
        let all = [&header("[2001:db8::7]:9", version)[..], &text].concat();
        // At once, with the end behind it; and byte by byte up to beyond the header.
        for single in [0, 80] {
            let mut client = connect(server.echo);
            for byte in &all[..single] {
                client.write_all(&[*byte]).unwrap();
            }
            let mut sending = client.try_clone().unwrap();
            let rest = all[single..].to_vec();
            let sender = std::thread::spawn(move || {
                sending.write_all(&rest).unwrap();
                sending.shutdown(Shutdown::Write).unwrap();
            });
            assert!(
                read_to_end(&mut client) == text,
                "version {version}, {single}"
            );
            sender.join().unwrap();
        }
    }
    server.stop();
}

#[test]
fn every_protocol_begins_behind_the_header_also_if_all_comes_at_once_with_the_end() {
    let server = Behind::start(&["--workers", "1"]);
    for version in [1, 2] {
        let head = header("192.0.2.7:40112", version);
        for (to, text, want) in [
            (server.echo, &b""[..], &b""[..]),
            (server.echo, b"x", b"x"),
            (server.counted, b"test_string\0", b"11 : test_string\0"),
            (server.counted, b"no end", b"6 : no end\0"),
            (server.counted, b"", b"0 : \0"),
            (server.whoami, b"", b"192.0.2.7:40112\n"),
            (server.whoami, b"ignored", b"192.0.2.7:40112\n"),
        ] {
            let mut client = connect(to);
            client.write_all(&[&head, text].concat()).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&mut client), want, "{text:?}");
        }
    }
    server.stop();
}

#[test]
fn a_connection_of_the_load_balancers_own_keeps_its_address() {
    let server = Behind::start(&[]);
    // Version 2, command LOCAL: its addresses do not count.
    let mut bytes = header("192.0.2.7:1", 2);
    bytes[12] = 0x20;
    // And may be of any family.
    let empty = b"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\0";
    for head in [&bytes[..], empty, b"PROXY UNKNOWN\r\n"] {
        let mut client = connect(server.whoami);
        client.write_all(head).unwrap();
        let own = client.local_addr().unwrap();
        assert_eq!(read_to_end(&mut client), format!("{own}\n").as_bytes());
    }
    server.stop();
}

#[test]
fn what_is_no_header_is_refused_without_a_byte_and_counted() {
    let server = Behind::start(&["--workers", "1"]);
    let mut neighbour = announced(server.echo, "192.0.2.1:1", 2);
    round_trip(&mut neighbour, b"before");
    let strange: [&[u8]; 5] = [
        b"hello",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\nhello",
        b"PROXY TCP4 not.an.address 1.2.3.4 1 2\r\nhello",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x13\0\x0c____________hello",
        &[b'P'; 200],
    ];
    for bytes in strange {
        let mut client = connect(server.echo);
        client.write_all(bytes).unwrap();
        assert!(is_refused(client), "{bytes:?}");
    }
    round_trip(&mut neighbour, b"after");
    drop(neighbour);
    let log = server.stop();
    let line = log.iter().find(|line| line.contains("refused: it sent"));
    assert!(line.unwrap().contains("WARN"), "{log:#?}");
    let want = "5 refused or evicted: 5 without a PROXY header";
    assert!(total(&log).ends_with(want), "{log:#?}");
}

#[test]
fn a_header_that_breaks_off_is_counted_and_a_connection_without_a_byte_is_not() {
    let server = Behind::start(&["--workers", "1"]);
    for bytes in [
        &b"PROXY TCP4 1.2"[..],
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01",
    ] {
        let mut client = connect(server.echo);
        client.write_all(bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(is_refused(client), "{bytes:?}");
    }
    let looking = connect(server.echo);
    looking.shutdown(Shutdown::Write).unwrap();
    assert!(is_refused(looking));
    let log = server.stop();
    let want = "2 refused or evicted: 2 without a PROXY header";
    assert!(total(&log).ends_with(want), "{log:#?}");
}

#[test]
fn a_header_that_does_not_come_is_awaited_for_five_seconds() {
    let server = Behind::start(&["--workers", "1"]);
    let since = Instant::now();
    let silent = connect(server.echo);
    let mut slow = connect(server.echo);
    slow.write_all(b"PROXY TCP4 1.2.3.4").unwrap();
    assert!(is_silent(&mut slow, Duration::from_secs(4)));
    assert!(is_refused(slow));
    assert!(is_refused(silent));
    assert!(since.elapsed() >= Duration::from_secs(5));
    // One whose header came stays.
    let log = server.stop();
    let want = "2 refused or evicted: 2 without a PROXY header";
    assert!(total(&log).ends_with(want), "{log:#?}");
    let words = "evicted: it sent no complete PROXY header in 5s";
    assert!(log.iter().any(|line| line.contains(words)), "{log:#?}");
}

#[test]
fn a_client_whose_header_has_come_has_no_time_limit_of_it() {
    let server = Behind::start(&["--workers", "1"]);
    let mut client = announced(server.echo, "192.0.2.1:1", 1);
    round_trip(&mut client, b"now");
    assert!(is_silent(&mut client, Duration::from_secs(6)));
    round_trip(&mut client, b"and later");
    drop(client);
    server.stop();
}

#[test]
fn a_lifetime_that_is_over_before_the_header_has_come_is_logged_and_counted_as_that() {
    let mut server = Behind::start(&["--max-lifetime", "300ms"]);
    let mut client = connect(server.echo);
    client.write_all(b"PROXY TCP4 ").unwrap();
    expect_end(&mut client);
    client.shutdown(Shutdown::Write).unwrap();
    let line = server.program.wait_for(" closed: ");
    assert!(line.ends_with("evicted, over --max-lifetime"), "{line}");
    let log = server.stop();
    let total = total(&log);
    assert!(
        total.ends_with(" 1 refused or evicted: 1 over --max-lifetime"),
        "{total}"
    );
}

#[test]
fn the_clients_of_a_source_are_counted_by_the_address_in_the_header() {
    let server = Behind::start(&["--workers", "2", "--max-per-source", "2"]);
    let serve = |client: &str, version| {
        let mut stream = announced(server.echo, client, version);
        round_trip(&mut stream, b"hello");
        stream
    };
    // All of them come from the same load balancer.
    let held = [
        serve("192.0.2.1:1", 1),
        serve("192.0.2.1:2", 2),
        serve("192.0.2.2:1", 2),
        serve("[::ffff:192.0.2.2]:2", 2),
        serve("[2001:db8::1]:1", 1),
        serve("[2001:db8::2]:1", 2),
    ];
    // Clients that it does not name are not one source.
    let unnamed = || {
        let mut stream = connect(server.echo);
        stream.write_all(b"PROXY UNKNOWN\r\n").unwrap();
        round_trip(&mut stream, b"hello");
        stream
    };
    let _unnamed: Vec<_> = (0..3).map(|_| unnamed()).collect();
    for crowded in ["192.0.2.1:3", "192.0.2.2:3", "[2001:db8::3]:1"] {
        assert!(is_refused(announced(server.echo, crowded, 2)), "{crowded}");
    }
    drop(held);
    wait_until("a place to be free again", || {
        let mut stream = announced(server.echo, "192.0.2.1:4", 2);
        let served = stream.write_all(b"x").is_ok();
        served && std::io::Read::read(&mut stream, &mut [0]).is_ok_and(|bytes| bytes == 1)
    });
    let log = server.stop();
    let words = "client 192.0.2.1:3 refused: its source has 2 connections (--max-per-source)";
    assert!(log.iter().any(|line| line.contains(words)), "{log:#?}");
    assert!(total(&log).contains(" over --max-per-source"), "{log:#?}");
}

#[test]
fn a_stop_does_not_wait_for_a_header() {
    let server = Behind::start(&["--grace", "1h"]);
    let mut silent = connect(server.echo);
    let mut half = connect(server.echo);
    half.write_all(b"PROXY TCP4 ").unwrap();
    let since = Instant::now();
    server.stop();
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
    expect_end(&mut silent);
    expect_end(&mut half);
}

#[test]
fn the_environment_may_ask_for_headers() {
    for (value, want) in [
        ("true", "192.0.2.7:1\n"),
        ("yes", "192.0.2.7:1\n"),
        ("0", "127."),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_echopool"));
        command
            .args(["serve", "--whoami", "127.0.0.1:0"])
            .env("ECHOPOOL_PROXY_PROTOCOL", value)
            .env_remove("RUST_LOG");
        let mut program = Program::spawn(command);
        let mut client = announced(program.wait_for_listener("whoami"), "192.0.2.7:1", 1);
        assert!(
            read_to_end(&mut client).starts_with(want.as_bytes()),
            "{value}"
        );
    }
}
