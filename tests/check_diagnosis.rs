//! `echopool check` names the cause: against servers on this machine that each have one
//! fault, with the evidence, and in JSON that fits its schema. Faults of what lies between
//! are in `tests/lab`.
#![cfg(target_os = "linux")]

mod common;
#[path = "lab/faulty.rs"]
#[allow(dead_code, reason = "the laboratory has more of them")]
mod faulty;
#[path = "lab/server.rs"]
mod made;
#[path = "lab/sys.rs"]
#[allow(dead_code, reason = "the laboratory has more of them")]
mod sys;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::check::{Checked, check, faults};
use common::{finish, reserve};
use faulty::Leave;
use made::Server;
use serde_json::Value;

#[track_caller]
fn checked(address: SocketAddr, options: &str) -> Checked {
    let checked = check(address, &format!("--timeout 1s {options}"));
    assert_eq!(faults(&checked.report), [""; 0], "{checked:#?}");
    checked
}

/// The only cause that is named, which explains all that failed.
#[track_caller]
fn only_cause(checked: &Checked, name: &str) -> Value {
    let causes = checked.report["diagnosis"].as_array().unwrap();
    let names: Vec<_> = causes.iter().map(|cause| &cause["cause"]).collect();
    assert_eq!(names, [name], "{checked:#?}");
    let explains: Vec<_> = causes[0]["explains"].as_array().unwrap().iter().collect();
    for failed in checked.names("fail") {
        assert!(explains.contains(&&failed.into()), "{failed}: {checked:#?}");
    }
    for clause in checked.report["clauses"].as_array().unwrap() {
        let follows = match clause["verdict"] == "fail" {
            true => name.into(),
            false => Value::Null,
        };
        assert_eq!(clause["follows_from"], follows, "{checked:#?}");
        assert!(clause["usually"].is_null(), "{checked:#?}");
    }
    causes[0].clone()
}

/// What a check of that server says, with these options, and the evidence.
#[track_caller]
fn evidence(server: &Server, options: &str, cause: &str) -> Value {
    let checked = checked(server.address, options);
    let cause = only_cause(&checked, cause);
    assert_eq!(cause["confidence"], "certain");
    cause["evidence"].clone()
}

#[track_caller]
fn assert_within(value: &Value, low: f64, high: f64) {
    let number = value.as_f64().unwrap();
    assert!((low..=high).contains(&number), "{number}");
}

#[test]
fn nothing_is_diagnosed_where_nothing_failed() {
    let server = common::Server::with_workers(1);
    let checked = checked(server.echo, "--only connect,bytes,urgent,half-close-early");
    checked.assert_passed(&[]);
    assert_eq!(checked.report["diagnosis"], Value::Array(Vec::new()));
    server.stop();
}

#[test]
fn a_check_that_was_not_made_fits_the_schema_as_well() {
    // No name ends in .invalid, RFC 6761.
    let ended = finish(["check", "host.invalid", "--json"], "");
    let failure = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(faults(&failure), [""; 0]);
    assert_eq!(faults(&serde_json::json!({"format": 1})).len(), 1);
}

#[test]
fn a_closed_port_is_refused() {
    let (_reserved, address) = reserve(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
    only_cause(&checked(address, ""), "refused");
}

#[test]
fn who_ends_each_without_a_byte_has_nobody_behind() {
    let few = "--only connect,bytes,message-mss,half-close-late --connections 4";
    let evidence = evidence(&faulty::nobody(), few, "nobody-behind");
    assert_eq!(evidence["ends_by"], "close");
}

#[test]
fn who_speaks_another_protocol_is_named() {
    let few = "--only connect,bytes,pipelining";
    let of = |server: &Server| evidence(server, few, "not-an-echo");
    let http = of(&faulty::http());
    assert_eq!(http["looks_like"], "http");
    assert!(
        http["first_bytes"]
            .as_str()
            .unwrap()
            .starts_with("HTTP/1.1 400 ")
    );
    assert_eq!(of(&faulty::tls())["looks_like"], "tls");
    assert_eq!(of(&faulty::ssh())["looks_like"], "ssh");
    assert_eq!(of(&faulty::smtp())["looks_like"], "smtp");
    assert_eq!(of(&faulty::chargen())["looks_like"], "other");
}

#[test]
fn who_takes_all_and_says_nothing_may_be_an_echo_server_that_hangs() {
    let server = faulty::discard();
    let checked = checked(server.address, "--only connect,bytes,pipelining");
    let cause = only_cause(&checked, "not-an-echo");
    assert_eq!(cause["confidence"], "likely");
    assert_eq!(cause["evidence"]["looks_like"], "other");
    assert_eq!(cause["evidence"]["first_bytes"], "");
    assert!(cause["text"].as_str().unwrap().contains("hangs"), "{cause}");
}

#[test]
fn a_quota_of_bytes_is_measured() {
    let few = "--only connect,bytes,message-64k,message-16m,pipelining";
    for (leave, word) in [
        (Leave::Reset, "reset"),
        (Leave::Close, "close"),
        (Leave::Silence, "silence"),
    ] {
        let server = faulty::quota(300_000, leave);
        let evidence = evidence(&server, few, "connection-quota");
        assert_eq!(evidence["ends_by"], word);
        assert_within(&evidence["bytes"], 290_000.0, 300_000.0);
    }
}

#[test]
fn a_lifetime_is_told_from_a_quota_and_from_a_silence() {
    let server = faulty::lifetime(Duration::from_secs(1), Leave::Close);
    let evidence = evidence(&server, "--only connect,idle --idle 2s", "lifetime-limit");
    assert_eq!(evidence["ends_by"], "close");
    assert_within(&evidence["seconds"], 0.9, 2.0);
}

#[test]
fn a_limit_of_silence_is_measured() {
    let server = faulty::idle(Duration::from_secs(1), Leave::Reset);
    let evidence = evidence(&server, "--only connect,idle --idle 3s", "idle-limit");
    assert_eq!(evidence["ends_by"], "reset");
    assert_within(&evidence["alive_s"], 0.2, 1.05);
    assert_within(&evidence["dead_s"], 0.95, 2.0);
}

#[test]
fn a_limit_of_connections_is_measured() {
    let few = "--only connect,bytes,connections --connections 40";
    let of = |server: &Server| {
        let evidence = evidence(server, few, "connection-limit");
        let connections = evidence["connections"].as_u64().unwrap();
        (
            connections,
            evidence["ends_by"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(of(&faulty::full_at(5, Leave::Close)), (5, "close".into()));
    assert_eq!(of(&faulty::full_at(17, Leave::Reset)), (17, "reset".into()));
    assert_eq!(of(&faulty::at_a_time(3)), (3, "waits".into()));
}

#[test]
fn a_half_close_that_is_not_passed_on_is_named_by_what_it_does() {
    let few = "--only connect,bytes,half-close-early";
    let of = |leave| evidence(&faulty::no_half_close(leave), few, "no-half-close");
    assert_eq!(of(Leave::Close)["what"], "truncates");
    assert_eq!(of(Leave::Silence)["what"], "ignores");
    assert_eq!(of(Leave::Reset)["what"], "resets");
}

#[test]
fn what_takes_bytes_for_text_is_named_with_an_example() {
    let few = "--only connect,bytes,message-64k";
    for (server, how, example) in [
        (
            faulty::seven_bit(),
            "seven-bit",
            r"a\xff\xffb came back as a\x7f\x7fb",
        ),
        (
            faulty::crlf_to_lf(),
            "line-ends",
            r"a\r\nb came back as a\nb",
        ),
        (
            faulty::lf_to_crlf(),
            "line-ends",
            r"a\r\nb came back as a\r\r\nb",
        ),
        (
            faulty::telnet(),
            "telnet",
            r"a\xff\xffb came back as a\xffb",
        ),
        (faulty::without_nul(), "nul", r"a\x00b came back as ab"),
        (faulty::upper_case(), "case", "aAbBz came back as AABBZ"),
        (
            faulty::without_flow_control(),
            "xon-xoff",
            r"a\x11b came back as ab",
        ),
    ] {
        let evidence = evidence(&server, few, "bytes-changed");
        assert_eq!(evidence["how"], how);
        assert_eq!(evidence["example"], example);
    }
    let evidence = evidence(&faulty::utf_8(), few, "bytes-changed");
    assert_eq!(evidence["how"], "other");
}

#[test]
fn what_holds_bytes_back_is_told_by_what_releases_them() {
    let few = "--only connect,message-mss,slow-writer";
    evidence(&faulty::line_buffered(), few, "line-buffered");
    evidence(&faulty::stores_until_the_end(), few, "stores-and-forwards");
}

#[test]
fn an_urgent_byte_is_told_to_be_taken_out_or_moved() {
    let few = "--only connect,bytes,urgent";
    let of = |server: &Server| evidence(server, few, "urgent-lost");
    assert_eq!(of(&faulty::urgent_taken_out())["what"], "taken-out");
    assert_eq!(of(&faulty::urgent_moved())["what"], "moved");
    // One that is moved fails also where it is not asked for.
    let skip = "--skip full-duplex,slow-reader,message-16m,reset,connections,connect-storm";
    let moved = evidence(&faulty::urgent_moved(), skip, "urgent-lost");
    assert_eq!(moved["what"], "moved");
}

#[test]
fn two_faults_are_both_named() {
    let server = faulty::seven_bit_four_at_a_time();
    let few = "--only connect,bytes,connections --connections 12";
    let checked = checked(server.address, few);
    let causes = checked.report["diagnosis"].as_array().unwrap();
    let mut names: Vec<_> = causes.iter().map(|cause| &cause["cause"]).collect();
    names.sort_by_key(|name| name.as_str());
    assert_eq!(names, ["bytes-changed", "connection-limit"], "{checked:#?}");
}

#[test]
fn without_experiments_nothing_is_claimed_that_they_would_prove() {
    let server = faulty::quota(300_000, Leave::Reset);
    let few = "--only connect,message-16m --no-experiments";
    let checked = checked(server.address, few);
    assert_eq!(checked.report["diagnosis"], Value::Array(Vec::new()));
    let clause = &checked.report["clauses"][1];
    assert_eq!(clause["follows_from"], Value::Null);
    // By how it ended, not by which clause it was.
    let usually = clause["usually"].as_str().unwrap();
    assert!(usually.contains("by a reset"), "{usually}");
    // What several saw is a guess.
    let server = faulty::quota(60_000, Leave::Close);
    let few = "--only connect,bytes,message-64k --no-experiments";
    let guess = only_cause(&check(server.address, few), "connection-quota");
    assert_eq!(guess["confidence"], "likely");
    // What was seen itself proves some.
    let urgent = check(
        faulty::urgent_taken_out().address,
        "--only urgent --no-experiments",
    );
    only_cause(&urgent, "urgent-lost");
}

#[test]
fn the_text_has_the_cause_what_to_do_and_what_follows_from_it() {
    let server = faulty::urgent_taken_out();
    let arguments = format!("check {} --quiet --only bytes,urgent", server.address);
    let ended = finish(arguments.split_whitespace(), "");
    let said = String::from_utf8(ended.stdout).unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 6, "{said}");
    assert_eq!(
        lines[1],
        "FAIL  urgent            at offset 1,024: 1 byte is missing"
    );
    assert_eq!(lines[2], "urgent: follows from urgent-lost");
    assert!(
        lines[3].starts_with("CAUSE urgent-lost: an urgent byte is taken out"),
        "{said}"
    );
    assert!(
        lines[4].starts_with("    to do: do without urgent data"),
        "{said}"
    );
    assert!(
        lines[5].starts_with("1 passed, 1 failed, 0 skipped in "),
        "{said}"
    );
    assert!(!said.contains("usually"), "{said}");
}

/// The manual has each cause.
#[test]
fn the_manual_has_a_section_for_each_cause() {
    let manual = include_str!("../docs/diagnosis.md");
    let schema: Value = serde_json::from_str(include_str!("../docs/check.schema.json")).unwrap();
    let causes = schema
        .pointer("/$defs/cause/properties/cause/enum")
        .unwrap();
    for cause in causes.as_array().unwrap() {
        let title = format!("\n## `{}`\n", cause.as_str().unwrap());
        assert_eq!(manual.matches(&title).count(), 1, "{title}");
    }
    let evidence = schema.pointer("/$defs/evidence/properties").unwrap();
    for key in evidence.as_object().unwrap().keys() {
        assert!(
            manual.contains(&format!("`{key}`")),
            "no {key} in the manual"
        );
    }
}
