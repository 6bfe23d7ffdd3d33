//! What the programs report of TCP on paths where something is the matter with it.

use serde_json::Value;

use crate::common::end;
use crate::made::{Made, Routed};
use crate::middlebox as nft;
use crate::middlebox::Direction;
use crate::namespaces::bound;

/// Runs a probe on this path, with the server's address as its last argument. Returns the
/// objects that it wrote.
pub(crate) fn probed(made: &Made, arguments: &str) -> Vec<Value> {
    let mut command = bound(env!("CARGO_BIN_EXE_echopool"));
    command.args(arguments.split_whitespace());
    command.arg(made.address.to_string());
    command.stdout(std::process::Stdio::piped());
    let ended = end(made.client().start(command));
    let text = String::from_utf8(ended.stdout).unwrap();
    let objects = serde_json::Deserializer::from_str(&text).into_iter();
    objects.map(|object| object.expect(&text)).collect()
}

/// What a ping's summary has of TCP on this path.
fn pinged(way: &Routed) -> Result<Value, String> {
    let summary = probed(&way.make()?, "ping --json -c 3 -i 0").pop();
    Ok(summary.expect("a summary")["tcp"].clone())
}

#[track_caller]
fn assert_is(tcp: &Value, expected: &[(&str, Value)]) {
    for (place, value) in expected {
        assert_eq!(tcp.pointer(place), Some(value), "{place} of {tcp:#}");
    }
}

/// All of it, in turn: each needs a network of its own.
pub(crate) fn prove_all() -> Result<(), String> {
    let strip = |option| Routed::default().rules(nft::strip(&[option]));
    let plain = pinged(&Routed::default())?;
    assert_is(
        &plain,
        &[
            ("/options/sack", true.into()),
            ("/options/timestamps", true.into()),
            ("/options/ecn", false.into()),
            ("/path_mtu_bytes", 1500.into()),
            ("/mss_sent_bytes", 1448.into()),
            ("/retransmits", 0.into()),
        ],
    );
    assert!(plain["options"]["window_scaling"]["own"].is_u64());
    assert_is(
        &pinged(&strip("sack-perm"))?,
        &[("/options/sack", false.into())],
    );
    let scaling = ("/options/window_scaling", Value::Null);
    assert_is(&pinged(&strip("window"))?, &[scaling]);
    let timestamps = [
        ("/options/timestamps", false.into()),
        ("/mss_sent_bytes", 1460.into()),
    ];
    assert_is(&pinged(&strip("timestamp"))?, &timestamps);
    let ecn = pinged(&Routed::default().ecn())?;
    assert_is(&ecn, &[("/options/ecn", true.into())]);
    let clamped = pinged(&Routed::default().rules(nft::clamp_mss(1000)))?;
    // Of what the server announced; twelve bytes are timestamps.
    assert_is(&clamped, &[("/mss_sent_bytes", 988.into())]);
    let v6 = pinged(&Routed::default().by_v6())?;
    assert_is(
        &v6,
        &[
            ("/mss_sent_bytes", 1428.into()),
            ("/path_mtu_bytes", 1500.into()),
        ],
    );
    missing()?;
    losses()
}

/// `check` says what is missing, and fails nothing for it.
fn missing() -> Result<(), String> {
    let options = |way: &Routed| -> Result<String, String> {
        let report = probed(&way.make()?, "check --json --only options");
        let clause = &report[0]["clauses"][0];
        assert_eq!(clause["verdict"], "pass", "{clause:#}");
        Ok(clause["seen"].as_str().unwrap().to_owned())
    };
    let plain = options(&Routed::default())?;
    assert!(
        plain.starts_with("SACK, timestamps, window scaling (by "),
        "{plain}"
    );
    assert!(!plain.contains("something between"), "{plain}");
    let stripped = nft::strip(&["sack-perm", "window"]);
    let stripped = options(&Routed::default().rules(stripped))?;
    let said = "no SACK, no window scaling: something between strips it";
    assert!(stripped.contains(said), "{stripped}");
    let clamped = options(&Routed::default().rules(nft::clamp_mss(1000)))?;
    let said = "segments of 988 bytes where 1,448 fit: something between clamps the MSS";
    assert!(clamped.contains(said), "{clamped}");
    Ok(())
}

/// A path that loses packets shows it in the retransmits, in the whole and by the second.
fn losses() -> Result<(), String> {
    let loss = nft::lose_at_random(30, Direction::ToServer);
    let made = Routed::default().rules(loss).make()?;
    let bench = "bench --json - --quiet --stream --warmup 0s --duration 2s";
    let results = probed(&made, bench).pop().expect("results");
    let again = results["tcp"]["retransmits"].as_u64().unwrap();
    let sent = results["tcp"]["data_segments_sent"].as_u64().unwrap();
    assert!(
        again * 100 > sent,
        "{again} of {sent}, of which 3 % are lost"
    );
    let timeline = results["timeline"].as_array().unwrap().iter();
    let seconds = timeline.map(|second| second["tcp"]["retransmits"].as_u64().unwrap_or(0));
    assert_eq!(seconds.sum::<u64>(), again, "{:#}", results["timeline"]);
    Ok(())
}
