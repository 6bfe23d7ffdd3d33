//! Runs of `echopool ping`, and what their events tell.

use std::net::SocketAddr;

use serde_json::Value;

use super::{Ended, finish};

/// The command line of a ping of this kind, as `["ping", "--udp"]`.
pub fn arguments(kind: &[&str], options: &[&str], server: SocketAddr) -> Vec<String> {
    let address = server.to_string();
    let all = [kind, options, &[&address]].concat();
    all.into_iter().map(String::from).collect()
}

/// Runs it to its end. Returns the exit code and its lines; standard error must be empty.
#[track_caller]
pub fn ping(kind: &[&str], options: &[&str], server: SocketAddr) -> (i32, Vec<String>) {
    let ended = finish(arguments(kind, options, server), "");
    assert_eq!(ended.stderr, "");
    (ended.code.unwrap(), lines(&ended))
}

/// What it has printed.
pub fn lines(ended: &Ended) -> Vec<String> {
    let text = String::from_utf8(ended.stdout.clone()).unwrap();
    text.lines().map(String::from).collect()
}

/// The exit code and the events, of a run with `--json`.
#[track_caller]
pub fn events(kind: &[&str], options: &[&str], server: SocketAddr) -> (i32, Vec<Value>) {
    let options = [options, &["--json"]].concat();
    let ended = finish(arguments(kind, &options, server), "");
    assert_eq!(ended.stderr, "");
    (ended.code.unwrap(), read_events(&ended))
}

/// The events of a run with `--json`.
#[track_caller]
pub fn read_events(ended: &Ended) -> Vec<Value> {
    let parse = |line: &String| serde_json::from_str(line).unwrap();
    lines(ended).iter().map(parse).collect()
}

/// What happened, each with the number of its message.
pub fn story(events: &[Value]) -> Vec<String> {
    let tell = |event: &Value| {
        let name = event["event"].as_str().unwrap();
        match event["seq"].as_u64() {
            Some(seq) => format!("{name} {seq}"),
            None => String::from(name),
        }
    };
    events.iter().map(tell).collect()
}

/// The events of this name.
pub fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events
        .iter()
        .filter(|event| event["event"] == name)
        .collect()
}

/// Checks counts of the summary, the last event.
#[track_caller]
pub fn assert_counts(events: &[Value], counts: &[(&str, u64)]) {
    let summary = events.last().unwrap();
    assert_eq!(summary["event"], "summary");
    for (key, count) in counts {
        assert_eq!(summary[key], *count, "{key}: {summary}");
    }
}
