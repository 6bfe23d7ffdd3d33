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
use std::process::Command;
use std::time::Duration;

use common::check::{Checked, check, faults};
use common::unfaithful::echo_but;
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
fn a_bad_server_of_several_is_named_by_how_its_connections_end() {
    for (server, ends_by, every) in [
        (lookalike::one_dead_of(3, true), "reset", Some(3)),
        (lookalike::one_dead_of(3, false), "reset", None),
        (lookalike::one_of(3, Leave::Silence), "silence", Some(3)),
        (lookalike::one_of(2, Leave::Close), "close", Some(2)),
    ] {
        let checked = checked(&server, "--skip connect-storm,lifetime --connections 20");
        let cause = only(&checked, "one-of-several");
        assert_eq!(cause["confidence"], "certain", "{checked:#?}");
        assert_eq!(cause["evidence"]["ends_by"], ends_by, "{checked:#?}");
        let seen = cause["evidence"]["every"].as_u64();
        assert!(every.is_none() || seen == every, "{checked:#?}");
        assert_eq!(
            checked.names("fail").len(),
            cause["explains"].as_array().unwrap().len(),
            "{checked:#?}"
        );
    }
}

#[test]
fn one_server_of_several_that_truncates_is_likely() {
    let server = lookalike::one_truncates_of(3, 100_000);
    let checked = checked(&server, "--skip connect-storm,lifetime --connections 20");
    for (name, is_certain, cause) in causes(&checked) {
        assert!(
            name == "one-of-several" && !is_certain,
            "{cause:#?} of {checked:#?}"
        );
    }
    assert_ne!(causes(&checked), [], "{checked:#?}");
}

/// What the queue does not take is dropped, as where the queue alone is short.
#[test]
fn a_limit_with_a_short_queue_is_no_queue() {
    let server = lookalike::serves_with_queue(11, 5);
    let cause = only(&checked(&server, CROWDED), "connection-limit");
    assert_eq!(cause["confidence"], "certain", "{cause:#?}");
    assert_eq!(cause["evidence"]["connections"], 11, "{cause:#?}");
    assert_eq!(cause["evidence"]["ends_by"], "waits", "{cause:#?}");
}

#[test]
fn a_limit_or_a_rate_is_no_bad_server() {
    let others = ["one-of-several"];
    let server = faulty::full_at(3, Leave::Reset);
    assert_not_proved(&checked(&server, "--connections 20"), &others);
    let server = lookalike::rate_limited(20.0, 5.0, Leave::Reset);
    assert_not_proved(&checked(&server, "--connections 20"), &others);
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
fn a_first_answer_is_late_only_where_that_of_each_connection_is() {
    let few = "--only connect,slow-writer";
    let late = faulty::begins_after(Duration::from_millis(600));
    let cause = only(&checked(&late, few), "answers-late");
    assert_eq!(cause["confidence"], "certain", "{cause:#?}");
    let delay = cause["evidence"]["delay_ms"].as_f64().unwrap();
    assert!(delay >= 600.0, "{cause:#?}");
    for number in [2, 3] {
        let server = lookalike::one_begins_late_of(number, Duration::from_millis(600));
        let checked = checked(&server, few);
        assert_eq!(checked.names("fail"), [""; 0], "{checked:#?}");
    }
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

#[test]
fn who_answers_so_often_is_no_limit_of_age() {
    let few = "--only connect,bytes,message-mss,message-64k";
    for (times, leave) in [(1, Leave::Close), (5, Leave::Reset), (3, Leave::Silence)] {
        let checked = checked(&faulty::answers(times, leave), few);
        let cause = only(&checked, "message-limit");
        assert_eq!(cause["evidence"]["messages"], times, "{cause:#?}");
        assert_eq!(faults(&checked.report), [""; 0]);
    }
}

#[test]
fn a_quota_of_few_bytes_is_no_limit_of_age() {
    let few = "--only connect,bytes,message-mss,message-64k,slow-writer";
    for bytes in [1_000, 4_000, 10_000] {
        let cause = only(
            &checked(&faulty::quota(bytes, Leave::Close), few),
            "connection-quota",
        );
        assert_eq!(cause["confidence"], "certain", "{cause:#?}");
        let measured = cause["evidence"]["bytes"].as_f64().unwrap();
        let bounds = bytes as f64 * 0.5..=bytes as f64;
        assert!(bounds.contains(&measured), "{bytes}: {cause:#?}");
    }
}

#[test]
fn a_limit_of_silence_that_is_short_beside_idle_is_no_lifetime() {
    let server = faulty::idle(Duration::from_millis(280), Leave::Close);
    let checked = checked(
        &server,
        "--only connect,idle,lifetime,slow-writer --idle 18s",
    );
    let cause = only(&checked, "idle-limit");
    let dead = cause["evidence"]["dead_s"].as_f64().unwrap();
    assert!((0.2..=0.6).contains(&dead), "{cause:#?}");
}

#[test]
fn what_is_collected_for_longer_than_a_path_takes_is_not_held_for_a_line() {
    let few = "--only connect,bytes,slow-writer,small-writes";
    for seconds in [1.0, 1.7] {
        let server = faulty::stores_for(Duration::from_secs_f64(seconds));
        let checked = check(server.address, &format!("--timeout 5s {few}"));
        let cause = only(&checked, "stores-and-forwards");
        let delay = cause["evidence"]["delay_ms"].as_f64().unwrap();
        let bounds = seconds * 900.0..=seconds * 1300.0;
        assert!(bounds.contains(&delay), "{cause:#?}");
    }
}

#[test]
fn what_a_server_could_not_send_before_the_half_close_is_lost_with_it() {
    let few = "--only connect,bytes,half-close-early,half-close-late";
    let cause = only(
        &checked(&lookalike::forgets_pending(), few),
        "no-half-close",
    );
    assert_eq!(cause["confidence"], "certain", "{cause:#?}");
    assert_eq!(cause["evidence"]["what"], "truncates");
}

#[test]
fn a_byte_that_ends_connections_is_no_quota() {
    let few = "--only connect,bytes,message-64k,slow-writer";
    let checked = checked(&lookalike::ends_at(4, Leave::Close), few);
    let cause = only(&checked, "bytes-changed");
    assert_eq!(cause["evidence"]["how"], "ends");
    assert_eq!(cause["evidence"]["example"], r"\x04");
    assert_eq!(cause["evidence"]["ends_by"], "close");
    assert_eq!(faults(&checked.report), [""; 0]);
}

#[test]
fn urgent_data_that_ends_a_connection_is_named_by_how() {
    for (leave, word) in [(Leave::Reset, "reset"), (Leave::Close, "closed")] {
        let server = lookalike::ends_at_urgent(leave);
        let checked = checked(&server, "--only connect,bytes,urgent");
        let cause = only(&checked, "urgent-lost");
        assert_eq!(cause["evidence"]["what"], word);
        assert_eq!(faults(&checked.report), [""; 0]);
    }
}

#[test]
fn bytes_that_are_left_out_of_a_stream_are_no_matter_of_their_values() {
    let losing = echo_but(|before, bytes| {
        // What a write did not take, once.
        let is_there = (before..before + bytes.len() as u64).contains(&700_000);
        if is_there && bytes.len() > 2_000 {
            bytes.drain(100..1_548);
        }
        true
    });
    let server = Server::new(losing.address, losing);
    let checked = checked(&server, "--only connect,bytes,message-16m");
    let cause = only(&checked, "bytes-changed");
    assert_eq!(cause["evidence"]["how"], "other");
    assert!(
        cause["text"].as_str().unwrap().contains("left out"),
        "{cause:#?}"
    );
}

#[test]
fn a_server_that_is_gone_is_said_to_be() {
    let checked = checked(
        &faulty::ends_after(12),
        "--only connect,bytes,connections --connections 20",
    );
    let cause = only(&checked, "gone");
    assert_eq!(cause["confidence"], "likely");
    assert_eq!(cause["evidence"]["ends_by"], "reset");
    assert_eq!(faults(&checked.report), [""; 0]);
}

#[test]
fn who_ends_a_client_that_does_not_receive_is_no_quota() {
    let impatient = common::unfaithful::impatient(Duration::from_millis(100));
    let server = Server::new(impatient.address, impatient);
    let checked = checked(&server, "--only connect,bytes,message-16m,slow-reader");
    let cause = only(&checked, "unread-limit");
    assert_eq!(cause["confidence"], "likely");
    assert_eq!(faults(&checked.report), [""; 0]);
}

#[test]
fn an_age_from_the_first_byte_on_is_no_limit_of_messages() {
    let few = "--only connect,bytes,message-16m,slow-writer,lifetime";
    for (milliseconds, leave) in [
        (6, Leave::Close),
        (300, Leave::Reset),
        (700, Leave::Silence),
    ] {
        let server = lookalike::lives_from_first_byte(Duration::from_millis(milliseconds), leave);
        let checked = checked(&server, few);
        let cause = only(&checked, "lifetime-limit");
        let measured = cause["evidence"]["seconds"].as_f64().unwrap() * 1000.0;
        let bounds = milliseconds as f64 * 0.7..=milliseconds as f64 * 1.3 + 30.0;
        assert!(bounds.contains(&measured), "{milliseconds}: {checked:#?}");
        let text = cause["text"].as_str().unwrap();
        assert!(text.contains("after its first byte"), "{text}");
        assert_eq!(faults(&checked.report), [""; 0]);
    }
}

/// As many messages of a slow stream have as many bytes as a fast one: of none else.
#[test]
fn a_limit_of_many_messages_is_no_quota() {
    let few = "--only connect,bytes,message-64k,lifetime";
    for times in [20, 25, 30, 47] {
        let checked = checked(&faulty::answers(times, Leave::Close), few);
        let cause = only(&checked, "message-limit");
        assert_eq!(cause["evidence"]["messages"], times, "{checked:#?}");
        assert_eq!(cause["confidence"], "certain");
    }
}

#[test]
fn a_limit_of_connections_alone_refuses_nobody() {
    let few = "--only connections --connections 40";
    for server in [
        lookalike::refuses_above(9),
        faulty::full_at(9, Leave::Reset),
    ] {
        let cause = only(&checked(&server, few), "connection-limit");
        assert_eq!(cause["confidence"], "certain");
        assert_eq!(cause["evidence"]["connections"], 9, "{cause:#?}");
        let quick = checked(&server, &format!("{few} --no-experiments"));
        let guess = only(&quick, "connection-limit");
        assert_eq!(guess["confidence"], "likely");
    }
}

#[test]
fn a_limit_that_counts_what_is_gone_is_no_ban() {
    let server = lookalike::forgets_late(30, Duration::from_secs(3));
    let few = "--only connect,connections --connections 40";
    assert_not_proved(&checked(&server, few), &["banned", "connect-rate-limit"]);
}

#[test]
fn urgent_data_is_not_the_reason_where_as_many_bytes_end_a_connection() {
    let few = "--only connect,urgent";
    for server in [
        faulty::answers(3, Leave::Reset),
        faulty::answers(3, Leave::Silence),
        faulty::quota(40, Leave::Close),
        lookalike::one_dead_of(2, false),
    ] {
        assert_not_proved(&checked(&server, few), &["urgent-lost"]);
    }
}

#[test]
fn one_worker_that_collects_is_not_held_for_a_line() {
    let few = "--only connect,bytes,slow-writer";
    let server = lookalike::one_that_collects(Duration::from_millis(900));
    let checked = check(server.address, &format!("--timeout 5s {few}"));
    assert_not_proved(&checked, &["line-buffered"]);
}

#[test]
fn a_program_that_stops_at_urgent_data_is_no_firewall() {
    let server = lookalike::ends_at_urgent(Leave::Silence);
    let asked = checked(&server, "--only connect,bytes,urgent");
    let cause = only(&asked, "urgent-lost");
    assert_eq!(cause["evidence"]["what"], "stalled");
    assert_eq!(faults(&asked.report), [""; 0]);
    // RFC 6093 allows it.
    let skip = "--skip full-duplex,slow-reader,message-16m,reset,connections,connect-storm,loss";
    let usual = checked(&server, skip);
    assert_eq!(usual.names("fail"), [""; 0], "{usual:#?}");
    assert!(usual.seen("urgent").contains("splice(2)"), "{usual:#?}");
}

#[test]
fn another_server_among_several_changes_no_bytes() {
    let few = "--only connect,bytes,message-64k,pipelining,slow-writer";
    let checked = checked(&lookalike::one_other_of_three(), few);
    assert_not_proved(&checked, &["bytes-changed", "not-an-echo"]);
}

#[test]
fn who_greets_and_then_echoes_is_an_echo() {
    let few = "--only connect,bytes,message-64k";
    let checked = checked(&lookalike::greets(b"220 echo.example ready\r\n"), few);
    let cause = only(&checked, "bytes-changed");
    assert_eq!(cause["evidence"]["how"], "added");
    assert_eq!(cause["evidence"]["example"], r"220 echo.example ready\r\n");
    assert_eq!(faults(&checked.report), [""; 0]);
}

#[test]
fn a_dead_server_behind_a_balancer_ends_no_half_closes() {
    let few = "--only connect,bytes,half-close-early,half-close-late,message-64k";
    for server in [
        lookalike::one_dead_of(3, true),
        lookalike::one_dead_of(2, true),
        lookalike::one_dead_of(3, false),
    ] {
        assert_not_proved(&checked(&server, few), &["no-half-close"]);
    }
}

#[test]
fn a_byte_with_which_all_is_dropped_is_named() {
    let few = "--only connect,bytes,message-64k,slow-writer";
    let checked = checked(&lookalike::drops_with(0xff), few);
    let cause = only(&checked, "bytes-changed");
    assert_eq!(cause["evidence"]["how"], "ends");
    assert_eq!(cause["evidence"]["example"], r"\xff");
    assert_eq!(cause["evidence"]["ends_by"], "silence");
}

/// Checks in a network of its own, with a link on which nobody is, and routes and rules that
/// this machine itself has.
fn check_in_a_network(address: &str) -> Checked {
    let script = "set -e; ip link set lo up
        ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up
        ip addr add 192.0.2.1/24 dev v0; ip addr add 2001:db8::1/64 dev v0 nodad
        ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev v0
        ip neigh add 2001:db8::9 lladdr 02:00:00:00:00:09 dev v0
        for type in prohibit unreachable blackhole; do
            ip route add $type 198.51.100.${#type}; ip route add $type 2001:db8:1::${#type}
        done
        nft \"$R\"
        $P check $A --json --only connect,self-connect || :";
    let rules = "table inet f { chain o { type filter hook output priority 0; \
                 tcp dport 1001 reject; tcp dport 1002 reject with icmpx admin-prohibited; \
                 tcp dport 1003 reject with icmpx host-unreachable; }; }";
    let mut command = Command::new("unshare");
    command.args(["-rn", "sh", "-c", script]);
    command.env("A", address).env("R", rules);
    let output = command.env("P", env!("CARGO_BIN_EXE_echopool")).output();
    let output = output.unwrap();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {output:?}"));
    Checked { report, code: None }
}

#[test]
#[ignore = "needs unshare(1), ip(8) and nft(8)"]
fn what_this_machine_says_itself_is_told_from_what_others_say() {
    let rule = "this machine itself rejects";
    for (address, name, words, icmp) in [
        ("192.0.2.9:1001", "refused", rule, Some("port unreachable")),
        (
            "[2001:db8::9]:1001",
            "refused",
            rule,
            Some("port unreachable"),
        ),
        (
            "192.0.2.9:1002",
            "unreachable",
            rule,
            Some("communication administratively prohibited"),
        ),
        (
            "[2001:db8::9]:1002",
            "unreachable",
            rule,
            Some("administratively prohibited"),
        ),
        (
            "192.0.2.9:1003",
            "unreachable",
            rule,
            Some("host unreachable"),
        ),
        (
            "[2001:db8::9]:1003",
            "unreachable",
            rule,
            Some("address unreachable"),
        ),
        ("192.0.2.7:7", "unreachable", "finds no neighbour on", None),
        (
            "[2001:db8::7]:7",
            "unreachable",
            "finds no neighbour on",
            None,
        ),
        // Each type of route has the number of its letters.
        (
            "198.51.100.8:7",
            "unreachable",
            "this machine itself forbids",
            None,
        ),
        (
            "[2001:db8:1::8]:7",
            "unreachable",
            "of the type prohibit",
            None,
        ),
        (
            "198.51.100.11:7",
            "unreachable",
            "of the type unreachable",
            None,
        ),
        (
            "[2001:db8:1::11]:7",
            "unreachable",
            "of the type unreachable",
            None,
        ),
        (
            "198.51.100.9:7",
            "unreachable",
            "of the type blackhole",
            None,
        ),
        (
            "[2001:db8:1::9]:7",
            "unreachable",
            "of the type blackhole",
            None,
        ),
        ("203.0.113.1:7", "unreachable", "has no route there", None),
        ("[fe80::1]:7", "unreachable", "a link-local one", None),
    ] {
        let checked = check_in_a_network(address);
        let cause = only(&checked, name);
        let text = cause["text"].as_str().unwrap();
        assert!(text.contains(words), "{address}: {text}");
        assert_eq!(
            cause["evidence"]["icmp"].as_str(),
            icmp,
            "{address}: {text}"
        );
        assert_eq!(faults(&checked.report), [""; 0]);
    }
}
