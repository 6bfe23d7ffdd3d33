//! Faults of datagrams that look like others, and must not be taken for them.
#![cfg(target_os = "linux")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

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
    assert!(
        checked
            .seen("rate")
            .contains("500 of 500 did not come back")
    );
}

#[test]
fn a_server_that_is_connected_to_its_first_client_has_the_port_open() {
    let server = like::connected_to_the_first();
    let checked = checked(server, "--only reachable,empty,loss,old-socket");
    checked.assert_failed(&["empty", "loss"]);
    let cause = sole(&checked, "refused", "certain");
    assert!(cause["text"].as_str().unwrap().contains("first client"));
}

#[test]
fn a_byte_that_is_added_changes_no_other() {
    let checked = checked(like::lengthening(), "--only reachable,sizes,bytes");
    checked.assert_failed(&["sizes", "bytes"]);
    let cause = sole(&checked, "bytes-changed", "certain");
    assert_eq!(cause["evidence"]["how"], "added");
    assert_eq!(cause["evidence"]["example"], "aAbBz came back as aAbBz!");
}

#[test]
fn bursts_that_are_lost_are_no_order() {
    let options = "--only reachable,order,duplicates --no-experiments";
    let checked = checked(like::answering_few_of_a_burst(), options);
    checked.assert_failed(&["order"]);
    let seen = checked.seen("order");
    assert!(seen.contains("of 64 sent at once were lost"), "{seen}");
    let usually = checked.report["clauses"][1]["usually"].as_str().unwrap();
    assert!(usually.contains("a short queue"), "{usually}");
}

#[test]
fn a_server_that_answers_late_loses_nothing() {
    let few = "--only reachable,order,duplicates";
    let checked = checked(like::taking(Duration::from_millis(20)), few);
    // How many of the next clause are answered in time depends on what waits before them.
    let failed = checked.names("fail");
    assert!(failed.contains(&"order"), "{checked:#?}");
    let cause = sole(&checked, "answers-late", "certain");
    assert_eq!(cause["explains"], serde_json::json!(failed));
    let per_s = cause["evidence"]["per_s"].as_f64().unwrap();
    assert!((25.0..=60.0).contains(&per_s), "{per_s}");
}

#[test]
fn a_socket_that_is_served_a_few_datagrams_has_no_lifetime() {
    for few in [1, 5] {
        let options = "--only reachable,reply-address,order,duplicates,old-socket";
        let checked = checked(like::answering_the_first(few), options);
        let cause = sole(&checked, "message-limit", "certain");
        assert_eq!(cause["evidence"]["messages"], few, "{checked:#?}");
    }
}
