//! The reflector of STAMP, as a sender written by hand from RFC 8762 sees it.
#![cfg(target_os = "linux")]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::Program;
use common::serve::{log_of, reported};
use socket2::SockRef;

/// From NTP's time to Unix time, in seconds: RFC 5905.
const UNIX: u64 = 2_208_988_800;

fn reflector_on(address: &str, arguments: &[&str]) -> (Program, SocketAddr) {
    let serve = ["serve", "--stamp", address];
    let mut program = Program::start([&serve, arguments].concat());
    let address = program.wait_for_listener("stamp");
    (program, address)
}

fn reflector(arguments: &[&str]) -> (Program, SocketAddr) {
    reflector_on("127.0.0.1:0", arguments)
}

fn sender_on(address: &str) -> UdpSocket {
    let sender = UdpSocket::bind(address).unwrap();
    sender.set_read_timeout(Some(common::DEADLINE)).unwrap();
    sender
}

fn sender() -> UdpSocket {
    sender_on("127.0.0.1:0")
}

/// The bytes of a request: RFC 8762, section 4.2.1.
fn request(sequence: u32, session: u16, length: usize) -> Vec<u8> {
    let mut packet = sequence.to_be_bytes().to_vec();
    packet.extend([0xe8, 1, 2, 3, 4, 5, 6, 7]); // a time
    packet.extend([0x81, 0x02]); // an error estimate
    packet.extend(session.to_be_bytes());
    packet.resize(44, 0);
    packet.resize(length, 0xab);
    packet
}

fn exchange(sender: &UdpSocket, to: SocketAddr, packet: &[u8]) -> Vec<u8> {
    sender.send_to(packet, to).unwrap();
    let mut answer = vec![0; 65_536];
    let (bytes, from) = sender.recv_from(&mut answer).unwrap();
    assert_eq!(from, to);
    answer.truncate(bytes);
    answer
}

fn number(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(packet[at..at + 4].try_into().unwrap())
}

/// A time in a packet as Unix time.
fn time(packet: &[u8], at: usize) -> Duration {
    let seconds = u64::from(number(packet, at)) - UNIX;
    let part = u64::from(number(packet, at + 4));
    Duration::new(seconds, ((part * 1_000_000_000) >> 32) as u32)
}

#[test]
fn an_answer_is_the_one_of_the_rfc_with_the_times_the_ttl_and_its_own_count() {
    let (program, reflector) = reflector(&["--workers", "2"]);
    let sender = sender();
    SockRef::from(&sender).set_ttl_v4(17).unwrap();
    for (count, sequence) in [5, 6, 9, 10].into_iter().enumerate() {
        let asked = request(sequence, 0xcafe, 44);
        // Times in a packet are cut below a nanosecond.
        let slack = Duration::from_nanos(2);
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - slack;
        let answer = exchange(&sender, reflector, &asked);
        let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(answer.len(), 44);
        assert_eq!(number(&answer, 0), count as u32, "its own count");
        assert_eq!(answer[14..16], [0xca, 0xfe], "the session");
        assert_eq!(answer[24..38], asked[..14], "the request");
        assert_eq!(answer[38..], [0, 0, 17, 0, 0, 0], "its TTL");
        let (sent, received) = (time(&answer, 4), time(&answer, 16));
        let times = [before, received, sent + slack, after + slack];
        assert!(times.is_sorted(), "{times:?}");
        assert_ne!(answer[13], 0, "a multiplier of 0 is not allowed");
        assert_eq!(answer[12] & 0x40, 0, "NTP's format");
    }
    let log = log_of(program);
    assert!(
        reported(&log, "total:").contains(", 4 datagrams answered with 176 bytes"),
        "{log:#?}"
    );
}

#[test]
fn an_answer_is_as_long_as_its_request_and_keeps_the_padding() {
    let (_program, reflector) = reflector(&["--udp-rate", "off"]);
    let sender = sender();
    for length in [41, 43, 44, 45, 1000, 65_507] {
        let mut asked = request(1, 0, length.max(44));
        asked.truncate(length);
        let answer = exchange(&sender, reflector, &asked);
        assert_eq!(answer.len(), length);
        assert_eq!(answer[44.min(length)..], asked[44.min(length)..]);
        assert_eq!(number(&answer, 24), 1, "{length}");
    }
}

#[test]
fn sessions_are_counted_apart_and_a_replayed_request_is_answered_as_another() {
    let (_program, reflector) = reflector(&[]);
    let (one, other) = (sender(), sender());
    let next = |sender: &UdpSocket, session| {
        number(&exchange(sender, reflector, &request(3, session, 44)), 0)
    };
    assert_eq!([next(&one, 0), next(&one, 0), next(&one, 0)], [0, 1, 2]);
    assert_eq!([next(&one, 7), next(&one, 7)], [0, 1]);
    assert_eq!([next(&other, 0), next(&one, 0)], [0, 3]);
}

#[test]
fn a_session_has_the_address_that_was_asked_also_where_all_are_served() {
    for address in ["*:0", "0.0.0.0:0"] {
        let (program, server) = reflector_on(address, &["--workers", "2"]);
        let sender = sender();
        for count in 0..3 {
            for host in ["127.0.0.1", "127.0.0.2"] {
                let asked = SocketAddr::new(host.parse().unwrap(), server.port());
                let answer = exchange(&sender, asked, &request(7, 0, 44));
                assert_eq!(number(&answer, 0), count, "{asked}");
                assert_eq!(answer[40], 64, "its TTL");
            }
        }
        let log = log_of(program);
        let words = ", 6 datagrams answered with 264 bytes";
        assert!(reported(&log, "total:").contains(words), "{log:#?}");
    }
}

#[test]
fn by_ipv6_it_is_the_same() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return; // This system has none.
    }
    for address in ["[::1]:0", "*:0"] {
        let (program, server) = reflector_on(address, &[]);
        let sender = sender_on("[::1]:0");
        SockRef::from(&sender).set_unicast_hops_v6(17).unwrap();
        let asked = SocketAddr::new("::1".parse().unwrap(), server.port());
        for (count, length) in [44, 1500].into_iter().enumerate() {
            let packet = request(9, 0xcafe, length);
            let answer = exchange(&sender, asked, &packet);
            assert_eq!((answer.len(), number(&answer, 0)), (length, count as u32));
            assert_eq!(answer[24..38], packet[..14], "the request");
            assert_eq!(answer[40], 17, "its hop limit");
            let since = time(&answer, 16).abs_diff(time(&answer, 4));
            assert!(since < common::DEADLINE, "{since:?}");
        }
        let log = log_of(program);
        let words = ", 2 datagrams answered with 1544 bytes";
        assert!(reported(&log, "total:").contains(words), "{log:#?}");
    }
}

#[test]
fn what_is_too_short_is_not_answered_and_disturbs_no_session() {
    let (program, reflector) = reflector(&[]);
    let sender = sender();
    for length in [0, 1, 14, 40] {
        sender
            .send_to(&request(1, 0, 44)[..length], reflector)
            .unwrap();
    }
    assert_eq!(
        number(&exchange(&sender, reflector, &request(8, 0, 44)), 0),
        0
    );
    let log = log_of(program);
    let total = reported(&log, "total:");
    assert!(
        total.contains("4 refused: 4 too short for STAMP"),
        "{total}"
    );
}

#[test]
fn a_source_has_a_bounded_number_of_sessions_and_those_go_on() {
    const MOST: u16 = 1024;
    let (program, reflector) = reflector(&["--udp-rate", "off", "--workers", "1"]);
    let (one, other) = (sender(), sender());
    for session in 0..MOST {
        let answer = exchange(&one, reflector, &request(1, session, 44));
        assert_eq!(number(&answer, 0), 0, "{session}");
    }
    // Also from another port of the source.
    for sender in [&one, &other] {
        sender.send_to(&request(1, MOST, 44), reflector).unwrap();
    }
    let answer = exchange(&one, reflector, &request(2, 7, 44));
    assert_eq!((number(&answer, 0), number(&answer, 24)), (1, 2));
    let log = log_of(program);
    let words = "2 refused: 2 over the most sessions of STAMP a source";
    assert!(reported(&log, "total:").contains(words), "{log:#?}");
}

#[test]
fn a_source_over_its_rate_is_not_answered_and_takes_no_number() {
    let (program, reflector) = reflector(&["--udp-rate", "1/s"]);
    let sender = sender();
    for sequence in 0..200 {
        sender
            .send_to(&request(sequence, 0, 44), reflector)
            .unwrap();
    }
    let log = log_of(program);
    // A stop answers what has arrived.
    sender.set_nonblocking(true).unwrap();
    let mut answer = [0; 100];
    let mut answered = 0;
    while let Ok(44) = sender.recv(&mut answer) {
        assert_eq!(number(&answer, 0), answered);
        answered += 1;
    }
    // 64 at once.
    assert!((64..150).contains(&answered), "{answered}");
    let words = format!("{} over --udp-rate", 200 - answered);
    assert!(reported(&log, "total:").contains(&words), "{log:#?}");
}

#[test]
fn echo_and_reflector_are_served_beside_each_other() {
    let serve = ["serve", "--udp", "127.0.0.1:0", "--stamp", "127.0.0.1:0"];
    let mut program = Program::start(serve);
    let echo = program.wait_for_listener("udp");
    let reflector = program.wait_for_listener("stamp");
    let sender = sender();
    let asked = request(1, 0, 44);
    assert_eq!(exchange(&sender, echo, &asked), asked);
    assert_ne!(exchange(&sender, reflector, &asked), asked);
}
