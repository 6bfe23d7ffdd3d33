//! STAMP with an implementation of others at the other end: stamp-suite of crates.io.
//!
//! It runs with `make test-tools`; where stamp-suite is not installed it says so and passes.
#![cfg(target_os = "linux")]

mod common;

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use common::ping::assert_counts;
use common::serve::{log_of, reported};
use common::{Ended, Program, end};
use serde_json::Value;

/// How many packets each run sends.
const COUNT: u64 = 5;

fn stamp_suite(arguments: &[&str]) -> Command {
    let mut command = Command::new("stamp-suite");
    command.args(arguments).env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Whether this machine has it; a machine that has not is told so.
fn is_missing() -> bool {
    let is_missing = stamp_suite(&["--version"]).output().is_err();
    if is_missing {
        eprintln!("skipped, not installed: stamp-suite");
    }
    is_missing
}

/// A run of its sender, to its end. A packet without an answer is awaited for this many seconds.
fn send(limit: &str, options: &[&str], to: SocketAddr) -> Ended {
    let (host, port) = (to.ip().to_string(), to.port().to_string());
    let count = COUNT.to_string();
    let common = [
        "-r", &host, "-p", &port, "-c", &count, "-d", "20", "-L", limit,
    ];
    end(Program::spawn(stamp_suite(&[&common, options].concat())))
}

#[test]
#[ignore = "needs stamp-suite"]
fn its_sender_understands_our_reflector() {
    if is_missing() {
        return;
    }
    let ipv4: &[&str] = &[];
    let ipv6 = &["-S", "::"][..];
    // Times of PTP are of TAI, 37 seconds ahead, which its sender wants to be told.
    let ptp = ["-K", "PTP", "--reflector-utc-offset", "37", "--ssid", "77"];
    for (address, family) in [("127.0.0.1:0", ipv4), ("[::1]:0", ipv6)] {
        let mut program = Program::start(["serve", "--stamp", address]);
        let reflector = program.wait_for_listener("stamp");
        for (format, options) in [("NTP", &[][..]), ("PTP", &ptp)] {
            let json = ["--output-format", "json", "-R"];
            let ended = send("30", &[family, options, &json].concat(), reflector);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            // Each packet is a line there: it left with a TTL of 255, and arrived so.
            let ttl = ended.stderr.matches(" ttl=255 ").count();
            assert_eq!(ttl as u64, COUNT, "{}", ended.stderr);
            let found: Value = serde_json::from_slice(&ended.stdout).unwrap();
            assert_eq!(found["packets_received"], COUNT, "{found}");
            let measured = &found["measurements"];
            for (key, count) in [
                ("unique_replies", COUNT),
                ("duplicate_replies", 0),
                ("reordered_replies", 0),
                ("unknown_replies", 0),
                // A new count for each of its ports, from 0.
                ("last_reflector_sequence", COUNT - 1),
            ] {
                assert_eq!(measured[key], count, "{key}: {measured}");
            }
            let clock = &found["owd"]["clock_quality"]["last_reflector"];
            assert_eq!(clock["format"], format, "{found}");
            assert!(clock["error_ms"].as_f64() > Some(0.0), "{clock}");
            // By one clock, but for a step of it: neither is of another time scale.
            for key in ["forward_median_ms", "reverse_median_ms"] {
                let ms = found["owd"][key].as_f64().unwrap();
                assert!(ms.abs() < 1000.0, "{key}: {found}");
            }
        }
        let log = log_of(program);
        let words = format!(", {} datagrams answered", 2 * COUNT);
        assert!(reported(&log, "total:").contains(&words), "{log:#?}");
    }
}

#[test]
#[ignore = "needs stamp-suite"]
fn its_authenticated_packets_and_malformed_extensions_are_reflected_as_they_are() {
    if is_missing() {
        return;
    }
    let mut program = Program::start(["serve", "--stamp", "127.0.0.1:0"]);
    let reflector = program.wait_for_listener("stamp");
    for how in ["bad-flags", "bad-length"] {
        let ended = send(
            "30",
            &["--malformed", how, "--output-format", "json"],
            reflector,
        );
        let found: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(found["packets_received"], COUNT, "{how}: {found}");
    }
    // Nothing in a packet says that it is an authenticated one: it has a reply, which its
    // sender does not take.
    let key = ["-A", "A", "--hmac-key", "00112233445566778899aabbccddeeff"];
    let ended = send(
        "1",
        &[&key[..], &["--output-format", "json"]].concat(),
        reflector,
    );
    let found: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(found["packets_received"], 0, "{found}");
    assert!(
        ended.stderr.contains("HMAC verification failed"),
        "{ended:?}"
    );
    log_of(program);
}

/// Its reflector, on a port of an address that this process alone has.
fn reflector(options: &[&str], part: u8) -> (Program, SocketAddr) {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let address = SocketAddr::from(([127, 100 + part, high, low], 8620));
    let host = address.ip().to_string();
    let own = ["--is-reflector", "-S", &host, "-o", "8620"];
    let mut command = stamp_suite(&[&own, options].concat());
    command.stdout(Stdio::null());
    let mut program = Program::spawn(command);
    program.wait_for(&format!("Reflector listening on {address}"));
    (program, address)
}

#[test]
#[ignore = "needs stamp-suite"]
fn our_sender_understands_its_reflector_stateful_or_not_with_either_times() {
    if is_missing() {
        return;
    }
    let stateful = "--stateful-reflector";
    let kinds: [(&[&str], bool); 4] = [
        (&[], false),
        (&[stateful], true),
        (
            &[stateful, "--strict-packets", "--tlv-mode", "ignore"],
            true,
        ),
        (&[stateful, "-K", "PTP", "--clock-synchronized"], true),
    ];
    for (part, (options, is_stateful)) in (0..).zip(kinds) {
        let (_program, address) = reflector(options, part);
        let ours: [&[&str]; 3] = [
            &[],
            &["--ptp", "-s", "100"],
            &["--ports", "3", "-s", "1400", "--dscp", "EF"],
        ];
        // Its own, whatever our packets have.
        let is_set = options.contains(&"--clock-synchronized");
        let format = if options.contains(&"PTP") {
            "ptp"
        } else {
            "ntp"
        };
        for options in ours {
            let always = ["-c6", "-i0.01", "-W30"];
            let options = [&always, options].concat();
            let (code, events) = common::ping::events(&["ping", "--stamp"], &options, address);
            assert_eq!(code, 0, "{events:?}");
            assert_counts(
                &events,
                &[("received", 6), ("duplicates", 0), ("reordered", 0)],
            );
            let summary = events.last().unwrap();
            assert_eq!(summary["is_stateful"], is_stateful, "{summary}");
            let lost = is_stateful.then_some(0);
            for key in ["lost_to_server", "lost_to_client", "lost_either_way"] {
                assert_eq!(summary[key].as_u64(), lost, "{key}: {summary}");
            }
            let clock = &summary["server_clock"];
            assert_eq!(clock["format"], format, "{summary}");
            assert_eq!(clock["is_synchronized"], is_set, "{summary}");
            for reply in &events[..6] {
                // We send with 64, and it is on this machine.
                assert_eq!(reply["server_ttl"], 64, "{reply}");
                assert!(reply["server_ns"].as_u64() > Some(0), "{reply}");
            }
        }
    }
}
