//! Faults of datagrams that look like others, and must not be taken for them.
#![cfg(target_os = "linux")]

mod common;

use std::net::SocketAddr;

use common::check::{Checked, check, faults};
use common::lookalikes as like;
use serde_json::Value;

#[track_caller]
fn checked(address: SocketAddr, options: &str) -> Checked {
    let checked = check(address, &format!("--udp --timeout 1s {options}"));
    assert_eq!(faults(&checked.report), [""; 0], "{checked:#?}");
    checked
}

/// The causes that are named.
fn causes(checked: &Checked) -> Vec<&str> {
    let causes = checked.report["diagnosis"].as_array().unwrap().iter();
    causes
        .map(|cause| cause["cause"].as_str().unwrap())
        .collect()
}

/// The only cause that is named, which is so sure.
#[track_caller]
fn sole<'a>(checked: &'a Checked, cause: &str, confidence: &str) -> &'a Value {
    assert_eq!(causes(checked), [cause], "{checked:#?}");
    let cause = &checked.report["diagnosis"][0];
    assert_eq!(cause["confidence"], confidence, "{checked:#?}");
    cause
}

#[test]
fn a_server_that_ends_is_gone_and_nothing_is_lost() {
    let server = like::ending_after(100);
    let checked = checked(server, "--only reachable,empty,loss,rate,old-socket");
    checked.assert_failed(&["loss", "rate", "old-socket"]);
    let cause = sole(&checked, "gone", "certain");
    assert_eq!(cause["evidence"]["icmp"], "port unreachable");
    assert!(cause["text"].as_str().unwrap().contains("clause loss"));
    assert!(checked.seen("rate").contains("500 of 500 did not come back"));
}

#[test]
fn a_server_that_is_connected_to_its_first_client_has_the_port_open() {
    let server = like::connected_to_the_first();
    let checked = checked(server, "--only reachable,empty,loss,old-socket");
    checked.assert_failed(&["empty", "loss"]);
    let cause = sole(&checked, "refused", "certain");
    assert!(cause["text"].as_str().unwrap().contains("first client"));
}
