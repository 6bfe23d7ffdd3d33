//! `echopool ping --udp`, against good echoes and bad ones.
#![cfg(unix)]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use common::datagrams::{
    Got, LOCALHOST, answering_elsewhere, changing, delayed, doubling, echo, losing_every_third,
    peer, refusing, serve, socket, swapping,
};
use common::ping::{assert_counts, lines, named, read_events, story};
use common::{Ended, Program, end, finish, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// For what must run out.
const SHORT: &str = "-W0.3";

/// Each run of this suite is one.
const UDP: &[&str] = &["ping", "--udp"];

fn arguments(options: &[&str], server: SocketAddr) -> Vec<String> {
    common::ping::arguments(UDP, options, server)
}

#[track_caller]
fn ping(options: &[&str], server: SocketAddr) -> (i32, Vec<String>) {
    common::ping::ping(UDP, options, server)
}

#[track_caller]
fn events(options: &[&str], server: SocketAddr) -> (i32, Vec<Value>) {
    common::ping::events(UDP, options, server)
}

mod output {
    use super::*;

    #[test]
    fn each_echo_has_a_line_between_the_header_and_the_summary() {
        let server = echo();
        let (code, lines) = ping(&["-c3", "-i0.01"], server);
        assert_eq!(code, 0, "{lines:#?}");
        assert_eq!(
            lines[0],
            format!("PING {server} over UDP: 64 bytes a datagram")
        );
        for (seq, line) in (1..=3).zip(&lines[1..4]) {
            let begin = format!("64 bytes from {server}: seq={seq} ");
            assert!(
                line.starts_with(&begin) && line.contains(" time="),
                "{line}"
            );
        }
        assert_eq!(lines[5], format!("--- {server} UDP echo statistics ---"));
        let counts = "3 sent, 3 received, 0 lost, 0 corrupted in ";
        assert!(lines[6].starts_with(counts), "{lines:#?}");
        assert!(lines[7].starts_with("round trip: min="), "{lines:#?}");
        assert!(lines[8].starts_with("variation: p50="), "{lines:#?}");
        assert!(lines[8].contains(" jitter="), "{lines:#?}");
    }

    #[test]
    fn quiet_leaves_the_header_and_the_summary() {
        let (code, events) = events(&["-q", "-c3", "-i0"], echo());
        assert_eq!((code, story(&events)), (0, vec![String::from("summary")]));
    }

    #[test]
    fn json_has_what_the_kernel_says_of_each_echo() {
        let server = echo();
        let (code, events) = events(&["-c120", "-i0"], server);
        assert_eq!((code, events.len()), (0, 121));
        for (seq, reply) in (1..=120_u64).zip(&events) {
            assert_eq!(
                (&reply["event"], &reply["seq"]),
                (&"reply".into(), &seq.into())
            );
            assert_eq!(
                (&reply["size_bytes"], &reply["reordered"]),
                (&64.into(), &false.into())
            );
            assert_eq!(reply["address"], server.to_string());
            assert!(
                reply["at_ns"].as_u64() > reply["time_ns"].as_u64(),
                "{reply}"
            );
            #[cfg(target_os = "linux")]
            assert_eq!(
                (&reply["ttl"], &reply["hops"], &reply["dscp"]),
                (&64.into(), &0.into(), &0.into())
            );
        }
        let zeros = [
            "lost",
            "refused",
            "late",
            "corrupted",
            "duplicates",
            "reordered",
            "not_sent",
            "foreign",
        ];
        let zeros: Vec<_> = zeros.into_iter().map(|key| (key, 0)).collect();
        assert_counts(&events, &zeros);
        assert_counts(&events, &[("sent", 120), ("received", 120)]);
        let summary = &events[120];
        let key = |key: &str| summary[key].as_u64().expect(key);
        assert!(key("min_ns") <= key("p50_ns") && key("p50_ns") <= key("p99_ns"));
        assert!(key("variation_p50_ns") <= key("variation_p99_ns"));
        assert!(key("jitter_ns") <= key("max_ns") && key("max_ns") < key("elapsed_ns"));
        #[cfg(target_os = "linux")]
        assert_eq!(summary["dropped_here"], 0);
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.args(arguments(&["-i0"], echo()));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut program = Program::spawn(command);
        drop(program.child.stdout.take());
        assert_eq!(program.wait().code(), Some(0));
        assert!(program.log.is_empty(), "{:?}", program.log);
    }

    #[test]
    fn an_interrupt_ends_it_with_the_summary() {
        let (sender, got) = channel();
        let silent = peer(move |_| {
            let _ = sender.send(());
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.args(arguments(&["--json", "-W60"], silent));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let program = Program::spawn(command);
        got.recv_timeout(common::DEADLINE).unwrap();
        program.signal(Signal::INT);
        let ended = common::end(program);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let summary: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(
            (&summary["event"], &summary["lost"]),
            (&"summary".into(), &0.into())
        );
        assert_eq!(summary["under_way"], summary["sent"]);
    }

    #[test]
    fn wrong_usage_ends_with_2_and_names_what_would_do() {
        for (line, words) in [
            ("ping --udp -s 65508 HOST", "65,507"),
            ("ping -s 0 HOST", "--udp"),
            ("ping --dscp EF HOST", "--udp"),
            ("ping --ptp --udp HOST", "--udp"),
            ("ping --ptp HOST", "--stamp"),
            ("ping --stamp --udp HOST", "--udp"),
            ("ping --stamp -s 43 HOST", "44"),
            ("ping --udp --dscp 64 HOST", "AF11"),
            ("ping --udp --ecn maybe HOST", "ect0"),
            ("ping --udp --tos 256 HOST", "0xff"),
            ("ping --udp --tos 4 --ecn 1 HOST", "--ecn"),
            ("ping --udp --ports 0 HOST", "it must be from 1 to 256"),
            ("ping --udp -i 0.000001 HOST", "it must be 10us or longer"),
            ("ping -i 1ns HOST", "it must be 10us or longer"),
        ] {
            let ended = finish(line.split(' '), "");
            assert_eq!(ended.code, Some(2), "{line}: {ended:?}");
            assert!(ended.stderr.contains(words), "{line}: {ended:?}");
        }
    }
}

mod outcomes {
    use super::*;

    #[test]
    fn each_lost_one_is_named_and_the_others_are_not() {
        let (code, events) = events(&["-c6", "-i0.01", SHORT], losing_every_third());
        assert_eq!(code, 1);
        let mut story = story(&events);
        story.sort();
        let want = [
            "lost 3", "lost 6", "reply 1", "reply 2", "reply 4", "reply 5", "summary",
        ];
        assert_eq!(story, want);
        let lost = named(&events, "lost")[0];
        assert_eq!(lost["reason"], "no reply within 300ms");
        assert_counts(
            &events,
            &[("sent", 6), ("received", 4), ("lost", 2), ("late", 0)],
        );
    }

    #[test]
    fn a_late_echo_is_late_and_not_the_next_ones() {
        // The first comes back when the second is there.
        let mut first = Vec::new();
        let server = peer(move |got| match got.number {
            0 => first = got.bytes.to_vec(),
            _ => {
                got.answer(&first);
                got.echo();
            }
        });
        let (code, events) = events(&["-c2", "-i0.5", SHORT], server);
        assert_eq!(code, 1);
        assert_eq!(story(&events), ["lost 1", "late 1", "reply 2", "summary"]);
        let times =
            ["late", "reply"].map(|name| named(&events, name)[0]["time_ns"].as_u64().unwrap());
        // The first was sent a little after the start, the second half a second after it.
        assert!(times[0] >= 400_000_000 && times[1] < times[0], "{times:?}");
        assert_counts(
            &events,
            &[("received", 1), ("lost", 1), ("late", 1), ("reordered", 0)],
        );
    }

    #[test]
    fn an_echo_that_comes_late_at_the_end_is_late_also_where_all_are() {
        let slow = delayed(Duration::from_millis(1300));
        for (count, seqs) in [("-c1", &[1][..]), ("-c3", &[1, 2, 3])] {
            let (code, events) = events(&[count, "-i0.01", "-W1"], slow);
            assert_eq!(code, 1);
            let late = named(&events, "late");
            let late: Vec<_> = late.iter().map(|it| it["seq"].as_u64().unwrap()).collect();
            assert_eq!(late, seqs, "{events:?}");
            let all = seqs.len() as u64;
            assert_counts(&events, &[("lost", all), ("late", all), ("received", 0)]);
        }
    }

    #[test]
    fn a_second_echo_is_a_duplicate_also_the_last_ones() {
        let (code, events) = events(&["-c2", "-i0.01"], doubling());
        assert_eq!(code, 1);
        let mut story = story(&events);
        story.sort();
        assert_eq!(
            story,
            [
                "duplicate 1",
                "duplicate 2",
                "reply 1",
                "reply 2",
                "summary"
            ]
        );
        assert_counts(&events, &[("received", 2), ("duplicates", 2), ("lost", 0)]);
    }

    #[test]
    fn another_order_is_seen_and_is_no_failure() {
        let (code, events) = events(&["-c4", "-i0.01", "-W30"], swapping());
        assert_eq!(code, 0, "{events:?}");
        assert_eq!(
            story(&events),
            ["reply 2", "reply 1", "reply 4", "reply 3", "summary"]
        );
        let reordered = named(&events, "reply")
            .into_iter()
            .filter(|it| it["reordered"] == true);
        assert_eq!(reordered.count(), 2);
        assert_counts(&events, &[("received", 4), ("reordered", 2)]);
    }

    #[test]
    fn a_changed_echo_is_corrupted_with_its_place() {
        let (code, events) = events(&["-c1", "-i0"], changing(20));
        assert_eq!(code, 1);
        assert_eq!(story(&events), ["corrupted 1", "summary"]);
        let damage = events[0]["damage"].as_str().unwrap();
        assert!(damage.starts_with("byte 20: expected 0x"), "{damage}");
        assert_counts(&events, &[("corrupted", 1), ("foreign", 0), ("lost", 0)]);
        let cutting = peer(|got| got.answer(&got.bytes[..30]));
        let (_, events) = self::events(&["-c1", "-i0"], cutting);
        assert_eq!(events[0]["damage"], "cut to 30 bytes of 64");
    }

    #[test]
    fn foreign_bytes_are_unasked_and_answer_nothing() {
        let server = peer(|got| got.answer(b"HTTP/1.1 400 Bad Request\r\n"));
        let (code, events) = events(&["-c1", SHORT], server);
        assert_eq!(code, 1);
        assert_eq!(story(&events), ["unasked", "lost 1", "summary"]);
        assert_counts(&events, &[("corrupted", 1), ("foreign", 1), ("lost", 1)]);
    }

    #[test]
    fn datagrams_of_a_byte_are_told_apart_however_long_they_are_under_way() {
        let time = Duration::from_millis(300);
        for ports in [1, 2] {
            // Nothing comes back until all have come that are told apart, and that time has passed.
            let (most, mut held) = (256 * ports, Vec::new());
            let server = peer(move |got| {
                if got.number >= most {
                    return got.echo();
                }
                held.push((got.bytes.to_vec(), got.from));
                if held.len() == most {
                    std::thread::sleep(time);
                    for (bytes, from) in &held {
                        got.socket.send_to(bytes, from).unwrap();
                    }
                }
            });
            let ports = ports.to_string();
            let options = ["-s1", "-i0.0002", "-c1000", "-W20", "--ports", &ports];
            let (code, events) = events(&options, server);
            assert_eq!(code, 0, "{:?}", events.last());
            let counts = [("received", 1000), ("duplicates", 0), ("reordered", 0)];
            assert_counts(&events, &counts);
            let least = Some(time.as_nanos() as u64);
            for reply in named(&events, "reply") {
                let is_held = reply["seq"].as_u64() <= Some(most as u64);
                assert!(!is_held || reply["time_ns"].as_u64() >= least, "{reply}");
            }
            let summary = events.last().unwrap();
            assert!(summary["held_back"].as_u64() > Some(0), "{summary}");
            let waits = named(&events, "sending_waits");
            assert_eq!(waits.len(), 1, "{waits:?}");
            let reason = waits[0]["reason"].as_str().unwrap();
            assert!(reason.contains("a larger --size"), "{reason}");
        }
    }

    #[test]
    fn a_byte_that_was_not_sent_is_foreign() {
        // As the one before the first would be.
        let server = peer(|got| got.answer(&[got.bytes[0].wrapping_sub(1)]));
        let (code, events) = events(&["-c1", "-s1", "--ports=2", SHORT], server);
        assert_eq!(code, 1);
        assert_eq!(story(&events), ["unasked", "lost 1", "summary"]);
        assert_counts(&events, &[("foreign", 1), ("lost", 1)]);
    }

    #[test]
    fn an_echo_from_another_address_is_named_and_does_not_count() {
        let (server, other) = answering_elsewhere();
        let (code, events) = events(&["-c1", SHORT], server);
        assert_eq!(code, 1);
        assert_eq!(story(&events), ["unasked", "lost 1", "summary"]);
        assert_eq!(events[0]["address"], other.to_string());
        let damage = events[0]["damage"].as_str().unwrap();
        let words = format!("the echo of seq=1, from another address than {server}");
        assert!(damage.starts_with(&words), "{damage}");
    }

    #[test]
    fn a_refusal_is_a_loss_at_once_with_the_icmp_error() {
        let (_socket, server) = refusing();
        let begun = Instant::now();
        let (code, events) = events(&["-c3", "-i0.01", "-W50"], server);
        assert!(
            begun.elapsed() < Duration::from_secs(50),
            "the time-out was waited for"
        );
        assert_eq!(
            (code, story(&events)),
            (
                1,
                ["lost 1", "lost 2", "lost 3", "summary"]
                    .map(String::from)
                    .to_vec()
            )
        );
        assert_counts(&events, &[("lost", 3), ("refused", 3)]);
        let reason = events[0]["reason"].as_str().unwrap();
        assert!(
            reason.starts_with("refused by ICMP port unreachable"),
            "{reason}"
        );
        #[cfg(target_os = "linux")]
        assert!(reason.ends_with("(says 127.0.0.1)"), "{reason}");
    }

    #[test]
    fn any_size_comes_back_also_none() {
        for (size, count) in [(0, 5), (1, 5), (7, 5), (8, 5), (1473, 5), (65_507, 1)] {
            // Two of the largest would fill the queue of a peer that is slow to read.
            let options = [format!("-s{size}"), format!("-c{count}")];
            let options = [&*options[0], &*options[1], "-i0.002", "-W30"];
            let (code, events) = events(&options, echo());
            assert_eq!(code, 0, "{size}: {events:?}");
            assert_counts(&events, &[("sent", count), ("received", count)]);
            assert_eq!(events[0]["size_bytes"], size);
        }
    }

    #[test]
    fn a_server_that_comes_late_is_found() {
        let (held, server) = refusing();
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.args(arguments(&["-i0.01", "-W30", "-q", "--json"], server));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let program = Program::spawn(command);
        let (sender, got) = channel();
        drop(held);
        let mut bound = None;
        wait_until("the port to be free", || {
            bound = UdpSocket::bind(server).ok();
            bound.is_some()
        });
        serve(bound.unwrap(), move |it| {
            it.echo();
            let _ = sender.send(it.number);
        });
        while got.recv_timeout(common::DEADLINE).unwrap() < 5 {}
        program.signal(Signal::INT);
        let ended = common::end(program);
        let summary: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert!(summary["received"].as_u64().unwrap() >= 4, "{summary}");
    }
}

mod schedule {
    use super::*;

    #[test]
    fn datagrams_are_sent_though_none_comes_back() {
        let (sender, got) = channel();
        let silent = peer(move |it| {
            let _ = sender.send(it.number);
        });
        // In lock-step the second would wait for half a minute.
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.args(arguments(&["-i0.01", "-W30"], silent));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let _program = Program::spawn(command);
        while got.recv_timeout(Duration::from_secs(20)).unwrap() < 20 {}
    }

    #[test]
    fn the_rate_is_that_of_the_interval() {
        // A busy machine may be late, and then sends what is due; it is never ahead.
        let begun = Instant::now();
        let (code, _) = events(&["-c200", "-i0.001", "-W30"], echo());
        assert_eq!(code, 0);
        assert!(
            begun.elapsed() >= Duration::from_millis(199),
            "{:?}",
            begun.elapsed()
        );
    }

    #[test]
    fn our_own_wake_up_is_not_in_the_round_trip() {
        // The peer answers at once, and stops the probe so that it reads the echo late.
        let ended = stopped_while(|got| {
            got.echo();
            std::thread::sleep(Duration::from_millis(400));
        });
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let reply: Value = serde_json::from_str(&lines(&ended)[0]).unwrap();
        let [time, at] = ["time_ns", "at_ns"].map(|key| reply[key].as_u64().unwrap());
        assert!(at - time >= 380_000_000, "{reply}");
    }

    /// Runs a ping of one datagram, which is stopped while the peer does this.
    fn stopped_while(act: impl Fn(&Got<'_>) + Send + 'static) -> Ended {
        let (sender, pids) = channel::<u32>();
        let server = peer(move |got| {
            if got.number > 0 {
                return;
            }
            let pid = Pid::from_raw(pids.recv().unwrap().cast_signed()).unwrap();
            kill_process(pid, Signal::STOP).unwrap();
            wait_until("the probe to stop", || {
                let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
                stat.is_ok_and(|stat| stat.contains(") T "))
            });
            act(got);
            kill_process(pid, Signal::CONT).unwrap();
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.args(arguments(&["-c1", "-W30", "--json"], server));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let program = Program::spawn(command);
        sender.send(program.child.id()).unwrap();
        common::end(program)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_our_own_queue_had_no_room_for_is_told_from_what_is_lost() {
        /// More than fits in the queue that is asked for.
        const FLOOD: u64 = 4000;

        let ended = stopped_while(|got| {
            got.echo();
            (0..FLOOD).for_each(|_| got.answer(&[7; 1000]));
        });
        assert_eq!(ended.code, Some(1));
        let events = read_events(&ended);
        let told = named(&events, "dropped_here");
        let told: u64 = told
            .iter()
            .map(|it| it["datagrams"].as_u64().unwrap())
            .sum();
        let summary = events.last().unwrap();
        let [dropped, foreign] = ["dropped_here", "foreign"].map(|key| summary[key].as_u64());
        assert!(dropped > Some(0), "{summary}");
        assert_eq!(
            (Some(told), dropped.unwrap() + foreign.unwrap()),
            (dropped, FLOOD)
        );
        assert_counts(&events, &[("received", 1), ("lost", 0), ("not_sent", 0)]);
    }
}

mod path {
    use super::*;

    /// A UDP echo with what it got of marks, and one that sets other ones.
    fn remarking(tos: u32) -> SocketAddr {
        let socket = socket();
        socket2::SockRef::from(&socket).set_tos_v4(tos).unwrap();
        serve(socket, |got| got.echo())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn marks_are_sent_and_what_came_back_is_said() {
        let server = remarking(46 << 2 | 2);
        let options = ["--dscp", "EF", "--ecn", "ect0", "-c3", "-i0.01"];
        let (code, events) = events(&options, server);
        assert_eq!(code, 0);
        for reply in named(&events, "reply") {
            assert_eq!((&reply["dscp"], &reply["ecn"]), (&46.into(), &2.into()));
        }
        let marks = &events.last().unwrap()["marks"];
        assert_eq!(
            marks[0],
            serde_json::json!({"dscp": 46, "ecn": 2, "echoes": 3})
        );
        let (_, lines) = ping(&["--tos", "0xba", "-c2", "-i0.01"], remarking(0));
        let words = "marks: sent DSCP 46 (EF) ECN ect0; came back DSCP 0 (CS0) ECN not-ect 2 times";
        assert!(lines.contains(&words.to_owned()), "{lines:#?}");
        assert!(lines[0].ends_with(", DSCP 46 (EF) ECN ect0"), "{lines:#?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_wrong_checksum_is_not_said_to_be_our_full_queue() {
        // Only root may send one.
        let Some(server) = common::datagrams::with_wrong_checksums() else {
            return;
        };
        // Of shorter ones the kernel counts none to a socket.
        let (code, events) = events(&["-c3", "-i0.01", "-s200", SHORT], server);
        assert_eq!(code, 1);
        assert_counts(&events, &[("lost", 3), ("dropped_here", 3)]);
        assert_counts(&events, &[("wrong_checksums", 3)]);
        let (_, lines) = ping(&["-c1", "-s200", SHORT], server);
        let words = "1 dropped here, for a wrong checksum, or by the full queue of our own port";
        assert!(
            lines.iter().any(|line| line.starts_with(words)),
            "{lines:#?}"
        );
    }

    #[test]
    fn ports_take_turns_and_a_bad_one_is_named() {
        let (sender, got) = channel();
        let mut bad = None;
        let server = peer(move |it| {
            let port = it.from.port();
            sender.send(port).unwrap();
            if it.number == 5 {
                bad = Some(port);
            }
            // From its first datagram on.
            if bad != Some(port) {
                it.echo();
            }
        });
        let (code, lines) = ping(&["--ports=8", "-c32", "-i0.002", SHORT], server);
        assert_eq!(code, 1);
        let ports: Vec<_> = got.try_iter().collect();
        assert_eq!(ports.len(), 32);
        for turn in ports.chunks(8) {
            assert_eq!(turn, &ports[..8]);
        }
        let want = format!("1 of 8 source ports loses everything: {}", ports[5]);
        assert!(lines.contains(&want), "{lines:#?}");
        assert!(lines[0].ends_with(", 8 source ports in turn"), "{lines:#?}");
    }

    #[test]
    fn too_few_descriptors_are_named_with_what_to_do_and_a_soft_limit_is_raised() {
        let server = echo();
        let ports = ["--ports=20", "-c20", "-i0.001", "-q"];
        let (_, ended) = under("ulimit -Sn 30", &ports, server);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let (line, ended) = under("ulimit -n 30", &ports, server);
        assert_eq!(ended.code, Some(1), "{line}");
        let words = "too many open files, each source port has two: raise their limit (ulimit -n), \
                     or ask for fewer --ports";
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }

    /// A ping behind a command of the shell. Returns the command line as well.
    fn under(before: &str, options: &[&str], server: SocketAddr) -> (String, Ended) {
        let script = format!("{before}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_echopool")]);
        command.args(arguments(options, server));
        command.env_remove("RUST_LOG").stdout(Stdio::piped());
        (format!("{command:?}"), end(Program::spawn(command)))
    }

    #[test]
    fn an_echo_to_another_port_is_none() {
        let mut first = None;
        let server = peer(move |got| {
            let first = *first.get_or_insert(got.from);
            let _ = got.socket.send_to(got.bytes, first);
        });
        let (code, events) = events(&["--ports=2", "-c2", "-i0.01", SHORT], server);
        assert_eq!(code, 1);
        let mut story = story(&events);
        story.sort();
        assert_eq!(story, ["lost 2", "reply 1", "summary", "unasked"]);
    }

    #[test]
    fn over_ipv6_too() {
        let Ok(socket) = UdpSocket::bind("[::1]:0") else {
            return;
        };
        let server = serve(socket, |got| got.echo());
        let (code, events) = events(&["-c2", "-i0.01", "--dscp=10"], server);
        assert_eq!(code, 0);
        assert_counts(&events, &[("received", 2)]);
        #[cfg(target_os = "linux")]
        assert_eq!(events[0]["hops"], 0);
    }

    #[test]
    fn of_several_addresses_the_one_that_answers_is_used() {
        let Ok(silent) = UdpSocket::bind("[::1]:0") else {
            return;
        };
        let port = silent.local_addr().unwrap().port();
        let Ok(socket) = UdpSocket::bind((LOCALHOST, port)) else {
            return;
        };
        let server = serve(socket, |got| got.echo());
        let name = format!("localhost:{port}");
        let ended = finish(["ping", "--udp", "-c1", "--json", &name], "");
        drop(silent);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let text = String::from_utf8(ended.stdout).unwrap();
        let reply: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(reply["address"], server.to_string());
    }
}
