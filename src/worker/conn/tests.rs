//! Tests of a connection on a socket in memory, under every order of events.

use std::io::{Read, Write};
use std::net::{self, TcpListener};

use proptest::prelude::*;

use super::*;
use crate::base::kernel::KernelView;
use crate::base::testing::wait_until;
use crate::proto::answer;

/// A small block makes slices, short writes and repeated reads frequent.
const BLOCK: usize = 16;

/// How long a connection must be quiet before a draining server half-closes it.
const QUIET: Duration = Duration::from_millis(200);

/// The most that one splice moves, in bytes.
const SEGMENT: usize = 7;

/// A socket in memory, and the state of its peer.
#[derive(Default)]
struct Fake {
    arrived: Vec<u8>,
    /// How many bytes were read from `arrived`.
    read: usize,
    /// Where in `arrived` urgent data begins, at which a read stops short.
    mark: Option<usize>,
    fin: bool,
    /// How many bytes the send buffer has room for.
    room: usize,
    blocked: bool,
    /// How many writes found no room at all.
    refusals: usize,
    sent: Vec<u8>,
    acknowledged: usize,
    /// The system does not count what is acknowledged.
    hides_acknowledged: bool,
    half_closed: bool,
    /// How many bytes were unread when our side was closed.
    unread_at_half_close: usize,
    /// How many of the next calls a signal interrupts.
    interrupts: usize,
    reset: bool,
    /// How many more splices succeed before they are refused; `None` for all.
    splices: Option<usize>,
    /// The error of those that are refused; 0 for `EINVAL`.
    refusal: i32,
}

impl Fake {
    /// Fails as any call may: interrupted or reset.
    fn call(&mut self) -> io::Result<()> {
        if self.interrupts > 0 {
            self.interrupts -= 1;
            return Err(ErrorKind::Interrupted.into());
        }
        match self.reset {
            true => Err(ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }

    fn splice(&mut self) -> io::Result<()> {
        match &mut self.splices {
            None => Ok(()),
            Some(0) => Err(io::Error::from_raw_os_error(match self.refusal {
                0 => libc::EINVAL,
                errno => errno,
            })),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

impl Read for Fake {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        self.call()?;
        let mark = self.mark.take().filter(|&mark| mark > 0);
        let n = block
            .len()
            .min(self.arrived.len())
            .min(mark.unwrap_or(usize::MAX));
        if n == 0 && !self.fin {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.mark = mark.map(|mark| mark - n);
        block[..n].copy_from_slice(&self.arrived[..n]);
        self.arrived.drain(..n);
        self.read += n;
        Ok(n)
    }
}

impl Write for Fake {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!self.half_closed, "written after our FIN");
        self.call()?;
        let n = bytes.len().min(self.room);
        self.blocked = n < bytes.len();
        if n == 0 {
            self.refusals += 1;
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= n;
        self.sent.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Fake {
    fn half_close(&mut self) -> io::Result<()> {
        assert!(!self.half_closed, "our side is closed already");
        self.half_closed = true;
        self.unread_at_half_close = self.arrived.len();
        Ok(())
    }

    fn kernel_view(&self) -> Option<KernelView> {
        Some(KernelView::default())
    }

    fn unacknowledged(&self) -> io::Result<Option<usize>> {
        Ok((!self.hides_acknowledged).then_some(self.sent.len() - self.acknowledged))
    }

    fn has_input(&self) -> bool {
        self.fin || !self.arrived.is_empty()
    }

    fn waiting(&self) -> usize {
        self.arrived.len()
    }

    fn fill(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        assert!(
            pipe.is_empty(),
            "`WouldBlock` would not tell a full pipe from an empty socket"
        );
        self.call()?;
        self.splice()?;
        if self.mark == Some(0) {
            // Unlike a read, a splice does not pass the mark.
            return match self.fin {
                true => Ok(0),
                false => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let mut bytes = vec![0; most.min(SEGMENT)];
        let n = self.read(&mut bytes)?;
        pipe.put(&bytes[..n]);
        Ok(n)
    }

    fn empty(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        self.call()?;
        self.splice()?;
        if self.room == 0 {
            self.blocked = true;
            self.refusals += 1;
            return Err(ErrorKind::WouldBlock.into());
        }
        let bytes = pipe.take(self.room.min(SEGMENT));
        self.write(&bytes)
    }
}

/// A step of the peer, the network, the system or the rest of the worker.
#[derive(Clone, Debug)]
enum Step {
    Arrive(usize),
    Room(usize),
    Urgent(usize),
    Fin,
    Reset,
    Acknowledge,
    /// An event without a change of readiness.
    Spurious(Readiness),
    /// Signals interrupt the next calls.
    Interrupt(usize),
    /// Other connections take all pipes.
    TakePipes,
    /// They give the pipes back.
    ReturnPipes,
    /// The server begins to drain.
    Stop,
    /// This many milliseconds pass.
    Pass(u64),
    /// The slices of streams have this length from now on, and splices at most that one.
    Slice(usize, usize),
}

/// The steps of normal traffic.
fn traffic() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..8 * BLOCK).prop_map(Step::Arrive),
        3 => (1..8 * BLOCK).prop_map(Step::Room),
        1 => (1..2 * BLOCK).prop_map(Step::Urgent),
        1 => (0..10 * BLOCK, 1..3 * SEGMENT).prop_map(|(slice, at_once)| Step::Slice(slice, at_once)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(traffic(), 0..40)
}

/// Every kind of step, in any order.
fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let spurious = any::<[bool; 3]>().prop_map(|[readable, writable, urgent]| {
        Step::Spurious(Readiness {
            readable,
            writable,
            read_closed: false,
            urgent,
        })
    });
    let step = prop_oneof![
        20 => traffic(),
        3 => spurious,
        3 => (1..4_usize).prop_map(Step::Interrupt),
        3 => Just(Step::Acknowledge),
        2 => Just(Step::TakePipes),
        2 => Just(Step::ReturnPipes),
        3 => (1..300_u64).prop_map(Step::Pass),
        1 => Just(Step::Stop),
        1 => Just(Step::Fin),
        1 => Just(Step::Reset),
    ];
    proptest::collection::vec(step, 0..60)
}

/// A connection and a worker that, like the real one, acts on edge-triggered events only.
struct Rig {
    conn: Conn<Fake>,
    pipes: Pipes,
    now: Instant,
    closed: bool,
    /// Bytes went through a pipe.
    relayed: bool,
    /// Pipes that other connections have.
    taken_pipes: Vec<Pipe>,
    /// When the server began to drain.
    stopping: Option<Instant>,
    /// The most that it moves through pipes in a turn. In one without room for more it
    /// moves nothing, and has another.
    slice: usize,
    /// The most of one splice.
    at_once: usize,
}

impl Rig {
    fn new(protocol: Protocol) -> Self {
        Self::with(|now| Conn::new(Fake::default(), protocol, now))
    }

    fn with(conn: impl FnOnce(Instant) -> Conn<Fake>) -> Self {
        let now = Instant::now();
        Self {
            conn: conn(now),
            pipes: Pipes::new(2),
            now,
            closed: false,
            relayed: false,
            taken_pipes: Vec::new(),
            stopping: None,
            slice: 64,
            at_once: usize::MAX,
        }
    }

    fn event(&mut self, readiness: Readiness) {
        if !self.closed && self.conn.update_readiness(readiness) {
            self.turns();
        }
    }

    fn turns(&mut self) {
        loop {
            match self.turn() {
                Ok(Next::Again | Next::Linger) => {}
                Ok(Next::Wait) => return,
                Ok(Next::Close) => break,
                Err(error) => {
                    assert!(self.conn.transport.reset, "{error}");
                    break;
                }
            }
        }
        self.closed = true;
    }

    fn turn(&mut self) -> io::Result<Next> {
        let mut block = [0; BLOCK];
        let before = self.conn.sent();
        self.conn.flush(&mut self.pipes, self.now)?;
        let received = match self.conn.is_bulk() && self.pipes.can_lend() {
            true => {
                let most = match self.conn.sent() > before {
                    true => self.slice,
                    false => self.slice.max(1),
                };
                self.conn
                    .relay(&mut self.pipes, most, self.at_once, self.now)?
            }
            false => self.conn.receive(&mut block, self.now)?,
        };
        if let Some(header) = self.conn.header() {
            assert_eq!(header, Header::Client(peer()));
            self.conn.start(peer(), false);
        }
        if received.echo {
            let bytes = &block[..received.bytes];
            self.conn.send(bytes, self.now)?;
            self.check_pending(BLOCK);
        } else {
            self.conn.flush(&mut self.pipes, self.now)?;
        }
        self.relayed |= received.bytes > 0 && !received.echo;
        self.conn.next(self.stopping.is_some())
    }

    /// Time passes; a draining server checks the connection.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        let Some(since) = self.stopping.filter(|_| !self.closed) else {
            return;
        };
        match self.conn.check_drain(self.now, since, QUIET).unwrap() {
            Next::Again => self.turns(),
            Next::Close => self.closed = true,
            Next::Wait | Next::Linger => {}
        }
    }

    /// How many bytes of output are pending.
    fn pending(&self) -> usize {
        match self.conn.pending.as_deref() {
            None => 0,
            Some(PendingOutput::Bytes { bytes, sent }) => bytes.len() - sent,
            Some(PendingOutput::Pipe(pipe)) => pipe.held(),
        }
    }

    /// Checks that no more output is pending than one turn has read.
    fn check_pending(&self, most: usize) {
        if let Some(PendingOutput::Bytes { bytes, .. }) = self.conn.pending.as_deref() {
            assert!(bytes.len() <= most, "{} bytes are pending", bytes.len());
        }
    }

    fn arrive(&mut self, bytes: &[u8], urgent: bool) {
        let socket = &mut self.conn.transport;
        if urgent {
            socket.mark = Some(socket.arrived.len() + bytes.len() / 2);
        }
        socket.arrived.extend_from_slice(bytes);
        self.event(Readiness {
            readable: true,
            urgent,
            ..Readiness::default()
        });
    }

    fn room(&mut self, bytes: usize) {
        self.conn.transport.room += bytes;
        // A poller reports a socket as writable only after a write has found too little room.
        if std::mem::take(&mut self.conn.transport.blocked) {
            self.event(Readiness {
                writable: true,
                ..Readiness::default()
            });
        }
    }

    /// Performs one step; `input` is what has not arrived yet.
    fn step(&mut self, step: &Step, input: &mut &[u8]) {
        match *step {
            Step::Arrive(_) | Step::Urgent(_) if self.conn.transport.fin => {}
            Step::Arrive(n) | Step::Urgent(n) => {
                if let Some(now) = input.split_off(..n.min(input.len())) {
                    self.arrive(now, matches!(step, Step::Urgent(_)));
                }
            }
            Step::Room(n) => self.room(n),
            Step::Fin => self.fin(&[]),
            Step::Reset => {
                self.conn.transport.reset = true;
                self.event(Readiness {
                    readable: true,
                    writable: true,
                    read_closed: true,
                    urgent: false,
                });
            }
            Step::Acknowledge => self.acknowledge(),
            Step::Spurious(readiness) => self.event(readiness),
            Step::Interrupt(calls) => self.conn.transport.interrupts = calls,
            Step::TakePipes => self
                .taken_pipes
                .extend(std::iter::from_fn(|| self.pipes.lend())),
            Step::ReturnPipes => {
                for pipe in self.taken_pipes.drain(..) {
                    self.pipes.give_back(pipe);
                }
            }
            Step::Stop => {
                self.stopping.get_or_insert(self.now);
            }
            Step::Pass(ms) => self.pass(Duration::from_millis(ms)),
            Step::Slice(slice, at_once) => (self.slice, self.at_once) = (slice, at_once),
        }
    }

    /// The last of its input arrives, then the peer's FIN.
    fn fin(&mut self, last: &[u8]) {
        self.conn.transport.fin = true;
        self.conn.transport.arrived.extend_from_slice(last);
        self.event(Readiness {
            readable: true,
            read_closed: true,
            ..Readiness::default()
        });
    }

    /// The peer acknowledges all. Once both sides are closed, the poller reports that as a
    /// hang-up.
    fn acknowledge(&mut self) {
        self.conn.transport.acknowledged = self.conn.transport.sent.len();
        self.event(Readiness {
            read_closed: self.conn.transport.fin,
            ..Readiness::default()
        });
    }

    /// Performs the steps; then the rest of `input` and the FIN arrive, and the send buffer
    /// gets room for all output.
    fn play(&mut self, steps: &[Step], mut input: &[u8]) {
        for step in steps {
            self.step(step, &mut input);
        }
        self.fin(input);
        self.room(1 << 20);
        self.acknowledge();
    }

    /// Checks what holds between any two steps while every byte of `input` must be echoed.
    fn check(&self, input: &[u8]) {
        let socket = &self.conn.transport;
        assert!(input.starts_with(&socket.sent), "other bytes were sent");
        assert_eq!(socket.unread_at_half_close, 0, "input was left unread");
        if self.closed {
            return;
        }
        let pending = self.pending();
        if !socket.half_closed {
            assert_eq!(socket.read, socket.sent.len() + pending);
        }
        match pending {
            0 => assert!(socket.arrived.is_empty(), "an edge was lost"),
            _ => assert!(socket.blocked && socket.room == 0, "room was not used"),
        }
    }
}

/// The address of a client behind a load balancer.
fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], 40112))
}

proptest! {
    #[test]
    fn every_byte_after_a_header_is_answered_by_the_protocol_and_then_the_fin(
        steps in steps(),
        input in proptest::collection::vec(any::<u8>(), 0..300),
        protocol in prop_oneof![Just(Protocol::Echo), Just(Protocol::Counted), Just(Protocol::Whoami)],
    ) {
        let head = b"PROXY TCP4 192.0.2.7 198.51.100.1 40112 7\r\n";
        let mut rig = Rig::with(|now| Conn::behind_proxy(Fake::default(), protocol, now));
        // A segment that ends in a newline may complete a message.
        let input = [&input[..], &[0]].concat();
        rig.play(&steps, &[&head[..], &input].concat());
        prop_assert!(rig.closed, "an edge was lost");
        let text = input.split(|&byte| byte == 0).next().unwrap();
        let sent = &rig.conn.transport.sent;
        match protocol {
            Protocol::Echo => prop_assert_eq!(sent, &input),
            Protocol::Counted if text.contains(&b'\n') => {}
            Protocol::Counted => prop_assert_eq!(sent, &answer(text)),
            Protocol::Whoami => prop_assert_eq!(sent, b"192.0.2.7:40112\n"),
        }
        prop_assert!(rig.conn.transport.arrived.is_empty(), "close would send RST");
    }

    #[test]
    fn every_byte_is_echoed_in_order_and_then_the_fin(
        steps in steps(),
        input in proptest::collection::vec(any::<u8>(), 0..3000),
        splices in proptest::option::of(0..100_usize),
    ) {
        let mut rig = Rig::new(Protocol::Echo);
        rig.conn.transport.splices = splices;
        rig.play(&steps, &input);
        prop_assert!(rig.closed, "an edge was lost");
        prop_assert_eq!(&rig.conn.transport.sent, &input);
        prop_assert_eq!(rig.conn.sent(), input.len() as u64);
    }

    #[test]
    fn no_byte_is_lost_doubled_or_kept_back_under_any_order_of_steps(
        steps in any_steps(),
        input in proptest::collection::vec(any::<u8>(), 0..3000),
        splices in proptest::option::of(0..100_usize),
    ) {
        let mut rig = Rig::new(Protocol::Echo);
        rig.conn.transport.splices = splices;
        let mut rest = &input[..];
        let end = [Step::Fin, Step::Room(1 << 20), Step::Acknowledge];
        // A draining server needs two quiet times to close a connection.
        let quiet = [Step::Pass(200), Step::Pass(200), Step::Pass(200)];
        for step in steps.iter().chain(&end).chain(&quiet) {
            rig.step(step, &mut rest);
            rig.check(&input);
        }
        prop_assert!(rig.closed, "an edge was lost");
        let socket = &rig.conn.transport;
        if !socket.reset && rig.stopping.is_none() {
            prop_assert_eq!(socket.sent.len(), input.len() - rest.len());
        }
    }

    #[test]
    fn a_counted_answer_is_whole_and_nothing_stays_unread_at_the_close(
        steps in steps(),
        text in proptest::collection::vec(1_u8..=9, 0..100),
        rest in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut rig = Rig::new(Protocol::Counted);
        rig.play(&steps, &[&text[..], &[0], &rest].concat());
        prop_assert!(rig.closed, "an edge was lost");
        prop_assert_eq!(&rig.conn.transport.sent, &answer(&text));
        prop_assert!(rig.conn.transport.arrived.is_empty(), "close would send RST");
    }
}

#[test]
fn a_peer_that_never_stops_sending_after_its_answer_is_closed() {
    let mut rig = Rig::new(Protocol::Counted);
    rig.room(100);
    rig.arrive(b"hi\0", false);
    assert_eq!(rig.conn.transport.sent, b"2 : hi\0");
    assert!(rig.conn.transport.half_closed);
    rig.arrive(&vec![b'x'; 1 << 20], false);
    assert!(!rig.closed, "a mebibyte is discarded");
    rig.arrive(b"y", false);
    assert!(
        !rig.closed && rig.conn.awaits_ack(),
        "its answer is in flight"
    );
    rig.arrive(b"z", false);
    assert_eq!(rig.conn.transport.arrived, b"z", "it is not read");
    rig.conn.transport.acknowledged = 7;
    assert_eq!(rig.conn.begin_linger(), Some(Next::Linger));
    rig.turns();
    let discarded = DISCARD_LIMIT as u32;
    rig.conn.stage = Stage::Lingering { discarded };
    rig.arrive(b"y", false);
    assert!(rig.closed);
}

#[test]
fn a_draining_server_waits_for_quiet_then_for_the_acknowledgement() {
    let mut rig = Rig::new(Protocol::Echo);
    rig.room(100);
    rig.arrive(b"hello", false);
    let settle = |rig: &mut Rig, ms| {
        let now = rig.now + Duration::from_millis(ms);
        rig.conn.check_drain(now, rig.now, QUIET).unwrap()
    };
    assert_eq!(
        settle(&mut rig, 300),
        Next::Wait,
        "the echo is still in flight"
    );
    rig.now += Duration::from_millis(300);
    rig.conn.transport.acknowledged = 5;
    assert_eq!(settle(&mut rig, 199), Next::Wait);
    assert!(!rig.conn.transport.half_closed);

    rig.conn.transport.arrived.extend_from_slice(b"late");
    assert_eq!(
        settle(&mut rig, 200),
        Next::Again,
        "input that no event has reported"
    );
    rig.now += Duration::from_millis(200);
    rig.turns();
    assert_eq!(rig.conn.transport.sent, b"hellolate");
    rig.conn.transport.acknowledged = 9;
    assert_eq!(
        settle(&mut rig, 199),
        Next::Wait,
        "the quiet time starts anew"
    );

    assert_eq!(settle(&mut rig, 200), Next::Linger);
    assert!(rig.conn.transport.half_closed);
    rig.conn.transport.acknowledged = 8;
    assert_eq!(settle(&mut rig, 201), Next::Wait, "not all is acknowledged");
    rig.conn.transport.acknowledged = 9;
    assert_eq!(settle(&mut rig, 202), Next::Close);
}

#[test]
fn a_draining_server_keeps_a_finished_connection_until_all_is_acknowledged() {
    let mut rig = Rig::new(Protocol::Echo);
    rig.conn.transport.room = 100;
    rig.conn.transport.arrived.extend_from_slice(b"bye");
    rig.conn.transport.fin = true;
    rig.conn.update_readiness(Readiness {
        readable: true,
        read_closed: true,
        ..Readiness::default()
    });
    let mut block = [0; BLOCK];
    let received = rig.conn.receive(&mut block, rig.now).unwrap();
    rig.conn.send(&block[..received.bytes], rig.now).unwrap();
    assert_eq!(rig.conn.next(true).unwrap(), Next::Linger);
    assert_eq!(
        rig.conn
            .check_drain(rig.now, rig.now, Duration::ZERO)
            .unwrap(),
        Next::Wait
    );
    rig.conn.transport.acknowledged = 3;
    assert_eq!(
        rig.conn
            .check_drain(rig.now, rig.now, Duration::ZERO)
            .unwrap(),
        Next::Close
    );
}

#[test]
fn a_client_that_was_idle_for_long_still_has_the_quiet_time_when_the_drain_begins() {
    let mut rig = Rig::new(Protocol::Echo);
    let since = rig.now + Duration::from_secs(3600);
    let settle = |rig: &mut Rig, ms| {
        let now = since + Duration::from_millis(ms);
        rig.conn.check_drain(now, since, QUIET).unwrap()
    };
    assert_eq!(settle(&mut rig, 199), Next::Wait);
    assert_eq!(settle(&mut rig, 200), Next::Linger);
}

#[test]
fn a_half_closed_peer_is_kept_until_it_has_acknowledged_all() {
    let mut rig = Rig::new(Protocol::Echo);
    rig.room(100);
    rig.conn.transport.fin = true;
    rig.conn.transport.arrived.extend_from_slice(b"bye");
    let end = Readiness {
        readable: true,
        read_closed: true,
        ..Readiness::default()
    };
    rig.event(end);
    assert_eq!(rig.conn.transport.sent, b"bye");
    assert!(rig.conn.transport.half_closed && !rig.closed);
    rig.conn.transport.acknowledged = 3;
    rig.event(end);
    assert!(rig.closed);
}

#[test]
fn a_vanished_peer_that_never_acknowledges_our_fin_does_not_delay_a_drain() {
    let mut rig = Rig::new(Protocol::Echo);
    rig.room(100);
    rig.arrive(b"x", false);
    rig.conn.transport.acknowledged = 1;
    let settle = |rig: &mut Rig, ms| {
        let now = rig.now + Duration::from_millis(ms);
        rig.conn.check_drain(now, rig.now, QUIET).unwrap()
    };
    assert_eq!(settle(&mut rig, 200), Next::Linger);
    // The unacknowledged count includes our FIN, which is never acknowledged.
    rig.conn.transport.acknowledged = 0;
    assert_eq!(settle(&mut rig, 399), Next::Wait);
    assert_eq!(settle(&mut rig, 400), Next::Close);
}

#[test]
fn the_bytes_of_a_peer_go_through_a_pipe_only_while_it_streams() {
    let mut rig = Rig::new(Protocol::Echo);
    rig.room(10_000);
    rig.arrive(&[b'a'; BLOCK - 1], false);
    assert!(!rig.relayed);
    rig.arrive(&[b'b'; 1000], false);
    assert!(rig.relayed && rig.conn.bulk);
    rig.arrive(b"c", false);
    assert!(!rig.conn.bulk);
    assert_eq!(rig.conn.transport.sent.len(), BLOCK - 1 + 1000 + 1);
}

#[test]
fn one_stream_that_may_not_be_spliced_is_copied_and_others_go_through_pipes() {
    for errno in [libc::EACCES, libc::EPERM, libc::EOPNOTSUPP] {
        for splices in 2..6 {
            let mut rig = Rig::new(Protocol::Echo);
            rig.room(10_000);
            rig.conn.transport.splices = Some(splices);
            rig.conn.transport.refusal = errno;
            rig.arrive(&[b'x'; 1000], false);
            assert!(rig.relayed && rig.conn.transport.sent == [b'x'; 1000]);
            assert!(rig.pipes.can_lend(), "{errno} after {splices} splices");
        }
    }
}

#[test]
fn a_stalled_peer_keeps_its_pipe_and_others_get_another_up_to_the_limit() {
    let mut rig = Rig::new(Protocol::Echo);
    rig.room(50);
    rig.arrive(&[b'x'; 1000], false);
    assert!(matches!(
        rig.conn.pending.as_deref(),
        Some(PendingOutput::Pipe(_))
    ));
    let second = rig.pipes.lend().expect("two are allowed");
    assert!(second.is_empty());
    assert!(rig.pipes.lend().is_none());
}

#[test]
fn a_socket_without_room_is_tried_once_for_each_writable_event() {
    for bytes in [BLOCK / 2, 100 * BLOCK] {
        let mut rig = Rig::new(Protocol::Echo);
        rig.arrive(&vec![b'x'; bytes], false);
        assert_eq!(rig.conn.transport.refusals, 1, "{bytes} bytes");
        rig.arrive(b"more", false);
        assert_eq!(rig.conn.transport.refusals, 1, "no event has reported room");
        rig.room(3);
        assert_eq!(rig.conn.transport.refusals, 2);
        rig.room(1 << 20);
        assert_eq!(rig.conn.transport.sent.len(), bytes + 4);
    }
    let mut rig = Rig::new(Protocol::Echo);
    rig.room(2 * BLOCK);
    rig.arrive(&[b'x'; 100 * BLOCK], false);
    assert!(matches!(
        rig.conn.pending.as_deref(),
        Some(PendingOutput::Pipe(_))
    ));
    assert_eq!(rig.conn.transport.refusals, 1);
}

#[test]
fn a_draining_server_keeps_a_connection_with_pending_output() {
    let mut rig = Rig::new(Protocol::Echo);
    rig.room(3);
    rig.arrive(b"hello", false);
    rig.conn.transport.acknowledged = 3;
    let later = rig.now + 10 * QUIET;
    let next = rig.conn.check_drain(later, rig.now, QUIET).unwrap();
    assert_eq!(next, Next::Wait);
    assert!(!rig.conn.transport.half_closed);
}

#[test]
fn where_acknowledgements_are_unknown_a_drain_waits_for_a_second_quiet_time() {
    let mut rig = Rig::new(Protocol::Echo);
    rig.conn.transport.hides_acknowledged = true;
    rig.room(100);
    rig.arrive(b"hello", false);
    assert_eq!(
        rig.conn.acknowledged().unwrap(),
        (5, true),
        "sent counts as acknowledged"
    );
    let settle = |rig: &mut Rig, ms| {
        let now = rig.now + Duration::from_millis(ms);
        rig.conn.check_drain(now, rig.now, QUIET).unwrap()
    };
    assert_eq!(settle(&mut rig, 200), Next::Linger);
    assert_eq!(settle(&mut rig, 399), Next::Wait);
    assert_eq!(settle(&mut rig, 400), Next::Close);
    rig.conn.input_ended = true;
    assert_eq!(
        settle(&mut rig, 201),
        Next::Close,
        "the peer's FIN is enough"
    );
}

#[test]
fn acknowledged_bytes_are_reported_until_they_are_all() {
    let mut rig = Rig::new(Protocol::Echo);
    rig.room(3);
    rig.arrive(b"hello", false);
    assert!(rig.conn.has_pending());
    assert_eq!(rig.conn.acknowledged().unwrap(), (0, false));
    rig.conn.transport.acknowledged = 3;
    assert_eq!(
        rig.conn.acknowledged().unwrap(),
        (3, false),
        "two are pending"
    );
    rig.room(2);
    assert!(!rig.conn.has_pending());
    assert_eq!(rig.conn.acknowledged().unwrap(), (3, false));
    rig.conn.transport.acknowledged = 5;
    assert_eq!(rig.conn.acknowledged().unwrap(), (5, true));
    let later = rig.now + Duration::from_secs(1);
    rig.conn.mark_active(later);
    assert_eq!(rig.conn.active(), later);
}

#[test]
fn a_connection_that_is_cut_short_sends_its_pending_output_and_reads_no_further() {
    let mut rig = Rig::new(Protocol::Echo);
    rig.room(3);
    rig.arrive(b"hello", false);
    assert!(rig.conn.is_open());
    rig.conn.cut_short();
    assert!(!rig.conn.is_open());
    rig.arrive(b"more", false);
    rig.room(100);
    assert_eq!(rig.conn.transport.sent, b"hello");
    assert!(rig.conn.transport.half_closed);
    rig.conn.cut_short();
    rig.arrive(b"still more", false);
    assert!(rig.conn.awaits_end() && !rig.closed);
}

#[test]
fn a_header_is_awaited_until_its_client_is_served() {
    let mut conn = Conn::behind_proxy(Fake::default(), Protocol::Echo, Instant::now());
    assert!(conn.awaits_header() && !conn.has_pending());
    conn.start(peer(), false);
    assert!(!conn.awaits_header());
}

#[test]
fn a_reset_in_mid_stream_frees_the_pipe_for_others() {
    let mut blocked = Rig::new(Protocol::Echo);
    blocked.room(50);
    blocked.arrive(&[b'x'; 1000], false);
    let mut streaming = Rig::new(Protocol::Echo);
    streaming.room(10_000);
    streaming.arrive(&[b'x'; 1000], false);
    assert!(matches!(
        blocked.conn.pending.as_deref(),
        Some(PendingOutput::Pipe(_))
    ));
    assert!(streaming.conn.is_bulk());
    for mut rig in [blocked, streaming] {
        rig.step(&Step::Reset, &mut &[][..]);
        assert!(rig.closed);
        assert!(rig.pipes.can_lend());
    }
}

#[test]
fn a_peer_is_ahead_where_it_has_not_acknowledged_much_of_its_echo() {
    let mut rig = Rig::new(Protocol::Echo);
    rig.room(10_000);
    rig.arrive(&[b'x'; 100], false);
    assert!(rig.conn.is_ahead(99).unwrap(), "nothing is acknowledged");
    assert!(!rig.conn.is_ahead(100).unwrap());
    rig.conn.transport.acknowledged = 100;
    assert!(!rig.conn.is_ahead(0).unwrap());
}

#[test]
fn a_peer_that_accepts_nothing_is_not_active() {
    let mut rig = Rig::new(Protocol::Echo);
    rig.arrive(b"hello", false);
    let arrived = rig.conn.active();
    rig.now += Duration::from_secs(1);
    let room = Readiness {
        writable: true,
        ..Readiness::default()
    };
    rig.event(room);
    assert_eq!(rig.conn.transport.refusals, 2);
    assert_eq!(rig.conn.active(), arrived);
    rig.room(1);
    assert_eq!(rig.conn.active(), rig.now);
}

#[test]
fn input_of_a_streaming_peer_after_our_fin_is_discarded() {
    let mut rig = Rig::new(Protocol::Echo);
    rig.room(10_000);
    rig.arrive(&[b'x'; 1000], false);
    assert!(rig.conn.bulk);
    rig.conn.transport.acknowledged = 1000;
    let next = rig
        .conn
        .check_drain(rig.now, rig.now, Duration::ZERO)
        .unwrap();
    assert_eq!(next, Next::Linger);
    // A write after our FIN would fail the fake socket's own assertion.
    rig.arrive(&[b'y'; 1000], false);
    assert_eq!(rig.conn.transport.sent.len(), 1000);
    assert!(rig.conn.transport.arrived.is_empty());
}

#[test]
fn a_peer_that_is_cut_short_is_not_read_before_it_has_acknowledged_all() {
    let mut rig = Rig::new(Protocol::Echo);
    rig.room(5);
    rig.arrive(b"hello there", false);
    rig.conn.cut_short();
    assert_eq!(
        rig.conn.next(false).unwrap(),
        Next::Wait,
        "output is pending"
    );
    rig.room(100);
    assert_eq!(rig.conn.transport.sent, b"hello there");
    assert!(rig.conn.transport.half_closed);
    rig.arrive(&vec![b'x'; DISCARD_LIMIT + 1], false);
    assert!(!rig.closed && rig.conn.transport.read == 11);
    rig.conn.transport.acknowledged = 11;
    assert_eq!(rig.conn.begin_linger(), Some(Next::Linger));
    rig.turns();
    assert!(rig.closed, "the peer is not going to stop");
    assert_eq!(rig.conn.begin_linger(), None);
}

#[test]
fn a_drain_does_not_wait_for_input_that_came_after_a_cut() {
    let mut rig = Rig::new(Protocol::Echo);
    rig.room(100);
    rig.arrive(b"hello", false);
    rig.conn.cut_short();
    assert_eq!(
        rig.conn.next(false).unwrap(),
        Next::Wait,
        "not all is acknowledged"
    );
    rig.arrive(b"more", false);
    rig.stopping = Some(rig.now);
    rig.pass(QUIET);
    assert!(!rig.closed);
    rig.conn.transport.acknowledged = 5;
    rig.pass(QUIET);
    assert!(rig.conn.transport.arrived.is_empty());
    rig.pass(QUIET);
    assert!(rig.closed);
}

#[test]
fn a_connection_is_mid_message_from_the_first_byte_until_the_answer() {
    let mut rig = Rig::new(Protocol::Counted);
    assert!(!rig.conn.is_mid_message());
    rig.arrive(b"hi", false);
    assert!(rig.conn.is_mid_message());
    rig.arrive(b"\0", false);
    assert!(!rig.conn.is_mid_message(), "its answer is pending");
    rig.room(100);
    rig.arrive(b"more", false);
    assert!(!rig.conn.is_mid_message(), "what follows is discarded");
    assert_eq!(rig.conn.transport.sent, b"2 : hi\0");

    let mut echo = Rig::new(Protocol::Echo);
    echo.arrive(b"hi", false);
    assert!(!echo.conn.is_mid_message());
}

/// A client, and a connection to it over a real socket.
fn over_a_socket() -> (net::TcpStream, Conn<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let transport = TcpStream::from_std(theirs);
    (ours, Conn::new(transport, Protocol::Echo, Instant::now()))
}

#[test]
fn a_socket_has_input_while_it_holds_bytes_a_fin_or_an_error() {
    let (mut ours, mut conn) = over_a_socket();
    assert!(!conn.transport.has_input());
    ours.write_all(b"x").unwrap();
    wait_until(|| conn.transport.has_input());
    assert_eq!(conn.transport.read(&mut [0; 9]).unwrap(), 1);
    assert!(!conn.transport.has_input(), "it was read");
    ours.shutdown(net::Shutdown::Write).unwrap();
    wait_until(|| conn.transport.has_input());

    let (ours, conn) = over_a_socket();
    SockRef::from(&ours)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(ours);
    wait_until(|| conn.transport.has_input());
}

#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn the_memory_of_a_connection_is_its_pending_output_and_what_the_kernel_holds() {
    const UNREAD: usize = 1000;
    const PENDING: usize = 100_000;
    let (mut ours, mut conn) = over_a_socket();
    let idle = conn.memory();
    ours.write_all(&[7; UNREAD]).unwrap();
    wait_until(|| conn.memory() >= idle + UNREAD);
    let held = conn.memory();
    conn.keep_pending(vec![7; PENDING]);
    assert_eq!(conn.memory(), held + PENDING);
}
