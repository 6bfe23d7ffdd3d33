//! The server as a whole: its limits, its log, and how it stops.
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use common::serve::{PROMPT, limit_descriptors, serve, serve_after, stop, stop_cleanly};
use common::{
    Program, Server, connect, connect_narrow, expect, expect_end, fill, full_duplex,
    full_duplex_reporting, is_silent, keyed, read_to_end, reset, round_trip, wait_until,
};
use echopool::base::open_files::raise_open_files;
use echopool::proto::{Protocol, answer};
use echopool::server::{self, Config, Listener, Stop};
use rustix::process::Signal;

const MIB: usize = 1 << 20;

#[test]
fn each_signal_stops_the_server_and_the_exit_code_is_0() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let (mut program, address) = serve(&["--grace", "60s"]);
        let mut client = connect(address);
        round_trip(&mut client, b"hello");
        let (code, time) = stop(&mut program, signal);
        assert_eq!(code, Some(0), "{signal:?}: {:#?}", program.log);
        assert!(time < PROMPT, "{signal:?}: {time:?}");
        expect_end(&mut client);
    }
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    for (name, ignored, other) in [
        ("HUP", Signal::HUP, Signal::TERM),
        ("INT", Signal::INT, Signal::TERM),
        ("TERM", Signal::TERM, Signal::INT),
    ] {
        let (mut program, address) = serve_after(&format!("trap '' {name}"), &[]);
        program.signal(ignored);
        round_trip(&mut connect(address), b"still there");
        // Had the first one counted, this would be the second signal.
        let (code, _) = stop(&mut program, other);
        assert_eq!(code, Some(0), "{name}: {:#?}", program.log);
    }
}

#[test]
fn a_second_signal_ends_the_server_at_once_with_130() {
    let (mut program, address) = serve(&["--grace", "60s"]);
    let mut client = connect_narrow(address);
    fill(&mut client, 1);
    program.signal(Signal::TERM);
    program.wait_for("stopping");
    let (code, time) = stop(&mut program, Signal::INT);
    assert_eq!(code, Some(130), "{:#?}", program.log);
    assert!(time < PROMPT, "{time:?}");
}

#[test]
fn a_transfer_that_is_under_way_at_the_stop_finishes() {
    let (mut program, address) = serve(&["--workers", "2", "--grace", "60s"]);
    let (reached, halfway) = channel();
    let client = thread::spawn(move || {
        full_duplex_reporting(connect(address), 1, 100 * MIB, |back| {
            let _ = (back > 20 * MIB).then(|| reached.send(()));
        });
    });
    halfway.recv().unwrap();
    let (code, _) = stop(&mut program, Signal::TERM);
    client.join().unwrap();
    assert_eq!(code, Some(0), "{:#?}", program.log);
    let total = format!("1 connection, {} bytes echoed", 100 * MIB);
    assert!(program.logged(&total), "{:#?}", program.log);
}

#[test]
fn a_transfer_whose_client_falls_silent_after_the_stop_is_ended_in_order() {
    let (mut program, address) = serve(&["--grace", "60s"]);
    let mut client = connect(address);
    let mut sending = client.try_clone().unwrap();
    let sender = thread::spawn(move || {
        for at in 0..640 {
            sending.write_all(&keyed(2, at * 65_536, 65_536)).unwrap();
        }
    });
    expect(&mut client, 2, 0, 4 * MIB);
    program.signal(Signal::TERM);
    expect(&mut client, 2, 4 * MIB, 36 * MIB);
    // It never half-closes: once it is quiet, the server does.
    expect_end(&mut client);
    sender.join().unwrap();
    assert_eq!(program.wait().code(), Some(0), "{:#?}", program.log);
}

#[test]
fn what_was_sent_before_the_signal_comes_back() {
    for length in [1, 3000, 50_000] {
        let (mut program, address) = serve(&["--workers", "2", "--grace", "60s"]);
        let mut clients: Vec<_> = (0..100).map(|_| connect(address)).collect();
        for (key, client) in clients.iter_mut().enumerate() {
            client.write_all(&keyed(key as u64, 0, length)).unwrap();
        }
        program.signal(Signal::TERM);
        for (key, client) in clients.iter_mut().enumerate() {
            expect(client, key as u64, 0, length);
            expect_end(client);
        }
        assert_eq!(program.wait().code(), Some(0), "{:#?}", program.log);
    }
}

#[test]
fn a_client_that_reads_late_but_within_the_grace_gets_every_byte() {
    let (mut program, address) = serve(&["--workers", "1", "--grace", "60s"]);
    let mut client = connect_narrow(address);
    let taken = fill(&mut client, 3);
    program.signal(Signal::TERM);
    program.wait_for("stopping");
    // Longer than the quiet time: a connection with unread echo is not quiet.
    thread::sleep(Duration::from_millis(500));
    expect(&mut client, 3, 0, taken);
    expect_end(&mut client);
    assert_eq!(program.wait().code(), Some(0), "{:#?}", program.log);
}

#[test]
fn the_last_pending_bytes_of_a_late_reader_are_not_lost() {
    let (mut program, address) = serve(&["-v", "--workers", "1", "--grace", "60s"]);
    // How much goes into the kernel for a client that reads nothing.
    let mut first = connect_narrow(address);
    fill(&mut first, 1);
    reset(first);
    let line = program.wait_for("bytes echoed");
    let (_, held) = line.split_once("closed: ").unwrap();
    let held: usize = held.split_once(' ').unwrap().0.parse().unwrap();
    // A little more: it is pending in the server, which may have nothing left to read.
    let lengths = [100, 1000, 5000, 10_000, 20_000, 40_000].map(|more| held + more);
    let mut late = lengths.map(|length| {
        let mut client = connect_narrow(address);
        client.write_all(&keyed(5, 0, length)).unwrap();
        round_trip(&mut connect(address), b"the server has come this far");
        client
    });
    program.signal(Signal::TERM);
    program.wait_for("stopping");
    thread::sleep(Duration::from_millis(500));
    for (client, length) in late.iter_mut().zip(lengths) {
        expect(client, 5, 0, length);
        expect_end(client);
    }
    assert_eq!(program.wait().code(), Some(0), "{:#?}", program.log);
}

#[test]
fn a_connection_whose_echo_is_still_in_the_kernel_is_not_quiet() {
    let (mut program, address) = serve(&["--workers", "1", "--grace", "60s"]);
    let mut client = connect_narrow(address);
    // Too much for the client's receive buffer, little enough for the server's send buffer.
    let block = keyed(4, 0, 300_000);
    client.write_all(&block).unwrap();
    expect(&mut client, 4, 0, 1);
    program.signal(Signal::TERM);
    program.wait_for("stopping");
    thread::sleep(Duration::from_millis(500));
    expect(&mut client, 4, 1, block.len() - 1);
    // Its next block comes right behind the last byte of the one before.
    round_trip(&mut client, &block);
    expect_end(&mut client);
    assert_eq!(program.wait().code(), Some(0), "{:#?}", program.log);
}

#[test]
fn thousands_of_idle_clients_do_not_delay_a_stop() {
    // Other tests of this process need some descriptors too.
    let count = raise_open_files().saturating_sub(1500).min(10_000);
    let (mut program, address) = serve(&["--workers", "2", "--grace", "60s"]);
    let start = Instant::now();
    let mut clients: Vec<_> = (0..count).map(|_| connect(address)).collect();
    clients.iter_mut().for_each(|c| round_trip(c, b"x"));
    // On a busy machine the one takes longer as the other does.
    let most = PROMPT.max(start.elapsed());
    let (code, time) = stop(&mut program, Signal::TERM);
    assert_eq!(code, Some(0), "{:#?}", program.log);
    assert!(time < most, "{time:?} for {count} clients");
    clients.iter_mut().for_each(expect_end);
    let total = format!("{count} connections, {count} bytes echoed");
    assert!(program.logged(&total), "{:#?}", program.log);
}

#[test]
fn clients_that_never_pause_are_cut_when_the_grace_is_over_and_counted() {
    let (mut program, address) = serve(&["--workers", "2", "--grace", "1500ms"]);
    let mut idle = connect(address);
    round_trip(&mut idle, b"hello");
    let (started, all_started) = channel();
    let streaming: Vec<_> = (0..2)
        .map(|_| {
            let started = started.clone();
            thread::spawn(move || stream_until_cut(connect(address), || started.send(()).unwrap()))
        })
        .collect();
    streaming.iter().for_each(|_| all_started.recv().unwrap());
    let (code, time) = stop(&mut program, Signal::TERM);
    assert_eq!(code, Some(3), "{:#?}", program.log);
    let grace = Duration::from_millis(1500);
    assert!(time >= grace && time < grace + PROMPT, "{time:?}");
    assert!(
        program.logged("2 connections were cut"),
        "{:#?}",
        program.log
    );
    expect_end(&mut idle);
    for client in streaming {
        client.join().unwrap();
    }
}

/// Small messages back and forth without a pause, until the server ends it.
fn stream_until_cut(mut client: TcpStream, started: impl FnOnce()) {
    round_trip(&mut client, b"first");
    started();
    let mut echo = [0; 1000];
    while client.write_all(&[7; 1000]).is_ok() && client.read_exact(&mut echo).is_ok() {}
}

#[test]
fn clients_that_do_not_read_are_cut_when_the_grace_is_over_and_counted() {
    let (mut program, address) = serve(&["--workers", "2", "--grace", "1500ms"]);
    let mut stuck: Vec<_> = (0..3).map(|_| connect_narrow(address)).collect();
    for client in &mut stuck {
        fill(client, 1);
    }
    // One whose echo fits into the kernel's buffers, so that nothing is left in the program.
    let mut little = connect_narrow(address);
    little.write_all(&[1; 300_000]).unwrap();
    little.read_exact(&mut [0]).unwrap();
    let mut served = connect(address);
    round_trip(&mut served, b"hello");
    let (code, time) = stop(&mut program, Signal::TERM);
    assert_eq!(code, Some(3), "{:#?}", program.log);
    let grace = Duration::from_millis(1500);
    assert!(time >= grace && time < grace + PROMPT, "{time:?}");
    assert!(
        program.logged("4 connections were cut"),
        "{:#?}",
        program.log
    );
    expect_end(&mut served);
}

#[test]
fn clients_in_the_listen_queue_at_the_stop_are_served() {
    let listeners = Listener::bind(Protocol::Echo, &"127.0.0.1:0".parse().unwrap(), 4096).unwrap();
    let address = listeners[0].address();
    let mut clients: Vec<_> = (0..300).map(|_| connect(address)).collect();
    for (key, client) in clients.iter_mut().enumerate() {
        client.write_all(&keyed(key as u64, 0, 1000)).unwrap();
    }
    let stop = Stop::new();
    assert!(stop.request());
    assert!(!stop.request());
    let config = Config {
        workers: 2,
        ..Config::default()
    };
    let running = thread::spawn(move || {
        let server = server::Server::start(listeners, &config).unwrap();
        server.run(&stop).unwrap()
    });
    for (key, client) in clients.iter_mut().enumerate() {
        expect(client, key as u64, 0, 1000);
        expect_end(client);
    }
    let report = running.join().unwrap();
    assert_eq!((report.connections(), report.bytes()), (300, 300_000));
    assert_eq!(report.cut(), 0);
}

#[test]
fn no_client_is_accepted_once_the_server_stops() {
    let server = Server::with_workers(1);
    let mut slow = connect_narrow(server.echo);
    let taken = fill(&mut slow, 1);
    server.stop.request();
    wait_until("the listener to be closed", || {
        TcpStream::connect(server.echo).is_err()
    });
    slow.shutdown(Shutdown::Write).unwrap();
    expect(&mut slow, 1, 0, taken);
    expect_end(&mut slow);
    assert_eq!(server.join().cut(), 0);
}

#[test]
fn the_longest_grace_that_can_be_given_is_no_reason_to_fail() {
    let (program, address) = serve(&["--grace", "3years"]);
    round_trip(&mut connect(address), b"hello");
    stop_cleanly(program);
}

#[test]
fn a_restart_binds_the_same_port_at_once() {
    let (mut program, address) = serve(&[]);
    for round in 0..3 {
        let mut clients: Vec<_> = (0..40).map(|_| connect(address)).collect();
        clients.iter_mut().for_each(|c| round_trip(c, b"hello"));
        stop_cleanly(program);
        // The server closed first, so its side of those that close now is in TIME_WAIT;
        // the others keep theirs half-closed.
        clients.truncate(20);
        clients.iter_mut().for_each(expect_end);
        program = Program::start(["serve", "--echo", &address.to_string()]);
        assert_eq!(program.wait_for_listener("echo"), address, "round {round}");
    }
    round_trip(&mut connect(address), b"hello again");
    stop_cleanly(program);
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut program = Program::start(["serve", "--echo", &address]);
    assert_eq!(program.wait().code(), Some(1));
    let want = format!("could not listen on {address}: address already in use");
    assert!(program.logged(&want), "{:#?}", program.log);
}

#[test]
fn every_worker_is_reported_and_a_total() {
    let (program, address) = serve(&["--workers", "2"]);
    let mut clients: Vec<_> = (0..4).map(|_| connect(address)).collect();
    for client in &mut clients {
        round_trip(client, &[1; 250]);
    }
    let program = stop_cleanly(program);
    for line in [
        "worker 0: exited ok, 2 connections, 500 bytes echoed",
        "worker 1: exited ok, 2 connections, 500 bytes echoed",
        "total: 2 workers, 4 connections, 1000 bytes echoed",
    ] {
        let count = program.log.iter().filter(|l| l.ends_with(line)).count();
        assert_eq!(count, 1, "{line:?} in {:#?}", program.log);
    }
}

#[test]
fn the_worker_with_the_fewest_live_connections_gets_the_next_client() {
    let (mut program, address) = serve(&["--workers", "2", "-v"]);
    let join = |program: &mut Program| {
        let mut client = connect(address);
        round_trip(&mut client, b"hello");
        let line = program.wait_for(&format!("{} connected", client.local_addr().unwrap()));
        (client, line.contains("worker 0"))
    };
    let clients: Vec<_> = (0..20).map(|_| join(&mut program)).collect();
    let (left, right): (Vec<_>, Vec<_>) = clients.into_iter().partition(|(_, zero)| *zero);
    assert_eq!((left.len(), right.len()), (10, 10));
    for (client, _) in left {
        let local = client.local_addr().unwrap();
        drop(client);
        program.wait_for(&format!("{local} closed"));
    }
    let later: Vec<_> = (0..10).map(|_| join(&mut program)).collect();
    assert!(later.iter().all(|(_, zero)| *zero));
    drop(right);
    stop_cleanly(program);
}

#[test]
fn as_many_clients_as_allowed_are_served_and_the_next_when_one_leaves() {
    let (mut program, address) = serve(&["--max-connections", "5", "--workers", "2"]);
    let mut served: Vec<_> = (0..5).map(|_| connect(address)).collect();
    served.iter_mut().for_each(|c| round_trip(c, b"hello"));
    let mut waiting: Vec<_> = (0..30).map(|_| connect(address)).collect();
    for (key, client) in waiting.iter_mut().enumerate() {
        client.write_all(&keyed(key as u64, 0, 100)).unwrap();
    }
    program.wait_for("connections are in use");
    assert!(is_silent(&mut waiting[0], Duration::from_millis(300)));
    for client in &mut waiting {
        assert!(is_silent(client, Duration::from_millis(1)));
    }
    served
        .iter_mut()
        .for_each(|c| round_trip(c, b"hello again"));
    // Each client that leaves, in either way, frees one place.
    drop(served.pop());
    expect(&mut waiting[0], 0, 0, 100);
    assert!(is_silent(&mut waiting[1], Duration::from_millis(100)));
    reset(served.pop().unwrap());
    expect(&mut waiting[1], 1, 0, 100);
    assert!(is_silent(&mut waiting[2], Duration::from_millis(100)));
    served.clear();
    for (key, mut client) in waiting.into_iter().enumerate().skip(2) {
        expect(&mut client, key as u64, 0, 100);
    }
    let program = stop_cleanly(program);
    let warnings = program.log.iter().filter(|l| l.contains(" WARN ")).count();
    assert_eq!(warnings, 1, "{:#?}", program.log);
    assert!(program.logged("total: 2 workers, 35 connections"));
}

#[test]
fn more_clients_than_descriptors_are_all_served_in_the_end() {
    let (program, address) = serve_after("ulimit -n 64", &[]);
    let mut clients: Vec<_> = (0..200).map(|_| connect(address)).collect();
    for (key, client) in clients.iter_mut().enumerate() {
        client.write_all(&keyed(key as u64, 0, 1000)).unwrap();
    }
    for (key, mut client) in clients.into_iter().enumerate() {
        expect(&mut client, key as u64, 0, 1000);
    }
    let program = stop_cleanly(program);
    let warnings = program.log.iter().filter(|l| l.contains(" WARN ")).count();
    assert_eq!(warnings, 1, "{:#?}", program.log);
    assert!(!program.logged("could not accept"), "{:#?}", program.log);
}

#[test]
fn the_soft_descriptor_limit_is_raised_to_the_hard_one() {
    let (program, address) = serve_after("ulimit -Sn 64", &[]);
    let mut clients: Vec<_> = (0..300).map(|_| connect(address)).collect();
    clients.iter_mut().for_each(|c| round_trip(c, b"hello"));
    stop_cleanly(program);
}

#[test]
fn more_connections_than_descriptors_allow_are_not_promised() {
    let (program, address) = serve_after(
        "ulimit -n 64",
        &["--max-connections", "1000", "--workers", "1"],
    );
    assert!(program.logged("not 1000"), "{:#?}", program.log);
    round_trip(&mut connect(address), b"hello");
    stop_cleanly(program);
}

#[cfg(target_os = "linux")]
#[test]
fn descriptors_that_run_out_in_mid_run_cost_no_client() {
    let (program, address) = serve(&["--workers", "1"]);
    limit_descriptors(&program, 30);
    let mut clients: Vec<_> = (0..100).map(|_| connect(address)).collect();
    for (key, client) in clients.iter_mut().enumerate() {
        client.write_all(&keyed(key as u64, 0, 1000)).unwrap();
    }
    let start = Instant::now();
    assert!(is_silent(&mut clients[99], Duration::from_secs(1)));
    for (key, mut client) in clients.into_iter().enumerate() {
        expect(&mut client, key as u64, 0, 1000);
    }
    // A line a second, however many attempts there were.
    let most = 2 + start.elapsed().as_secs() as usize;
    let program = stop_cleanly(program);
    let failures = program.log.iter();
    let logged = failures.filter(|l| l.contains("could not accept")).count();
    assert!((1..=most).contains(&logged), "{:#?}", program.log);
    assert!(program.logged("total: 1 worker, 100 connections"));
}

#[test]
fn all_interfaces_means_both_families_on_one_socket() {
    let mut program = Program::start(["serve", "-v", "--echo", ":0"]);
    let address = program.wait_for_listener("echo");
    let mut v4 = connect((Ipv4Addr::LOCALHOST, address.port()).into());
    round_trip(&mut v4, b"by IPv4");
    // As a person knows it, not as ::ffff:127.0.0.1.
    program.wait_for(&format!("client {} connected", v4.local_addr().unwrap()));
    let has_v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let want = match has_v6 {
        true => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        false => IpAddr::from(Ipv4Addr::UNSPECIFIED),
    };
    assert_eq!(address.ip(), want);
    if has_v6 {
        round_trip(
            &mut connect((Ipv6Addr::LOCALHOST, address.port()).into()),
            b"by IPv6",
        );
    }
    stop_cleanly(program);
}

#[test]
fn several_listeners_of_both_protocols_are_served_by_one_pool() {
    let any = "127.0.0.1:0";
    let options = [
        "--echo",
        any,
        "--counted",
        any,
        "--echo",
        any,
        "--counted",
        any,
    ];
    let mut program = Program::start([&["serve", "--workers", "1"], &options[..]].concat());
    let echo = [(); 2].map(|()| program.wait_for_listener("echo"));
    let counted = [(); 2].map(|()| program.wait_for_listener("counted"));
    let mut clients = echo.map(connect);
    clients.iter_mut().for_each(|c| round_trip(c, b"hello"));
    for mut client in counted.map(connect) {
        client.write_all(b"text\0").unwrap();
        assert_eq!(read_to_end(&mut client), answer(b"text"));
    }
    let program = stop_cleanly(program);
    assert!(program.logged("worker 0: exited ok, 4 connections"));
}

#[test]
fn the_log_names_clients_that_come_and_go_when_asked() {
    let (mut program, address) = serve(&["-v", "--workers", "1"]);
    let client = connect(address);
    let local = client.local_addr().unwrap();
    let came = program.wait_for(&format!("client {local} connected"));
    assert!(
        came.contains("DEBUG") && came.contains("worker 0"),
        "{came}"
    );
    full_duplex(client, 1, 12_345);
    let left = program.wait_for(&format!("client {local} closed"));
    assert!(
        left.contains("DEBUG") && left.contains("12345 bytes"),
        "{left}"
    );
    let (_, duration) = left.split_once(" in ").unwrap();
    let seconds = duration.split_once("s, finished").unwrap().0;
    assert!(seconds.starts_with(|c: char| c.is_ascii_digit()), "{left}");
    assert!(!program.logged("TRACE"), "{:#?}", program.log);
    stop_cleanly(program);
}

#[test]
fn the_finest_log_has_the_bytes_of_each_read_and_no_empty_read() {
    let (mut program, address) = serve(&["-vv", "--workers", "1"]);
    let mut client = connect(address);
    round_trip(&mut client, b"hello");
    client.shutdown(Shutdown::Write).unwrap();
    expect_end(&mut client);
    program.wait_for("closed: 5 bytes");
    assert!(program.logged(": 5 bytes read"), "{:#?}", program.log);
    assert!(!program.logged(": 0 bytes read"), "{:#?}", program.log);
    stop_cleanly(program);
}

#[test]
fn clients_are_not_logged_unless_asked() {
    let (program, address) = serve(&[]);
    round_trip(&mut connect(address), b"hello");
    let program = stop_cleanly(program);
    assert!(!program.logged("client 127"), "{:#?}", program.log);
}

#[test]
fn payload_is_never_logged() {
    let any = "127.0.0.1:0";
    let mut program = Program::start(["serve", "-vv", "--echo", any, "--counted", any]);
    let echo = program.wait_for_listener("echo");
    let counted = program.wait_for_listener("counted");
    let secret = b"pa55word\x1b[2J\n";
    round_trip(&mut connect(echo), secret);
    for text in [&secret[..], b"pa55word\0", b"pa55word", &[b'p'; 5000]] {
        let mut client = connect(counted);
        client.write_all(text).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        read_to_end(&mut client);
    }
    let program = stop_cleanly(program);
    assert!(program.logged(&format!("{} bytes read", secret.len())));
    assert!(program.logged("TRACE"));
    for trace in ["pa55word", "[2J", "ppp"] {
        assert!(!program.logged(trace), "{:#?}", program.log);
    }
}

#[test]
fn rust_log_wins_over_the_options() {
    let serve = |filter: &str, option: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.args(["serve", option, "--echo", "127.0.0.1:0"]);
        let mut program = {
            command.env("RUST_LOG", filter);
            Program::spawn(command)
        };
        let address = program.wait_for_listener("echo");
        round_trip(&mut connect(address), b"hello");
        stop_cleanly(program)
    };
    let loud = serve("debug", "-q");
    assert!(loud.logged("connected") && !loud.logged("TRACE"));
    let calm = serve("info", "-vv");
    assert!(!calm.logged("connected") && !calm.logged("TRACE"));
}

#[test]
fn quiet_means_warnings_and_errors_alone() {
    let mut program = Program::start(["serve", "-q", "--max-connections", "1", "--echo", ":0"]);
    // It logs nothing to wait for; a signal stops it in order once its workers run.
    let tasks = format!("/proc/{}/task", program.child.id());
    let is_worker = |task: std::io::Result<std::fs::DirEntry>| {
        let name = std::fs::read_to_string(task.unwrap().path().join("comm"));
        name.is_ok_and(|name| name.starts_with("worker-"))
    };
    let runs = || std::fs::read_dir(&tasks).unwrap().any(is_worker);
    if cfg!(target_os = "linux") {
        wait_until("a worker", runs);
        let (code, _) = stop(&mut program, Signal::TERM);
        assert_eq!(
            (code, program.log.len()),
            (Some(0), 0),
            "{:#?}",
            program.log
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_accepted_stream_has_no_nagle_delay_and_urgent_data_in_line() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let twin = socket.try_clone().unwrap();
    let listener = Listener::new(Protocol::Echo, socket).unwrap();
    let _client = connect(listener.address());
    wait_until("the client to be accepted", || match twin.accept() {
        Ok((stream, _)) => {
            assert!(stream.nodelay().unwrap());
            let stream = socket2::SockRef::from(&stream);
            assert!(stream.out_of_band_inline().unwrap());
            true
        }
        Err(_) => false,
    });
}

#[test]
fn a_client_that_has_half_closed_keeps_its_place_until_it_has_all() {
    let server = Server::start(Config {
        max_connections: Some(1),
        ..Config::default()
    });
    let mut slow = connect_narrow(server.echo);
    let block = keyed(5, 0, 300_000);
    slow.write_all(&block).unwrap();
    slow.shutdown(Shutdown::Write).unwrap();
    expect(&mut slow, 5, 0, 1);
    let mut next = connect(server.echo);
    next.write_all(b"x").unwrap();
    assert!(
        is_silent(&mut next, Duration::from_millis(500)),
        "one place was given twice"
    );
    expect(&mut slow, 5, 1, block.len() - 1);
    expect_end(&mut slow);
    let mut echo = [0];
    next.read_exact(&mut echo).unwrap();
    assert_eq!(echo, *b"x");
    server.stop();
}

#[test]
fn a_client_that_goes_after_its_half_close_does_not_delay_a_stop() {
    let (mut program, address) = serve(&["--grace", "60s"]);
    let mut client = connect_narrow(address);
    client.write_all(&keyed(6, 0, 300_000)).unwrap();
    expect(&mut client, 6, 0, 1);
    program.signal(Signal::TERM);
    program.wait_for("stopping");
    client.shutdown(Shutdown::Write).unwrap();
    // No event shows that the server has read the end, so it is given time.
    thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    // With input unread, which resets the connection.
    drop(client);
    assert_eq!(program.wait().code(), Some(0), "{:#?}", program.log);
    assert!(start.elapsed() < PROMPT, "{:?}", start.elapsed());
}

#[test]
fn a_busy_listener_does_not_keep_the_places_from_another() {
    let server = Server::start(Config {
        workers: 1,
        max_connections: Some(2),
        ..Config::default()
    });
    let (echo, counted) = (server.echo, server.counted);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for key in 0..20 {
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let mut client = connect(echo);
                    round_trip(&mut client, &keyed(key, 0, 10));
                    // Held for a while, so that others always wait for the place.
                    thread::sleep(Duration::from_millis(5));
                }
            });
        }
        let mut answers = Vec::new();
        for _ in 0..20 {
            let mut client = connect(counted);
            let mut answer = Vec::new();
            let sent = client.write_all(b"hello\0");
            client
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let read = sent.and_then(|()| client.read_to_end(&mut answer));
            answers.push((read.map_err(|error| error.kind()), answer));
            if answers.last().is_some_and(|(read, _)| read.is_err()) {
                break;
            }
        }
        done.store(true, Ordering::SeqCst);
        for answer in answers {
            assert_eq!(answer, (Ok(10), b"5 : hello\0".to_vec()));
        }
    });
    server.stop();
}

#[test]
fn a_log_that_is_not_read_stalls_no_client_and_no_stop() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
    command
        .args(["serve", "--echo", "127.0.0.1:0", "-vv"])
        .env_remove("RUST_LOG");
    let (mut program, stderr) = Program::spawn_unread(command);
    let mut stderr = BufReader::with_capacity(256, stderr);
    let mut first_line = String::new();
    stderr.read_line(&mut first_line).unwrap();
    let address = first_line.trim_end().rsplit("//").next().unwrap();
    let address: SocketAddr = address.parse().unwrap();
    // Several times what the pipe and the log's own queue hold.
    for _ in 0..3000 {
        round_trip(&mut connect(address), b"hello");
    }
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code(), Some(0));
    drop(stderr);
}

#[test]
fn clients_that_wait_at_the_connection_limit_are_counted_at_the_stop() {
    let (mut program, address) = serve(&["--max-connections", "1"]);
    let mut served = connect(address);
    round_trip(&mut served, b"x");
    let _waiting: Vec<_> = (0..3).map(|_| connect(address)).collect();
    let (code, _) = stop(&mut program, Signal::TERM);
    assert_eq!(code, Some(3), "{:#?}", program.log);
    for words in [
        "refused 3 clients that waited in the listen queue",
        "1 connection, 1 byte echoed, 3 refused at the stop",
    ] {
        assert!(program.logged(words), "{:#?}", program.log);
    }
    expect_end(&mut served);
}

#[test]
fn the_backlog_bounds_how_many_wait_to_be_accepted() {
    let (program, address) = serve(&["--max-connections", "1", "--backlog", "4"]);
    round_trip(&mut connect(address), b"x");
    let served = connect(address);
    let waiting: Vec<_> = (0..20)
        .map_while(|_| TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok())
        .collect();
    // Linux lets one more client wait than the backlog says.
    assert!((3..=6).contains(&waiting.len()), "{} wait", waiting.len());
    drop((waiting, served));
    stop_cleanly(program);
}
