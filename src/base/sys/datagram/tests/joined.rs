//! Answers that go out several in one message, and what becomes of them where that is refused.

use std::io;

use super::*;
use crate::base::sys::datagram::batch::{Sent, send_messages};

/// A server's socket of all addresses, and the batch of what came to it.
struct Rig {
    server: UdpSocket,
    at: SocketAddr,
    batch: Batch,
    joins: Joins,
    /// How many datagrams each message had that the kernel was given.
    messages: Vec<usize>,
}

impl Rig {
    fn new(any: &str) -> Self {
        let (server, at, _) = pair(any);
        SockRef::from(&server)
            .set_recv_buffer_size(1 << 20)
            .unwrap();
        Self {
            joins: Joins::on(&server),
            server,
            at,
            batch: Batch::new(150, 65_535, 150),
            messages: Vec::new(),
        }
    }

    /// Answers what has come, so many datagrams, from the address `from` gives for each number.
    fn answer(&mut self, count: usize, from: impl Fn(usize, Local) -> Local) {
        fill(&mut self.batch, &self.server, count);
        for index in 0..count {
            let got = self.batch.received(index);
            let from = from(index, got.to.unwrap());
            let marks = got.marks.unwrap();
            self.batch
                .answer(index, 0..got.bytes, Some(from), marks, self.joins);
        }
    }

    /// Sends the answers by `call`, which is given the system's. Returns what became of them and
    /// the numbers of those that failed.
    fn send(
        &mut self,
        mut call: impl FnMut(&mut [libc::mmsghdr], &Sender<'_>) -> io::Result<usize>,
    ) -> (Sent, Vec<usize>) {
        let (messages, server) = (&mut self.messages, &self.server);
        messages.clear();
        // SAFETY: these are the messages of the batch, or some of them.
        let system = |headers: &mut [libc::mmsghdr]| unsafe { send_messages(server, headers) };
        let mut failed = Vec::new();
        let call = |headers: &mut [libc::mmsghdr]| {
            let sizes: Vec<_> = headers.iter().map(datagrams_of).collect();
            let count = call(headers, &system)?;
            messages.extend(&sizes[..count]);
            Ok(count)
        };
        let sent = self
            .batch
            .send_by(&mut self.joins, call, |number, _, _| failed.push(number));
        (sent, failed)
    }

    /// The same, by the system's call alone.
    fn send_plainly(&mut self) -> (Sent, Vec<usize>) {
        self.send(|headers, system| system(headers))
    }
}

type Sender<'a> = dyn Fn(&mut [libc::mmsghdr]) -> io::Result<usize> + 'a;

#[allow(
    clippy::unnecessary_cast,
    reason = "the type of this field differs between C libraries"
)]
const fn datagrams_of(header: &libc::mmsghdr) -> usize {
    header.msg_hdr.msg_iovlen as usize
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// The bytes of the datagram of this number.
fn bytes(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + number * 31) as u8).collect()
}

fn asked(_: usize, to: Local) -> Local {
    to
}

/// Receives datagrams of these numbers and lengths, and nothing more.
fn expect(client: &UdpSocket, expected: &[(usize, usize)]) {
    let mut buffer = vec![0; 65_535];
    for &(number, length) in expected {
        let got = receive(client, &mut buffer).unwrap();
        assert!(buffer[..got.bytes] == bytes(number, length), "{number}");
    }
    client.set_nonblocking(true).unwrap();
    assert!(receive(client, &mut buffer).is_err(), "twice");
    client.set_nonblocking(false).unwrap();
}

#[test]
fn consecutive_ones_of_one_peer_and_size_are_joined_and_a_shorter_one_ends_them() {
    for (any, local) in [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0")] {
        let mut rig = Rig::new(any);
        let clients = [socket(local).0, socket(local).0];
        // Of which client, how many bytes.
        let all = [
            (0, 100),
            (0, 100),
            (0, 60),
            (0, 100),
            (1, 100),
            (1, 100),
            (0, 0),
            (0, 0),
            (0, 5),
            (1, 7),
            (0, 8),
            (0, 9),
            (0, 9),
            (0, 0),
        ];
        for (number, &(client, length)) in all.iter().enumerate() {
            clients[client]
                .send_to(&bytes(number, length), rig.at)
                .unwrap();
        }
        rig.answer(all.len(), asked);
        let (sent, failed) = rig.send_plainly();
        assert_eq!(rig.messages, [3, 1, 2, 1, 1, 1, 1, 1, 2, 1]);
        let total = all.iter().map(|&(_, length)| length as u64).sum();
        assert_eq!((sent.datagrams, sent.bytes), (all.len() as u64, total));
        assert_eq!((sent.failed, failed), (0, vec![]));
        for (which, client) in clients.iter().enumerate() {
            let its = all.iter().enumerate().filter(|&(_, &(of, _))| of == which);
            let its: Vec<_> = its.map(|(number, &(_, length))| (number, length)).collect();
            expect(client, &its);
        }
    }
}

#[test]
fn each_of_those_joined_has_its_marks_and_comes_from_the_address_asked() {
    for (any, local, hosts) in [
        ("0.0.0.0:0", "127.0.0.1:0", ["127.0.0.5", "127.0.0.6"]),
        ("[::]:0", "[::1]:0", ["::1", "::1"]),
        ("[::]:0", "127.0.0.1:0", ["127.0.0.5", "127.0.0.6"]),
    ] {
        let mut rig = Rig::new(any);
        let (client, _) = socket(local);
        request(&client, ALL).unwrap();
        let [one, other] = hosts.map(|host| SocketAddr::new(host.parse().unwrap(), rig.at.port()));
        let all = [
            (one, 0xb9),
            (one, 0xb9),
            (one, 0xb9),
            (one, 0),
            (one, 0),
            (other, 0),
            (other, 0),
        ];
        for (to, marks) in all {
            set_marks(&client, marks);
            client.send_to(b"marked", to).unwrap();
        }
        rig.answer(all.len(), asked);
        assert_eq!(rig.send_plainly().0.datagrams, 7);
        let expected = if one == other {
            vec![3, 4]
        } else {
            vec![3, 2, 2]
        };
        assert_eq!(rig.messages, expected, "{any} {local}");
        for (to, marks) in all {
            let got = receive(&client, &mut [0; 10]).unwrap();
            let seen = (got.source, got.marks.map(u32::from), got.bytes);
            assert_eq!(seen, (to, Some(marks), 6));
        }
    }
}

#[test]
fn no_message_has_more_datagrams_or_bytes_than_every_kernel_sends() {
    let mut rig = Rig::new("127.0.0.1:0");
    let (client, _) = socket("127.0.0.1:0");
    SockRef::from(&client)
        .set_recv_buffer_size(1 << 20)
        .unwrap();
    let small = (0..130).map(|number| (number, 10));
    for (number, length) in small.clone() {
        client.send_to(&bytes(number, length), rig.at).unwrap();
    }
    rig.answer(130, asked);
    assert_eq!(rig.send_plainly().0.datagrams, 130);
    assert_eq!(rig.messages, [64, 64, 2]);
    expect(&client, &small.collect::<Vec<_>>());
    let large = [
        (0, 30_000),
        (1, 30_000),
        (2, 30_000),
        (3, 5_507),
        (4, 65_507),
        (5, 65_507),
    ];
    for (number, length) in large {
        client.send_to(&bytes(number, length), rig.at).unwrap();
        // The kernel's usual buffer holds no more.
        rig.answer(1, asked);
        assert_eq!(rig.send_plainly().0.datagrams, 1);
        expect(&client, &[(number, length)]);
    }
    for (number, length) in &large[1..4] {
        client.send_to(&bytes(*number, *length), rig.at).unwrap();
    }
    rig.answer(3, asked);
    assert_eq!(rig.send_plainly().0.bytes, 65_507);
    assert_eq!(rig.messages, [3]);
    expect(&client, &large[1..4]);
}

/// Answers five datagrams of this size on the socket of a rig, where messages of several are
/// refused with this error. Returns how many were in each message that was sent.
fn refused(rig: &mut Rig, client: &UdpSocket, size: usize, number: i32) -> Vec<usize> {
    for number in 0..5 {
        client.send_to(&bytes(number, size), rig.at).unwrap();
    }
    rig.answer(5, asked);
    let (sent, failed) = rig.send(|headers, system| {
        let first = headers.iter().position(|header| datagrams_of(header) > 1);
        match first {
            Some(0) => Err(error(number)),
            Some(first) => system(&mut headers[..first]),
            None => system(headers),
        }
    });
    assert_eq!((sent.datagrams, sent.bytes), (5, 5 * size as u64));
    assert_eq!((sent.failed, failed), (0, vec![]));
    let all: Vec<_> = (0..5).map(|number| (number, size)).collect();
    expect(client, &all);
    rig.messages.clone()
}

/// How many datagrams of this size a rig puts into a message.
fn joined(rig: &mut Rig, client: &UdpSocket, size: usize) -> usize {
    for number in 0..3 {
        client.send_to(&bytes(number, size), rig.at).unwrap();
    }
    rig.answer(3, asked);
    assert_eq!(rig.send_plainly().0.datagrams, 3);
    expect(client, &[(0, size), (1, size), (2, size)]);
    rig.messages[0]
}

#[test]
fn those_of_a_message_that_is_refused_go_one_by_one_and_the_socket_remembers_why() {
    for (number, below, same, above) in [
        (libc::EMSGSIZE, 3, 1, 1),
        (libc::EINVAL, 3, 1, 1),
        (libc::EIO, 1, 1, 1),
        (libc::EOPNOTSUPP, 1, 1, 1),
        // Nothing that is about messages of several.
        (libc::EAGAIN, 3, 3, 3),
        (libc::ENOBUFS, 3, 3, 3),
        (libc::EPERM, 3, 3, 3),
    ] {
        let mut rig = Rig::new("127.0.0.1:0");
        let (client, _) = socket("127.0.0.1:0");
        let messages = refused(&mut rig, &client, 100, number);
        assert_eq!(messages, [1; 5], "{}", error(number));
        let sizes = [99, 100, 101].map(|size| joined(&mut rig, &client, size));
        assert_eq!(sizes, [below, same, above], "{}", error(number));
    }
}

#[test]
fn only_those_of_a_message_that_no_address_of_ours_can_send_fail_and_nothing_is_learnt() {
    // Of no interface of this machine: TEST-NET-1, and the prefix for documentation. Linux says
    // EINVAL of the latter.
    for (local, foreign) in LOOPBACKS.into_iter().zip(["192.0.2.1", "2001:db8::1"]) {
        let mut rig = Rig::new(local);
        let (client, _) = socket(local);
        for number in 0..9 {
            client.send_to(&bytes(number, 10), rig.at).unwrap();
        }
        let joins = rig.joins;
        let foreign = foreign.parse().unwrap();
        rig.answer(9, |number, to| match number {
            3..6 => Local {
                address: foreign,
                ..to
            },
            _ => to,
        });
        let (sent, failed) = rig.send_plainly();
        assert_eq!(rig.messages, [3, 3]);
        assert_eq!((sent.datagrams, sent.bytes, sent.failed), (6, 60, 3));
        assert_eq!(failed, [3, 4, 5]);
        assert_eq!(rig.joins, joins, "{local}");
        expect(&client, &[0, 1, 2, 6, 7, 8].map(|number| (number, 10)));
    }
}

#[test]
fn what_was_sent_in_part_goes_on_behind_the_last_message_and_counts_by_datagrams() {
    let mut rig = Rig::new("127.0.0.1:0");
    let (client, _) = socket("127.0.0.1:0");
    // Messages of three, two, one and four.
    let sizes = [30, 30, 30, 40, 40, 50, 60, 60, 60, 60];
    for (number, size) in sizes.into_iter().enumerate() {
        client.send_to(&bytes(number, size), rig.at).unwrap();
    }
    rig.answer(sizes.len(), asked);
    let mut calls = 0;
    let (sent, failed) = rig.send(|headers, system| {
        calls += 1;
        match calls {
            // The second message of several is refused, then its second datagram alone.
            2 => Err(error(libc::EAGAIN)),
            4 => Err(error(libc::ENOBUFS)),
            _ => system(&mut headers[..1]),
        }
    });
    assert_eq!(rig.messages, [3, 1, 1, 4]);
    assert_eq!((sent.datagrams, sent.failed), (9, 1));
    assert_eq!(sent.bytes, sizes.iter().sum::<usize>() as u64 - 40);
    assert_eq!(failed, [4]);
    let others = sizes
        .into_iter()
        .enumerate()
        .filter(|&(number, _)| number != 4);
    expect(&client, &others.collect::<Vec<_>>());
}

/// Says so also where what tests say is captured.
fn skip(why: &str) {
    use std::io::Write;
    let name = "what_does_not_fit_a_packet_of_its_path_is_not_joined_and_comes_back_in_fragments";
    // A closed stderr is no reason to fail.
    let _ = writeln!(std::io::stderr(), "skipped: {name}: {why}");
}

#[test]
fn what_does_not_fit_a_packet_of_its_path_is_not_joined_and_comes_back_in_fragments() {
    let over = std::thread::spawn(|| {
        // A network of this thread's own, which takes root.
        // SAFETY: it changes nothing but which network the sockets of this thread are in.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return skip("there is no network of its own without root");
        }
        let mut ip = std::process::Command::new("ip");
        let up = ip.args(["link", "set", "lo", "up", "mtu", "1300"]).status();
        if !up.is_ok_and(|status| status.success()) {
            return skip("`ip` can't set the MTU of the loopback");
        }
        // The most that fits, and a byte more.
        for (address, most) in [("127.0.0.1:0", 1272), ("[::1]:0", 1252)] {
            let mut rig = Rig::new(address);
            let (client, _) = socket(address);
            assert_eq!(joined(&mut rig, &client, most), 3);
            assert_eq!(joined(&mut rig, &client, most + 1), 1);
            assert_eq!(joined(&mut rig, &client, most), 3);
            let refused = Joins::below(most + 1);
            assert_eq!(rig.joins, refused);
        }
    });
    over.join().unwrap();
}
