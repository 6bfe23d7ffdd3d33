//! `echopool ping --stamp`, against our reflector and against ones that are written by hand from
//! RFC 8762 and RFC 5357.
#![cfg(target_os = "linux")]

mod common;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::datagrams::{Got, echo, peer, refusing, socket};
use common::ping::{assert_counts, named, story};
use common::{Program, finish};
use serde_json::Value;

/// For what must run out.
const SHORT: &str = "-W0.3";

/// Each run of this suite is one.
const STAMP: &[&str] = &["ping", "--stamp"];

#[track_caller]
fn events(options: &[&str], server: SocketAddr) -> (i32, Vec<Value>) {
    common::ping::events(STAMP, options, server)
}

/// How a reflector of the tests writes its times, and what it says of its clock.
#[derive(Clone, Copy)]
struct Clock {
    is_ptp: bool,
    estimate: u16,
    /// By how much it is ahead, in seconds.
    ahead: u64,
}

/// Set by nobody, in NTP's format.
const PLAIN: Clock = Clock {
    is_ptp: false,
    estimate: 0x0b01,
    ahead: 0,
};

impl Clock {
    /// The time now, in eight bytes.
    fn now(self) -> [u8; 8] {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = now + Duration::from_secs(self.ahead);
        let (seconds, part) = match self.is_ptp {
            // TAI is 37 seconds ahead.
            true => (now.as_secs() + 37, u64::from(now.subsec_nanos())),
            false => (
                now.as_secs() + 2_208_988_800,
                (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000,
            ),
        };
        (seconds << 32 | part).to_be_bytes()
    }
}

/// An answer, field by field as in RFC 8762, figure 5.
fn answer(request: &[u8], own: u32, received: [u8; 8], clock: Clock) -> Vec<u8> {
    let mut answer = own.to_be_bytes().to_vec();
    answer.extend(clock.now());
    answer.extend(clock.estimate.to_be_bytes());
    answer.extend([0, 0]); // no session identifier
    answer.extend(received);
    answer.extend(&request[..4]); // its number
    answer.extend(&request[4..12]); // its time
    answer.extend(&request[12..14]); // its error estimate
    answer.extend([0, 0]);
    answer.push(64); // its TTL
    answer.extend([0, 0, 0]);
    answer.extend(&request[44..]);
    answer
}

/// A stateful reflector, which counts from 0 what it answers. `lost` says of the numbers of
/// requests, from 1, which do not reach it, and which answers do not leave it.
fn stateful(clock: Clock, lost: fn(u32) -> (bool, bool)) -> SocketAddr {
    let mut own = 0;
    peer(move |got| {
        let (there, back) = lost(number(got.bytes, 0));
        if !there {
            let bytes = answer(got.bytes, own, clock.now(), clock);
            own += 1;
            if !back {
                got.answer(&bytes);
            }
        }
    })
}

/// A stateless reflector, which copies the number of the request.
fn stateless(clock: Clock, loses: fn(u32) -> bool) -> SocketAddr {
    peer(move |got| {
        let number = number(got.bytes, 0);
        if !loses(number) {
            got.answer(&answer(got.bytes, number, clock.now(), clock));
        }
    })
}

fn number(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(packet[at..at + 4].try_into().unwrap())
}

mod packets {
    use super::*;

    #[test]
    fn a_request_is_the_one_of_the_rfc() {
        let (sender, got) = channel();
        let server = peer(move |it| {
            let _ = sender.send((it.bytes.to_vec(), PLAIN.now()));
            got_answered(it);
        });
        let (code, _) = events(&["-c3", "-i0.01"], server);
        assert_eq!(code, 0);
        let packets: Vec<_> = got.try_iter().collect();
        for (want, (packet, now)) in (1..=3).zip(&packets) {
            assert_eq!((packet.len(), number(packet, 0)), (44, want));
            let sent = u64::from_be_bytes(packet[4..12].try_into().unwrap());
            let now = u64::from_be_bytes(*now);
            assert!(sent <= now && now - sent < 60 << 32, "{sent:x} {now:x}");
            assert_eq!(packet[12] & 0x40, 0, "NTP's format");
            assert_ne!(packet[13], 0, "a multiplier of 0 is not allowed");
            assert_eq!(packet[14..], [0; 30]);
        }
    }

    fn got_answered(got: &Got<'_>) {
        let own = number(got.bytes, 0) - 1;
        got.answer(&answer(got.bytes, own, PLAIN.now(), PLAIN));
    }

    #[test]
    fn a_longer_one_is_padded_by_an_extension_and_may_have_times_of_ptp() {
        let (sender, got) = channel();
        let server = peer(move |it| {
            let _ = sender.send(it.bytes.to_vec());
            got_answered(it);
        });
        let (code, events) = events(&["-c1", "-s100", "--ptp"], server);
        assert_eq!((code, &events[0]["size_bytes"]), (0, &100.into()));
        let packet = got.recv().unwrap();
        assert_eq!(packet[12] & 0x40, 0x40, "PTP's format");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
            + 37;
        assert!(now - u64::from(number(&packet, 4)) < 60);
        assert!(number(&packet, 8) < 1_000_000_000, "nanoseconds");
        // Extra Padding of RFC 8972: flags, type, length.
        assert_eq!(packet[44..48], [0x80, 1, 0, 52]);
        assert_eq!(packet[48..], [0; 52]);
    }
}

mod directions {
    use super::*;

    #[test]
    fn our_own_reflector_is_understood() {
        let mut program = Program::start(["serve", "--stamp", "127.0.0.1:0"]);
        let server = program.wait_for_listener("stamp");
        for options in [
            &["-c3", "-i0.01"][..],
            &["-c3", "-i0.01", "--ptp", "-s80", "--ports=3"],
        ] {
            let (code, events) = events(options, server);
            assert_eq!((code, events.len()), (0, 4));
            for (count, reply) in events[..3].iter().enumerate() {
                let own = if options.len() > 2 { 0 } else { count };
                assert_eq!(
                    (&reply["event"], &reply["server_seq"]),
                    (&"reply".into(), &own.into())
                );
                assert_eq!(reply["server_ttl"], 64);
                assert!(
                    reply["server_ns"].is_u64() && reply["time_ns"].is_u64(),
                    "{reply}"
                );
            }
            let zeros = [
                "lost_to_server",
                "lost_to_client",
                "lost_either_way",
                "restarts",
            ];
            assert_counts(&events, &zeros.map(|key| (key, 0)));
            let summary = events.last().unwrap();
            assert_eq!(summary["is_stateful"], true);
            let format = if options.len() > 2 { "ptp" } else { "ntp" };
            assert_eq!(summary["server_clock"]["format"], format);
        }
    }

    #[test]
    fn a_stateful_reflector_tells_where_each_one_was_lost() {
        // 3 and 4 are lost there, 6 and 8 back; after 8 nothing comes but what is not counted.
        let server = stateful(PLAIN, |number| {
            (matches!(number, 3 | 4), matches!(number, 6 | 8))
        });
        let (code, events) = events(&["-c8", "-i0.01", SHORT], server);
        assert_eq!(code, 1);
        assert_counts(
            &events,
            &[
                ("sent", 8),
                ("received", 4),
                ("lost", 4),
                ("lost_to_server", 2),
                ("lost_to_client", 2),
                ("lost_either_way", 0),
                ("corrupted", 0),
            ],
        );
        for lost in named(&events, "lost") {
            let want = match lost["seq"].as_u64().unwrap() {
                3 | 4 => Value::from("to_server"),
                6 => Value::from("to_client"),
                // When it is given up, no later answer is there yet.
                _ => Value::Null,
            };
            assert_eq!(lost["way"], want, "{lost}");
        }
    }

    #[test]
    fn what_is_known_stays_known_where_the_way_ends_for_good() {
        // Nothing that asks for the last two is answered either.
        let server = stateful(PLAIN, |number| (matches!(number, 3 | 4 | 9..), false));
        let (code, events) = events(&["-c10", "-i0.01", SHORT], server);
        assert_eq!(code, 1);
        assert_counts(
            &events,
            &[
                ("lost", 4),
                ("lost_to_server", 2),
                ("lost_to_client", 0),
                ("lost_either_way", 2),
            ],
        );
    }

    #[test]
    fn an_answer_beside_the_count_that_comes_twice_is_no_new_count() {
        // 5 is lost there, so is 6, which asks for it, and 7 is answered twice.
        let mut own = 0;
        let server = peer(move |got| {
            let number = number(got.bytes, 0);
            if matches!(number, 5 | 6) {
                return;
            }
            let bytes = answer(got.bytes, own, PLAIN.now(), PLAIN);
            own += 1;
            got.answer(&bytes);
            if number == 7 {
                got.answer(&bytes);
            }
        });
        let (code, events) = events(&["-c5", "-i0.01", SHORT], server);
        assert_eq!(code, 1);
        assert_counts(
            &events,
            &[
                ("lost", 1),
                ("lost_to_server", 1),
                ("lost_to_client", 0),
                ("lost_either_way", 0),
                ("restarts", 0),
            ],
        );
    }

    #[test]
    fn a_port_without_an_answer_hides_no_direction_of_the_others() {
        let mut ports = Vec::new();
        let mut own = [0, 0];
        let server = peer(move |got| {
            if !ports.contains(&got.from) {
                ports.push(got.from);
            }
            let port = ports.iter().position(|from| *from == got.from).unwrap();
            // The second is silent; of the first the second packet is lost there.
            if port == 0 && number(got.bytes, 0) != 2 {
                got.answer(&answer(got.bytes, own[port], PLAIN.now(), PLAIN));
                own[port] += 1;
            }
        });
        let (code, events) = events(&["-c6", "-i0.02", "--ports=2", SHORT], server);
        assert_eq!(code, 1);
        assert_counts(
            &events,
            &[
                ("lost", 4),
                ("lost_to_server", 1),
                ("lost_to_client", 0),
                ("lost_either_way", 3),
            ],
        );
        assert_eq!(events.last().unwrap()["is_stateful"], true);
    }

    #[test]
    fn a_reflector_that_copies_the_number_is_noticed() {
        let server = stateless(PLAIN, |number| number == 2);
        let (code, found) = events(&["-c4", "-i0.01", SHORT], server);
        assert_eq!(code, 1);
        let summary = found.last().unwrap();
        assert_eq!(
            (&summary["lost"], &summary["is_stateful"]),
            (&1.into(), &false.into())
        );
        for key in ["lost_to_server", "lost_to_client", "lost_either_way"] {
            assert_eq!(summary[key], Value::Null, "{key}");
        }
        let server = stateless(PLAIN, |_| false);
        let (_, lines) = common::ping::ping(STAMP, &["-c2", "-i0.01"], server);
        let words = "the reflector copies our numbers and keeps no count";
        assert!(lines.iter().any(|line| line.contains(words)), "{lines:#?}");
    }

    #[test]
    fn a_request_that_is_doubled_on_its_way_is_no_loss() {
        let mut own = 0;
        let server = peer(move |got| {
            for _ in 0..2 {
                got.answer(&answer(got.bytes, own, PLAIN.now(), PLAIN));
                own += 1;
            }
        });
        let (_, events) = events(&["-c3", "-i0.01"], server);
        assert_counts(
            &events,
            &[
                ("received", 3),
                ("lost_to_server", 0),
                ("lost_to_client", 0),
            ],
        );
    }

    #[test]
    fn nothing_is_known_where_nothing_comes() {
        let (_, events) = events(&["-c2", "-i0.01", SHORT], peer(|_| ()));
        assert_eq!(story(&events), ["lost 1", "lost 2", "summary"]);
        let summary = events.last().unwrap();
        for key in [
            "lost_to_server",
            "to_server_ns",
            "is_stateful",
            "server_clock",
        ] {
            assert_eq!(summary[key], Value::Null, "{key}");
        }
    }
}

mod times {
    use super::*;

    #[test]
    fn the_servers_own_time_is_in_no_round_trip() {
        let server = peer(|got| {
            let received = PLAIN.now();
            std::thread::sleep(Duration::from_millis(200));
            got.answer(&answer(got.bytes, 0, received, PLAIN));
        });
        let (code, events) = events(&["-c1", "-W30"], server);
        assert_eq!(code, 0);
        let ns = |key: &str| events[0][key].as_u64().unwrap();
        assert!(ns("server_ns") >= 200_000_000, "{}", events[0]);
        // The whole is when it came, from the start.
        assert!(
            ns("at_ns") >= ns("time_ns") + ns("server_ns"),
            "{}",
            events[0]
        );
        assert_eq!(
            events[1]["server_ns"].as_u64().unwrap() / 1_000_000,
            ns("server_ns") / 1_000_000
        );
    }

    #[test]
    fn both_formats_are_read_and_a_clock_that_nobody_sets_gives_no_one_way_time() {
        for is_ptp in [false, true] {
            for ahead in [0, 3600] {
                let clock = Clock {
                    is_ptp,
                    ahead,
                    estimate: if is_ptp { 0x4b01 } else { 0x0b01 },
                };
                let server = stateful(clock, |_| (false, false));
                let (code, events) = events(&["-c3", "-i0.01", "-W30"], server);
                assert_eq!(code, 0, "{events:?}");
                for reply in named(&events, "reply") {
                    assert!(reply["server_ns"].as_u64().unwrap() < 30_000_000_000);
                    let one_way = [&reply["to_server_ns"], &reply["to_client_ns"]];
                    assert_eq!(one_way, [&Value::Null; 2]);
                }
                let summary = events.last().unwrap();
                assert_eq!(summary["to_server_ns"], Value::Null);
                assert_eq!(summary["server_clock"]["is_synchronized"], false);
                assert_eq!(
                    summary["server_clock"]["format"],
                    if is_ptp { "ptp" } else { "ntp" }
                );
                assert!(summary["variation_to_server_p50_ns"].is_u64(), "{summary}");
            }
        }
    }

    #[test]
    fn one_way_times_come_with_the_state_of_both_clocks() {
        let clock = Clock {
            estimate: 0x8b01, // synchronized
            ..PLAIN
        };
        let server = stateful(clock, |_| (false, false));
        let (_, events) = events(&["-c2", "-i0.01", "-W30"], server);
        let summary = events.last().unwrap();
        assert_eq!(summary["server_clock"]["is_synchronized"], true);
        let ours = summary["clock"]["is_synchronized"].as_bool().unwrap();
        for key in ["to_server_ns", "to_client_ns", "one_way_error_ns"] {
            assert_eq!(summary[key].is_i64(), ours, "{key}: {summary}");
        }
        let (_, lines) = common::ping::ping(STAMP, &["-c2", "-i0.01", "-W30"], server);
        let words = match ours {
            true => "one way: to the server p50=",
            false => "one way: unknown, clocks not synchronised (ours is not)",
        };
        assert!(
            lines.iter().any(|line| line.starts_with(words)),
            "{lines:#?}"
        );
    }
}

/// A program that is told that its machine's clock is set by an external source, and exact.
fn synchronized(arguments: &[&str]) -> Command {
    let calls = "adjtimex,clock_adjtime";
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={calls}"),
    ]);
    command.args(["-e", &format!("inject={calls}:retval=0")]);
    command.arg(env!("CARGO_BIN_EXE_echopool")).args(arguments);
    command.env_remove("RUST_LOG");
    command
}

/// What a ping with such a clock has to say of such a reflector.
fn synchronized_ping(options: &[&str]) -> String {
    let serve = synchronized(&["serve", "--stamp", "127.0.0.1:0"]);
    let mut program = Program::spawn(serve);
    let server = program.wait_for_listener("stamp").to_string();
    let all = [&["ping", "--stamp", "-i0.01", "-W30"], options, &[&*server]].concat();
    let ended = synchronized(&all).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
#[ignore = "needs strace"]
fn clocks_that_are_set_give_times_of_each_way_which_make_the_round_trip() {
    for format in [&[][..], &["--ptp"]] {
        let text = synchronized_ping(&[&["-c20", "--json"], format].concat());
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let events: Vec<Value> = lines.collect();
        for reply in named(&events, "reply") {
            let ns = |key: &str| {
                reply[key]
                    .as_i64()
                    .unwrap_or_else(|| panic!("{key}: {reply}"))
            };
            let (there, back) = (ns("to_server_ns"), ns("to_client_ns"));
            // One machine has one clock, but for what times in a packet are cut by.
            assert!(there > -10 && back > -10, "{reply}");
            // The round trip is by a clock that nobody sets.
            let difference = (there + back).abs_diff(ns("time_ns"));
            assert!(difference < 10_000_000, "{reply}");
        }
        let summary = events.last().unwrap();
        assert_eq!(summary["received"], 20);
        for key in ["to_server_ns", "to_client_ns", "one_way_error_ns"] {
            assert!(summary[key].is_i64(), "{key}: {summary}");
        }
        for clock in ["clock", "server_clock"] {
            assert_eq!(summary[clock]["is_synchronized"], true, "{summary}");
        }
        let least = summary["least_one_way_ns"].as_array().unwrap();
        assert!(least.iter().all(|ns| ns.as_i64() > Some(-10)), "{summary}");
    }
    let text = synchronized_ping(&["-c2"]);
    assert!(text.contains("\none way: to the server p50="), "{text}");
    assert!(!text.contains("wrong"), "{text}");
}

mod bad_answers {
    use super::*;

    #[test]
    fn a_truncated_answer_is_corrupted_or_foreign() {
        let cutting = |length: usize| {
            peer(move |got| got.answer(&answer(got.bytes, 0, PLAIN.now(), PLAIN)[..length]))
        };
        let (code, found) = events(&["-c1", SHORT], cutting(37));
        assert_eq!(
            (code, story(&found)),
            (1, vec!["corrupted 1".into(), "summary".into()])
        );
        assert_eq!(found[0]["damage"], "cut to 37 bytes of 44");
        let (code, found) = events(&["-c1", SHORT], cutting(20));
        assert_eq!(
            (code, story(&found)),
            (1, ["unasked", "lost 1", "summary"].map(String::from).into())
        );
        // TWAMP's has 41, and that of some reflectors no TTL.
        for (length, ttl) in [(41, Value::from(64)), (38, Value::Null)] {
            let (code, found) = events(&["-c1"], cutting(length));
            assert_eq!((code, &found[0]["server_ttl"]), (0, &ttl), "{found:?}");
        }
    }

    #[test]
    fn a_replayed_answer_is_a_duplicate() {
        let mut first = Vec::new();
        let mut own = 0;
        let server = peer(move |got| {
            let bytes = answer(got.bytes, own, PLAIN.now(), PLAIN);
            own += 1;
            if first.is_empty() {
                first.clone_from(&bytes);
            }
            got.answer(&bytes);
            got.answer(&first);
        });
        let (code, events) = events(&["-c2", "-i0.01"], server);
        assert_eq!(code, 1);
        let mut story = story(&events);
        story.sort();
        assert_eq!(
            story,
            [
                "duplicate 1",
                "duplicate 1",
                "reply 1",
                "reply 2",
                "summary"
            ]
        );
        assert_counts(&events, &[("lost_to_client", 0), ("restarts", 0)]);
    }

    #[test]
    fn an_answer_of_another_run_is_foreign() {
        let server = peer(|got| {
            let mut bytes = answer(got.bytes, 0, PLAIN.now(), PLAIN);
            bytes[30] ^= 1; // the request's time
            got.answer(&bytes);
        });
        let (code, events) = events(&["-c1", SHORT], server);
        assert_eq!(
            (code, story(&events)),
            (1, ["unasked", "lost 1", "summary"].map(String::from).into())
        );
    }

    #[test]
    fn an_answer_from_another_address_is_named_and_does_not_count() {
        let other = socket();
        let from = other.local_addr().unwrap();
        let server = peer(move |got| {
            let _ = other.send_to(&answer(got.bytes, 0, PLAIN.now(), PLAIN), got.from);
        });
        let (code, events) = events(&["-c1", SHORT], server);
        assert_eq!(
            (code, story(&events)),
            (1, ["unasked", "lost 1", "summary"].map(String::from).into())
        );
        assert_eq!(events[0]["address"], from.to_string());
        let damage = events[0]["damage"].as_str().unwrap();
        assert!(
            damage.starts_with("the answer to seq=1, from another address"),
            "{damage}"
        );
    }

    #[test]
    fn an_answer_to_another_port_is_none() {
        let mut first = None;
        let server = peer(move |got| {
            let first = *first.get_or_insert(got.from);
            let bytes = answer(got.bytes, 0, PLAIN.now(), PLAIN);
            let _ = got.socket.send_to(&bytes, first);
        });
        let (code, events) = events(&["--ports=2", "-c2", "-i0.01", SHORT], server);
        assert_eq!(code, 1);
        let mut story = story(&events);
        story.sort();
        assert_eq!(story, ["lost 2", "reply 1", "summary", "unasked"]);
    }

    #[test]
    fn an_echo_is_no_reflector() {
        let (code, events) = events(&["-c1", SHORT], echo());
        assert_eq!(
            (code, story(&events)),
            (1, vec!["corrupted 1".into(), "summary".into()])
        );
        let damage = events[0]["damage"].as_str().unwrap();
        assert!(damage.contains("no reflector"), "{damage}");
    }

    #[test]
    fn a_refusal_is_a_loss_at_once() {
        let (_socket, server) = refusing();
        let (code, events) = events(&["-c2", "-i0.01", "-W50"], server);
        assert_eq!(
            (code, story(&events)),
            (1, ["lost 1", "lost 2", "summary"].map(String::from).into())
        );
        assert_counts(&events, &[("refused", 2)]);
    }
}

#[test]
fn the_port_is_that_of_the_rfc_where_none_is_given() {
    // Nobody has a reflector here in a test: what counts is who was asked.
    let ended = finish(["ping", "--stamp", "-c1", SHORT, "127.0.0.1"], "");
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(
        text.starts_with("PING 127.0.0.1:862 by STAMP: 44 bytes a packet\n"),
        "{text}"
    );
}
