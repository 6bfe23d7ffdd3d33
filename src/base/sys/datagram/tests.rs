//! The system calls over loopback, of both families.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use socket2::SockRef;

use super::batch::Batch;
use super::joins::Joins;
use super::many::send_many;
use super::received::{Local, Origin, Wanted};
use super::single::{receive, receive_error};
use super::switches::{dropped, request};
use crate::base::testing::wait_until;

mod joined;
mod trains;

const ALL: Wanted = Wanted {
    destination: true,
    marks: true,
    hops: true,
    time: true,
    dropped: true,
    errors: false,
};

const LOOPBACKS: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

fn socket(address: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A socket that is told everything, and one to send from.
fn pair(address: &str) -> (UdpSocket, SocketAddr, UdpSocket) {
    let (server, at) = socket(address);
    request(&server, ALL).unwrap();
    (server, at, socket(address).0)
}

/// Waits until a batch has received this many datagrams in one call.
fn fill(batch: &mut Batch, server: &UdpSocket, count: usize) {
    let mut byte = [0];
    server.peek_from(&mut byte).unwrap();
    assert_eq!(batch.receive(server, usize::MAX).unwrap(), count);
}

fn set_marks(socket: &UdpSocket, marks: u32) {
    let is_v4 = socket.local_addr().unwrap().is_ipv4();
    let socket = SockRef::from(socket);
    match is_v4 {
        true => socket.set_tos_v4(marks).unwrap(),
        false => socket.set_tclass_v6(marks).unwrap(),
    }
}

#[test]
fn a_datagram_comes_with_all_that_the_kernel_knows_of_it() {
    for address in LOOPBACKS {
        let (server, at, client) = pair(address);
        set_marks(&client, 0xb9);
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        client.send_to(b"four", at).unwrap();
        let mut buffer = [0; 10];
        let got = receive(&server, &mut buffer).unwrap();
        let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(&buffer[..got.bytes], b"four");
        assert_eq!(got.source, client.local_addr().unwrap());
        assert!(!got.truncated);
        assert_eq!(
            (got.marks, got.hops, got.dropped),
            (Some(0xb9), Some(64), None)
        );
        let to = got.to.unwrap();
        assert_eq!((to.address, to.to_many), (at.ip(), false));
        assert!(to.interface > 0);
        let time = got.at.unwrap();
        assert!(
            before <= time && time <= after,
            "{before:?} {time:?} {after:?}"
        );
    }
}

#[test]
fn an_empty_datagram_is_one_and_a_longer_one_than_the_buffer_is_marked() {
    for address in LOOPBACKS {
        let (server, at, client) = pair(address);
        client.send_to(b"", at).unwrap();
        client.send_to(b"12345", at).unwrap();
        let mut buffer = [0; 4];
        let got = receive(&server, &mut buffer).unwrap();
        assert_eq!((got.bytes, got.truncated), (0, false));
        let got = receive(&server, &mut buffer).unwrap();
        assert_eq!((got.bytes, got.truncated), (4, true));
        assert_eq!(&buffer, b"1234");
    }
}

#[test]
fn what_is_not_requested_is_not_said() {
    let (server, at) = socket("127.0.0.1:0");
    let (client, _) = socket("127.0.0.1:0");
    client.send_to(b"x", at).unwrap();
    let got = receive(&server, &mut [0; 4]).unwrap();
    assert_eq!((got.to, got.marks, got.hops), (None, None, None));
    assert_eq!((got.at, got.dropped), (None, None));
}

#[test]
fn a_batch_is_answered_from_the_address_asked_with_the_marks_it_came_with() {
    for (any, local, seen) in [
        ("0.0.0.0:0", "127.0.0.1:0", "127.0.0.5"),
        ("[::]:0", "[::1]:0", "::1"),
        ("[::]:0", "127.0.0.1:0", "127.0.0.5"),
    ] {
        let (server, at, _) = pair(any);
        let (client, _) = socket(local);
        request(&client, ALL).unwrap();
        set_marks(&client, 0x2e);
        let to = SocketAddr::new(seen.parse().unwrap(), at.port());
        for text in ["one", "", "three"] {
            client.send_to(text.as_bytes(), to).unwrap();
        }
        let mut batch = Batch::new(8, 100, 8);
        fill(&mut batch, &server, 3);
        for index in 0..3 {
            let got = batch.received(index);
            assert_eq!(got.to.unwrap().address, to.ip());
            let marks = got.marks.unwrap();
            batch.answer(index, 0..got.bytes, got.to, marks, Joins::NONE);
        }
        let sent = batch.send(&server, &mut { Joins::NONE }, |_, _, error| {
            panic!("{error}")
        });
        assert_eq!((sent.datagrams, sent.bytes, sent.failed), (3, 8, 0));
        for text in ["one", "", "three"] {
            let mut buffer = [0; 100];
            let got = receive(&client, &mut buffer).unwrap();
            assert_eq!(&buffer[..got.bytes], text.as_bytes());
            assert_eq!((got.source, got.marks), (to, Some(0x2e)), "{any} {local}");
        }
    }
}

#[test]
fn a_batch_is_used_again_and_again_with_as_many_slots_as_come() {
    let (server, at, client) = pair("[::1]:0");
    let mut batch = Batch::new(4, 2000, 4);
    assert_eq!(
        batch.receive(&server, 4).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    for round in 0..50_usize {
        let count = 1 + round % 4;
        for number in 0..count {
            client.send_to(&vec![number as u8; round * 40], at).unwrap();
        }
        fill(&mut batch, &server, count);
        for index in 0..count {
            let got = batch.received(index);
            assert_eq!((got.bytes, got.truncated), (round * 40, false));
            assert_eq!(got.source, client.local_addr().unwrap());
            assert!(got.marks.is_some() && got.to.is_some() && got.hops.is_some());
            let bytes = &batch.slot(index)[..got.bytes];
            assert!(bytes.iter().all(|&byte| byte == index as u8));
        }
    }
}

#[test]
fn a_batch_takes_no_more_than_it_is_told_and_marks_what_was_cut() {
    let (server, at, client) = pair("127.0.0.1:0");
    for _ in 0..3 {
        client.send_to(&[7; 101], at).unwrap();
    }
    let mut batch = Batch::new(8, 100, 8);
    server.peek_from(&mut [0]).unwrap();
    assert_eq!(batch.receive(&server, 2).unwrap(), 2);
    assert!(batch.received(1).truncated);
    assert_eq!(batch.received(1).bytes, 100);
    assert_eq!(batch.receive(&server, 2).unwrap(), 1);
}

#[test]
fn a_largest_datagram_comes_back_whole() {
    let (server, at, client) = pair("127.0.0.1:0");
    let whole: Vec<u8> = (0..65_507_u32).map(|at| (at % 251) as u8).collect();
    client.send_to(&whole, at).unwrap();
    let mut batch = Batch::new(2, 65_535, 2);
    fill(&mut batch, &server, 1);
    let got = batch.received(0);
    batch.answer(0, 0..got.bytes, got.to, 0, Joins::NONE);
    assert_eq!(
        batch
            .send(&server, &mut { Joins::NONE }, |_, _, error| panic!(
                "{error}"
            ))
            .datagrams,
        1
    );
    let mut buffer = vec![0; 65_535];
    let got = receive(&client, &mut buffer).unwrap();
    assert!(buffer[..got.bytes] == whole);
}

#[test]
fn many_are_sent_by_one_call_up_to_one_that_is_refused() {
    let (server, at, client) = pair("127.0.0.1:0");
    client.connect(at).unwrap();
    let too_long = vec![0; 65_508];
    let all = [&b"one"[..], b"", b"three", &too_long, b"five"].map(IoSlice::new);
    assert_eq!(send_many(&client, &all).unwrap(), 3);
    let error = send_many(&client, &all[3..]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    assert_eq!(send_many(&client, &all[4..]).unwrap(), 1);
    for text in ["one", "", "three", "five"] {
        let mut buffer = [0; 100];
        let got = receive(&server, &mut buffer).unwrap();
        assert_eq!(&buffer[..got.bytes], text.as_bytes());
    }
}

#[test]
fn an_answer_that_is_refused_stops_none_of_the_others() {
    let (server, at, client) = pair("127.0.0.1:0");
    for number in 0..5_u8 {
        client.send_to(&[number], at).unwrap();
    }
    let mut batch = Batch::new(8, 100, 8);
    fill(&mut batch, &server, 5);
    for index in 0..5 {
        let mut from = batch.received(index).to;
        if index == 1 || index == 3 {
            // Of no interface of this machine: TEST-NET-1.
            from.as_mut().unwrap().address = Ipv4Addr::new(192, 0, 2, 1).into();
        }
        batch.answer(index, 0..1, from, 0, Joins::NONE);
    }
    let mut failed = Vec::new();
    let sent = batch.send(&server, &mut { Joins::NONE }, |answer, to, _| {
        failed.push((answer, to));
    });
    let to = client.local_addr().ok();
    assert_eq!(failed, [(1, to), (3, to)]);
    assert_eq!((sent.datagrams, sent.bytes, sent.failed), (3, 3, 2));
    for number in [0, 2, 4] {
        let mut buffer = [0; 10];
        assert_eq!(receive(&client, &mut buffer).unwrap().bytes, 1);
        assert_eq!(buffer[0], number);
    }
}

#[test]
fn the_kernels_drops_are_counted_without_a_further_datagram_and_with_one() {
    let (server, at, client) = pair("127.0.0.1:0");
    SockRef::from(&server).set_recv_buffer_size(1).unwrap();
    assert_eq!(dropped(&server), Some(0));
    for _ in 0..20 {
        client.send_to(&[0; 1000], at).unwrap();
    }
    let drops = dropped(&server).unwrap();
    assert!(drops > 0);
    let mut batch = Batch::new(32, 2000, 32);
    batch.receive(&server, 32).unwrap();
    client.send_to(&[], at).unwrap();
    let got = receive(&server, &mut [0; 10]).unwrap();
    assert_eq!(got.dropped, Some(drops));
}

#[test]
fn a_port_that_nobody_has_is_reported_with_the_datagram_that_was_sent_there() {
    for address in LOOPBACKS {
        let (client, _) = socket(address);
        request(
            &client,
            Wanted {
                errors: true,
                ..ALL
            },
        )
        .unwrap();
        let (closed, gone) = socket(address);
        drop(closed);
        client.send_to(b"nobody", gone).unwrap();
        let mut buffer = [0; 100];
        wait_until(|| {
            let Ok(report) = receive_error(&client, &mut buffer) else {
                return false;
            };
            assert_eq!(report.error.raw_os_error(), Some(libc::ECONNREFUSED));
            assert_eq!(&buffer[..report.bytes], b"nobody");
            assert_eq!(report.offender.unwrap().ip(), gone.ip());
            let expected = match gone.is_ipv4() {
                true => Origin::Icmp { kind: 3, code: 3 },
                false => Origin::Icmp6 { kind: 1, code: 4 },
            };
            assert_eq!(report.origin, expected);
            true
        });
    }
}
