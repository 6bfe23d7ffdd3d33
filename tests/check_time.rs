//! `echopool check` in time: which clauses run beside each other, in what order their lines
//! come, and when the whole ends.
#![cfg(unix)]

mod common;

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::sleep;
use std::time::Duration;

use common::check::check;
use common::faulty::{Faulty, echo, swallow};
use common::unfaithful::{dripping, echo_but, keep_urgent};
use common::{DEADLINE, finish};
use echopool::check::report::{Report, Verdict};
use echopool::check::{Clause, Plan, clauses, run};
use echopool::proto::Protocol;

/// The first bytes of the clause `bytes`, and of each of the three writes of `slow-writer`.
const PAIRS: &[u8] = &[0, 0, 0, 1];
const SLOW: usize = 3;

/// What a connection begins with.
fn first(stream: &TcpStream) -> Vec<u8> {
    let mut first = [0; 64];
    let length = stream.peek(&mut first).unwrap_or_default();
    first[..length].to_vec()
}

/// Events that threads wait for, each by its name.
#[derive(Clone, Default)]
struct Events(Arc<(Mutex<Vec<&'static str>>, Condvar)>);

impl Events {
    fn set(&self, name: &'static str) {
        self.0.0.lock().unwrap().push(name);
        self.0.1.notify_all();
    }

    /// Whether it was there within the time.
    fn wait(&self, name: &str, time: Duration) -> bool {
        let events = self.0.0.lock().unwrap();
        let is_missing = |events: &mut Vec<&str>| !events.contains(&name);
        let (_events, waited) = self
            .0
            .1
            .wait_timeout_while(events, time, is_missing)
            .unwrap();
        !waited.timed_out()
    }
}

#[test]
fn clauses_that_wait_have_their_connections_open_beside_each_other() {
    let events = Events::default();
    // Each of the two is served only when the other has come.
    let server = Faulty::serve(move |stream, _| {
        let first = first(&stream);
        let names = match first.len() {
            SLOW => Some(["slow-writer", "bytes"]),
            _ if first.starts_with(PAIRS) => Some(["bytes", "slow-writer"]),
            _ => None,
        };
        if let Some([own, other]) = names {
            events.set(own);
            if !events.wait(other, DEADLINE) {
                return swallow(&stream);
            }
        }
        echo(&stream);
    });
    let options = "--only bytes,slow-writer --timeout 10s";
    check(server.address, options).assert_passed(&[]);
}

#[test]
fn a_clause_that_loads_the_path_has_no_other_connection_beside_it() {
    let events = Events::default();
    let beside = Arc::new(AtomicBool::new(false));
    let server = Faulty::serve({
        let beside = Arc::clone(&beside);
        move |stream, _| {
            keep_urgent(&stream);
            let first = first(&stream);
            if first.starts_with(PAIRS) {
                events.set("bytes");
                // So late that what would begin beside it has.
                let begun = events.wait("stream", Duration::from_millis(300));
                beside.store(begun, Ordering::SeqCst);
            } else if first.len() > SLOW && events.wait("bytes", Duration::ZERO) {
                // Before that one others measure the path, and messages are as long as one of it.
                let mut first = [0; 2048];
                let is_stream = matches!(stream.peek(&mut first), Ok(1025..));
                if is_stream {
                    events.set("stream");
                }
            }
            echo(&stream);
        }
    });
    let options = "--only bytes,slow-writer,message-16m --timeout 10s";
    check(server.address, options).assert_passed(&[]);
    assert!(!beside.load(Ordering::SeqCst));
}

#[test]
fn lines_come_in_the_order_of_the_list_whatever_ends_first() {
    let events = Events::default();
    let server = Faulty::serve(move |stream, _| {
        let first = first(&stream);
        if first.starts_with(PAIRS) {
            events.wait("slow-writer has ended", DEADLINE);
        }
        echo(&stream);
        if first.len() == SLOW {
            events.set("slow-writer has ended");
        }
    });
    let address = server.address.to_string();
    let only = "slow-writer,bytes,connect";
    let ended = finish(
        ["check", &address, "-q", "--timeout", "10s", "--only", only],
        "",
    );
    let said = String::from_utf8(ended.stdout).unwrap();
    let names = said
        .lines()
        .take(3)
        .map(|line| line.split_whitespace().nth(1));
    let names: Vec<_> = names.map(Option::unwrap).collect();
    assert_eq!(names, ["connect", "bytes", "slow-writer"], "{said}");
    assert_eq!(ended.code, Some(0), "{said}");
}

#[test]
fn a_server_that_serves_one_at_a_time_is_checked_one_clause_after_another() {
    let server = common::unfaithful::pool(1, 128, Duration::ZERO, |stream| echo(&stream));
    let options = "--only connect,bytes,pipelining,half-close-late,slow-writer --timeout 2s";
    check(server, options).assert_passed(&[]);
}

/// The seconds of a clause that would take all of its 48 MiB half a minute and more.
#[test]
fn a_slow_path_gets_as_many_bytes_as_fit_the_budget_and_the_line_says_so() {
    // 64 KiB every 20 ms at the most.
    let server = echo_but(|_, bytes| {
        sleep(Duration::from_millis(20).mul_f64(bytes.len() as f64 / 65_536.0));
        true
    });
    let checked = check(server.address, "--only message-16m --budget 600ms");
    checked.assert_passed(&[]);
    let seen = checked.seen("message-16m");
    let words = "; 16,777,215 would take longer than the budget of 600ms";
    assert!(seen.ends_with(words), "{seen}");
    let sent: u64 = seen
        .split(" bytes")
        .next()
        .unwrap()
        .rsplit(' ')
        .next()
        .unwrap()
        .replace(',', "")
        .parse()
        .unwrap();
    assert!((65_536..16_777_215).contains(&sent), "{seen}");
    let checked = check(server.address, "--only urgent --thorough");
    checked.assert_passed(&[]);
    let seen = checked.seen("urgent");
    assert!(seen.ends_with("and among 2,097,152"), "{seen}");
}

/// Runs clauses with so much time in all.
fn run_within(address: SocketAddr, names: &[&str], whole: Duration) -> Report {
    let plan = Plan {
        protocol: Protocol::Echo,
        addresses: vec![address],
        timeout: DEADLINE,
        whole,
        budget: Some(Duration::from_secs(1)),
        idle: None,
        connections: 8,
        experiments: false,
        urgent_in_line: true,
        seed: 1,
    };
    let all = clauses(Protocol::Echo).iter();
    let chosen: Vec<&'static Clause> = all.filter(|clause| names.contains(&clause.name)).collect();
    let stop = AtomicBool::new(false);
    run(&plan, &chosen, &stop, &mut |_| {}, &mut |_| Ok(())).unwrap()
}

#[test]
fn the_whole_ends_on_a_path_that_drips() {
    let server = dripping(Duration::from_millis(20));
    let names = ["connect", "bytes", "full-duplex", "slow-reader"];
    let report = run_within(server.address, &names, Duration::from_secs(1));
    let verdicts: Vec<_> = report.clauses.iter().map(|clause| clause.verdict).collect();
    let skip = Verdict::Skip;
    assert_eq!(verdicts, [Verdict::Pass, skip, skip, skip], "{report:#?}");
    let seen = |at: usize| &report.clauses[at].seen;
    let words = "when the 1s of the whole check were over";
    assert!(seen(1).starts_with("not at its end after "), "{report:#?}");
    assert!(seen(1).contains(words), "{report:#?}");
    assert!(seen(3).starts_with("not begun when "), "{report:#?}");
    assert!(!report.interrupted, "{report:#?}");
}
