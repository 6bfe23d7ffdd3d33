//! `echopool check --udp`, against our own server and against echoes that each have one fault.
#![cfg(target_os = "linux")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::bad_datagrams as bad;
use common::check::{Checked, check, faults};
use common::datagrams::{delayed, doubling, echo, refusing, refusing_with_few_bytes};
use common::{Program, finish};
use rustix::process::Signal;
use serde_json::Value;

#[track_caller]
fn checked(address: SocketAddr, options: &str) -> Checked {
    let checked = check(address, &format!("--udp --timeout 1s {options}"));
    assert_eq!(faults(&checked.report), [""; 0], "{checked:#?}");
    assert_eq!(checked.report["protocol"], "udp");
    checked
}

/// The evidence of the only cause that is named, which is proved and explains all that failed.
#[track_caller]
fn evidence(address: SocketAddr, options: &str, cause: &str) -> Value {
    let checked = checked(address, options);
    assert_eq!(checked.code, Some(1), "{checked:#?}");
    let causes = checked.report["diagnosis"].as_array().unwrap();
    let names: Vec<_> = causes.iter().map(|cause| &cause["cause"]).collect();
    assert_eq!(names, [cause], "{checked:#?}");
    assert_eq!(causes[0]["confidence"], "certain");
    for clause in checked.report["clauses"].as_array().unwrap() {
        let follows = match clause["verdict"] == "fail" {
            true => cause.into(),
            false => Value::Null,
        };
        assert_eq!(clause["follows_from"], follows, "{checked:#?}");
    }
    causes[0]["evidence"].clone()
}

#[track_caller]
fn assert_within(value: &Value, low: f64, high: f64) {
    let number = value.as_f64().unwrap();
    assert!((low..=high).contains(&number), "{number}");
}

mod ours {
    use super::*;

    fn serve(options: &[&str]) -> (Program, SocketAddr) {
        let all = [&["serve", "--echo", "127.0.0.1:0", "--udp"], options].concat();
        let mut program = Program::start(all);
        let address = program.wait_for_listener("udp");
        (program, address)
    }

    #[test]
    fn as_it_comes_it_passes_under_its_own_limit() {
        let (mut program, address) = serve(&["127.0.0.1:0"]);
        let checked = checked(address, "");
        checked.assert_passed(&["idle"]);
        assert_eq!(checked.report["diagnosis"], Value::Array(Vec::new()));
        assert!(checked.seen("path-mtu").contains("65,535"), "{checked:#?}");
        program.signal(Signal::TERM);
        assert_eq!(program.wait().code(), Some(0));
        let refused = program.log.iter().any(|line| line.contains("rate"));
        assert!(!refused, "{:#?}", program.log);
    }

    #[test]
    fn by_ipv6() {
        if std::net::UdpSocket::bind("[::1]:0").is_err() {
            return;
        }
        let (_program, address) = serve(&["[::1]:0"]);
        let all = "--skip loss,rate,bytes";
        checked(address, all).assert_passed(&["idle"]);
    }

    #[test]
    fn a_low_rate_is_found_and_is_all_that_is_the_matter() {
        let (_program, address) = serve(&["127.0.0.1:0", "--udp-rate", "60/s"]);
        let evidence = evidence(address, "", "rate-limit");
        assert_within(&evidence["per_s"], 50.0, 72.0);
    }

    #[test]
    fn a_silence_that_was_asked_for_is_held() {
        let (_program, address) = serve(&["127.0.0.1:0"]);
        let checked = checked(address, "--only reachable,idle --idle 300ms");
        checked.assert_passed(&[]);
        assert_eq!(checked.seen("idle"), "echo after 300ms of silence");
    }
}

#[test]
fn a_plain_echo_passes_and_its_marks_say_nothing() {
    checked(echo(), "").assert_passed(&["marks", "idle"]);
}

#[test]
fn a_round_trip_that_is_longer_than_the_time_between_two_tries_is_no_fault() {
    // It is asked again after a third of the time-out, so that the answer is to the first.
    let checked = checked(
        delayed(Duration::from_millis(400)),
        "--only reachable,reply-address,order,duplicates",
    );
    checked.assert_passed(&[]);
    let seen = checked.seen("reachable");
    assert!(seen.contains("at the most, asked 2 times"), "{checked:#?}");
}

#[test]
fn a_port_for_the_clauses_is_found_in_one_round_trip() {
    let round_trip = Duration::from_millis(300);
    let checked = checked(delayed(round_trip), "--only reachable");
    let took = checked.report["clauses"][0]["elapsed_ns"].as_u64().unwrap();
    // One for the first port, and one for those that the second is asked by: not one for each.
    assert!(took >= 2 * round_trip.as_nanos() as u64, "{checked:#?}");
    assert!(took < 4 * round_trip.as_nanos() as u64, "{checked:#?}");
}

#[test]
fn a_closed_port_is_refused_and_nothing_else_is_tried() {
    let (_held, address) = refusing();
    let evidence = evidence(address, "", "refused");
    assert_eq!(evidence["icmp"], "port unreachable");
    let checked = checked(address, "");
    assert_eq!(checked.names("fail"), ["reachable"]);
    assert_eq!(checked.names("pass"), [""; 0]);
}

#[test]
fn a_refusal_that_quotes_too_little_is_one_all_the_same() {
    if let Some(address) = refusing_with_few_bytes(0) {
        let evidence = evidence(address, "", "refused");
        assert_eq!(evidence["icmp"], "port unreachable");
    }
}

#[test]
fn who_says_nothing_gives_no_answer() {
    evidence(bad::silent(), "", "no-answer");
}

#[test]
fn who_answers_otherwise_is_no_echo() {
    let server = bad::speaking(b"HTTP/1.1 400 Bad Request\r\n");
    let evidence = evidence(server, "", "not-an-echo");
    assert_eq!(evidence["first_bytes"], r"HTTP/1.1 400 Bad Request\r\n");
}

#[test]
fn another_address_is_named_and_spoils_nothing_else() {
    let (asked, seen) = bad::answering_from_another_address();
    let options = "--skip loss,rate";
    let evidence = evidence(asked, options, "wrong-address");
    assert_eq!(evidence["asked"], asked.to_string());
    assert_eq!(evidence["seen"], seen.to_string());
    checked(asked, options).assert_failed(&["reply-address"]);
}

#[test]
fn what_is_done_to_bytes_is_named() {
    let few = "--skip loss,rate,ports";
    for (server, how) in [
        (bad::seven_bit(), "seven-bit"),
        (bad::upper_case(), "case"),
        (bad::cutting(2048), "cut"),
    ] {
        let evidence = evidence(server, few, "bytes-changed");
        assert_eq!(evidence["how"], how);
        if how == "cut" {
            assert_eq!(evidence["bytes"], 2048);
        }
    }
}

#[test]
fn a_short_buffer_that_drops_is_told_by_its_size() {
    let few = "--only reachable,full-packet,fragments,longest,path-mtu";
    let evidence = evidence(bad::up_to(5000), few, "size-limit");
    assert_eq!(evidence["datagram_bytes"], 5000);
    // Less than any path carries is the server's limit, too, and nothing is said of fragments.
    let few = "--only reachable,sizes,fragments,path-mtu";
    let evidence = self::evidence(bad::up_to(500), few, "size-limit");
    assert_eq!(evidence["datagram_bytes"], 500);
}

#[test]
fn a_loss_is_measured_and_no_limit_is_suspected() {
    let evidence = evidence(bad::losing(25), "--only reachable,loss,rate", "loss");
    assert_within(&evidence["percent"], 15.0, 35.0);
    assert_eq!(evidence["packets"], 300);
}

#[test]
fn one_in_a_hundred_each_way_is_no_loss() {
    let few = "--only reachable,sizes,bytes,duplicates,ports,loss,rate";
    checked(bad::losing(2), few).assert_passed(&[]);
}

#[test]
fn a_limit_of_another_server_is_found() {
    let few = "--only reachable,loss,rate";
    let evidence = evidence(bad::limited_to(120.0), few, "rate-limit");
    assert_within(&evidence["per_s"], 100.0, 140.0);
}

#[test]
fn source_ports_that_get_nothing_are_named() {
    let evidence = evidence(bad::deaf_to(3), "--skip rate,loss", "port-loses");
    assert_eq!(evidence["of"], 32);
    let ports = evidence["ports"].as_array().unwrap();
    assert_eq!(ports.len(), 4);
    assert!(ports.iter().all(|port| port.as_u64().unwrap() % 8 == 3));
}

#[test]
fn another_order_and_copies_are_told_apart() {
    let few = "--only reachable,order,duplicates";
    let reordered = evidence(bad::reversing(), few, "reordered");
    assert_within(&reordered["percent"], 25.0, 100.0);
    let copies = evidence(doubling(), few, "duplicates");
    assert_within(&copies["percent"], 95.0, 100.0);
}

#[test]
fn a_silence_that_is_too_long_is_told_from_an_age() {
    let few = "--only reachable,idle --idle 2s";
    let server = bad::forgetting_after(Duration::from_millis(900));
    let idle = evidence(server, few, "idle-limit");
    assert_within(&idle["alive_s"], 0.4, 0.95);
    assert_within(&idle["dead_s"], 0.85, 1.5);
    let server = bad::living_for(Duration::from_millis(900));
    let aged = evidence(server, few, "lifetime-limit");
    assert_within(&aged["seconds"], 0.7, 2.0);
}

#[test]
fn without_experiments_what_was_seen_itself_is_diagnosed() {
    let few = "--no-experiments --only reachable,reply-address,loss";
    let (asked, _) = bad::answering_from_another_address();
    evidence(asked, few, "wrong-address");
    let checked = checked(bad::losing(20), few);
    assert_eq!(checked.names("fail"), ["loss"]);
    assert_eq!(checked.report["diagnosis"], Value::Array(Vec::new()));
    assert!(
        checked.report["clauses"][2]["usually"].is_string(),
        "{checked:#?}"
    );
}

#[test]
fn the_lines_say_what_follows_from_what() {
    let address = bad::seven_bit();
    let all = format!("check --udp {address} -q --only reachable,sizes");
    let ended = finish(all.split_whitespace(), "");
    assert_eq!((ended.code, &*ended.stderr), (Some(1), ""));
    let said = String::from_utf8(ended.stdout).unwrap();
    let lines: Vec<_> = said.lines().collect();
    let answers = format!("pass  reachable         {address} answers; it came back changed");
    assert!(lines[0].starts_with(&answers), "{said}");
    assert!(lines[1].starts_with("FAIL  sizes             "), "{said}");
    assert_eq!(lines[2], "sizes: follows from bytes-changed");
    assert!(lines[3].starts_with("CAUSE bytes-changed: "), "{said}");
    assert!(lines[4].starts_with("    to do: "), "{said}");
}
