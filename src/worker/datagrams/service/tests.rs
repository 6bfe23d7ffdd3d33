//! The turns of a worker, with sockets over loopback and times that are given.

use std::net::{SocketAddr, UdpSocket};

use mio::Poll;
use socket2::SockRef;

use super::*;
use crate::base::sys::datagram::Joins;
use crate::worker::datagrams::polled::JOINS_AGAIN;
use crate::worker::datagrams::protocol::DatagramProtocol;
use crate::worker::datagrams::setup::{Answered, Bound};

const LONGEST: usize = 65_507;

/// The datagrams of a worker alone, on one socket.
struct Alone {
    datagrams: Datagrams,
    counters: DatagramCounters,
    server: SocketAddr,
    client: UdpSocket,
    _poll: Poll,
}

impl Alone {
    /// `None` where the kernel allows no receive buffer for some of the longest, which is printed.
    fn with_room() -> Option<Self> {
        let alone = Self::new();
        let socket = SockRef::from(&*alone.datagrams.sockets[0].endpoint.socket);
        socket.set_recv_buffer_size(4 << 20).unwrap();
        let has_room = socket.recv_buffer_size().unwrap() >= 2 << 20;
        if !has_room {
            eprintln!("skipped, net.core.rmem_max is below 1 MiB");
        }
        has_room.then_some(alone)
    }

    fn new() -> Self {
        let [socket, client] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let server = socket.local_addr().unwrap();
        let bound = Bound {
            protocol: DatagramProtocol::Echo,
            address: server,
            sockets: vec![socket],
            guard: None,
            is_handed_over: false,
        };
        let answered = Answered {
            low_ports: false,
            rate: None,
        };
        let setup = Arc::new(Setup::new(vec![bound], 1, answered));
        let poll = Poll::new().unwrap();
        Self {
            datagrams: Datagrams::new(0, &setup, poll.registry()).unwrap(),
            counters: DatagramCounters::default(),
            server,
            client,
            _poll: poll,
        }
    }

    fn send(&self, bytes: usize) {
        self.client.send_to(&vec![7; bytes], self.server).unwrap();
    }

    /// Takes a turn at this time, after the event that something has come. Returns how many bytes
    /// were answered.
    fn turn(&mut self, now: Instant) -> usize {
        let before = self.counters.bytes.get();
        assert!(self.datagrams.is_event(Token(FIRST)));
        self.datagrams.take_turn(0, &self.counters, now);
        (self.counters.bytes.get() - before) as usize
    }
}

#[test]
fn what_a_turn_has_too_many_the_next_ones_have_less() {
    const TURNS: usize = 20;

    let Some(mut alone) = Alone::with_room() else {
        return;
    };
    let now = Instant::now();
    // After short ones a batch has all its slots.
    alone.send(1);
    assert_eq!(alone.turn(now), 1);
    let (mut all, mut most) = (0, 0);
    for turns in 1..=TURNS {
        // More than a turn may have.
        (0..6).for_each(|_| alone.send(LONGEST));
        let bytes = alone.turn(now);
        (all, most) = (all + bytes, most.max(bytes));
        assert!(all <= turns * TURN_BYTES + most, "{all} in {turns} turns");
    }
    assert!(most > TURN_BYTES, "no turn had too many");
    assert!(all >= (TURNS - 1) * TURN_BYTES, "{all}");
}

#[test]
fn a_turn_without_datagrams_pays_a_debt_off() {
    let Some(mut alone) = Alone::with_room() else {
        return;
    };
    let now = Instant::now();
    alone.send(1);
    alone.turn(now);
    (0..6).for_each(|_| alone.send(LONGEST));
    let bytes = alone.turn(now);
    assert_eq!(alone.datagrams.debt, bytes - TURN_BYTES);
    assert_eq!(alone.turn(now), 0);
    assert_eq!(alone.datagrams.debt, 0);
}

#[test]
fn what_the_kernel_refused_to_join_is_tried_again_after_ten_minutes() {
    let (mut alone, start) = (Alone::new(), Instant::now());
    let polled = &mut alone.datagrams.sockets[0];
    let all = polled.joins;
    assert_ne!(all, Joins::NONE, "this kernel joins");
    (polled.joins, polled.joins_refused) = (Joins::NONE, Some(start));
    let almost = start + JOINS_AGAIN - Duration::from_nanos(1);
    for (now, expected) in [(start, Joins::NONE), (almost, Joins::NONE)] {
        alone.send(10);
        assert_eq!(alone.turn(now), 10);
        assert_eq!(alone.datagrams.sockets[0].joins, expected);
    }
    alone.send(10);
    assert_eq!(alone.turn(start + JOINS_AGAIN), 10);
    let polled = &alone.datagrams.sockets[0];
    assert_eq!((polled.joins, polled.joins_refused), (all, None));
}
