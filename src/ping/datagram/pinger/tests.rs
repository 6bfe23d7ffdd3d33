use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::mpsc::channel;

use super::*;
use crate::base::testing::wait_until;
use crate::probe::datagram::path_error::PathError;

/// Far longer than any test takes.
const LONG: Duration = Duration::from_secs(3600);

fn server() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn ping(
    server: &UdpSocket,
    interval: Duration,
    count: Option<u64>,
    timeout: Duration,
) -> DatagramPing {
    let plan = Plan {
        addresses: vec![server.local_addr().unwrap()],
        carries: Carries::Echo,
        count,
        interval,
        size: 64,
        timeout,
        seed: 7,
        ports: 1,
        marks: Marks::default(),
    };
    DatagramPing::new(plan).unwrap()
}

/// A turn of the loop, as in [`DatagramPing::run`].
fn turn(ping: &mut DatagramPing) -> Vec<Event> {
    let happened = ping.step(&mut vec![0; BLOCK]).unwrap();
    for event in &happened {
        ping.count(event);
    }
    happened
}

fn refused() -> PathError {
    PathError {
        error: ErrorKind::ConnectionRefused.into(),
        quoted: 0,
        from: None,
        origin: None,
        mtu: None,
    }
}

/// Has the server echo what has come so far.
fn echo(server: &UdpSocket, datagrams: u64) {
    let mut block = [0; 100];
    for _ in 0..datagrams {
        let (length, from) = server.recv_from(&mut block).unwrap();
        server.send_to(&block[..length], from).unwrap();
    }
}

#[test]
fn a_schedule_that_no_machine_keeps_leaves_time_to_receive() {
    let server = server();
    let mut ping = ping(&server, Duration::from_nanos(1), None, LONG);
    assert!(turn(&mut ping).is_empty());
    assert_eq!(ping.number, SENT_A_TURN as u64);
    echo(&server, 3);
    let replies = turn(&mut ping);
    assert_eq!(replies.len(), 3, "{replies:?}");
    assert_eq!(ping.number, 2 * SENT_A_TURN as u64);
}

#[test]
fn a_stop_ends_a_schedule_that_no_machine_keeps() {
    let server = server();
    let ping = ping(&server, Duration::from_nanos(1), None, LONG);
    let stop = ping.stop();
    let (sender, ended) = channel();
    let echo = std::thread::spawn(move || {
        echo(&server, 1);
        // A closed port would refuse the others.
        server
    });
    std::thread::spawn(move || {
        let summary = ping.run(&mut |event| {
            assert!(matches!(event, Event::Reply(_)), "{event}");
            stop.request();
            Ok(())
        });
        sender.send(summary.unwrap()).unwrap();
    });
    let summary = ended.recv_timeout(Duration::from_secs(60)).unwrap();
    drop(echo.join().unwrap());
    assert_eq!(summary.common.received, 1);
    assert_eq!(summary.common.sent, summary.common.under_way + 1);
}

#[test]
fn sending_waits_while_too_many_are_remembered() {
    let server = server();
    let mut ping = ping(&server, Duration::from_nanos(1), None, LONG);
    let reply_log = ping.flows[0].content.reply_log_mut();
    for _ in 0..REMEMBERED - 10 {
        reply_log.sent(0);
    }
    let happened: Vec<_> = (0..3).flat_map(|_| turn(&mut ping)).collect();
    assert_eq!(ping.number, 10);
    assert_eq!(ping.next_due(), None);
    // It is said once, of the one that waits.
    let [Event::SendingWaits { seq: 11, .. }] = &happened[..] else {
        panic!("{happened:?}");
    };
    assert_eq!(ping.summary().held_back, 1);
    // Nothing is awaited that is older.
    ping.flows[0]
        .content
        .reply_log_mut()
        .expire(nanoseconds(LONG));
    turn(&mut ping);
    assert_eq!(ping.number, 10 + SENT_A_TURN as u64);
}

#[test]
fn what_a_turn_leaves_is_received_without_another_arrival() {
    let server = server();
    let mut ping = ping(&server, LONG, Some(1), LONG);
    let to = (std::net::Ipv4Addr::LOCALHOST, ping.flows[0].socket.port);
    let sent = RECEIVED_A_TURN + 10;
    for _ in 0..sent {
        server.send_to(b"0123456789abcdef", to).unwrap();
    }
    let mut events = Events::with_capacity(64);
    let mut received = Vec::new();
    while received.len() < sent {
        ping.wait(&mut events).unwrap();
        let more = turn(&mut ping);
        assert!(more.len() <= RECEIVED_A_TURN, "{}", more.len());
        assert_eq!(ping.unread.is_some(), more.len() == RECEIVED_A_TURN);
        received.extend(more);
    }
    let is_unasked = |event: &Event| matches!(event, Event::Unasked { .. });
    assert!(received.iter().all(is_unasked), "{received:?}");
}

#[test]
fn what_is_there_in_time_is_not_lost_because_it_is_read_later() {
    let timeout = Duration::from_secs(2);
    let server = server();
    let sent = RECEIVED_A_TURN as u64 + 10;
    let mut ping = ping(&server, Duration::from_nanos(1), Some(sent), timeout);
    while ping.number < sent {
        let before = ping.number;
        ping.send_due(&mut [0; 64], &mut Vec::new());
        echo(&server, ping.number - before);
    }
    // The time-out of all is over before the first is read.
    wait_until(|| ping.started.elapsed() > timeout);
    let mut all = turn(&mut ping);
    assert!(ping.unread.is_some());
    all.extend(turn(&mut ping));
    let is_reply = |event: &Event| matches!(event, Event::Reply(_));
    assert!(all.iter().all(is_reply), "{all:?}");
    assert_eq!(all.len() as u64, sent);
}

#[test]
fn an_error_that_names_none_of_several_takes_none_of_them() {
    let server = server();
    let mut ping = ping(&server, Duration::from_nanos(1), Some(3), LONG);
    turn(&mut ping);
    let event = ping.flows[0].refused(&[], &refused()).unwrap();
    assert!(matches!(event, Event::PathError { .. }), "{event}");
    let text = event.to_string();
    let words = "an error that names no datagram: refused by ICMP port unreachable";
    assert!(text.starts_with(words), "{text}");
    echo(&server, 3);
    let mut replies = turn(&mut ping);
    assert_eq!(replies.len(), 3, "{replies:?}");
    replies.retain(|event| !matches!(event, Event::Reply(_)));
    assert_eq!(replies, []);
    let summary = ping.summary();
    assert_eq!((summary.unnamed_errors, summary.refused), (1, 0));
    assert_eq!((summary.common.received, summary.common.lost), (3, 0));
}

#[test]
fn an_error_that_names_none_is_of_the_one_that_is_awaited() {
    let server = server();
    let mut ping = ping(&server, LONG, Some(1), LONG);
    turn(&mut ping);
    let event = ping.flows[0].refused(&[], &refused()).unwrap();
    assert!(matches!(event, Event::Lost { seq: 1, .. }), "{event}");
    assert_eq!(ping.flows[0].refused(&[], &refused()), None);
    let summary = ping.summary();
    assert_eq!((summary.refused, summary.unnamed_errors), (1, 0));
    // Its echo comes nevertheless, in time.
    echo(&server, 1);
    let events = turn(&mut ping);
    assert!(matches!(events[..], [Event::Reply(_)]), "{events:?}");
    let summary = ping.summary();
    assert_eq!((summary.refused, summary.common.lost), (0, 0));
    assert!(summary.all_well());
}
