//! A path with a round trip of 600 ms, as by a satellite: what a check says of it, and that
//! it takes no path for full that only is far.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::faulty;
use crate::kernel::probed;
use crate::made::{Routed, Server};
use crate::relay::Treatment;

/// The end of a check by default, and of what it then has under way.
const WHOLE: Duration = Duration::from_secs(45);

/// What a server resets a client at that has it unread, in bytes.
const UNREAD: usize = 1 << 20;

/// Why a clause may be skipped there.
const WHY: [&str; 4] = [
    "and was not full: --budget gives it longer",
    "of the whole check were over: --only tests it alone",
    "not asked for: --idle",
    "the protocol can't tell: ",
];

fn far() -> Routed {
    let delay = Duration::from_millis(300);
    Routed::default().relayed(Treatment {
        delay,
        ..Treatment::default()
    })
}

fn impatient(ip: IpAddr) -> Server {
    faulty::impatient(ip, UNREAD)
}

/// Both of it, in turn.
///
/// # Errors
/// What this machine can't do.
pub(crate) fn prove_all() -> Result<(), String> {
    ends()?;
    is_not_full()
}

/// The check ends, nothing fails, and what is skipped says why.
fn ends() -> Result<(), String> {
    let made = far().make()?;
    let begun = Instant::now();
    let report = probed(&made, "check --json").remove(0);
    let took = begun.elapsed();
    assert!(took < WHOLE, "{took:?}: {report:#}");
    assert_eq!(report["failed"], 0, "{report:#}");
    assert_eq!(report["diagnosis"], Value::Array(Vec::new()), "{report:#}");
    for clause in report["clauses"].as_array().unwrap() {
        let (name, seen) = (&clause["name"], clause["seen"].as_str().unwrap());
        println!("{} {name} {seen}", clause["verdict"]);
        let is_right = clause["verdict"] == "pass" || WHY.iter().any(|why| seen.contains(why));
        assert!(is_right, "{clause:#}");
    }
    Ok(())
}

/// A server that resets whoever has 1 MiB unread fails the clauses that leave so much unread,
/// or these say that the path was not full.
fn is_not_full() -> Result<(), String> {
    let made = far().served_by(impatient).make()?;
    let options = "check --json --only slow-reader,full-duplex";
    let report = probed(&made, options).remove(0);
    for clause in report["clauses"].as_array().unwrap() {
        println!(
            "{} {} {}",
            clause["verdict"], clause["name"], clause["seen"]
        );
        assert_ne!(clause["verdict"], "pass", "{clause:#}");
    }
    Ok(())
}
