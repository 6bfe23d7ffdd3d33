//! `echopool check` names no cause that it has not proved: against servers on this machine
//! that look like one with another fault.
#![cfg(target_os = "linux")]

mod common;
#[path = "lab/faulty.rs"]
#[allow(dead_code, reason = "the laboratory has more of them")]
mod faulty;
#[path = "lab/lookalike.rs"]
mod lookalike;
#[path = "lab/server.rs"]
mod made;
#[path = "lab/sys.rs"]
#[allow(dead_code, reason = "the laboratory has more of them")]
mod sys;

use std::net::Ipv4Addr;
use std::time::Duration;

use common::check::{Checked, check};
use common::{Program, reserve};
use faulty::Leave;
use made::Server;
use serde_json::Value;

#[track_caller]
fn checked(server: &Server, options: &str) -> Checked {
    check(server.address, &format!("--timeout 1s {options}"))
}

/// The causes that are named, with how sure they are.
fn causes(checked: &Checked) -> Vec<(String, bool, Value)> {
    let causes = checked.report["diagnosis"].as_array().unwrap().iter();
    let each = |cause: &Value| {
        let name = cause["cause"].as_str().unwrap().to_owned();
        let is_certain = cause["confidence"] == "certain";
        (name, is_certain, cause.clone())
    };
    causes.map(each).collect()
}

/// Something failed, and none of these is said to be proved.
#[track_caller]
fn assert_not_proved(checked: &Checked, wrong: &[&str]) {
    assert_ne!(checked.names("fail"), [""; 0], "{checked:#?}");
    for (name, is_certain, cause) in causes(checked) {
        let is_wrong = is_certain && wrong.contains(&name.as_str());
        assert!(!is_wrong, "{cause:#?} of {checked:#?}");
    }
}

/// The one cause that is named.
#[track_caller]
fn only(checked: &Checked, name: &str) -> Value {
    let causes = causes(checked);
    let names: Vec<_> = causes.iter().map(|(name, ..)| name).collect();
    assert_eq!(names, [name], "{checked:#?}");
    causes[0].2.clone()
}

const CROWDS: [&str; 3] = ["connection-limit", "connect-rate-limit", "listen-queue"];
const CROWDED: &str = "--only connect,bytes,connections,connect-storm --connections 40";

#[test]
fn a_dead_server_behind_a_balancer_is_no_limit() {
    for server in [
        lookalike::one_dead_of(4, false),
        lookalike::one_dead_of(4, true),
        lookalike::one_dead_of(2, true),
    ] {
        assert_not_proved(&checked(&server, CROWDED), &CROWDS);
    }
}

#[test]
fn a_rate_that_resets_or_closes_is_no_limit_of_those_that_are_open() {
    for (leave, per_s) in [(Leave::Reset, 4.0), (Leave::Close, 25.0)] {
        let server = lookalike::rate_limited(per_s, 5.0, leave);
        let cause = only(&checked(&server, CROWDED), "connect-rate-limit");
        let measured = cause["evidence"]["per_s"].as_f64().unwrap();
        let bounds = per_s * 0.75..=per_s * 1.25;
        assert!(bounds.contains(&measured), "{per_s}: {cause:#?}");
    }
}

#[test]
fn a_short_queue_before_a_fast_server_is_no_firewall() {
    let checked = checked(&lookalike::short_queue(5), CROWDED);
    assert_not_proved(
        &checked,
        &["connection-limit", "connect-rate-limit", "loss"],
    );
}

#[test]
fn who_closes_at_what_it_does_not_understand_is_not_nobody() {
    let few = "--only connect,bytes,pipelining";
    let cause = only(
        &checked(&lookalike::closes_on_garbage(), few),
        "not-an-echo",
    );
    assert_eq!(cause["evidence"]["first_bytes"], "");
    assert!(
        cause["text"].as_str().unwrap().contains("PROXY"),
        "{cause:#?}"
    );
    let listen = ["serve", "--echo", "127.0.0.1:0", "--proxy-protocol"];
    let mut proxied = Program::start(listen);
    let address = proxied.wait_for_listener("echo");
    only(
        &check(address, &format!("--timeout 1s {few}")),
        "not-an-echo",
    );
}

#[test]
fn an_answer_to_a_part_is_no_size_of_packets() {
    let server = lookalike::reads_once_an_arrival(1024);
    let checked = checked(&server, "--only connect,bytes,message-mss,message-64k");
    assert_not_proved(&checked, &["mtu-black-hole", "connection-quota"]);
}

#[test]
fn a_server_far_behind_a_proxy_loses_nothing() {
    let server = lookalike::late_without_end(Duration::from_millis(200));
    let few = "--only connect,bytes,half-close-late";
    only(&checked(&server, few), "no-half-close");
}

#[test]
fn a_server_that_is_stopped_now_and_then_loses_nothing() {
    let server = lookalike::pauses(Duration::from_millis(1500), 25);
    let few = "--only connect,bytes,pipelining,small-writes,connections --connections 30";
    assert_not_proved(&checked(&server, few), &["loss", "connection-limit"]);
}

#[test]
fn a_late_greeting_is_no_release_of_what_was_held() {
    let server = lookalike::late_greeting(
        Duration::from_millis(1600),
        b"220 mail.example.org ESMTP\r\n",
    );
    let few = "--only connect,bytes,pipelining,slow-writer";
    let cause = only(&checked(&server, few), "not-an-echo");
    assert_eq!(cause["evidence"]["looks_like"], "smtp");
}

#[test]
fn a_half_close_is_named_by_what_comes_before_it() {
    let few = "--only connect,bytes,half-close-early,half-close-late";
    for (leave, what) in [(Leave::Silence, "ignores"), (Leave::Reset, "resets")] {
        let cause = only(
            &checked(&lookalike::without_end(leave), few),
            "no-half-close",
        );
        assert_eq!(cause["evidence"]["what"], what);
        let text = cause["text"].as_str().unwrap();
        assert!(text.contains("all bytes come back"), "{text}");
    }
}

#[test]
fn a_policer_of_bursts_is_no_quota() {
    let server = lookalike::policed(400_000, Leave::Reset);
    let few = "--only connect,bytes,message-64k,message-16m";
    assert_not_proved(
        &checked(&server, few),
        &["connection-quota", "lifetime-limit"],
    );
}

#[test]
fn options_fail_on_nothing() {
    let (_reserved, address) = reserve(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
    let checked = check(address, "--timeout 1s --only options");
    assert_eq!(checked.names("skip"), ["options"], "{checked:#?}");
}
