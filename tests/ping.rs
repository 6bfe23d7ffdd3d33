//! `echopool ping`, against good servers and bad ones.
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use std::time::{Duration, Instant};

use common::load::Machine;
use common::ping::{assert_counts, story};
use common::{DEADLINE, Program, Server, finish, reserve};
use rustix::process::Signal;
use serde_json::Value;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The default.
const SIZE: usize = 64;

/// For what must run out: ten times as long as a slow machine needs for a round trip.
const SHORT: &str = "-W0.3";

/// A server of the test's own. `behave` has each client, one after another, with
/// its number from 0.
fn peer(behave: impl FnMut(usize, TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    serve(listener, behave);
    address
}

fn serve(listener: TcpListener, mut behave: impl FnMut(usize, TcpStream) + Send + 'static) {
    spawn(move || {
        for number in 0.. {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.set_nodelay(true).unwrap();
            behave(number, stream);
        }
    });
}

/// The client's next message; `None` at its end.
fn message(mut stream: &TcpStream) -> Option<[u8; SIZE]> {
    let mut bytes = [0; SIZE];
    match stream.read_exact(&mut bytes) {
        Ok(()) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => None,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error}"),
    }
}

fn echo(mut stream: &TcpStream) {
    while let Some(bytes) = message(stream) {
        let _ = stream.write_all(&bytes);
    }
}

/// Each run of this suite is one.
const TCP: &[&str] = &["ping"];

fn arguments(options: &[&str], server: SocketAddr) -> Vec<String> {
    common::ping::arguments(TCP, options, server)
}

#[track_caller]
fn ping(options: &[&str], server: SocketAddr) -> (i32, Vec<String>) {
    common::ping::ping(TCP, options, server)
}

#[track_caller]
fn events(options: &[&str], server: SocketAddr) -> (i32, Vec<Value>) {
    common::ping::events(TCP, options, server)
}

/// The event of this name; there must be one alone.
#[track_caller]
fn only<'a>(events: &'a [Value], name: &str) -> &'a Value {
    let mut found = events.iter().filter(|event| event["event"] == name);
    let event = found.next().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(found.next(), None);
    event
}

/// A ping that is watched while it runs.
struct Watched {
    program: Program,
    lines: Receiver<String>,
}

impl Watched {
    fn start(options: &[&str], server: SocketAddr) -> Self {
        let (program, stdout) = start(options, server);
        let (sender, lines) = channel();
        spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        Self { program, lines }
    }

    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect(text);
            assert!(Instant::now() < until, "waited {DEADLINE:?} for {text}");
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Presses Ctrl-C. Returns the exit code and the rest of the output.
    fn interrupt(mut self) -> (i32, String) {
        self.program.signal(Signal::INT);
        let code = self.program.wait().code().unwrap();
        (code, self.lines.iter().collect::<Vec<_>>().join("\n"))
    }
}

fn start(options: &[&str], server: SocketAddr) -> (Program, ChildStdout) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
    command.args(arguments(options, server));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut program = Program::spawn(command);
    let stdout = program.child.stdout.take().unwrap();
    (program, stdout)
}

mod output {
    use super::*;

    #[test]
    fn each_reply_has_a_line_between_the_header_and_the_summary() {
        let server = Server::with_workers(1);
        let address = server.echo;
        let (code, lines) = ping(&["-c3", "-i0.01"], address);
        assert_eq!(code, 0);
        let header = format!("PING {address}: 64 bytes a message");
        assert_eq!(lines[0], header);
        for (seq, line) in (1..=3).zip(&lines[1..4]) {
            let begin = format!("64 bytes from {address}: seq={seq} time=");
            let time = line.strip_prefix(&begin).expect(line);
            let (number, unit) = time.split_once(' ').unwrap();
            assert!(number.parse::<f64>().unwrap() > 0.0, "{line}");
            assert!(matches!(unit, "us" | "ms"), "{line}");
        }
        assert_eq!(lines[4], "");
        assert_eq!(lines[5], format!("--- {address} echo statistics ---"));
        let counts = "3 sent, 3 received, 0 lost, 0 corrupted in ";
        assert!(lines[6].starts_with(counts), "{lines:#?}");
        let mut before = 0;
        for name in ["round trip: min=", " avg=", " p50=", " max=", " stddev="] {
            let at = lines[7].find(name).expect(name);
            assert!(at >= before, "{lines:#?}");
            before = at;
        }
        assert!(!lines[7].contains("p99"), "{lines:#?}");
        assert!(lines[8].starts_with("tcp: "), "{lines:#?}");
        assert_eq!(lines.len(), 9);
        let report = server.stop();
        assert_eq!((report.connections(), report.bytes()), (1, 3 * 64));
    }

    #[test]
    fn quiet_leaves_the_header_and_the_summary() {
        let server = Server::with_workers(1);
        let (code, lines) = ping(&["-q", "-c3", "-i0"], server.echo);
        assert_eq!((code, lines.len()), (0, 6), "{lines:#?}");
        assert!(lines[0].starts_with("PING "), "{lines:#?}");
        assert!(lines[2].starts_with("--- "), "{lines:#?}");
        let (code, events) = events(&["-q", "-c3", "-i0"], server.echo);
        assert_eq!((code, story(&events)), (0, vec![String::from("summary")]));
    }

    #[test]
    fn json_has_a_line_an_event_with_units_in_its_keys() {
        let server = Server::with_workers(1);
        let (code, events) = events(&["-c120", "-i0"], server.echo);
        assert_eq!((code, events.len()), (0, 122));
        let connected = &events[0];
        assert_eq!(connected["event"], "connected");
        assert_eq!(connected["again"], false);
        assert_eq!(connected["address"], server.echo.to_string());
        assert!(connected["time_ns"].is_u64());
        let mut before = 0;
        for (seq, reply) in (1..=120).zip(&events[1..121]) {
            assert_eq!(
                (&reply["event"], &reply["seq"]),
                (&"reply".into(), &seq.into())
            );
            assert_eq!(reply["size_bytes"], 64);
            let at = reply["at_ns"].as_u64().unwrap();
            let time = reply["time_ns"].as_u64().unwrap();
            assert!(at >= before + time, "{reply}");
            before = at;
        }
        let zeros = [("lost", 0), ("corrupted", 0)];
        assert_counts(
            &events,
            &[("sent", 120), ("received", 120), zeros[0], zeros[1]],
        );
        let summary = &events[121];
        let key = |key: &str| summary[key].as_u64().expect(key);
        assert!(key("min_ns") <= key("p50_ns") && key("p50_ns") <= key("p99_ns"));
        assert!(key("p99_ns") <= key("max_ns") && key("max_ns") < key("elapsed_ns"));
        assert!(key("min_ns") <= key("avg_ns") && key("avg_ns") <= key("max_ns"));
        assert!(key("stddev_ns") <= key("max_ns"));
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn the_summary_has_what_tcp_knows_of_the_connection() {
        let server = Server::with_workers(1);
        let summary = events(&["-c5", "-i0"], server.echo).1.pop().unwrap();
        let tcp = &summary["tcp"];
        let key = |key: &str| tcp[key].as_u64().expect(key);
        assert_eq!(tcp["retransmits"], 0, "{tcp}");
        assert!(
            0 < key("least_rtt_ns") && key("least_rtt_ns") <= summary["max_ns"].as_u64().unwrap()
        );
        assert!(key("least_rtt_ns") <= key("smoothed_rtt_ns"), "{tcp}");
        assert!(key("data_segments_sent") >= 5, "{tcp}");
        assert!(key("mss_sent_bytes") < key("path_mtu_bytes"), "{tcp}");
        assert!(tcp["options"]["sack"].is_boolean(), "{tcp}");
    }

    #[test]
    fn few_replies_have_no_percentiles() {
        let server = Server::with_workers(1);
        let summary = |count: &str| events(&[count, "-i0"], server.echo).1.pop().unwrap();
        let one = summary("-c1");
        assert!(
            one["p50_ns"].is_null() && one["avg_ns"] == one["max_ns"],
            "{one}"
        );
        let some = summary("-c99");
        assert!(
            some["p50_ns"].is_u64() && some["p99_ns"].is_null(),
            "{some}"
        );
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        let server = Server::with_workers(1);
        for options in [&["-i0"][..], &["-i0", "--json"]] {
            let (mut program, stdout) = start(options, server.echo);
            let mut first = String::new();
            BufReader::new(stdout).read_line(&mut first).unwrap();
            assert_eq!(program.wait().code(), Some(0));
            assert!(program.log.is_empty(), "{:?}", program.log);
        }
    }

    #[test]
    fn a_failed_message_counts_also_when_the_reader_has_left() {
        for options in [&["-i0.01", SHORT][..], &["-i0.01", SHORT, "--json"]] {
            let server = peer(|_, stream| while message(&stream).is_some() {});
            let (mut program, stdout) = start(options, server);
            let mut first = String::new();
            BufReader::new(stdout).read_line(&mut first).unwrap();
            assert_eq!(program.wait().code(), Some(1), "{options:?}");
            assert!(program.log.is_empty(), "{:?}", program.log);
        }
        // At the end alone, where nothing is written before.
        let server = peer(|_, mut stream| {
            while let Some(bytes) = message(&stream) {
                stream.write_all(&bytes.map(|byte| !byte)).unwrap();
            }
        });
        let (mut program, stdout) = start(&["-q", "-c2", "-i0.01"], server);
        let mut first = String::new();
        BufReader::new(stdout).read_line(&mut first).unwrap();
        assert_eq!(program.wait().code(), Some(1));
    }

    #[test]
    fn wrong_usage_ends_with_2_and_names_the_option() {
        for (options, word) in [
            (&["-c0"][..], "--count"),
            (&["-s0"], "--size"),
            (&["-s70000000"], "--size"),
            (&["-W0"], "--timeout"),
            (&["-i-1"], "--interval"),
            (&["-inan"], "--interval"),
            (&["-i1e300"], "--interval"),
            (&["-i", "soon"], "--interval"),
            (&["--deph", "3"], "--deph"),
        ] {
            let ended = finish([&["ping", "localhost"], options].concat(), "");
            assert_eq!(
                (ended.code, ended.stdout.len()),
                (Some(2), 0),
                "{options:?}"
            );
            assert!(ended.stderr.contains(word), "{}", ended.stderr);
        }
        assert_eq!(finish(["ping"], "").code, Some(2));
    }

    #[test]
    fn the_help_documents_each_key_of_the_json() {
        let help = String::from_utf8(finish(["ping", "--help"], "").stdout).unwrap();
        let server = Server::with_workers(1);
        let (_, events) = events(&["-c1"], server.echo);
        for event in &events {
            for key in event.as_object().unwrap().keys() {
                assert!(help.contains(key), "no {key} in {help}");
            }
        }
    }
}

mod time {
    use super::*;

    #[test]
    fn a_delay_is_measured() {
        const DELAY: Duration = Duration::from_millis(120);
        let (sender, truth) = channel();
        let server = peer(move |_, mut stream| {
            while let Some(bytes) = message(&stream) {
                let came = Instant::now();
                std::thread::sleep(DELAY);
                // Before the write: the echo may be back before this thread runs again.
                sender.send(came.elapsed()).unwrap();
                stream.write_all(&bytes).unwrap();
            }
        });
        let machine = Machine::watch();
        let (code, events) = events(&["-c3", "-i0", "-W30"], server);
        assert_eq!(code, 0);
        for reply in &events[1..4] {
            let time = Duration::from_nanos(reply["time_ns"].as_u64().unwrap());
            let truth: Duration = truth.recv().unwrap();
            assert!(truth >= DELAY && time >= truth, "{time:?}, {truth:?}");
            let most = truth + DELAY + machine.delay();
            assert!(time < most, "{time:?}, {truth:?}");
        }
    }

    #[test]
    fn messages_go_out_at_their_interval_whether_or_not_the_ones_before_are_back() {
        let server = peer(|_, mut stream| {
            // Answers none before all have come.
            let all: Vec<_> = (0..4).map_while(|_| message(&stream)).collect();
            stream.write_all(&all.concat()).unwrap();
        });
        let (code, events) = events(&["-c4", "-i0.05", "-W30"], server);
        assert_eq!(code, 0);
        let time = |event: &Value| event["time_ns"].as_u64().unwrap();
        assert_eq!(
            story(&events[1..5]),
            ["reply 1", "reply 2", "reply 3", "reply 4"]
        );
        // The fourth is due three intervals after the start, however late the first was sent.
        let elapsed = only(&events, "summary")["elapsed_ns"].as_u64().unwrap();
        assert!(elapsed >= 150_000_000, "{events:#?}");
        assert!(time(&events[4]) < time(&events[1]), "{events:#?}");
    }

    #[test]
    fn large_messages_are_sent_while_their_echo_comes() {
        let server = Server::with_workers(1);
        let (code, events) = events(&["-c2", "-i0", "-s20000003", "-W60"], server.echo);
        assert_eq!(code, 0, "{events:?}");
        assert_eq!(events[1]["size_bytes"], 20_000_003);
    }
}

mod loss {
    use super::*;

    #[test]
    fn a_server_that_never_answers_loses_every_message() {
        let server = peer(|_, stream| while message(&stream).is_some() {});
        let (code, lines) = ping(&["-c2", "-i0.01", SHORT], server);
        assert_eq!(code, 1);
        assert_eq!(lines[1], "seq=1 lost: no reply within 300ms");
        assert_eq!(lines[2], "seq=2 lost: no reply within 300ms");
        let counts = "2 sent, 0 received, 2 lost (100%), 0 corrupted in ";
        assert!(lines[5].starts_with(counts), "{lines:#?}");
        assert!(
            lines[6..].iter().all(|line| line.starts_with("tcp: ")),
            "{lines:#?}"
        );
    }

    #[test]
    fn a_late_reply_is_reported_as_late_and_not_taken_for_the_next() {
        let server = peer(|_, mut stream| {
            // The first one's echo waits until the second has come, whose turn
            // comes only when the first is lost.
            let both: Vec<_> = (0..2).map_while(|_| message(&stream)).collect();
            stream.write_all(&both.concat()).unwrap();
            echo(&stream);
        });
        let (code, events) = events(&["-c3", "-i0", SHORT], server);
        assert_eq!(code, 1);
        let told = [
            "connected",
            "lost 1",
            "late 1",
            "reply 2",
            "reply 3",
            "summary",
        ];
        assert_eq!(story(&events), told);
        let late = only(&events, "late");
        assert!(late["time_ns"].as_u64().unwrap() >= 300_000_000, "{late}");
        let summary = only(&events, "summary");
        assert!(
            summary["max_ns"].as_u64().unwrap() < 300_000_000,
            "{summary}"
        );
        assert_counts(
            &events,
            &[("sent", 3), ("received", 2), ("lost", 1), ("late", 1)],
        );
    }

    #[test]
    fn a_silent_connection_is_given_up_for_another() {
        let server = peer(|number, stream| match number {
            0 => while message(&stream).is_some() {},
            _ => echo(&stream),
        });
        let ping = Watched::start(&["-i0.2", SHORT], server);
        ping.wait_for("seq=1 lost: no reply within 300ms");
        ping.wait_for(&format!(
            "connection to {server} lost: nothing came for 900ms"
        ));
        ping.wait_for(&format!("connected to {server} again in "));
        ping.wait_for(&format!("64 bytes from {server}: seq="));
        assert_eq!(ping.interrupt().0, 1);
    }

    #[test]
    fn a_server_that_hangs_up_before_its_reply_loses_that_message_alone() {
        let server = peer(|number, stream| match (number, message(&stream)) {
            (0, _) => drop(stream),
            (_, bytes) => {
                (&stream).write_all(&bytes.unwrap()).unwrap();
                echo(&stream);
            }
        });
        let (code, events) = events(&["-c3", "-i0"], server);
        assert_eq!(code, 1);
        let told = [
            "connected",
            "disconnected",
            "lost 1",
            "connected",
            "reply 2",
            "reply 3",
            "summary",
        ];
        assert_eq!(story(&events), told);
        assert_eq!(events[1]["reason"], "the server closed it");
        assert_eq!(events[2]["reason"], "its connection was lost");
        assert_eq!(events[3]["again"], true);
    }

    #[test]
    fn a_reset_is_named() {
        let server = peer(|_, stream| {
            message(&stream);
            common::reset(stream);
        });
        let (code, lines) = ping(&["-c1"], server);
        assert_eq!(code, 1);
        let line = format!("connection to {server} lost: connection reset by peer");
        assert_eq!(lines[1], line);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_server_that_hangs_up_after_each_reply_loses_none() {
        let server = peer(|_, mut stream| {
            let Some(bytes) = message(&stream) else {
                return;
            };
            // So that the end comes in the same segment as the echo.
            let socket = socket2::SockRef::from(&stream);
            socket.set_tcp_cork(true).unwrap();
            stream.write_all(&bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let (code, lines) = ping(&["-c3", "-i0.02"], server);
        assert_eq!(code, 0, "{lines:#?}");
        let lost = format!("connection to {server} lost: the server closed it");
        let again = format!("connected to {server} again in ");
        let count = |begin: &str| lines.iter().filter(|l| l.starts_with(begin)).count();
        assert!((2..=3).contains(&count(&lost)), "{lines:#?}");
        assert_eq!(count(&again), 2);
        assert_eq!(count("64 bytes from "), 3);
    }

    #[test]
    fn a_refused_connection_is_tried_again_at_the_next_turn() {
        let (socket, address) = reserve(LOCALHOST, 0).unwrap();
        let ping = Watched::start(&["-i0.02"], address);
        let refused = format!("lost: could not connect to {address}: connection refused");
        assert_eq!(ping.wait_for("lost"), format!("seq=1 {refused}"));
        assert_eq!(ping.wait_for("lost"), format!("seq=2 {refused}"));
        socket.listen(1).unwrap();
        serve(socket.into(), |_, stream| echo(&stream));
        ping.wait_for(&format!("64 bytes from {address}: seq="));
        let (code, rest) = ping.interrupt();
        assert_eq!(code, 1);
        assert!(rest.contains(" 0 corrupted in "), "{rest}");
    }

    #[test]
    fn a_refused_ping_of_some_messages_ends_with_1() {
        let (_socket, address) = reserve(LOCALHOST, 0).unwrap();
        let (code, events) = events(&["-c3", "-i0"], address);
        assert_eq!(code, 1);
        assert_eq!(story(&events), ["lost 1", "lost 2", "lost 3", "summary"]);
        assert_counts(
            &events,
            &[("sent", 3), ("received", 0), ("lost", 3), ("under_way", 0)],
        );
        // As fast as replies come, but a dead server is not hammered.
        let elapsed = events[3]["elapsed_ns"].as_u64().unwrap();
        assert!(elapsed >= 20_000_000, "{elapsed}");
    }

    #[test]
    fn an_unknown_host_is_an_error() {
        let name = "x".repeat(64) + ".example";
        let ended = finish(["ping", &name], "");
        assert_eq!((ended.code, ended.stdout.len()), (Some(1), 0));
        let begin = format!("echopool: could not resolve {name}: ");
        assert!(ended.stderr.starts_with(&begin), "{}", ended.stderr);
    }
}

mod damage {
    use super::*;

    #[test]
    fn a_flipped_byte_is_reported_with_its_offset_and_the_ping_goes_on() {
        for offset in [0, 17, SIZE - 1] {
            let server = peer(move |_, mut stream| {
                for number in 1.. {
                    let Some(mut bytes) = message(&stream) else {
                        return;
                    };
                    bytes[offset] ^= u8::from(number == 2) << 3;
                    stream.write_all(&bytes).unwrap();
                }
            });
            let (code, lines) = ping(&["-c3", "-i0"], server);
            assert_eq!(code, 1);
            let begin = format!("seq=2 corrupted by {server}: byte {offset}: expected 0x");
            assert!(lines[2].starts_with(&begin), "{lines:#?}");
            assert!(lines[2].ends_with("; bytes were changed"), "{lines:#?}");
            assert!(lines[3].contains("seq=3 time="), "{lines:#?}");
            let counts = "3 sent, 2 received, 0 lost, 1 corrupted in ";
            assert!(lines[6].starts_with(counts), "{lines:#?}");
        }
    }

    #[test]
    fn a_server_that_drops_bytes_is_found_out_and_connected_to_again() {
        let server = peer(|number, mut stream| {
            if number == 0 {
                let first = message(&stream).unwrap();
                stream.write_all(&first[..20]).unwrap();
                stream.write_all(&first[23..]).unwrap();
            }
            echo(&stream);
        });
        let (code, events) = events(&["-c3", "-i0", SHORT], server);
        assert_eq!(code, 1);
        let told = [
            "connected",
            "corrupted 1",
            "disconnected",
            "connected",
            "reply 2",
            "reply 3",
            "summary",
        ];
        assert_eq!(story(&events), told);
        let corrupted = only(&events, "corrupted");
        assert_eq!(corrupted["damage"], "3 bytes are missing");
        assert_eq!(corrupted["offset_bytes"], 20);
        assert!(corrupted["looks_like"].is_null(), "{corrupted}");
        let disconnected = only(&events, "disconnected");
        assert_eq!(disconnected["reason"], "its bytes are out of step");
    }

    /// The services that send other bytes than an echo, and what they look like.
    const SERVICES: [(&[u8], &str); 5] = [
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "an SSH server"),
        (b"220 mail.example ESMTP\r\n", "an SMTP or FTP server"),
        (b"127.0.0.1:40000\n", "a --whoami port"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP server"),
        (b"5 : hello\0", "a --counted port"),
    ];

    #[test]
    fn a_service_that_is_no_echo_server_is_told_by_its_first_bytes() {
        for (speech, name) in SERVICES {
            for ends in [false, true] {
                let server = peer(move |_, mut stream| {
                    message(&stream);
                    stream.write_all(speech).unwrap();
                    if !ends {
                        // It goes on to wait for what it can read.
                        message(&stream);
                    }
                });
                let started = Instant::now();
                // Not once the message is overdue: the run would not end in this test's time.
                let (code, lines) = ping(&["-c1", "-W3600"], server);
                assert_eq!(code, 1, "{lines:#?}");
                assert!(started.elapsed() < DEADLINE, "{lines:#?}");
                let begin = format!("seq=1 corrupted by {server}: byte ");
                assert!(lines[1].starts_with(&begin), "{lines:#?}");
                let end = format!("; this looks like {name}");
                assert!(lines[1].ends_with(&end), "{lines:#?}");
                let counts = "1 sent, 0 received, 0 lost, 1 corrupted in ";
                assert!(
                    lines.iter().any(|line| line.starts_with(counts)),
                    "{lines:#?}"
                );
            }
        }
    }

    #[test]
    fn the_first_wrong_byte_is_told_with_the_one_that_was_sent() {
        let (sender, sent) = channel();
        let server = peer(move |_, mut stream| {
            let bytes = message(&stream).unwrap();
            sender.send(bytes).unwrap();
            stream.write_all(&bytes[..3]).unwrap();
            stream.write_all(&[!bytes[3]; 61]).unwrap();
            message(&stream);
        });
        let (code, events) = events(&["-c1", "-W3600"], server);
        assert_eq!(code, 1);
        let sent = sent.recv_timeout(DEADLINE).unwrap();
        let corrupted = only(&events, "corrupted");
        for (key, value) in [
            ("offset_bytes", 3),
            ("expected", u64::from(sent[3])),
            ("received", u64::from(!sent[3])),
        ] {
            assert_eq!(corrupted[key], value, "{corrupted}");
        }
    }

    #[test]
    fn a_few_wrong_bytes_are_told_when_no_more_come() {
        // The server stays silent, or closes.
        for (ends, options) in [(false, ["-c1", SHORT]), (true, ["-c1", "-W3600"])] {
            let server = peer(move |_, mut stream| {
                let bytes = message(&stream).unwrap();
                stream.write_all(&[!bytes[0], !bytes[1]]).unwrap();
                if !ends {
                    message(&stream);
                }
            });
            let (code, events) = events(&options, server);
            assert_eq!(code, 1);
            let told = ["connected", "corrupted 1", "disconnected", "summary"];
            assert_eq!(story(&events), told);
            let corrupted = only(&events, "corrupted");
            assert_eq!(corrupted["damage"], "bytes came that were never sent");
            assert_counts(
                &events,
                &[("sent", 1), ("received", 0), ("lost", 0), ("corrupted", 1)],
            );
        }
    }

    #[test]
    fn a_changed_byte_is_told_before_the_rest_of_its_message_comes() {
        let server = peer(|_, mut stream| {
            let mut bytes = message(&stream).unwrap();
            bytes[1] ^= 1;
            stream.write_all(&bytes[..40]).unwrap();
            // The next message is sent once this one is told.
            let next = message(&stream).unwrap();
            stream.write_all(&bytes[40..]).unwrap();
            stream.write_all(&next).unwrap();
            message(&stream);
        });
        let (code, events) = events(&["-c2", "-i0", "-W3600"], server);
        assert_eq!(code, 1);
        let told = ["connected", "corrupted 1", "reply 2", "summary"];
        assert_eq!(story(&events), told);
    }

    #[test]
    fn bytes_that_nothing_was_sent_for_are_reported() {
        let server = peer(|_, mut stream| {
            while let Some(bytes) = message(&stream) {
                let _ = stream.write_all(&[bytes, bytes].concat());
            }
        });
        let (code, events) = events(&["-c2", "-i0"], server);
        assert_eq!(code, 1);
        let told = [
            "reply 1",
            "unasked",
            "disconnected",
            "connected",
            "reply 2",
            "unasked",
        ];
        assert_eq!(story(&events[1..7]), told);
        assert_eq!(events[2]["damage"], "64 bytes came again");
        assert_eq!(events[2]["size_bytes"], 64);
        assert_counts(
            &events,
            &[("sent", 2), ("received", 2), ("lost", 0), ("corrupted", 2)],
        );
    }
}

mod interrupted {
    use super::*;

    #[test]
    fn ctrl_c_ends_it_in_the_middle_of_a_pause() {
        let server = Server::with_workers(1);
        let ping = Watched::start(&["-i3600"], server.echo);
        ping.wait_for("seq=1 time=");
        let (code, rest) = ping.interrupt();
        assert_eq!(code, 0, "{rest}");
        assert!(
            rest.contains("1 sent, 1 received, 0 lost, 0 corrupted in "),
            "{rest}"
        );
    }

    #[test]
    fn ctrl_c_ends_it_while_an_echo_is_awaited() {
        let (sender, came) = channel();
        let server = peer(move |_, stream| {
            message(&stream);
            sender.send(()).unwrap();
            message(&stream);
        });
        let ping = Watched::start(&["-W3600"], server);
        came.recv_timeout(DEADLINE).unwrap();
        let (code, rest) = ping.interrupt();
        assert_eq!(code, 1, "{rest}");
        let counts = "sent, 0 received, 0 lost, 0 corrupted, 1 still under way in ";
        assert!(rest.contains(counts), "{rest}");
    }

    /// A listener whose queue is full: further clients have no answer at all.
    #[cfg(target_os = "linux")]
    fn full() -> (socket2::Socket, SocketAddr, Vec<TcpStream>) {
        let (socket, address) = reserve(LOCALHOST, 0).unwrap();
        socket.listen(0).unwrap();
        let brief = Duration::from_millis(300);
        let queued = || TcpStream::connect_timeout(&address, brief).ok();
        let queued = std::iter::from_fn(queued).collect();
        (socket, address, queued)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn ctrl_c_ends_it_while_it_connects() {
        let (_socket, address, _queued) = full();
        let ping = Watched::start(&["-W3600"], address);
        ping.wait_for("PING ");
        let (code, rest) = ping.interrupt();
        assert_eq!(code, 1, "{rest}");
        assert!(rest.contains(" 0 received, 0 lost, "), "{rest}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_connection_that_is_not_taken_is_given_up_after_the_time_out() {
        let (_socket, address, _queued) = full();
        let (code, lines) = ping(&["-c1", SHORT], address);
        assert_eq!(code, 1);
        let line = format!("seq=1 lost: could not connect to {address}: timed out");
        assert_eq!(lines[1], line);
    }
}

mod names {
    use std::sync::{Arc, Mutex};

    use echopool::ping::event::Event;
    use echopool::ping::summary::Summary;
    use echopool::ping::{Ping, Plan};
    use echopool::probe::addresses::Addresses;

    use super::*;

    fn plan(addresses: Addresses, count: u64) -> Plan {
        Plan {
            addresses,
            count: Some(count),
            interval: Duration::from_millis(20),
            size: SIZE,
            timeout: DEADLINE,
            seed: 1,
        }
    }

    fn run(plan: Plan, mut each: impl FnMut(&Event)) -> Summary {
        let run = Ping::new(plan).unwrap().run(&mut |event| {
            each(event);
            Ok(())
        });
        run.unwrap()
    }

    #[test]
    fn a_name_that_moves_is_followed() {
        let mut old = Program::start(["serve", "--echo", "127.0.0.1:0"]);
        let first = old.wait_for_listener("echo");
        let new = Server::with_workers(1);
        let answer = Arc::new(Mutex::new(first));
        let addresses = Addresses::resolved_by({
            let answer = Arc::clone(&answer);
            move || Ok(vec![*answer.lock().unwrap()])
        });
        let mut from_new = 0;
        let ping = plan(addresses.unwrap(), 1_000);
        let stop = Ping::new(ping.clone()).unwrap();
        let stopper = stop.stop();
        let run = stop.run(&mut |event| {
            match event {
                Event::Reply { seq: 2, .. } => {
                    *answer.lock().unwrap() = new.echo;
                    old.signal(Signal::KILL);
                }
                Event::Reply { address, .. } if *address == new.echo => {
                    from_new += 1;
                    if from_new == 3 {
                        stopper.request();
                    }
                }
                _ => {}
            }
            Ok(())
        });
        let summary = run.unwrap();
        assert_eq!(from_new, 3, "{summary:?}");
    }

    #[test]
    fn a_resolver_that_hangs_holds_no_message_back() {
        let (_reserved, refusing) = reserve(LOCALHOST, 0).unwrap();
        let (answers, next) = channel();
        answers.send(vec![refusing]).unwrap();
        let addresses = Addresses::resolved_by(move || Ok(next.recv().unwrap_or_default()));
        let mut lost = 0;
        let summary = run(plan(addresses.unwrap(), 5), |event| {
            lost += u64::from(matches!(event, Event::Lost { .. }));
        });
        assert_eq!((summary.sent, summary.lost, lost), (5, 5, 5));
        drop(answers);
    }
}
