//! The sessions of the README, with the tools a user has: make and nc; and datagrams, with those
//! and socat, ncat, Python and scapy on the other side.
//!
//! They need these and the ports 20162 and 4000, so they run only when asked for:
//! `make test-tools`. What is not installed is named, and its test ends there.
#![cfg(unix)]

mod common;

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{ChildStdout, Command, Stdio};

use common::ping::{assert_counts, events};
use common::serve::{log_of, reported};
use common::{Program, wait_until};
use rustix::process::Signal;

/// `nc`, which is netcat-openbsd, with what it is to send; its standard output is left to
/// be read.
fn nc(arguments: &[&str], address: SocketAddr, input: &[u8]) -> (Program, ChildStdout) {
    let mut command = Command::new("nc");
    command
        .args(arguments)
        .args([address.ip().to_string(), address.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut program = Program::spawn(command);
    let mut stdin = program.child.stdin.take().unwrap();
    stdin.write_all(input).unwrap();
    let stdout = program.child.stdout.take().unwrap();
    (program, stdout)
}

#[test]
#[ignore = "needs nc"]
fn nc_gets_all_it_sent_after_its_half_close() {
    let mut server = Program::start(["serve", "--echo", "127.0.0.1:0"]);
    let address = server.wait_for_listener("echo");
    let sent = vec![b'x'; 100_000];
    let (mut nc, mut output) = nc(&["-N"], address, &sent);
    let mut echo = Vec::new();
    output.read_to_end(&mut echo).unwrap();
    assert!(echo == sent, "{} bytes came back", echo.len());
    assert!(nc.wait().success());
}

#[test]
#[ignore = "needs nc"]
fn nc_gets_an_answer_to_a_typed_line() {
    let mut server = Program::start(["serve", "--counted", "127.0.0.1:0"]);
    let address = server.wait_for_listener("counted");
    let (mut nc, mut output) = nc(&[], address, b"hello\n");
    let mut answer = Vec::new();
    output.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"6 : hello\n\0");
    nc.wait();
}

/// The two terminals of the README.
#[test]
#[ignore = "needs the ports 20162 and 4000"]
fn make_run_server_and_make_run_client_hold_the_dialogue() {
    let mut make = Command::new("make");
    make.arg("run-server");
    let mut server = Program::spawn(make);
    server.wait_for("waiting for clients on echo://");
    server.wait_for("waiting for clients on counted://");

    let timeout = Some(common::DEADLINE.as_millis() as u64);
    let mut client = rexpect::spawn("make run-client ADDR=127.0.0.1", timeout).unwrap();
    client.exp_string("message to send :: ").unwrap();
    client.send_line("hello there").unwrap();
    client.exp_string("11 bytes read").unwrap();
    client.exp_string("hello there").unwrap();
    client.exp_string("message to send :: ").unwrap();
    client.send_control('d').unwrap();
    client.exp_eof().unwrap();

    let connected = server.wait_for("connected to echo");
    assert!(connected.contains("client 127.0.0.1:"), "{connected}");
    server.wait_for("closed: 11 bytes echoed");
    server.signal(Signal::TERM);
    server.wait_for("total: ");
    server.wait();
}

/// As a user without privileges. The program lies where that user may get at it.
#[test]
#[ignore = "needs setpriv and root"]
fn a_port_that_needs_a_privilege_is_refused_with_what_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("echopool");
    std::fs::copy(env!("CARGO_BIN_EXE_echopool"), &program).unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    for arguments in [
        &["--echo", "127.0.0.1:7"][..],
        &["--echo=:0", "--admin=127.0.0.1:80"],
    ] {
        let ended = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .arg("serve")
            .args(arguments)
            .output()
            .unwrap();
        let error = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{error}");
        let words = "permission denied; a port below 1024 needs root or CAP_NET_BIND_SERVICE: \
                     choose a higher one, or have a service manager hand the socket over";
        assert!(error.contains(words), "{error}");
    }
}

#[test]
#[ignore = "needs make"]
fn make_run_client_takes_an_ipv6_address() {
    for address in ["ADDR=::1", "ADDR=[::1]"] {
        let make = Command::new("make")
            .args(["-n", "run-client", address, "PORT=7"])
            .output()
            .unwrap();
        let command = String::from_utf8(make.stdout).unwrap();
        assert!(command.contains(r#"client "[::1]:7""#), "{command}");
    }
}

/// Datagrams, with tools of others as clients and as servers.
mod datagrams {
    use super::*;

    fn serve(arguments: &[&str]) -> (Program, SocketAddr) {
        let mut server = Program::start([&["serve"], arguments].concat());
        let address = server.wait_for_listener(arguments[0].trim_start_matches("--"));
        (server, address)
    }

    /// Whether this machine has a tool; the name of one that is missing is printed.
    fn has(tool: &str, argument: &str) -> bool {
        let mut command = Command::new(tool);
        command.arg(argument).stdin(Stdio::null());
        let is_there = command.output().is_ok();
        if !is_there {
            eprintln!("skipped, not installed: {tool}");
        }
        is_there
    }

    /// Whether Python has this module.
    fn has_module(module: &str) -> bool {
        let mut command = Command::new("python3");
        let found = command.args(["-c", &format!("import {module}")]).output();
        let is_there = found.is_ok_and(|ended| ended.status.success());
        if !is_there {
            eprintln!("skipped, Python has no module {module}");
        }
        is_there
    }

    /// Runs a tool that sends this datagram, until it has printed its echo.
    fn echo_by(tool: &str, arguments: &[String], sent: &[u8]) -> Vec<u8> {
        let mut command = Command::new(tool);
        command.args(arguments).stdin(Stdio::piped());
        command.stdout(Stdio::piped());
        let mut program = Program::spawn(command);
        let mut stdin = program.child.stdin.take().unwrap();
        stdin.write_all(sent).unwrap();
        let mut echo = vec![0; sent.len()];
        let mut stdout = program.child.stdout.take().unwrap();
        stdout.read_exact(&mut echo).unwrap();
        drop(stdin);
        program.signal(Signal::TERM);
        program.wait();
        echo
    }

    #[test]
    #[ignore = "needs nc, ncat and socat"]
    fn nc_ncat_and_socat_get_an_echo() {
        let (server, address) = serve(&["--udp", "127.0.0.1:0"]);
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let dialled = || vec![String::from("-u"), host.clone(), port.clone()];
        let mut count = 0;
        for (tool, arguments) in [
            ("nc.openbsd", dialled()),
            ("ncat", dialled()),
            ("socat", vec!["-".into(), format!("UDP:{address}")]),
        ] {
            if has(tool, "-h") {
                let sent = format!("hello from {tool}\n");
                let echo = echo_by(tool, &arguments, sent.as_bytes());
                assert_eq!(echo, sent.as_bytes());
                count += 1;
            }
        }
        let log = log_of(server);
        let words = format!(", {count} datagram");
        assert!(
            count == 0 || reported(&log, "total:").contains(&words),
            "{log:#?}"
        );
    }

    /// All sizes up to the longest, from the standard library of Python.
    const PYTHON_CLIENT: &str = "
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(30)
    for size in [0, 1, 508, 1200, 1472, 1473, 8972, 65507]:
        sent = bytes(number % 251 for number in range(size))
        client.sendto(sent, (host, port))
        echo, source = client.recvfrom(65535)
        assert (echo, source) == (sent, (host, port)), (size, len(echo), source)
";

    #[test]
    #[ignore = "needs python3"]
    fn python_gets_every_size_back() {
        if !has("python3", "-V") {
            return;
        }
        let (_server, address) = serve(&["--udp", "127.0.0.1:0"]);
        let mut python = Command::new("python3");
        python.args(["-c", PYTHON_CLIENT, &address.ip().to_string()]);
        let ended = python.arg(address.port().to_string()).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }

    /// A port that was free a moment ago.
    fn free_port() -> u16 {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.local_addr().unwrap().port()
    }

    /// Starts another echo server, and waits until it answers.
    fn rival(tool: &str, arguments: &[&str]) -> (Program, SocketAddr) {
        let port = free_port();
        let arguments = arguments
            .iter()
            .map(|it| it.replace("PORT", &port.to_string()));
        let mut command = Command::new(tool);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::null());
        let program = Program::spawn(command);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.connect(address).unwrap();
        let time = std::time::Duration::from_millis(200);
        client.set_read_timeout(Some(time)).unwrap();
        wait_until("it answers", || {
            // Refused, until it listens.
            client.send(b"there?").is_ok() && client.recv(&mut [0; 9]).is_ok()
        });
        (program, address)
    }

    const PYTHON_ECHO: &str = "
import socketserver, sys
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        data, socket = self.request
        socket.sendto(data, self.client_address)
socketserver.UDPServer.max_packet_size = 65535
socketserver.UDPServer(('127.0.0.1', int(sys.argv[1])), Echo).serve_forever()
";

    #[test]
    #[ignore = "needs socat and python3"]
    fn ping_measures_the_echo_of_socat_and_of_python() {
        let socat = ["UDP-RECVFROM:PORT,bind=127.0.0.1,fork", "PIPE"];
        let python = ["-c", PYTHON_ECHO, "PORT"];
        for (tool, version, arguments) in [("socat", "-V", &socat[..]), ("python3", "-V", &python)]
        {
            if !has(tool, version) {
                continue;
            }
            let (mut program, address) = rival(tool, arguments);
            let options = ["-c20", "-i0.02", "-s1200", "-W30"];
            let (code, events) = events(&["ping", "--udp"], &options, address);
            assert_eq!(code, 0, "{tool}: {events:?}");
            assert_counts(&events, &[("received", 20), ("lost", 0), ("corrupted", 0)]);
            let summary = events.last().unwrap();
            assert!(summary["p50_ns"].as_u64() > Some(0), "{summary}");
            program.signal(Signal::TERM);
            program.wait();
        }
    }

    /// A sender of STAMP that is made of scapy's own reading of RFC 8762 and RFC 8972.
    const SCAPY_SENDER: &str = "
import socket, sys, time
from scapy.contrib.stamp import *
host, port = sys.argv[1], int(sys.argv[2])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.settimeout(30)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 17)
    for number in range(5):
        tlvs = [STAMPTestTLV(type=1, len=8, value=b'paddings')] if number > 2 else []
        request = STAMPSessionSenderTestUnauthenticated(
            seq=number + 100, ts=time.time(), ssid=0xcafe, tlv_objects=tlvs)
        sender.sendto(bytes(request), (host, port))
        data, source = sender.recvfrom(65535)
        now = time.time()
        assert source == (host, port) and len(data) == len(bytes(request))
        answer = STAMPSessionReflectorTestUnauthenticated(data)
        assert (answer.seq, answer.seq_sender) == (number, number + 100), answer.show(dump=True)
        assert (answer.ssid, answer.ttl_sender) == (0xcafe, 17), answer.show(dump=True)
        assert data[28:36] == bytes(request)[4:12], 'the time of the request'
        assert answer.err_estimate_sender == request.err_estimate, answer.show(dump=True)
        assert answer.err_estimate.multiplier > 0, answer.show(dump=True)
        assert [it.value for it in answer.tlv_objects] == [it.value for it in tlvs]
";

    #[test]
    #[ignore = "needs python3 with scapy"]
    fn a_stamp_sender_of_scapy_is_answered_as_it_reads_the_rfc() {
        if !has_module("scapy.contrib.stamp") {
            return;
        }
        let (_server, address) = serve(&["--stamp", "127.0.0.1:0"]);
        let mut python = Command::new("python3");
        python.args(["-c", SCAPY_SENDER, &address.ip().to_string()]);
        let ended = python.arg(address.port().to_string()).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }

    /// A stateful reflector that is made of it. What is no packet of STAMP has an echo.
    const SCAPY_REFLECTOR: &str = "
import socket, sys, time
from scapy.contrib.stamp import *
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reflector:
    reflector.bind(('127.0.0.1', int(sys.argv[1])))
    counts = {}
    while True:
        data, source = reflector.recvfrom(65535)
        received = time.time()
        if len(data) < 44:
            reflector.sendto(data, source)
            continue
        request = STAMPSessionSenderTestUnauthenticated(data)
        own = counts.get(source, 0)
        answer = STAMPSessionReflectorTestUnauthenticated(
            seq=own, ssid=request.ssid, ts_rx=received, seq_sender=request.seq,
            ts_sender=request.ts, err_estimate_sender=request.err_estimate, ttl_sender=64,
            tlv_objects=request.tlv_objects, ts=time.time())
        answer = bytearray(bytes(answer))
        answer[28:36] = data[4:12]
        counts[source] = own + 1
        if request.seq != 3:
            reflector.sendto(bytes(answer), source)
";

    #[test]
    #[ignore = "needs python3 with scapy"]
    fn ping_understands_a_reflector_of_scapy() {
        if !has_module("scapy.contrib.stamp") {
            return;
        }
        let (mut program, address) = rival("python3", &["-c", SCAPY_REFLECTOR, "PORT"]);
        for size in ["-s44", "-s80"] {
            let options = ["-c8", "-i0.05", "-W2", size];
            let (code, events) = events(&["ping", "--stamp"], &options, address);
            assert_eq!(code, 1, "one is lost: {events:?}");
            let counts = [
                ("received", 7),
                ("lost", 1),
                ("corrupted", 0),
                ("lost_to_server", 0),
                ("lost_to_client", 1),
            ];
            assert_counts(&events, &counts);
            let summary = events.last().unwrap();
            assert_eq!(summary["server_clock"]["format"], "ntp", "{summary}");
            assert!(summary["server_ns"].is_u64(), "{summary}");
        }
        program.signal(Signal::TERM);
        program.wait();
    }
}
