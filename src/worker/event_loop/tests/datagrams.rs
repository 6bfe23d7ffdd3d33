//! Messages of connections and datagrams share the turns.

use std::net::UdpSocket;

use super::*;
use crate::base::sys::datagram::{receive_joined, send_segmented};
use crate::worker::datagrams::protocol::DatagramProtocol;
use crate::worker::datagrams::refusal::{DatagramCounts, Refusal};
use crate::worker::datagrams::setup::{Answered, Bound};

/// A worker with a socket for datagrams of RFC 862, and a client of that.
fn rig() -> (Rig, UdpSocket) {
    rig_of(DatagramProtocol::Echo)
}

fn rig_of(protocol: DatagramProtocol) -> (Rig, UdpSocket) {
    let (client, bound) = bound(protocol);
    (with_bound(bound), client)
}

/// A client, and the socket that it is connected to.
fn bound(protocol: DatagramProtocol) -> (UdpSocket, Bound) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    SockRef::from(&socket)
        .set_recv_buffer_size(1 << 20)
        .unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_nonblocking(true).unwrap();
    client.connect(socket.local_addr().unwrap()).unwrap();
    let bound = Bound {
        protocol,
        address: socket.local_addr().unwrap(),
        sockets: vec![socket],
        guard: None,
        is_handed_over: false,
    };
    (client, bound)
}

fn with_bound(bound: Bound) -> Rig {
    with_rate(bound, None)
}

fn with_rate(bound: Bound, rate: Option<u32>) -> Rig {
    let answered = Answered {
        low_ports: false,
        rate,
    };
    let setup = Arc::new(Setup::new(vec![bound], 1, answered));
    Rig::with_datagrams(limits(), setup)
}

fn counts(rig: &Rig) -> DatagramCounts {
    let counters = &rig.worker.connections.context.metrics.counters;
    counters.datagrams.get()
}

fn send(client: &UdpSocket, count: usize) {
    for _ in 0..count {
        client.send(b"x").unwrap();
    }
}

/// Clients of TCP, each with a message that waits to be served.
fn messages(rig: &mut Rig, count: usize) -> Vec<std::net::TcpStream> {
    let clients: Vec<_> = (0..count).map(|_| rig.admit()).collect();
    for (stream, key) in &clients {
        (&*stream).write_all(b"message").unwrap();
        let socket = rig.worker.connections.clients[*key].conn.transport();
        wait_until(|| socket.peek(&mut [0]).is_ok());
        rig.report(*key);
    }
    clients.into_iter().map(|(stream, _)| stream).collect()
}

#[test]
fn datagrams_and_messages_take_turns_whichever_there_are_more_of() {
    let (mut rig, client) = rig();
    send(&client, 150);
    let streams = messages(&mut rig, 50);
    rig.worker.serve_ready();
    assert_eq!(counts(&rig).answered, 50, "as many as messages");
    assert_eq!(rig.worker.connections.ready.len(Class::Message), 0);
    for mut stream in streams {
        let mut echo = [0; 7];
        stream.read_exact(&mut echo).unwrap();
    }
    rig.worker.serve_ready();
    assert_eq!(counts(&rig).answered, 82, "a batch without messages");
    // Those that are left need no further event.
    wait_until(|| {
        rig.worker.turn(&mut Events::with_capacity(8)).unwrap();
        counts(&rig).answered == 150
    });
    assert_eq!(counts(&rig).received, 150);
}

#[test]
fn a_message_waits_for_no_more_than_a_batch_of_a_flood() {
    let (mut rig, client) = rig();
    send(&client, 200);
    let (mut stream, key) = rig.admit();
    stream.write_all(b"message").unwrap();
    let socket = rig.worker.connections.clients[key].conn.transport();
    wait_until(|| socket.peek(&mut [0]).is_ok());
    rig.worker.serve_ready();
    let before = counts(&rig).answered;
    rig.serve(key);
    stream.set_nonblocking(true).unwrap();
    wait_until(|| stream.read(&mut [0; 7]).is_ok());
    assert!(before <= 32 && counts(&rig).answered <= 64);
}

#[test]
fn long_datagrams_are_answered_by_bytes_and_not_as_many_as_messages() {
    const LONG: usize = 30_000;
    // The largest buffer that any kernel allows holds them.
    const COUNT: u64 = 10;
    let (mut rig, client) = rig();
    for _ in 0..COUNT {
        client.send(&[7; LONG]).unwrap();
    }
    let _streams = messages(&mut rig, 50);
    rig.worker.serve_ready();
    let first = counts(&rig).answered;
    assert!((8..=9).contains(&first), "{first} of 256 KiB");
    wait_until(|| {
        rig.worker.serve_ready();
        counts(&rig).answered == COUNT
    });
}

/// A rig that receives several datagrams as one, and a client whose messages are datagrams of so
/// many bytes.
fn joining_rig(rate: Option<u32>, bytes: i32) -> (Rig, UdpSocket) {
    let (client, bound) = bound(DatagramProtocol::Echo);
    receive_joined(&bound.sockets[0], true).unwrap();
    send_segmented(&client, bytes).unwrap();
    (with_rate(bound, rate), client)
}

/// Datagrams of 100 bytes, the first of which has this number.
fn numbered(first: u32, count: u32) -> Vec<u8> {
    let one = |number: u32| [number.to_be_bytes(); 25].concat();
    (first..first + count).flat_map(one).collect()
}

/// The lengths of the datagrams that have come to a client, which are those from number 0 on.
fn lengths(client: &UdpSocket) -> Vec<usize> {
    let mut buffer = [0; 200];
    let mut lengths = Vec::new();
    while let Ok(length) = client.recv(&mut buffer) {
        let expected = numbered(lengths.len() as u32, 1);
        assert_eq!(buffer[..length], expected[..length], "{}", lengths.len());
        lengths.push(length);
    }
    lengths
}

#[test]
fn datagrams_that_come_as_one_are_answered_one_by_one_however_many_there_are() {
    let (mut rig, client) = joining_rig(None, 100);
    SockRef::from(&client)
        .set_recv_buffer_size(1 << 20)
        .unwrap();
    for first in [0, 50, 100, 150] {
        client.send(&numbered(first, 50)).unwrap();
    }
    // Its last one is shorter.
    client.send(&numbered(200, 50)[..4950]).unwrap();
    wait_until(|| {
        rig.worker.serve_ready();
        counts(&rig).received == 250
    });
    let counts = counts(&rig);
    assert_eq!((counts.received, counts.answered), (250, 250));
    assert_eq!((counts.bytes, counts.unsent), (24_950, 0));
    let lengths = lengths(&client);
    assert_eq!(lengths[..249], [100; 249]);
    assert_eq!(lengths[249..], [50]);
}

#[test]
fn what_the_system_refuses_to_send_is_counted_by_datagrams() {
    let (client, bound) = bound(DatagramProtocol::Echo);
    let socket = bound.sockets[0].try_clone().unwrap();
    let mut rig = with_bound(bound);
    send(&client, 3);
    client.send(b"longer").unwrap();
    // It still receives.
    socket.connect(client.local_addr().unwrap()).unwrap();
    SockRef::from(&socket).shutdown(Shutdown::Write).unwrap();
    rig.worker.serve_ready();
    let counts = counts(&rig);
    assert_eq!((counts.received, counts.answered), (4, 0));
    assert_eq!((counts.unsent, counts.bytes), (4, 0));
}

#[test]
fn a_rate_is_for_each_of_those_that_come_as_one() {
    let (mut rig, client) = joining_rig(Some(1), 100);
    client.send(&numbered(0, 60)).unwrap();
    client.send(&numbered(60, 60)).unwrap();
    rig.worker.serve_ready();
    let counts = counts(&rig);
    // A bucket has 64 tokens at the least, and one more may come meanwhile.
    assert!((64..=65).contains(&counts.answered), "{counts:?}");
    assert_eq!(counts.received, 120);
    assert_eq!(counts.refused(Refusal::Rate), 120 - counts.answered);
    assert_eq!(lengths(&client), vec![100; counts.answered as usize]);
}

#[test]
fn turns_are_as_long_where_many_datagrams_come_as_one() {
    let (mut rig, client) = joining_rig(None, 10);
    client.send(&[0; 10]).unwrap();
    rig.worker.serve_ready();
    for _ in 0..40 {
        client.send(&[0; 640]).unwrap();
    }
    // So many were not to be expected.
    rig.worker.datagrams.is_event(Token(usize::MAX - 1));
    rig.worker.serve_ready();
    let first = counts(&rig).answered;
    assert_eq!(first, 1 + 32 * 64);
    rig.worker.serve_ready();
    assert_eq!(counts(&rig).answered, first + 64);
    let _streams = messages(&mut rig, 100);
    rig.worker.serve_ready();
    assert_eq!(counts(&rig).answered, first + 3 * 64, "as many as messages");
}

#[test]
fn datagrams_that_are_not_answered_shorten_no_slices() {
    for (protocol, expected) in [
        (DatagramProtocol::Stamp, slices::ALONE),
        (DatagramProtocol::Echo, slices::BESIDE_MANY),
    ] {
        let (mut rig, client) = rig_of(protocol);
        send(&client, 20);
        rig.worker.serve_ready();
        assert_eq!(counts(&rig).received, 20);
        let longest = rig.worker.slices.longest(rig.worker.connections.now);
        assert_eq!(longest, expected, "one byte is no packet of STAMP");
    }
}

#[test]
fn a_stop_closes_the_socket_only_once_all_that_came_is_answered() {
    let (mut rig, client) = rig();
    send(&client, 100);
    rig.stop(SECOND);
    let mut events = Events::with_capacity(8);
    let mut turns = 0;
    while !rig.worker.is_done() {
        rig.worker.turn(&mut events).unwrap();
        turns += 1;
    }
    assert!(turns >= 3, "{turns} turns");
    assert_eq!(counts(&rig).answered, 100);
    let mut echoes = 0;
    while client.recv(&mut [0; 2]).is_ok() {
        echoes += 1;
    }
    assert_eq!(echoes, 100);
    // Nobody has the port any more.
    let _ = client.send(b"x");
    wait_until(|| {
        client
            .recv(&mut [0; 2])
            .is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
    });
}

#[test]
fn a_worker_polls_on_after_datagrams_whether_an_event_told_of_them_or_not() {
    const POLLS_FOR: Duration = Duration::from_secs(3600);

    for has_poller in [true, false] {
        let (mut rig, client) = rig();
        let mut events = Events::with_capacity(8);
        // A worker looks for what one before it has left.
        rig.worker.turn(&mut events).unwrap();
        if !has_poller {
            let registry = rig.worker.poller.registry();
            rig.worker.datagrams.take_from_poller(registry);
        }
        rig.worker.connections.context.settings.busy_poll = POLLS_FOR;
        // One more than a batch.
        send(&client, 33);
        for (is_told, answered) in [(true, 32), (false, 33)] {
            rig.worker.busy_until = rig.worker.connections.now;
            rig.worker.turn(&mut events).unwrap();
            assert_eq!(events.is_empty(), !(is_told && has_poller));
            assert_eq!(counts(&rig).answered, answered);
            let until = rig.worker.busy_until;
            assert_eq!(until - rig.worker.connections.now, POLLS_FOR, "{answered}");
        }
        // It does not wait for the next one.
        for _ in 0..3 {
            rig.worker.turn(&mut events).unwrap();
            assert!(events.is_empty());
        }
        // One that comes meanwhile is found, and has it poll for as long again.
        let before = rig.worker.busy_until;
        send(&client, 1);
        rig.worker.turn(&mut events).unwrap();
        assert_eq!(counts(&rig).answered, 34);
        rig.worker.turn(&mut events).unwrap();
        assert!(rig.worker.busy_until > before);
    }
}

#[test]
fn a_worker_changes_how_it_waits_by_what_there_is_to_do_and_misses_nothing() {
    let (mut rig, client) = rig();
    let mut events = Events::with_capacity(8);
    rig.worker.turn(&mut events).unwrap();
    let mut answered = 0;
    // It sleeps until these come.
    let mut serve = |rig: &mut Rig, count| {
        for _ in 0..600 {
            send(&client, count);
            answered += count;
            while counts(rig).answered < answered as u64 {
                rig.worker.turn(&mut events).unwrap();
            }
            for _ in 0..count {
                client.recv(&mut [0; 2]).unwrap();
            }
        }
        rig.worker.datagrams.is_beside_poller()
    };
    assert!(!serve(&mut rig, 1));
    assert!(serve(&mut rig, 8));
    assert!(!serve(&mut rig, 1));
}
