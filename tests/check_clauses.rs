//! Every clause of `echopool check` can fail: for each there is a server that
//! breaks just its promise, and the check says so, and what was seen.

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::check::{Checked, check};
use common::faulty::{self, Faulty};
use common::{reserve, unfaithful};
use echopool::check::clauses;
use echopool::proto::Protocol;

/// Those that move the most bytes, left out where they are not the question.
const HEAVY: [&str; 3] = ["message-16m", "full-duplex", "slow-reader"];

/// Checks a server of which only that clause may fail, with words of what was seen.
#[track_caller]
fn assert_fails(server: SocketAddr, name: &str, words: &str, options: &str) -> Checked {
    let skip: Vec<_> = HEAVY.into_iter().filter(|heavy| *heavy != name).collect();
    let skip = match options.contains("--counted") {
        true => String::new(),
        false => format!("--skip {}", skip.join(",")),
    };
    let timeout = match options.contains("--timeout") {
        true => "",
        false => "--timeout 1s",
    };
    let fixed = format!("--connections 12 {skip} {timeout}");
    let checked = check(server, &format!("{fixed} {options}"));
    checked.assert_failed(&[name]);
    let seen = checked.seen(name);
    assert!(seen.contains(words), "no {words:?} in {seen:?}");
    checked
}

#[track_caller]
fn assert_echo_fails(server: &Faulty, name: &str, words: &str) {
    assert_fails(server.address, name, words, "");
}

#[track_caller]
fn assert_counted_fails(server: &Faulty, name: &str, words: &str) {
    assert_fails(server.address, name, words, "--counted");
}

mod echo {
    use super::*;

    #[test]
    fn connect_fails_where_nobody_listens_and_the_others_are_skipped() {
        let (_reserved, address) = reserve(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let words = format!("could not connect to {address}: connection refused");
        let checked = assert_fails(address, "connect", &words, "");
        assert!(checked.names("pass").is_empty(), "{checked:#?}");
        assert_eq!(checked.seen("bytes"), "no connection can be made");
        // Where it is not checked, the first clause that wants one says why there is none.
        let checked = check(address, "--only bytes");
        checked.assert_failed(&["bytes"]);
        assert_eq!(checked.seen("bytes"), words);
        assert_eq!(checked.report["diagnosis"][0]["cause"], "refused");
    }

    #[test]
    fn whatever_is_checked_of_an_unreachable_server_does_not_pass() {
        let (_reserved, address) = reserve(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let words = format!("could not connect to {address}: connection refused");
        for clause in clauses(Protocol::Echo) {
            let checked = check(address, &format!("--only {} --idle 1s", clause.name));
            match clause.name {
                // It fails on nothing, and nothing was proved.
                "options" => assert_eq!(checked.names("skip"), ["options"], "{checked:#?}"),
                name => checked.assert_failed(&[name]),
            }
            assert_ne!(checked.code, Some(0), "{checked:#?}");
            let seen = checked.seen(clause.name);
            assert!(seen.contains(&words), "no {words:?} in {seen:?}");
        }
    }

    #[test]
    fn bytes_fails_where_line_ends_are_changed() {
        let words = ": expected 0x0d, received 0x0a";
        assert_echo_fails(&unfaithful::textual(), "bytes", words);
    }

    #[test]
    fn tiny_segments_fails_where_one_is_lost() {
        let words = "no data for 1s after 4,095 of 4,096 bytes";
        // A busy connection has as many bytes in some seconds.
        let server = unfaithful::losing(4096);
        assert_fails(server.address, "tiny-segments", words, "--skip lifetime");
    }

    #[test]
    fn message_mss_fails_where_no_full_packet_comes_through() {
        // On the connection for those of the size, the message of 1,460 bytes ends there.
        let server = unfaithful::stalling(536, 7532);
        let words = "a message of 1,460 bytes: no data for 1s after";
        assert_echo_fails(&server, "message-mss", words);
    }

    #[test]
    fn message_64k_fails_where_more_does_not_fit() {
        let server = unfaithful::stalling(65_535, 65_536 + 65_535);
        let words = "a message of 65,536 bytes: no data for 1s";
        assert_echo_fails(&server, "message-64k", words);
    }

    #[test]
    fn message_16m_fails_where_so_much_stalls() {
        let server = unfaithful::stalling_at(10 << 20);
        let words = "a message of 16,777,215 bytes: no data for 1s";
        assert_fails(server.address, "message-16m", words, "--thorough");
    }

    #[test]
    fn pipelining_fails_where_the_last_is_thrown_away() {
        let words = "99,999 of 100,000 bytes";
        assert_echo_fails(&unfaithful::losing(100_000), "pipelining", words);
    }

    #[test]
    fn full_duplex_fails_where_the_stream_stalls() {
        let server = unfaithful::stalling_at(18 << 20);
        let words = "no data for 1s after";
        assert_fails(server.address, "full-duplex", words, "--thorough");
    }

    #[test]
    fn half_close_early_fails_where_the_end_wins_over_the_bytes() {
        let words = "the end came after 0 of 10 bytes";
        assert_echo_fails(&unfaithful::hasty(), "half-close-early", words);
    }

    #[test]
    fn half_close_late_fails_where_no_end_comes() {
        let words = "no end after 1,024 bytes: no data for 1s";
        assert_echo_fails(&unfaithful::endless(1024), "half-close-late", words);
    }

    #[test]
    fn half_close_empty_fails_where_it_is_answered_by_a_reset() {
        let words = "reset, not ended, after 0 bytes";
        assert_echo_fails(&unfaithful::offended(), "half-close-empty", words);
    }

    #[test]
    fn slow_reader_fails_where_who_does_not_read_is_ended() {
        let server = unfaithful::impatient(Duration::from_millis(50));
        // That one reads late, too.
        let options = "--skip half-close-early";
        assert_fails(server.address, "slow-reader", "reset after ", options);
    }

    #[test]
    fn slow_writer_fails_where_few_bytes_are_held_back() {
        let words = "no data for 1s after 0 of 3 bytes";
        assert_echo_fails(&unfaithful::hoarding(10), "slow-writer", words);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn small_writes_fails_where_nagles_algorithm_holds_them_back() {
        let words = "ms longer than the fastest";
        assert_echo_fails(&unfaithful::nagling(), "small-writes", words);
    }

    #[test]
    fn urgent_fails_where_the_byte_is_taken_out_of_the_stream_if_that_is_asked_for() {
        let server = Faulty::serve(|stream, _| faulty::echo(&stream));
        for options in ["--only connect,urgent", "--only urgent --no-experiments"] {
            let checked = check(server.address, options);
            checked.assert_failed(&["urgent"]);
            assert_eq!(checked.seen("urgent"), "at offset 1,024: 1 byte is missing");
            assert_eq!(checked.report["diagnosis"][0]["cause"], "urgent-lost");
        }
        let skip = format!("--connections 12 --skip {}", HEAVY.join(","));
        let checked = check(server.address, &skip);
        checked.assert_passed(&["urgent", "source-address", "idle"]);
        let words = "the urgent byte was taken out of the stream, as a server or a proxy does";
        assert!(checked.seen("urgent").starts_with(words), "{checked:#?}");
        assert_eq!(checked.report["diagnosis"].as_array().unwrap().len(), 0);
        // To send all is to ask for all of it.
        let only = ["connect", "urgent"];
        let skip = clauses(Protocol::Echo)
            .iter()
            .map(|clause| clause.name)
            .filter(|name| !only.contains(name));
        let skip = skip.collect::<Vec<_>>().join(",");
        let checked = check(server.address, &format!("--thorough --skip {skip}"));
        checked.assert_failed(&["urgent"]);
    }

    #[test]
    fn urgent_fails_where_another_byte_is_lost_beside_it() {
        // None of the other clauses has so many bytes on a connection.
        let server = unfaithful::out_of_line_and_losing(1_900_000);
        let skip = format!("half-close-early,{}", HEAVY.join(","));
        let checked = check(server.address, &format!("--connections 12 --skip {skip}"));
        checked.assert_failed(&["urgent"]);
        // The server does not count the two urgent bytes.
        let seen = checked.seen("urgent");
        assert_eq!(seen, "at offset 1,900,002: 1 byte is missing");
        assert_eq!(checked.report["diagnosis"][0]["cause"], "bytes-changed");
    }

    #[test]
    fn reset_fails_where_it_ends_the_others_too() {
        let words = "reset ";
        // It may end those of the next clause as well, when it is slow to see the reset, and
        // ends one that is busy beside.
        let server = unfaithful::collapsing();
        let skip = "--skip connections,lifetime";
        assert_fails(server.address, "reset", words, skip);
    }

    #[test]
    fn reset_fails_where_the_next_one_gets_what_was_left_in_a_buffer() {
        let words = "bytes of connection ";
        assert_echo_fails(&unfaithful::leaking(), "reset", words);
    }

    #[test]
    fn connections_fails_where_a_worker_serves_one_to_its_end() {
        let server = unfaithful::pool(6, 128, Duration::ZERO, unfaithful::echo_all);
        let words = "no data for 1s after 0 of 1,024 bytes";
        assert_fails(server, "connections", words, "");
    }

    #[test]
    fn idle_fails_where_the_silent_are_forgotten() {
        // Longer than other clauses are silent beside what they do, on a busy machine.
        let server = unfaithful::forgetful(Duration::from_secs(2));
        assert_fails(server.address, "idle", "closed after ", "--idle 4s");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn connect_storm_fails_where_the_listen_queue_overflows() {
        let late = Duration::from_millis(5);
        let server = unfaithful::pool(1, 16, late, |stream| {
            std::thread::spawn(|| unfaithful::echo_all(stream));
        });
        let words = "took a second longer than a round trip";
        assert_fails(server, "connect-storm", words, "--timeout 10s");
    }

    #[test]
    fn a_storm_has_all_its_connections_there_at_the_same_time() {
        // And two before, to see what the path carries and who answers.
        let server = unfaithful::gathering(400 + 2);
        let options = "--only connect-storm --connections 100 --timeout 10s";
        check(server.address, options).assert_passed(&[]);
    }

    #[test]
    fn a_stream_that_drips_comes_to_an_end_all_the_same() {
        let server = unfaithful::dripping(Duration::from_millis(20));
        let checked = check(server.address, "--only bytes,slow-reader --timeout 200ms");
        checked.assert_failed(&["bytes", "slow-reader"]);
        for name in checked.names("fail") {
            let seen = checked.seen(name);
            assert!(seen.starts_with("no more than "), "{seen}");
            assert!(seen.contains(" moved in 200ms, and that after "), "{seen}");
        }
    }
}

mod counted {
    use super::*;

    #[test]
    fn connect_fails_where_nobody_listens() {
        let (_reserved, address) = reserve(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        assert_fails(address, "connect", "connection refused", "--counted");
    }

    #[test]
    fn answer_fails_where_the_count_is_another() {
        let server = unfaithful::counted_but(|text, _, mut answer| {
            if text == b"test_string\0" {
                answer[1] = b'2';
            }
            Some(answer)
        });
        let words = "byte 1: expected 0x31, received 0x32";
        assert_counted_fails(&server, "answer", words);
    }

    #[test]
    fn empty_fails_where_it_is_not_answered() {
        let server = unfaithful::counted_but(|text, _, answer| (text != b"\0").then_some(answer));
        assert_counted_fails(&server, "empty", "the end came after 0 of 5 bytes");
    }

    #[test]
    fn bytes_fails_where_a_text_is_taken_for_utf8() {
        let server = unfaithful::counted_but(|_, _, answer| {
            let text = String::from_utf8_lossy(&answer);
            Some(text.into_owned().into_bytes())
        });
        let words = "byte 133: expected 0x80, received 0xef";
        assert_counted_fails(&server, "bytes", words);
    }

    #[test]
    fn segments_fails_where_the_first_is_taken_for_all() {
        let server = unfaithful::counted_but(|text, _, answer| match text {
            b"in many segments\0" => Some(b"1 : i\0".to_vec()),
            _ => Some(answer),
        });
        let words = "byte 1: expected 0x36, received 0x20";
        assert_counted_fails(&server, "segments", words);
    }

    #[test]
    fn longest_fails_where_the_buffer_is_shorter() {
        let server = unfaithful::counted_but(|_, _, mut answer| {
            answer.truncate(1000);
            Some(answer)
        });
        let words = "the end came after 1,000 of 1,032 bytes";
        assert_counted_fails(&server, "longest", words);
    }

    #[test]
    fn newline_fails_where_it_completes_nothing() {
        let server =
            unfaithful::counted_but(|text, _, answer| (text != b"hello\n").then_some(answer));
        assert_counted_fails(&server, "newline", "after 0 of 11 bytes");
    }

    #[test]
    fn half_close_fails_where_it_is_taken_for_leaving() {
        let server = unfaithful::counted_but(|text, ended, answer| {
            (!ended || text.is_empty()).then_some(answer)
        });
        assert_counted_fails(&server, "half-close", "the end came after 0 of 11 bytes");
    }

    #[test]
    fn half_close_empty_fails_where_it_is_not_answered() {
        let server =
            unfaithful::counted_but(|text, _, answer| (!text.is_empty()).then_some(answer));
        assert_counted_fails(
            &server,
            "half-close-empty",
            "the end came after 0 of 5 bytes",
        );
    }

    #[test]
    fn trailing_fails_where_input_is_left_unread() {
        assert_counted_fails(&unfaithful::abrupt(), "trailing", "reset");
    }

    #[test]
    fn reset_fails_where_it_ends_the_others_too() {
        let words = "reset ";
        let server = unfaithful::collapsing_counted();
        assert_fails(
            server.address,
            "reset",
            words,
            "--counted --skip connections",
        );
    }

    #[test]
    fn connections_fails_where_a_worker_serves_one_to_its_end() {
        let server = unfaithful::pool(6, 128, Duration::ZERO, unfaithful::counted_all);
        let words = "no data for 1s after 0 of ";
        assert_fails(server, "connections", words, "--counted");
    }

    #[test]
    fn idle_fails_where_the_silent_are_forgotten() {
        let server = unfaithful::forgetful_counted(Duration::from_secs(2));
        let options = "--counted --idle 4s";
        assert_fails(server.address, "idle", "closed after ", options);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn connect_storm_fails_where_the_listen_queue_overflows() {
        let late = Duration::from_millis(5);
        let server = unfaithful::pool(1, 16, late, |stream| {
            std::thread::spawn(|| unfaithful::counted_all(stream));
        });
        let words = "took a second longer than a round trip";
        assert_fails(server, "connect-storm", words, "--counted --timeout 10s");
    }
}

/// What a man in the middle does to a stream is told by its name and place.
mod damage {
    use super::*;

    /// Checks one clause of an echo that changes the first block of bytes in that way.
    #[track_caller]
    fn assert_reported(clause: &str, fault: fn(&mut Vec<u8>), words: &'static str) {
        // Bytes that were moved may by chance begin with the right one: once in 256 runs.
        let by_chance = Arc::new(AtomicBool::new(true));
        let mut seen = String::new();
        while by_chance.swap(false, Ordering::Relaxed) {
            let by_chance = Arc::clone(&by_chance);
            let server = unfaithful::echo_but(move |before, bytes| {
                if before == 0 {
                    let first = bytes.get(100).copied();
                    fault(bytes);
                    let is_same = first.is_some() && bytes.get(100) == first.as_ref();
                    by_chance.store(is_same && words.contains("offset 100"), Ordering::Relaxed);
                }
                true
            });
            let checked = check(server.address, &format!("--timeout 1s --only {clause}"));
            checked.assert_failed(&[clause]);
            seen = checked.seen(clause).to_owned();
        }
        assert!(seen.contains(words), "no {words:?} in {seen:?}");
    }

    #[test]
    fn changed_lost_doubled_and_reordered_bytes_are_distinguished() {
        let clause = "half-close-late";
        assert_reported(
            clause,
            |bytes| bytes[100] ^= 1,
            "at offset 100: bytes were changed",
        );
        assert_reported(
            clause,
            |bytes| drop(bytes.drain(100..107)),
            "at offset 100: 7 bytes are missing",
        );
        assert_reported(
            clause,
            |bytes| {
                bytes
                    .splice(100..100, bytes[36..100].to_vec())
                    .for_each(drop)
            },
            "at offset 100: 64 bytes came again",
        );
        assert_reported(
            clause,
            |bytes| bytes[100..1000].rotate_left(100),
            "at offset 100: 100 bytes are missing",
        );
    }

    #[test]
    fn bytes_beyond_the_echo_are_found_before_the_end_and_without_one() {
        let words = "more came than was sent, after 1,024 bytes: bytes came that were never sent";
        // Of a single byte one in 256 would be the right one by chance.
        let more = |bytes: &mut Vec<u8>| bytes.extend_from_slice(b"never sent");
        assert_reported("half-close-late", more, words);
        assert_reported("source-address", more, words);
    }

    #[test]
    fn bytes_of_another_connection_are_reported_as_such() {
        let previous = Mutex::new(Vec::new());
        let server = unfaithful::echo_but(move |_, bytes| {
            let mut previous = previous.lock().unwrap();
            if previous.is_empty() {
                previous.clone_from(bytes);
            } else {
                bytes.clone_from(&previous);
            }
            true
        });
        let checked = check(server.address, "--only connections --connections 2");
        checked.assert_failed(&["connections"]);
        let seen = checked.seen("connections");
        let words = "at offset 0: bytes of connection ";
        assert!(seen.contains(words), "no {words:?} in {seen:?}");
    }
}
