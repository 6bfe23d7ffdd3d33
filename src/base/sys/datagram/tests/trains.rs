//! Datagrams that come several as one.

use super::*;
use crate::base::sys::datagram::received::Received;
use crate::base::sys::datagram::switches::{receive_joined, send_segmented};

/// A socket that receives them so, and one whose messages go out as datagrams of 100 bytes.
fn joining_pair(address: &str) -> (UdpSocket, SocketAddr, UdpSocket) {
    let (server, at, client) = pair(address);
    receive_joined(&server, true).unwrap();
    send_segmented(&client, 100).unwrap();
    (server, at, client)
}

fn parts(received: Received) -> Vec<(usize, usize, bool)> {
    let each = received.each();
    each.map(|(start, one)| (start, one.bytes, one.truncated))
        .collect()
}

#[test]
fn several_that_come_as_one_are_told_apart_and_have_all_that_is_said_of_the_whole() {
    for address in LOOPBACKS {
        let (server, at, client) = joining_pair(address);
        set_marks(&client, 0x2e);
        let whole: Vec<u8> = (0..350_u32).map(|at| at as u8).collect();
        client.send_to(&whole, at).unwrap();
        client.send_to(b"one", at).unwrap();
        client.send_to(b"", at).unwrap();
        let mut batch = Batch::new(8, 2000, 8);
        fill(&mut batch, &server, 3);
        let got = batch.received(0);
        assert_eq!((got.segment, got.count()), (Some(100), 4));
        assert_eq!(
            parts(got),
            [
                (0, 100, false),
                (100, 100, false),
                (200, 100, false),
                (300, 50, false)
            ]
        );
        assert!(batch.slot(0)[..350] == whole);
        for (_, one) in got.each() {
            let expected = Received {
                bytes: one.bytes,
                segment: None,
                ..got
            };
            assert_eq!(one, expected);
            assert_eq!((one.marks, one.to.unwrap().address), (Some(0x2e), at.ip()));
        }
        assert_eq!(parts(batch.received(1)), [(0, 3, false)]);
        assert_eq!(parts(batch.received(2)), [(0, 0, false)]);
        receive_joined(&server, false).unwrap();
        client.send_to(&whole, at).unwrap();
        fill(&mut batch, &server, 4);
        assert_eq!(parts(batch.received(3)), [(0, 50, false)]);
    }
}

#[test]
fn of_several_that_were_cut_only_the_last_one_is_said_to_be() {
    let (server, at, client) = joining_pair("127.0.0.1:0");
    let mut batch = Batch::new(2, 250, 2);
    client.send_to(&[7; 350], at).unwrap();
    fill(&mut batch, &server, 1);
    let cut = [(0, 100, false), (100, 100, false), (200, 50, true)];
    assert_eq!(parts(batch.received(0)), cut);
}

#[test]
fn the_kernel_counts_several_that_it_drops_as_one() {
    let (server, at, client) = joining_pair("127.0.0.1:0");
    SockRef::from(&server).set_recv_buffer_size(1).unwrap();
    for _ in 0..20 {
        client.send_to(&[0; 1000], at).unwrap();
    }
    let mut batch = Batch::new(32, 2000, 2);
    let came = batch.receive(&server, 32).unwrap();
    assert!(came < 20);
    assert_eq!(dropped(&server).unwrap() as usize, 20 - came);
}
