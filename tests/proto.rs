//! The counted protocol: over the wire, and its messages in any fragmentation.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Server, connect, expect_end, read_to_end, round_trip};
use echopool::proto::{BadText, COUNTED_MAX, Message, Protocol, answer, request, seen, whoami};
use echopool::server::Config;
use proptest::prelude::*;

/// Sends `bytes` and returns all that comes back, up to the server's end.
fn ask(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut client = connect(server.counted);
    client.write_all(bytes).unwrap();
    read_to_end(&mut client)
}

#[test]
fn the_answer_counts_the_bytes_of_a_text_and_ends_in_a_nul() {
    let server = Server::with_workers(1);
    for (sent, want) in [
        ("test_string\0", "11 : test_string\0"),
        ("forum.falinux.com\0", "17 : forum.falinux.com\0"),
        ("안녕\0", "6 : 안녕\0"),
        ("a\nb\0", "3 : a\nb\0"),
        ("\0", "0 : \0"),
    ] {
        assert_eq!(ask(&server, sent.as_bytes()), want.as_bytes());
    }
    assert_eq!(ask(&server, b"\xff\x80\x01\0"), b"3 : \xff\x80\x01\0");
}

#[test]
fn a_newline_at_the_end_of_what_has_arrived_completes_a_message_and_counts() {
    let server = Server::with_workers(1);
    assert_eq!(ask(&server, b"typed\n"), b"6 : typed\n\0");
    assert_eq!(ask(&server, b"typed\r\n"), b"7 : typed\r\n\0");
    assert_eq!(ask(&server, b"\n"), b"1 : \n\0");
}

#[test]
fn a_half_close_completes_a_message() {
    let server = Server::with_workers(1);
    for (sent, want) in [(&b"no end"[..], &b"6 : no end\0"[..]), (b"", b"0 : \0")] {
        let mut client = connect(server.counted);
        client.write_all(sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut client), want);
    }
}

#[test]
fn a_message_is_complete_at_1024_bytes_and_the_rest_is_ignored() {
    let server = Server::with_workers(1);
    let long = vec![b'x'; 5000];
    let most = answer(&long[..1024]);
    assert!(most.starts_with(b"1024 : x"));
    for length in [1024, 1025, 5000] {
        assert_eq!(ask(&server, &long[..length]), most, "{length} bytes");
    }
    // One byte less is not complete yet.
    let mut client = connect(server.counted);
    client.write_all(&long[..1023]).unwrap();
    round_trip(&mut connect(server.echo), b"served meanwhile");
    client
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(client.read(&mut [0]).is_err(), "an answer came too early");
    client.set_read_timeout(Some(common::DEADLINE)).unwrap();
    client.write_all(&[0]).unwrap();
    assert_eq!(read_to_end(&mut client), answer(&long[..1023]));
}

#[test]
fn what_follows_a_message_never_destroys_its_answer() {
    let server = Server::with_workers(2);
    let want = answer(b"message");
    for trailing in [1, 1000, 65_528, 65_536, 200_000, 1 << 20] {
        let bytes = [&b"message\0"[..], &vec![b'!'; trailing]].concat();
        for _ in 0..5 {
            assert!(ask(&server, &bytes) == want, "{trailing} bytes more");
        }
    }
    // The same where it comes late, and in portions.
    let mut client = connect(server.counted);
    client.write_all(b"message\0").unwrap();
    for _ in 0..20 {
        client.write_all(&[b'!'; 1000]).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client), want);
}

#[test]
fn a_message_in_many_small_segments_gets_one_answer_for_the_whole_of_it() {
    let server = Server::with_workers(1);
    let text: Vec<u8> = (0..1000).map(|n| b'a' + (n % 26) as u8).collect();
    for size in [1, 7, 100] {
        let mut client = connect(server.counted);
        for segment in request(&text).unwrap().chunks(size) {
            client.write_all(segment).unwrap();
            thread::yield_now();
        }
        assert_eq!(read_to_end(&mut client), answer(&text));
    }
}

#[test]
fn a_message_that_never_ends_is_closed_when_its_time_is_up() {
    let message_time = Duration::from_millis(400);
    let server = Server::start(Config {
        workers: 1,
        message_time,
        ..Config::default()
    });
    let start = Instant::now();
    let mut silent = connect(server.counted);
    silent.write_all(b"begun").unwrap();
    // At this pace the longest message that is allowed would take ten seconds.
    let mut trickling = connect(server.counted);
    let sent = Arc::new(AtomicUsize::new(0));
    let trickle = thread::spawn({
        let mut sending = trickling.try_clone().unwrap();
        let sent = Arc::clone(&sent);
        move || {
            while sending.write_all(b"x").is_ok() && start.elapsed() < common::DEADLINE {
                sent.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(10));
            }
        }
    });
    expect_end(&mut silent);
    assert!(!matches!(trickling.read(&mut [0]), Ok(1..)));
    let elapsed = start.elapsed();
    assert!(elapsed >= message_time, "{elapsed:?}");
    // However late the machine is, the sender is as late: it has sent this many bytes after
    // ten times the message's time.
    let sent = sent.load(Ordering::SeqCst);
    assert!(sent < 400, "{sent} bytes in {elapsed:?}");
    trickle.join().unwrap();
    // The worker still serves others.
    assert_eq!(ask(&server, b"another\0"), answer(b"another"));
    assert_eq!(server.stop().cut(), 0);
}

#[test]
fn the_time_for_a_message_does_not_run_before_it_begins_nor_for_echo() {
    let server = Server::start(Config {
        workers: 1,
        message_time: Duration::from_millis(50),
        ..Config::default()
    });
    let (mut echo, mut counted) = (connect(server.echo), connect(server.counted));
    round_trip(&mut echo, b"no message");
    thread::sleep(Duration::from_millis(200));
    round_trip(&mut echo, b"no message");
    counted.write_all(b"late\0").unwrap();
    assert_eq!(read_to_end(&mut counted), answer(b"late"));
}

#[test]
fn many_are_answered_at_once() {
    let server = Server::with_workers(2);
    let text = |key: usize| format!("{key} {}", "y".repeat(key));
    let mut clients: Vec<TcpStream> = (0..500).map(|_| connect(server.counted)).collect();
    for part in 0..2 {
        for (key, client) in clients.iter_mut().enumerate() {
            let request = request(text(key).as_bytes()).unwrap();
            let (first, second) = request.split_at(request.len() / 2);
            client.write_all([first, second][part]).unwrap();
        }
    }
    for (key, client) in clients.iter_mut().enumerate().rev() {
        assert_eq!(read_to_end(client), answer(text(key).as_bytes()));
    }
    assert_eq!(server.stop().connections(), 500);
}

#[test]
fn a_text_that_does_not_fit_is_refused_with_its_reason() {
    assert_eq!(request(b"two\0words"), Err(BadText::Nul(3)));
    assert_eq!(request(&[b'x'; COUNTED_MAX + 1]), Err(BadText::TooLong));
    assert_eq!(
        request(&[b'x'; COUNTED_MAX]).unwrap().len(),
        COUNTED_MAX + 1
    );
    assert_eq!(request(b""), Ok(vec![0]));
}

#[test]
fn each_protocol_has_its_name_and_its_port() {
    let each = Protocol::ALL.map(|protocol| (protocol.to_string(), protocol.default_port()));
    let text = format!("{each:?}");
    assert_eq!(
        text,
        r#"[("echo", 20162), ("counted", 4000), ("whoami", 4001)]"#
    );
}

#[test]
fn an_address_in_an_answer_is_parsed_and_nothing_else_is() {
    for peer in ["192.0.2.7:40112", "[2001:db8::7]:1"] {
        let peer = peer.parse().unwrap();
        assert_eq!(seen(&whoami(peer)), Some(peer));
    }
    for answer in ["192.0.2.7:40112", "192.0.2.7\n", "11 : test_string\n", "\n"] {
        assert_eq!(seen(answer.as_bytes()), None, "{answer:?}");
    }
}

/// Bytes cut into segments; NULs and newlines are frequent.
fn segments(byte: impl Strategy<Value = u8>) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let segment = prop::collection::vec(byte, 0..300);
    prop::collection::vec(segment, 0..10)
}

fn any_byte() -> impl Strategy<Value = u8> {
    prop_oneof![200 => any::<u8>(), 1 => Just(0), 1 => Just(b'\n')]
}

fn text_byte() -> impl Strategy<Value = u8> {
    any::<u8>().prop_map(|byte| if byte == b'\n' { b' ' } else { byte })
}

/// Pushes segments until there is an answer; the half-close gives it otherwise.
fn converse(segments: &[Vec<u8>]) -> Vec<u8> {
    let mut message = Message::default();
    let pushed = segments.iter().find_map(|segment| message.push(segment));
    pushed.unwrap_or_else(|| message.finish())
}

proptest! {
    #[test]
    fn without_newlines_every_fragmentation_gets_the_same_answer(segments in segments(text_byte())) {
        let whole = segments.concat();
        let text = whole.split(|&byte| byte == 0).next().unwrap();
        let want = answer(&text[..text.len().min(1024)]);
        prop_assert_eq!(converse(&segments), want.clone());
        let bytes: Vec<_> = whole.iter().map(|&byte| vec![byte]).collect();
        prop_assert_eq!(converse(&bytes), want.clone());
        prop_assert_eq!(converse(&[whole]), want);
    }

    #[test]
    fn the_answer_comes_with_the_segment_that_completes_the_message(segments in segments(any_byte())) {
        let mut message = Message::default();
        let mut arrived = Vec::new();
        for segment in &segments {
            arrived.extend_from_slice(segment);
            let end = arrived.iter().position(|&byte| byte == 0).unwrap_or(arrived.len());
            let complete = end < arrived.len() || end >= 1024 || segment.ends_with(b"\n");
            let want = complete.then(|| answer(&arrived[..end.min(1024)]));
            prop_assert_eq!(message.push(segment), want);
            if complete {
                prop_assert!(message.is_empty());
                break;
            }
            prop_assert_eq!(message.is_empty(), arrived.is_empty());
        }
    }

    #[test]
    fn never_more_than_1024_bytes_are_kept(segments in segments(1..=255u8)) {
        let mut message = Message::default();
        for segment in &segments {
            let kept = message.clone().finish();
            prop_assert!(kept.len() < "1024 : ".len() + 1024 + 1);
            if let Some(answer) = message.push(segment) {
                prop_assert!(answer.len() <= "1024 : ".len() + 1024 + 1);
            }
        }
    }

    #[test]
    fn a_request_is_answered_for_its_text(text in prop::collection::vec(1..=255u8, 0..=COUNTED_MAX)) {
        let request = request(&text).unwrap();
        let got = Message::default().push(&request).unwrap();
        prop_assert_eq!(&got, &answer(&text));
        let prefix = format!("{} : ", text.len()).into_bytes();
        prop_assert_eq!(got, [&prefix[..], &text[..], &[0]].concat());
    }
}
