//! The load generator against servers that damage, lose or mix up bytes, or leave.
#![cfg(unix)]

mod common;

use std::io::Read;
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use common::faulty::{Faulty, Meddling, echo_some, swallow, swapping};
use common::load::{Machine, Run, bench, names_offset};
use common::{finish, reset};
use echopool::bench::results::Errors;

const DAMAGED: Option<i32> = Some(1);

/// A run whose messages are small enough for some to be in flight at any place.
fn deep(server: SocketAddr) -> Run {
    bench(server, "--depth 16 --count 2000 --timeout 1s --seed 1")
}

/// Runs against a server that does `fault` to the `span` bytes from `at` on, and
/// checks that nothing but this is found, and where it is.
#[track_caller]
fn assert_found(at: u64, span: usize, fault: fn(&mut Vec<u8>), expected: &Errors) {
    let server = Meddling::start(at, span, fault);
    let run = deep(server.server.address);
    let place = server.place().unwrap();
    assert_eq!(run.results.totals.errors, *expected, "{run:?}");
    assert!(names_offset(&run.results, place), "not {place}: {run:?}");
    assert_eq!(run.code, DAMAGED, "{run:?}");
}

/// At the beginning, in the first message, at the seam of two, and far behind.
const PLACES: [u64; 6] = [0, 1, 63, 64, 6400, 77_777];

#[test]
fn a_flipped_bit_is_changed_bytes() {
    let expected = Errors {
        changed: 1,
        ..Errors::default()
    };
    for at in PLACES {
        assert_found(at, 1, |bytes| bytes[0] ^= 0x10, &expected);
    }
}

#[test]
fn two_bytes_that_changed_places_are_changed_bytes() {
    let expected = Errors {
        changed: 1,
        ..Errors::default()
    };
    for at in PLACES {
        assert_found(at, 2, |bytes| bytes.reverse(), &expected);
    }
}

#[test]
fn a_flipped_bit_is_found_without_anything_behind_it() {
    for size in [1, 8, 64] {
        let server = Meddling::start(size * 10, 1, |bytes| bytes[0] ^= 1);
        // The fault waits for the byte behind it.
        let options = format!("--size {size} --depth 2 --count 500 --timeout 1s");
        let run = bench(server.server.address, &options);
        let errors = &run.results.totals.errors;
        assert!(errors.total() > 0, "{run:?}");
        assert!(names_offset(&run.results, size * 10), "{run:?}");
        assert_eq!(run.code, DAMAGED);
    }
}

#[test]
fn a_dropped_byte_is_a_missing_one() {
    let expected = Errors {
        missing: 1,
        ..Errors::default()
    };
    for at in PLACES {
        assert_found(at, 1, Vec::clear, &expected);
    }
}

#[test]
fn dropped_messages_are_missing_bytes() {
    let expected = Errors {
        missing: 1,
        ..Errors::default()
    };
    for span in [64, 100, 640] {
        assert_found(6400, span, Vec::clear, &expected);
    }
}

#[test]
fn a_doubled_byte_is_a_repeated_one() {
    let expected = Errors {
        repeated: 1,
        ..Errors::default()
    };
    for at in PLACES {
        assert_found(at, 1, |bytes| bytes.push(bytes[0]), &expected);
    }
}

#[test]
fn doubled_messages_are_repeated_bytes() {
    let expected = Errors {
        repeated: 1,
        ..Errors::default()
    };
    for span in [64, 100, 640] {
        assert_found(6400, span, |bytes| bytes.extend(bytes.clone()), &expected);
    }
}

#[test]
fn messages_in_another_order_are_missing_or_come_again() {
    for at in [0, 6400, 77_777] {
        let server = Meddling::start(at, 128, |bytes| bytes.rotate_left(64));
        let run = deep(server.server.address);
        let errors = &run.results.totals.errors;
        let strange = errors.changed + errors.foreign + errors.unknown;
        assert!(errors.missing + errors.repeated >= 1, "{run:?}");
        assert_eq!(strange, 0, "{run:?}");
        assert!(names_offset(&run.results, at), "{run:?}");
        assert_eq!(run.code, DAMAGED);
    }
}

#[test]
fn bytes_that_nobody_sent_are_unknown() {
    let expected = Errors {
        unknown: 1,
        ..Errors::default()
    };
    let fault = |bytes: &mut Vec<u8>| {
        let strange = (0..64_u8).map(|at| at.wrapping_mul(151).wrapping_add(43));
        bytes.splice(..0, strange);
    };
    assert_found(6400, 64, fault, &expected);
}

#[test]
fn the_bytes_of_another_client_are_foreign() {
    for options in ["--depth 1", "--depth 16", "--threads 2"] {
        let server = swapping(64, 100);
        let options = format!("--connections 2 --count 2000 --timeout 1s {options}");
        let run = bench(server.address, &options);
        let expected = Errors {
            foreign: 2,
            ..Errors::default()
        };
        assert_eq!(run.results.totals.errors, expected, "{run:?}");
        assert!(names_offset(&run.results, 6400), "{run:?}");
        assert_eq!(run.code, DAMAGED);
    }
}

#[test]
fn damage_is_found_at_depth_1_as_well() {
    let faults: [fn(&mut Vec<u8>); 3] = [
        |bytes| bytes[0] ^= 1,
        Vec::clear,
        |bytes| bytes.push(bytes[0]),
    ];
    for fault in faults {
        let server = Meddling::start(64 * 30 + 10, 1, fault);
        let run = bench(server.server.address, "--count 1000 --timeout 500ms");
        let place = server.place().unwrap();
        assert!(run.results.totals.errors.total() >= 1, "{run:?}");
        assert!(names_offset(&run.results, place), "not {place}: {run:?}");
        assert_eq!(run.code, DAMAGED);
    }
}

#[test]
fn damage_in_a_stream_is_found_far_behind() {
    for at in [0, 1_000_001, 5 << 20] {
        let server = Meddling::start(at, 1, |bytes| bytes[0] ^= 1);
        let run = bench(server.server.address, "--stream --duration 500ms");
        let errors = &run.results.totals.errors;
        assert_eq!((errors.changed, errors.total()), (1, 1), "{run:?}");
        assert!(names_offset(&run.results, at), "{run:?}");
        assert_eq!(run.code, DAMAGED);
    }
}

#[test]
fn a_damaged_message_does_not_count_as_echoed() {
    let server = Meddling::start(6400, 1, |bytes| bytes[0] ^= 1);
    let run = deep(server.server.address);
    let totals = &run.results.totals;
    assert!(totals.sent == 2000 && totals.echoed < 2000, "{totals:?}");
    let accounted = totals.echoed + totals.lost + totals.in_flight;
    assert!(accounted <= totals.sent, "{totals:?}");
}

#[test]
fn damage_under_a_rate_and_churn_is_found() {
    for options in ["--rate 2000 --depth 8", "--churn"] {
        let server = Meddling::start(10, 1, |bytes| bytes[0] ^= 1);
        let options = format!("{options} --count 100 --timeout 1s");
        let run = bench(server.server.address, &options);
        assert_eq!(run.results.totals.errors.changed, 1, "{run:?}");
        assert!(names_offset(&run.results, 10), "{run:?}");
        assert_eq!(run.code, DAMAGED);
    }
}

#[test]
fn damage_in_the_warm_up_is_told_apart_and_a_failure() {
    for options in [
        "--expect errors=0",
        "--rate 500 --expect errors=0",
        "--stream",
    ] {
        let server = Meddling::start(10, 1, |bytes| bytes[0] ^= 1);
        let options = format!("{options} --warmup 1s --duration 200ms --timeout 10s");
        let run = bench(server.server.address, &options);
        let results = &run.results;
        let expected = Errors {
            changed: 1,
            ..Errors::default()
        };
        assert_eq!(results.warmup_errors, expected, "{run:?}");
        assert_eq!(results.totals.errors, Errors::default(), "{run:?}");
        assert!(results.expectations.iter().all(|each| each.held), "{run:?}");
        let in_warmup = results.timeline.iter().filter(|second| second.start_ns < 0);
        assert_eq!(in_warmup.map(|second| second.errors).sum::<u64>(), 1);
        assert!(names_offset(results, 10), "{run:?}");
        assert_eq!(run.code, DAMAGED);
    }
}

/// Runs against a server that echoes 100 messages and a half on its first
/// connection, takes the rest of that message, and leaves.
fn left_in_the_middle(options: &str, leave: fn(&std::net::TcpStream)) -> Run {
    let server = Faulty::serve(move |mut stream, number| {
        if number > 0 {
            return common::faulty::echo(&stream);
        }
        let whole = echo_some(&stream, 100 * 64 + 32) && stream.read_exact(&mut [0; 32]).is_ok();
        assert!(whole, "the generator left first");
        leave(&stream);
    });
    bench(server.address, options)
}

#[test]
fn a_connection_that_is_closed_in_the_middle_is_closed() {
    let (begun, machine) = (Instant::now(), Machine::watch());
    let run = left_in_the_middle("--duration 60s", |_| ());
    // Nobody is left to talk to.
    assert!(begun.elapsed() < Duration::from_secs(4) + machine.delay());
    let totals = &run.results.totals;
    assert_eq!((totals.errors.closed, totals.errors.total()), (1, 1));
    assert_eq!((totals.echoed, totals.lost), (100, 1), "{totals:?}");
    assert_eq!((totals.sent, totals.in_flight), (101, 0), "{totals:?}");
    assert_eq!(totals.lost_bytes, 32, "{totals:?}");
    assert!(names_offset(&run.results, 6432), "{run:?}");
}

#[test]
fn a_connection_that_is_reset_in_the_middle_is_reset() {
    let run = left_in_the_middle("--duration 5s", |stream| {
        reset(stream.try_clone().unwrap());
    });
    let totals = &run.results.totals;
    assert_eq!((totals.errors.reset, totals.errors.total()), (1, 1));
    // What was under way back may be lost as well.
    assert!((99..=100).contains(&totals.echoed), "{totals:?}");
    assert_eq!(totals.sent, totals.echoed + totals.lost, "{totals:?}");
    assert_eq!(totals.lost, 1, "{totals:?}");
}

#[test]
fn the_other_connections_go_on_when_one_is_closed() {
    let run = left_in_the_middle("--connections 3 --duration 400ms", |_| ());
    let totals = &run.results.totals;
    assert_eq!((totals.errors.closed, totals.errors.total()), (1, 1));
    assert_eq!(totals.lost, 1, "{totals:?}");
    let accounted = totals.echoed + totals.lost + totals.in_flight;
    assert_eq!(totals.sent, accounted, "{totals:?}");
    let measured = Duration::from_nanos(run.results.elapsed_ns);
    assert!(measured >= Duration::from_millis(400), "{measured:?}");
}

#[test]
fn a_half_close_by_the_server_is_a_close() {
    for options in ["", "--depth 16", "--rate 2000"] {
        let server = Faulty::serve(|stream, _| {
            echo_some(&stream, 64 * 50);
            stream.shutdown(Shutdown::Write).unwrap();
            swallow(&stream);
        });
        let options = format!("--duration 2s {options}");
        let run = bench(server.address, &options);
        let totals = &run.results.totals;
        assert_eq!(totals.errors.closed, 1, "{options}: {totals:?}");
        assert_eq!(totals.errors.total(), 1, "{options}: {totals:?}");
        assert_eq!(totals.echoed, 50, "{options}: {totals:?}");
    }
}

#[test]
fn a_server_that_closes_each_connection_at_once_is_closed() {
    let server = Faulty::serve(|stream, _| drop(stream));
    let run = bench(server.address, "--connections 5 --duration 1s");
    let errors = &run.results.totals.errors;
    assert_eq!(errors.closed + errors.reset, 5, "{run:?}");
    assert_eq!(run.code, Some(1));
}

#[test]
fn a_server_that_sends_first_is_no_echo() {
    let server = Faulty::serve(|mut stream, _| {
        let hello = b"220 mail.example.org ESMTP, at your service\r\n";
        std::io::Write::write_all(&mut stream, hello).unwrap();
        common::faulty::echo(&stream);
    });
    let run = bench(server.address, "--count 100 --timeout 500ms");
    let errors = &run.results.totals.errors;
    assert!(errors.unknown >= 1, "{run:?}");
    assert!(names_offset(&run.results, 0), "{run:?}");
    assert_eq!(run.code, DAMAGED);
}

#[test]
fn a_service_that_is_no_echo_server_is_told_by_its_first_bytes() {
    for (speech, name) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "an HTTP server"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "an SSH server"),
        (b"127.0.0.1:40000\n", "a --whoami port"),
        (b"5 : hello\0", "a --counted port"),
    ] {
        for ends in [false, true] {
            let server = Faulty::serve(move |mut stream, _| {
                let mut message = [0; 64];
                stream.read_exact(&mut message).unwrap();
                std::io::Write::write_all(&mut stream, speech).unwrap();
                if !ends {
                    let _ = stream.read(&mut message);
                }
            });
            let ended = finish(
                ["bench", &server.address.to_string(), "-n1", "--warmup=0"],
                "",
            );
            assert_eq!(ended.code, DAMAGED, "{ended:?}");
            let text = String::from_utf8(ended.stdout).unwrap();
            let example = text.lines().find(|line| line.contains("for instance"));
            let example = example.unwrap_or_else(|| panic!("{text}"));
            for words in [", byte ", ": expected 0x", ", received 0x"] {
                assert!(example.contains(words), "{example}");
            }
            let end = format!("; this looks like {name}");
            assert!(example.ends_with(&end), "{example}");
            assert!(text.contains(" never sent            1\n"), "{text}");
            assert!(!text.contains("unknown"), "{text}");
        }
    }
}
