//! The sessions of the README, with the tools a user has: make and nc.
//!
//! They need `nc` (netcat-openbsd) and the ports 20162 and 4000, so they run
//! only when asked for: `make test-tools`.
#![cfg(unix)]

mod common;

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{ChildStdout, Command, Stdio};

use common::Program;
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
