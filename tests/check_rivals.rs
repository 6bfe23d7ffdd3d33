//! `echopool check` against what others run as an echo: their known defects must be
//! found, and what they do well must pass.
//!
//! It needs socat, ncat, xinetd, unshare and ip, so it runs only when asked for:
//! `make test-tools`.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use common::check::{Checked, check};
use common::serve::is_listening;
use common::{reserve, wait_until};
use rustix::process::{Pid, Signal, kill_process_group};

/// What all of them lack, which fails only where it is asked for: none reads urgent data in its
/// place.
const URGENT: &str = "urgent";

/// What a check of them skips by default.
const SKIPPED: &[&str] = &[URGENT, "source-address", "idle"];

/// Each lives with the shortest queue that it may: they drop SYNs in a storm.
const NO_STORM: &str = "--skip connect-storm";

/// Another echo server, and all that it has started; killed when dropped.
struct Rival {
    address: SocketAddr,
    child: Child,
}

impl Rival {
    /// Starts a program, of whose arguments `PORT` is its port.
    fn start(program: &str, arguments: &[&str]) -> Self {
        let (reserved, address) = reserve(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let port = address.port().to_string();
        let arguments = arguments.iter().map(|at| at.replace("PORT", &port));
        let mut command = Command::new(program);
        command.args(arguments).process_group(0);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        drop(reserved);
        let child = command.spawn().expect(program);
        let rival = Self { address, child };
        wait_until("it listens", || is_listening(address));
        rival
    }

    fn check(&self, options: &str) -> Checked {
        // They have a process for each connection.
        let few = "--timeout 2s --connections 64";
        check(self.address, &format!("{few} {options}"))
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // Each of its connections is a process, and some never end.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs ncat"]
fn ncat_is_found_to_lose_half_closed_data() {
    let arguments = ["-l", "-k", "127.0.0.1", "PORT", "--exec", "/bin/cat"];
    let ncat = Rival::start("ncat", &arguments);
    let checked = ncat.check("--only connect,bytes,tiny-segments,half-close-early,urgent");
    checked.assert_failed(&["half-close-early", URGENT]);
    let seen = checked.seen("half-close-early");
    assert_eq!(seen, "the end came after 0 of 10 bytes");
    assert_eq!(checked.seen(URGENT), "at offset 1,024: 1 byte is missing");
}

#[test]
#[ignore = "needs ncat"]
fn ncat_is_found_to_stall_with_every_buffer_full() {
    let arguments = ["-l", "-k", "127.0.0.1", "PORT", "--exec", "/bin/cat"];
    let ncat = Rival::start("ncat", &arguments);
    assert_stalls(&ncat);
    // That connection is stuck for ever; the next one is served.
    ncat.check("--only bytes").assert_passed(&[]);
}

/// Whether a stream comes to a standstill, which is a race in all that have the
/// defect: sooner or later.
#[track_caller]
fn assert_stalls(rival: &Rival) {
    let stalls = |_| {
        let checked = rival.check("--only full-duplex,slow-reader");
        let failed = checked.names("fail");
        let mut seen = failed.iter().map(|name| checked.seen(name));
        seen.any(|seen| seen.starts_with("no data for 2s after "))
    };
    assert!((0..10).any(stalls), "it never stalled");
}

#[test]
#[ignore = "needs socat"]
fn socat_with_cat_passes_but_for_nagle() {
    let arguments = ["TCP-LISTEN:PORT,fork,reuseaddr,bind=127.0.0.1", "EXEC:cat"];
    let socat = Rival::start("socat", &arguments);
    let checked = socat.check(&format!("{NO_STORM} --skip small-writes"));
    checked.assert_passed(SKIPPED);
}

#[test]
#[ignore = "needs socat"]
fn socat_is_found_to_hold_small_writes_back() {
    let arguments = ["TCP-LISTEN:PORT,fork,reuseaddr,bind=127.0.0.1", "EXEC:cat"];
    let socat = Rival::start("socat", &arguments);
    // What socat reads only once both writes are there, as it may on a busy machine, it
    // does not hold back.
    let mut checks = (0..20).map(|_| socat.check("--only small-writes"));
    let found = checks.find(|checked| checked.report["failed"] == 1);
    found
        .expect("a check that finds it")
        .assert_failed(&["small-writes"]);
    // Its own option helps.
    let nodelay = "TCP-LISTEN:PORT,fork,reuseaddr,bind=127.0.0.1,nodelay";
    let socat = Rival::start("socat", &[nodelay, "EXEC:cat"]);
    socat.check("--only small-writes").assert_passed(&[]);
}

#[test]
#[ignore = "needs socat"]
fn socat_with_a_pipe_is_found_to_stall_with_every_buffer_full() {
    let arguments = ["TCP-LISTEN:PORT,fork,reuseaddr,bind=127.0.0.1", "PIPE"];
    let socat = Rival::start("socat", &arguments);
    assert_stalls(&socat);
}

#[test]
#[ignore = "needs xinetd"]
fn xinetd_passes() {
    let (reserved, address) = reserve(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
    drop(reserved);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("xinetd.conf");
    // By default it takes 50 connections a second, and then none for ten seconds.
    let service = format!(
        "defaults\n{{\ncps = 100000 1\ninstances = UNLIMITED\n}}\nservice echo\n{{\n\
         type = INTERNAL UNLISTED\nid = echo-stream\nsocket_type = stream\nprotocol = tcp\n\
         port = {}\nbind = 127.0.0.1\nwait = no\n}}\n",
        address.port()
    );
    fs::write(&file, service).unwrap();
    let file = file.to_str().unwrap();
    let pid = folder.path().join("pid");
    let arguments = ["-dontfork", "-f", file, "-pidfile", pid.to_str().unwrap()];
    let mut command = Command::new("xinetd");
    command.args(arguments).process_group(0);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("xinetd");
    let xinetd = Rival { address, child };
    wait_until("it listens", || is_listening(address));
    // It leaves Nagle's algorithm on, which the check sees when both writes are read apart.
    let checked = xinetd.check(&format!("{NO_STORM} --skip small-writes"));
    checked.assert_passed(SKIPPED);
}

/// Checks one clause of a port on which nobody listens, on a network of its own with
/// just two ports to choose from: one of two connections there gets its own.
fn check_without_a_server(clause: &str) -> String {
    let script = "set -e; ip link set lo up
        echo 40000 40001 > /proc/sys/net/ipv4/ip_local_port_range
        for port in 40000 40001; do $P check 127.0.0.1:$port --only $C || :; done";
    let mut command = Command::new("unshare");
    command.args(["-rn", "sh", "-c", script]).env("C", clause);
    let output = command.env("P", env!("CARGO_BIN_EXE_echopool")).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
#[ignore = "needs unshare(1) and ip(8)"]
fn a_connection_to_itself_is_found() {
    let said = check_without_a_server("self-connect");
    let words = "self-connect: follows from refused";
    assert!(said.contains("FAIL  self-connect "), "{said}");
    assert!(said.contains(words), "{said}");
    // Nor is it a connection to any other clause.
    let said = check_without_a_server("connect");
    let words =
        "nothing listens there, the connection reached itself\nconnect: follows from refused";
    assert!(said.contains(words), "{said}");
    assert!(!said.contains("pass  "), "{said}");
}
