//! Tests of one worker on real sockets, phase by phase, with a clock that the test moves.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener};

use socket2::{Domain, SockRef, Socket, Type};

use super::*;
use crate::base::testing::wait_until;
use crate::proto::Protocol;
use crate::worker::block::{LONG_MESSAGE, NARROW_SLICE};
use crate::worker::client::Client;
use crate::worker::connections::{CloseReason, LINGER_TIME};
use crate::worker::context::{Accepted, CountGuard, Drain, HandOver, Settings, TimeLimits};
use crate::worker::datagrams::setup::Setup;
use crate::worker::eviction::Reason;
use crate::worker::slices::{self, EXPECT_MORE};
use crate::worker::stalls::Watch;

mod classes;
mod datagrams;
mod turns;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The longest message; a client that sends more at once is a stream.
const LONGEST: usize = 16 * 1024;

fn limits() -> TimeLimits {
    TimeLimits {
        header: 5 * SECOND,
        message: 30 * SECOND,
        idle: None,
        stall: None,
        lifetime: None,
    }
}

struct Rig {
    worker: Worker,
    listener: TcpListener,
}

impl Rig {
    fn new(limits: TimeLimits) -> Self {
        Self::with_datagrams(limits, Arc::default())
    }

    fn with_datagrams(limits: TimeLimits, datagrams: Arc<Setup>) -> Self {
        let settings = Settings {
            limits,
            busy_poll: Duration::ZERO,
            check_after: usize::MAX,
            whoami_tcp: false,
            pipes: 1,
            sources: None,
            datagrams,
        };
        Self {
            worker: Worker::new(Context::detached(settings)).unwrap().0,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        }
    }

    fn admit_to(&mut self, protocol: Protocol, behind_proxy: bool) -> (std::net::TcpStream, usize) {
        let ours = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // The kernel does not make it larger on its own.
        ours.set_recv_buffer_size(16 * 1024).unwrap();
        ours.connect(&self.listener.local_addr().unwrap().into())
            .unwrap();
        let ours = std::net::TcpStream::from(ours);
        let (stream, peer) = self.listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let accepted = Accepted {
            stream,
            peer,
            protocol,
            at: self.worker.connections.now,
            behind_proxy,
            source_guard: None,
        };
        let guard = CountGuard::new(&self.worker.connections.context.metrics);
        let key = self.worker.connections.clients.vacant_key();
        self.worker.admit(HandOver { accepted, guard });
        ours.set_read_timeout(Some(30 * SECOND)).unwrap();
        (ours, key)
    }

    fn admit(&mut self) -> (std::net::TcpStream, usize) {
        self.admit_to(Protocol::Echo, false)
    }

    /// The class of a client at present.
    fn class(&self, key: usize) -> Class {
        let connections = &self.worker.connections;
        connections.clients[key].class(connections.clock())
    }

    /// Serves every connection that exchanges messages once, and no stream.
    fn serve_messages(&mut self) {
        let mut turns = self.worker.connections.ready.len(Class::Message);
        while turns > 0 {
            turns -= self.worker.receive_phase(turns);
            self.worker.send_phase();
            self.worker.notifies_of_echo();
        }
    }

    /// Serves every connection on the ready lists once.
    fn serve_ready(&mut self) {
        let streams = self.worker.connections.ready.len(Class::Stream);
        self.serve_messages();
        for _ in 0..streams {
            self.worker.serve_stream();
        }
    }

    /// Reports a client as ready, as the poller does.
    fn report(&mut self, key: usize) {
        let readiness = Readiness {
            readable: true,
            writable: true,
            ..Readiness::default()
        };
        self.worker.connections.report(key, readiness);
        // Those that have seen nothing new are served as well.
        self.worker.connections.enqueue(key);
    }

    /// Serves a client once, as if the poller had reported it.
    fn serve(&mut self, key: usize) {
        self.report(key);
        self.serve_ready();
    }

    /// Serves a client until it was sent this many more bytes.
    fn serve_bytes(&mut self, key: usize, bytes: u64) {
        let sent = self.worker.connections.clients[key].conn.sent() + bytes;
        wait_until(|| {
            self.serve(key);
            self.worker.connections.clients[key].conn.sent() >= sent
        });
    }

    /// A client that reads nothing and whose pending output exceeds the send buffer.
    fn admit_blocked(&mut self) -> (std::net::TcpStream, usize) {
        let (mut ours, key) = self.admit();
        ours.set_nonblocking(true).unwrap();
        wait_until(|| {
            let _ = ours.write(&[7; 64 * 1024]);
            self.serve(key);
            self.worker.connections.clients[key].conn.has_pending()
        });
        ours.set_nonblocking(false).unwrap();
        (ours, key)
    }

    /// A client that reads nothing and whose echo fits the kernel's buffers.
    fn admit_behind(&mut self) -> (std::net::TcpStream, usize) {
        let (mut ours, key) = self.admit();
        wait_until(|| {
            ours.write_all(&[7; LONGEST]).unwrap();
            self.serve_bytes(key, LONGEST as u64);
            let conn = &self.worker.connections.clients[key].conn;
            conn.sent() - conn.acknowledged().unwrap().0 > 4 * LONGEST as u64
        });
        // An acknowledgement may be late.
        let mut block = [0; 4 * LONGEST];
        wait_until(|| {
            let (acknowledged, _) = self.acknowledged(key);
            ours.peek(&mut block)
                .is_ok_and(|received| received as u64 == acknowledged)
        });
        assert!(!self.worker.connections.clients[key].conn.has_pending());
        (ours, key)
    }

    /// Time passes in which blocked clients accept nothing: what the kernel delivered
    /// until now counts as accepted before.
    fn skip(&mut self, time: Duration) {
        self.worker.connections.shed((0, 0));
        self.worker.connections.now += time;
    }

    /// This time passes, then the checks that are due are run.
    fn pass(&mut self, time: Duration) {
        self.worker.connections.now += time;
        self.worker.connections.run_checks();
    }

    /// How many bytes a client has acknowledged, and whether these are all.
    fn acknowledged(&self, key: usize) -> (u64, bool) {
        let conn = &self.worker.connections.clients[key].conn;
        conn.acknowledged().unwrap()
    }

    fn is_connected(&self, key: usize) -> bool {
        self.worker.connections.clients.contains(key)
    }

    fn evicted(&self, reason: Reason) -> u64 {
        let counts = self
            .worker
            .connections
            .context
            .metrics
            .counters
            .evicted
            .get();
        let of_reason = counts.of(reason);
        assert_eq!(counts.sum(), of_reason, "{counts}");
        of_reason
    }

    fn cut(&self) -> u64 {
        self.worker.connections.context.metrics.counters.cut.get()
    }

    fn stop(&mut self, grace: Duration) {
        self.worker.connections.drain = Some(Drain {
            since: self.worker.connections.now,
            deadline: self.worker.connections.now + grace,
            quiet: 200 * MS,
        });
    }
}

/// Reads until the end of input, or the error that ends the connection.
fn read_to_end(mut client: &std::net::TcpStream) -> std::io::Result<()> {
    let mut block = vec![0; 64 * 1024];
    while client.read(&mut block)? > 0 {}
    Ok(())
}

#[test]
fn an_idle_client_costs_little() {
    assert!(size_of::<Client>() <= 184, "{}", size_of::<Client>());
}

#[test]
fn a_client_that_accepts_nothing_for_the_stall_limit_is_reset() {
    let mut rig = Rig::new(TimeLimits {
        stall: Some(4 * SECOND),
        ..limits()
    });
    let (ours, key) = rig.admit_blocked();
    let _idle = rig.admit();
    assert_eq!(
        rig.worker.connections.stalls.soonest(),
        Some(rig.worker.connections.now + 500 * MS)
    );
    rig.serve(key);
    for _ in 0..7 {
        rig.skip(500 * MS);
        rig.pass(Duration::ZERO);
        assert!(rig.is_connected(key));
        let memory = rig.worker.connections.clients[key].conn.memory();
        let held = rig.worker.connections.context.metrics.held();
        assert!(
            held > 64 * 1024 && held < 2 * memory,
            "{held} of {memory} bytes"
        );
        assert_eq!(
            rig.worker.connections.stalls.soonest(),
            Some(rig.worker.connections.now + 500 * MS)
        );
    }
    rig.skip(500 * MS);
    rig.pass(Duration::ZERO);
    assert!(!rig.is_connected(key));
    assert_eq!(rig.evicted(Reason::Stalled), 1);
    assert_eq!(
        rig.worker.connections.clients.len(),
        1,
        "an idle client without pending output is kept"
    );
    let end = read_to_end(&ours).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    rig.pass(500 * MS);
    assert_eq!(rig.worker.connections.context.metrics.held(), 0);
}

#[test]
fn a_client_that_accepts_some_bytes_now_and_then_is_not_stalled() {
    let mut rig = Rig::new(TimeLimits {
        stall: Some(4 * SECOND),
        idle: Some(5 * SECOND),
        ..limits()
    });
    let (mut ours, key) = rig.admit_blocked();
    for _ in 0..3 {
        for _ in 0..7 {
            rig.skip(500 * MS);
            rig.pass(Duration::ZERO);
            assert!(rig.is_connected(key));
        }
        let (accepted, _) = rig.acknowledged(key);
        ours.read_exact(&mut vec![0; 128 * 1024]).unwrap();
        wait_until(|| rig.acknowledged(key).0 > accepted);
        rig.pass(500 * MS);
        assert_eq!(
            rig.worker.connections.clients[key].conn.active(),
            rig.worker.connections.now
        );
    }
    assert_eq!(rig.evicted(Reason::Stalled), 0);
}

#[test]
fn a_client_that_has_accepted_all_is_no_longer_watched_and_idle_from_then_on() {
    let mut rig = Rig::new(TimeLimits {
        idle: Some(4 * SECOND),
        ..limits()
    });
    let (mut ours, key) = rig.admit_blocked();
    ours.set_nonblocking(true).unwrap();
    let mut block = vec![0; 64 * 1024];
    wait_until(|| {
        while let Ok(1..) = ours.read(&mut block) {}
        rig.serve(key);
        rig.acknowledged(key).1
    });
    assert!(rig.worker.connections.clients[key].watch == Watch::Behind);
    rig.pass(500 * MS);
    assert!(rig.worker.connections.clients[key].watch == Watch::None);
    assert_eq!(rig.worker.connections.context.metrics.held(), 0);
    rig.pass(4 * SECOND - MS);
    assert!(rig.is_connected(key));
    rig.pass(MS);
    assert!(!rig.is_connected(key));
    assert_eq!(rig.evicted(Reason::Idle), 1);
}

#[test]
fn a_client_that_is_idle_for_the_limit_is_closed_without_a_reset() {
    let mut rig = Rig::new(TimeLimits {
        idle: Some(SECOND),
        ..limits()
    });
    let (ours, key) = rig.admit();
    assert_eq!(
        rig.worker.connections.deadlines.soonest(),
        Some(rig.worker.connections.now + SECOND)
    );
    rig.pass(999 * MS);
    assert!(rig.is_connected(key));
    rig.pass(MS);
    assert!(!rig.is_connected(key));
    assert_eq!(rig.evicted(Reason::Idle), 1);
    read_to_end(&ours).expect("an end without a reset");
}

#[test]
fn a_byte_restarts_the_idle_limit() {
    let mut rig = Rig::new(TimeLimits {
        idle: Some(SECOND),
        ..limits()
    });
    let (mut ours, key) = rig.admit();
    rig.worker.connections.now += 999 * MS;
    ours.write_all(b"x").unwrap();
    rig.serve_bytes(key, 1);
    ours.read_exact(&mut [0]).unwrap();
    wait_until(|| rig.acknowledged(key).1);
    rig.pass(999 * MS);
    assert!(rig.is_connected(key));
    rig.pass(MS);
    assert!(!rig.is_connected(key));
    assert_eq!(rig.evicted(Reason::Idle), 1);
}

#[test]
fn the_check_of_a_client_that_is_behind_decides_whether_it_is_idle() {
    let mut rig = Rig::new(TimeLimits {
        idle: Some(SECOND),
        ..limits()
    });
    let (_ours, key) = rig.admit_blocked();
    rig.worker.connections.now += SECOND;
    rig.worker.connections.expire();
    assert!(rig.is_connected(key));
    assert_eq!(
        rig.worker.connections.deadlines.soonest(),
        None,
        "it has no other deadline"
    );
    rig.worker.connections.check();
    assert!(!rig.is_connected(key));
    assert_eq!(rig.evicted(Reason::Idle), 1);
}

#[test]
fn a_client_with_unaccepted_bytes_is_not_idle_however_late_it_is_checked() {
    let mut rig = Rig::new(TimeLimits {
        idle: Some(SECOND),
        ..limits()
    });
    let (_ours, key) = rig.admit_behind();
    rig.pass(10 * SECOND);
    assert!(rig.is_connected(key));
    rig.skip(SECOND);
    rig.pass(Duration::ZERO);
    assert!(!rig.is_connected(key), "it accepted none of them");
    assert_eq!(rig.evicted(Reason::Idle), 1);
}

#[test]
fn a_client_that_accepts_what_it_was_sent_is_checked_once() {
    let mut rig = Rig::new(limits());
    let (mut ours, key) = rig.admit();
    ours.write_all(b"hello").unwrap();
    rig.serve_bytes(key, 5);
    assert!(rig.worker.connections.clients[key].watch == Watch::Unchecked);
    ours.read_exact(&mut [0; 5]).unwrap();
    wait_until(|| rig.acknowledged(key).1);
    rig.pass(15 * SECOND - MS);
    assert!(rig.worker.connections.clients[key].watch == Watch::Unchecked);
    rig.pass(MS);
    assert!(rig.worker.connections.clients[key].watch == Watch::None);
    assert_eq!(rig.worker.connections.stalls.soonest(), None);
}

#[test]
fn a_connection_past_its_lifetime_is_half_closed_and_then_closed_without_the_peers_fin() {
    let mut rig = Rig::new(TimeLimits {
        lifetime: Some(SECOND),
        ..limits()
    });
    let (ours, key) = rig.admit();
    rig.pass(999 * MS);
    assert!(rig.worker.connections.clients[key].conn.is_open());
    rig.pass(MS);
    assert!(!rig.worker.connections.clients[key].conn.is_open());
    assert_eq!(rig.evicted(Reason::Lifetime), 1);
    read_to_end(&ours).expect("an end without a reset");
    wait_until(|| rig.acknowledged(key).1);
    rig.pass(LINGER_TIME - MS);
    assert!(rig.is_connected(key));
    rig.pass(MS);
    assert!(!rig.is_connected(key));
    assert_eq!(rig.evicted(Reason::Lifetime), 1);
}

#[test]
fn a_client_that_was_unchecked_at_the_end_of_its_lifetime_has_a_minute_from_then_on() {
    let mut rig = Rig::new(TimeLimits {
        lifetime: Some(SECOND),
        ..limits()
    });
    let (ours, key) = rig.admit_behind();
    rig.pass(SECOND);
    assert!(!rig.worker.connections.clients[key].conn.is_open());
    let held = rig.worker.connections.context.metrics.held();
    assert!(held > 4 * LONGEST && held < 1 << 30, "{held} bytes");
    rig.skip(60 * SECOND - MS);
    rig.pass(Duration::ZERO);
    assert!(rig.is_connected(key));
    rig.pass(500 * MS);
    assert!(!rig.is_connected(key));
    assert_eq!(rig.evicted(Reason::Lifetime), 1);
    let end = read_to_end(&ours).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_half_closed_client_is_kept_until_it_has_accepted_its_echo() {
    let mut rig = Rig::new(limits());
    let (ours, key) = rig.admit_behind();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    wait_until(|| {
        rig.serve(key);
        !rig.worker.connections.clients[key].conn.awaits_end()
    });
    rig.pass(2 * LINGER_TIME);
    assert!(rig.is_connected(key));
    read_to_end(&ours).expect("the echo, and an end without a reset");
    wait_until(|| {
        rig.serve(key);
        !rig.is_connected(key)
    });
}

#[test]
fn a_message_that_has_begun_must_be_completed_in_time() {
    let mut rig = Rig::new(limits());
    let (mut ours, key) = rig.admit_to(Protocol::Counted, false);
    rig.pass(60 * SECOND);
    assert!(rig.is_connected(key), "it has not begun");
    ours.write_all(b"hi").unwrap();
    wait_until(|| {
        rig.serve(key);
        rig.worker.connections.clients[key].until.is_some()
    });
    rig.pass(10 * SECOND);
    rig.serve(key);
    rig.pass(20 * SECOND - MS);
    assert!(rig.is_connected(key));
    rig.pass(MS);
    assert!(!rig.is_connected(key));
    assert_eq!(rig.evicted(Reason::Message), 1);
}

#[test]
fn a_header_must_arrive_in_time() {
    let mut rig = Rig::new(limits());
    let (_ours, key) = rig.admit_to(Protocol::Echo, true);
    rig.pass(5 * SECOND - MS);
    assert!(rig.is_connected(key));
    rig.pass(MS);
    assert!(!rig.is_connected(key));
    assert_eq!(rig.evicted(Reason::Header), 1);
}

#[test]
fn memory_is_freed_from_the_clients_that_accepted_nothing_for_the_longest() {
    let mut rig = Rig::new(limits());
    let (_first, first) = rig.admit_blocked();
    rig.skip(100 * MS);
    let (_second, second) = rig.admit_blocked();
    rig.skip(149 * MS);
    rig.worker.connections.shed((usize::MAX, 0));
    assert_eq!(rig.evicted(Reason::Shed), 0, "the time is too short");
    rig.skip(MS);
    rig.worker.connections.shed((usize::MAX, 0));
    assert!(!rig.is_connected(first) && rig.is_connected(second));
    let (_third, third) = rig.admit_blocked();
    rig.skip(SECOND);
    rig.worker.connections.shed((1, 0));
    assert!(!rig.is_connected(second) && rig.is_connected(third));
    assert_eq!(rig.evicted(Reason::Shed), 2);
    assert!(
        rig.worker.connections.context.metrics.held() > 0,
        "the third still holds bytes"
    );
}

#[test]
fn room_is_made_by_resetting_the_clients_that_accepted_nothing_for_the_longest() {
    let mut rig = Rig::new(limits());
    let (_first, first) = rig.admit_blocked();
    rig.skip(SECOND);
    let (_second, second) = rig.admit_blocked();
    rig.skip(4 * SECOND - MS);
    rig.worker.connections.shed((0, 9));
    assert_eq!(rig.evicted(Reason::Shed), 0, "the time is too short");
    rig.skip(MS);
    rig.worker.connections.shed((0, 9));
    assert!(!rig.is_connected(first) && rig.is_connected(second));
    let (_third, third) = rig.admit_blocked();
    rig.skip(9 * SECOND);
    rig.worker.connections.shed((0, 1));
    assert!(!rig.is_connected(second) && rig.is_connected(third));
    assert_eq!(rig.evicted(Reason::Shed), 2);
}

#[test]
fn an_order_to_shed_is_followed_once() {
    let mut rig = Rig::new(limits());
    let (_first, first) = rig.admit_blocked();
    rig.skip(SECOND);
    let (_second, second) = rig.admit_blocked();
    rig.skip(SECOND);
    rig.worker.handle_wake_up();
    assert_eq!(rig.evicted(Reason::Shed), 0, "there was no order");
    rig.worker.connections.context.metrics.order_bytes(1);
    rig.worker.handle_wake_up();
    rig.worker.handle_wake_up();
    assert!(!rig.is_connected(first) && rig.is_connected(second));
}

#[test]
fn unchecked_clients_are_checked_on_order() {
    let mut rig = Rig::new(limits());
    let (mut ours, key) = rig.admit();
    ours.write_all(b"hello").unwrap();
    rig.serve_bytes(key, 5);
    rig.worker.connections.check();
    assert!(rig.worker.connections.clients[key].watch == Watch::Unchecked);
    ours.read_exact(&mut [0; 5]).unwrap();
    wait_until(|| rig.acknowledged(key).1);
    rig.worker.connections.context.metrics.order_check();
    rig.worker.handle_wake_up();
    rig.worker.connections.check();
    assert!(rig.worker.connections.clients[key].watch == Watch::None);
}

#[test]
fn stale_deadlines_are_removed_many_at_a_time() {
    let mut rig = Rig::new(limits());
    let clients: Vec<_> = (0..40).map(|_| rig.admit()).collect();
    let (mut removals, mut entries) = (0, 0);
    for (round, (_, key)) in (0..800_u32).rev().zip(clients.iter().cycle()) {
        rig.worker.connections.allow(*key, SECOND + round * MS);
        let left = rig.worker.connections.deadlines.len();
        removals += usize::from(left <= entries);
        entries = left;
    }
    // A removal visits all entries, so it must be rare enough to cost little for each push.
    assert!(removals * (64 + clients.len()) <= 800, "{removals} times");
}

#[test]
fn stale_deadlines_are_not_kept_for_ever() {
    let mut rig = Rig::new(limits());
    let clients: Vec<_> = (0..40).map(|_| rig.admit()).collect();
    for round in (1..20_u32).rev() {
        for (_, key) in &clients {
            rig.worker.connections.allow(*key, round * SECOND);
        }
        assert!(rig.worker.connections.deadlines.len() <= 64 + 2 * clients.len());
    }
    assert_eq!(
        rig.worker.connections.deadlines.soonest(),
        Some(rig.worker.connections.now + SECOND)
    );
    for (_, key) in &clients[1..] {
        rig.worker.connections.close(*key, &CloseReason::Finished);
    }
    let key = clients[0].1;
    for ms in (1..200_u32).rev() {
        rig.worker.connections.allow(key, ms * MS);
        if ms < 100 {
            assert!(rig.worker.connections.deadlines.len() <= 66);
        }
    }
    rig.pass(MS);
    assert!(!rig.is_connected(key), "the deadline that counts is kept");
}

#[test]
fn a_worker_sleeps_until_the_first_deadline() {
    let mut rig = Rig::new(TimeLimits {
        idle: Some(200 * MS),
        ..limits()
    });
    let _client = rig.admit();
    let mut events = Events::with_capacity(EVENTS);
    rig.worker.wait(&mut events).unwrap();
    assert!(!events.is_empty(), "its socket is writable");
    rig.worker.wait(&mut events).unwrap();
    assert!(events.is_empty());
    assert!(Some(rig.worker.connections.now) >= rig.worker.connections.deadlines.soonest());
}

#[test]
fn a_worker_does_not_sleep_while_a_client_is_ready_nor_during_its_busy_poll() {
    let mut rig = Rig::new(TimeLimits {
        idle: Some(60 * SECOND),
        ..limits()
    });
    let (mut ours, key) = rig.admit();
    let mut events = Events::with_capacity(EVENTS);
    rig.worker.wait(&mut events).unwrap();
    rig.worker.connections.enqueue(key);
    rig.worker.wait(&mut events).unwrap();
    let deadline = rig.worker.connections.deadlines.soonest();
    assert!(Some(rig.worker.connections.now) < deadline, "it slept");
    rig.serve_ready();
    rig.worker.connections.context.settings.busy_poll = 3600 * SECOND;
    ours.write_all(b"x").unwrap();
    rig.worker.wait(&mut events).unwrap();
    assert!(!events.is_empty(), "a byte has arrived");
    rig.worker.wait(&mut events).unwrap();
    assert!(events.is_empty());
    let check_at = rig.worker.connections.stalls.soonest();
    assert!(Some(rig.worker.connections.now) < check_at, "it slept");
}

#[test]
fn a_client_that_sends_messages_shortens_slices_and_a_stream_does_not() {
    let longest = |rig: &Rig| rig.worker.slices.longest(rig.worker.connections.now);
    let mut rig = Rig::new(limits());
    let (mut ours, key) = rig.admit();
    rig.worker.connections.now += SECOND;
    rig.serve(key);
    assert_eq!(longest(&rig), slices::ALONE, "nothing arrived");
    ours.write_all(b"x").unwrap();
    rig.serve_bytes(key, 1);
    assert_eq!(longest(&rig), slices::BESIDE);
    assert_eq!(rig.class(key), Class::Message);

    rig.worker.connections.now += SECOND;
    let (mut stream, streaming) = rig.admit();
    let bytes = LONG_MESSAGE + LONGEST;
    stream.write_all(&vec![7; bytes]).unwrap();
    wait_until(|| stream_has(&rig, streaming) == bytes);
    rig.serve(streaming);
    let now = rig.worker.connections.now;
    assert_eq!(streams_until(&rig, streaming), now + EXPECT_MORE);
    assert_eq!(rig.class(streaming), Class::Stream);
    // The last of them came before it was at rest.
    rig.worker.connections.now += MS;
    rig.serve_bytes(streaming, LONGEST as u64);
    assert_eq!(streams_until(&rig, streaming), now + MS + EXPECT_MORE);
    read_exactly(&stream, bytes);
    rig.worker.connections.now += EXPECT_MORE - MS;
    stream.write_all(b"x").unwrap();
    rig.serve_bytes(streaming, 1);
    assert_eq!(
        longest(&rig),
        slices::ALONE,
        "a stream also sends little at times"
    );
    rig.worker.connections.now += MS;
    stream.write_all(&[7; LONGEST]).unwrap();
    wait_until(|| stream_has(&rig, streaming) == LONGEST);
    rig.serve_bytes(streaming, LONGEST as u64);
    assert_eq!(
        longest(&rig),
        slices::BESIDE,
        "it has not streamed for a while"
    );
    assert_eq!(rig.class(streaming), Class::Message);
}

#[test]
fn a_client_that_waits_for_its_echo_is_no_stream_with_messages_of_up_to_64_kib() {
    let mut rig = Rig::new(limits());
    let (mut ours, key) = rig.admit();
    for length in [LONGEST + 1, 20_000, LONG_MESSAGE - 1] {
        for _ in 0..3 {
            ours.write_all(&vec![7; length]).unwrap();
            wait_until(|| stream_has(&rig, key) == length);
            let sent = rig.worker.connections.clients[key].conn.sent();
            rig.serve(key);
            let sent = rig.worker.connections.clients[key].conn.sent() - sent;
            assert_eq!(sent, length as u64, "all of it at once");
            assert_eq!(rig.class(key), Class::Message, "{length} bytes");
            read_exactly(&ours, length);
        }
    }
    // One that sends on before it has its echo is a stream, also if it was a message before.
    ours.write_all(&vec![7; LONG_MESSAGE]).unwrap();
    wait_until(|| stream_has(&rig, key) == LONG_MESSAGE);
    rig.serve(key);
    assert_eq!(rig.class(key), Class::Stream);
}

#[test]
fn a_client_that_sends_a_long_message_in_parts_is_at_rest_between_them() {
    let mut rig = Rig::new(limits());
    let (mut ours, key) = rig.admit();
    for part in 1..10 {
        ours.write_all(&[7; LONGEST]).unwrap();
        wait_until(|| stream_has(&rig, key) == LONGEST);
        rig.serve(key);
        assert_eq!(rig.class(key), Class::Message, "part {part}");
        read_exactly(&ours, LONGEST);
    }
}

/// Reads so many bytes.
fn read_exactly(mut client: &std::net::TcpStream, bytes: usize) {
    client.read_exact(&mut vec![0; bytes]).unwrap();
}

fn streams_until(rig: &Rig, key: usize) -> Instant {
    let clock = rig.worker.connections.clients[key].streams_until;
    rig.worker.connections.started + Duration::from_nanos(clock)
}

/// How many bytes of a client can be read now, up to four messages.
fn stream_has(rig: &Rig, key: usize) -> usize {
    let stream = rig.worker.connections.clients[key].conn.transport();
    stream.peek(&mut vec![0; 4 * LONGEST]).unwrap_or(0)
}

/// Has a client send bytes, waits until they can be read, and serves it once. Returns how
/// many bytes it was sent back.
fn serve_waiting(rig: &mut Rig, ours: &mut std::net::TcpStream, key: usize, bytes: usize) -> usize {
    let waiting = stream_has(rig, key) + bytes;
    ours.write_all(&vec![7; bytes]).unwrap();
    wait_until(|| stream_has(rig, key) == waiting);
    let before = rig.worker.connections.clients[key].conn.sent();
    rig.serve(key);
    (rig.worker.connections.clients[key].conn.sent() - before) as usize
}

#[test]
fn without_pipes_a_client_that_has_streamed_is_read_in_larger_slices_for_a_while() {
    let mut rig = Rig::new(limits());
    rig.worker.pipes = Pipes::new(0);
    let (mut stream, key) = rig.admit();
    let first = serve_waiting(&mut rig, &mut stream, key, 3 * LONGEST);
    assert!(first > LONGEST && first < 2 * LONGEST);
    rig.worker.connections.now += EXPECT_MORE - MS;
    let second = serve_waiting(&mut rig, &mut stream, key, 0);
    assert_eq!(first + second, 3 * LONGEST);
    rig.worker.connections.now += EXPECT_MORE;
    let third = serve_waiting(&mut rig, &mut stream, key, 3 * LONGEST);
    assert_eq!(third, first, "it has not streamed for a while");
}

#[test]
fn bytes_echoes_and_the_first_echo_are_counted() {
    let mut rig = Rig::new(limits());
    let (mut ours, key) = rig.admit();
    rig.serve(key);
    let counters = |rig: &Rig| {
        let counters = &rig.worker.connections.context.metrics.counters;
        let first: u64 = counters.first_echo.get().0.iter().sum();
        (counters.bytes.get(), counters.echoes.get(), first)
    };
    assert_eq!(counters(&rig), (0, 0, 0));
    ours.write_all(b"hello").unwrap();
    rig.serve_bytes(key, 5);
    assert_eq!(counters(&rig), (5, 1, 1));
    ours.write_all(b"more").unwrap();
    rig.serve_bytes(key, 4);
    let (bytes, _, first) = counters(&rig);
    assert_eq!((bytes, first), (9, 1));
}

#[test]
fn a_drain_closes_quiet_clients_and_cuts_blocked_ones_when_the_grace_period_is_over() {
    let mut rig = Rig::new(limits());
    let (quiet, quiet_key) = rig.admit();
    let (_blocked, blocked_key) = rig.admit_blocked();
    rig.stop(SECOND);
    rig.pass(199 * MS);
    assert!(rig.worker.connections.clients[quiet_key].conn.is_open());
    rig.pass(10 * MS);
    assert!(!rig.worker.connections.clients[quiet_key].conn.is_open());
    read_to_end(&quiet).unwrap();
    rig.pass(500 * MS);
    assert!(!rig.is_connected(quiet_key) && rig.is_connected(blocked_key));
    rig.pass(290 * MS);
    assert!(rig.is_connected(blocked_key));
    assert_eq!(rig.cut(), 0);
    rig.pass(MS);
    assert!(!rig.is_connected(blocked_key));
    assert_eq!(rig.cut(), 1);
}

#[test]
fn a_drain_reads_input_that_no_event_reported_until_the_grace_period_is_over() {
    let mut rig = Rig::new(limits());
    let (mut ours, key) = rig.admit();
    rig.stop(SECOND);
    ours.write_all(b"x").unwrap();
    wait_until(|| stream_has(&rig, key) == 1);
    rig.pass(500 * MS);
    rig.serve_bytes(key, 1);
    ours.read_exact(&mut [0]).unwrap();
    wait_until(|| rig.acknowledged(key).1);
    ours.write_all(b"x").unwrap();
    wait_until(|| stream_has(&rig, key) == 1);
    rig.pass(500 * MS);
    assert!(!rig.is_connected(key));
    assert_eq!(rig.cut(), 1);
}

#[test]
fn a_drain_checks_its_clients_every_10_ms_and_not_in_every_turn() {
    let mut rig = Rig::new(limits());
    let (_ours, key) = rig.admit();
    rig.stop(SECOND);
    rig.pass(195 * MS);
    rig.pass(6 * MS);
    assert!(
        rig.worker.connections.clients[key].conn.is_open(),
        "quiet since then"
    );
    rig.pass(4 * MS);
    assert!(!rig.worker.connections.clients[key].conn.is_open());
}

#[test]
fn the_key_of_a_closed_client_is_removed_from_the_ready_list() {
    let mut rig = Rig::new(limits());
    let (_ours, key) = rig.admit();
    rig.worker.connections.enqueue(key);
    rig.worker.connections.enqueue(key);
    assert_eq!(rig.worker.connections.ready.len(Class::Message), 1);
    rig.worker.connections.close(key, &CloseReason::Finished);
    assert!(rig.worker.connections.ready.is_empty());
}

/// A client, and its key in the worker.
type Admitted = (std::net::TcpStream, usize);

/// A client that reads nothing and has half-closed. Its echo is in the kernel's buffers,
/// or a part of it is still `pending`.
fn admit_half_closed(rig: &mut Rig, pending: bool) -> Admitted {
    let (mut ours, key) = rig.admit();
    // As messages, which are copied: after a splice the FIN is seen a turn later.
    for _ in 0..4 {
        ours.write_all(&[7; LONGEST]).unwrap();
        rig.serve_bytes(key, LONGEST as u64);
    }
    if pending {
        // Less than is in flight: the kernel accepts nothing more.
        let theirs = SockRef::from(rig.worker.connections.clients[key].conn.transport());
        theirs.set_send_buffer_size(1).unwrap();
    }
    ours.write_all(&[7; 1000]).unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    wait_until(|| stream_has(rig, key) == 1000);
    rig.worker.connections.clients[key]
        .conn
        .update_readiness(Readiness {
            read_closed: true,
            ..Readiness::default()
        });
    rig.serve(key);
    let conn = &rig.worker.connections.clients[key].conn;
    assert_eq!((conn.is_open(), conn.has_pending()), (false, pending));
    (ours, key)
}

/// Lets time pass in steps of half a second until the server ends a client. Returns for
/// how long the client had accepted nothing.
fn pass_until_ended(rig: &mut Rig, key: usize) -> Duration {
    for _ in 0..1000 {
        rig.worker.connections.shed((0, 0));
        let active = rig.worker.connections.clients[key].conn.active();
        rig.pass(500 * MS);
        if !rig.is_connected(key) {
            return rig.worker.connections.now - active;
        }
    }
    panic!("it is never ended");
}

fn is_reset(client: &std::net::TcpStream) -> bool {
    read_to_end(client).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn a_half_closed_client_that_accepts_nothing_is_idle_like_others() {
    for pending in [false, true] {
        let mut rig = Rig::new(TimeLimits {
            idle: Some(4 * SECOND),
            ..limits()
        });
        let (ours, key) = admit_half_closed(&mut rig, pending);
        assert_eq!(pass_until_ended(&mut rig, key), 4 * SECOND);
        assert_eq!(rig.evicted(Reason::Idle), 1);
        assert!(is_reset(&ours));
    }
}

#[test]
fn a_half_closed_client_that_accepts_its_echo_slowly_receives_all_of_it() {
    for pending in [false, true] {
        let mut rig = Rig::new(TimeLimits {
            idle: Some(SECOND),
            lifetime: Some(SECOND),
            ..limits()
        });
        let start = rig.worker.connections.now;
        let (mut ours, key) = admit_half_closed(&mut rig, pending);
        let mut left = 4 * LONGEST + 1000;
        while rig.is_connected(key) {
            let (before, _) = rig.acknowledged(key);
            wait_until(|| {
                left -= ours.read(&mut [0; 8 * 1024]).unwrap();
                rig.serve(key);
                !rig.is_connected(key) || rig.acknowledged(key).0 > before
            });
            rig.pass(250 * MS);
            rig.pass(500 * MS);
        }
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).expect("an end without a reset");
        assert_eq!(rest.len(), left);
        assert!(
            rig.worker.connections.now - start > 2 * SECOND,
            "the test is slower than the limits"
        );
        assert_eq!(
            rig.worker
                .connections
                .context
                .metrics
                .counters
                .evicted
                .get()
                .sum(),
            0
        );
    }
}

#[test]
fn past_its_lifetime_a_client_that_accepts_nothing_for_a_minute_is_reset_without_a_stall_limit() {
    let clients: [fn(&mut Rig) -> Admitted; 3] = [
        Rig::admit_blocked,
        |rig| admit_half_closed(rig, false),
        |rig| admit_half_closed(rig, true),
    ];
    for admit in clients {
        let mut rig = Rig::new(TimeLimits {
            lifetime: Some(SECOND),
            ..limits()
        });
        let (ours, key) = admit(&mut rig);
        assert_eq!(pass_until_ended(&mut rig, key), 60 * SECOND);
        assert_eq!(rig.evicted(Reason::Lifetime), 1);
        assert!(is_reset(&ours));
    }
}

#[test]
fn without_a_stall_limit_a_client_that_accepts_nothing_is_kept_until_its_lifetime_is_over() {
    let mut rig = Rig::new(TimeLimits {
        lifetime: Some(100 * SECOND),
        ..limits()
    });
    let start = rig.worker.connections.now;
    let (_ours, key) = admit_half_closed(&mut rig, false);
    pass_until_ended(&mut rig, key);
    assert_eq!(rig.worker.connections.now - start, 100 * SECOND);
    assert_eq!(rig.evicted(Reason::Lifetime), 1);
}

/// A limit, who meets it, what that client sends in time, and what it then is owed.
type Late = (TimeLimits, Protocol, bool, &'static [u8], &'static [u8]);

/// The worker hears of the bytes only after the time limit: it was suspended.
#[test]
fn a_client_whose_input_waits_is_served_before_its_time_limit_counts() {
    let idle = TimeLimits {
        idle: Some(SECOND),
        ..limits()
    };
    let lifetime = TimeLimits {
        lifetime: Some(SECOND),
        ..limits()
    };
    let cases: [Late; 5] = [
        (idle, Protocol::Echo, false, b"x", b"x"),
        (limits(), Protocol::Echo, true, b"PROXY UNKNOWN\r\nx", b"x"),
        (limits(), Protocol::Counted, false, b"hi\0", b"2 : hi\0"),
        (lifetime, Protocol::Counted, false, b"hi\0", b"2 : hi\0"),
        (lifetime, Protocol::Echo, false, b"last", b"last"),
    ];
    for (limits, protocol, behind_proxy, sent, owed) in cases {
        let mut rig = Rig::new(limits);
        let (mut ours, key) = rig.admit_to(protocol, behind_proxy);
        if protocol == Protocol::Counted && limits.lifetime.is_none() {
            ours.write_all(b"hi").unwrap();
            wait_until(|| stream_has(&rig, key) == 2);
            rig.serve(key);
            ours.write_all(b"\0").unwrap();
            wait_until(|| stream_has(&rig, key) == 1);
        } else {
            ours.write_all(sent).unwrap();
            wait_until(|| stream_has(&rig, key) == sent.len());
        }
        rig.pass(60 * SECOND);
        assert!(rig.is_connected(key), "{protocol} {limits:?}");
        while !rig.worker.connections.ready.is_empty() {
            rig.serve_ready();
        }
        let mut got = vec![0; owed.len()];
        ours.read_exact(&mut got).unwrap();
        assert_eq!(got, owed);
        rig.pass(Duration::ZERO);
        let evicted = rig
            .worker
            .connections
            .context
            .metrics
            .counters
            .evicted
            .get();
        let expected = u64::from(protocol == Protocol::Echo && limits.lifetime.is_some());
        assert_eq!(evicted.sum(), expected, "{protocol} {limits:?}: {evicted}");
    }
}

#[test]
fn input_that_waits_and_completes_nothing_does_not_extend_a_time_limit() {
    let mut rig = Rig::new(limits());
    let (mut ours, key) = rig.admit_to(Protocol::Echo, true);
    ours.write_all(b"PROXY ").unwrap();
    wait_until(|| stream_has(&rig, key) == 6);
    rig.pass(6 * SECOND);
    assert!(rig.is_connected(key), "its input waits");
    rig.serve_ready();
    rig.pass(Duration::ZERO);
    assert!(!rig.is_connected(key));
    assert_eq!(rig.evicted(Reason::Header), 1);
}

#[test]
fn a_client_whose_end_waits_is_closed_in_order_after_its_time() {
    let mut rig = Rig::new(TimeLimits {
        idle: Some(SECOND),
        ..limits()
    });
    let (ours, key) = rig.admit();
    ours.shutdown(Shutdown::Write).unwrap();
    let stream = rig.worker.connections.clients[key].conn.transport();
    wait_until(|| stream.peek(&mut [0]).is_ok());
    rig.pass(SECOND);
    assert!(rig.is_connected(key));
    rig.serve_ready();
    wait_until(|| {
        rig.serve_ready();
        !rig.is_connected(key) || rig.acknowledged(key).1
    });
    assert_eq!(rig.evicted(Reason::Idle), 0);
    read_to_end(&ours).expect("an end without a reset");
}

#[test]
fn a_client_whose_lifetime_is_over_gets_all_that_has_arrived_and_nothing_later() {
    for length in [1, NARROW_SLICE, 3 * LONGEST] {
        let mut rig = Rig::new(TimeLimits {
            lifetime: Some(SECOND),
            ..limits()
        });
        let (mut ours, key) = rig.admit();
        ours.write_all(&vec![7; length]).unwrap();
        wait_until(|| stream_has(&rig, key) == length);
        rig.pass(SECOND);
        ours.write_all(b"later").unwrap();
        wait_until(|| stream_has(&rig, key) == length + 5);
        while !rig.worker.connections.ready.is_empty() {
            rig.serve_ready();
        }
        let mut echo = vec![0; length];
        ours.read_exact(&mut echo).unwrap();
        let conn = &rig.worker.connections.clients[key].conn;
        assert_eq!(conn.sent(), length as u64);
        wait_until(|| rig.acknowledged(key).1);
        rig.pass(500 * MS);
        rig.serve_ready();
        assert!(!rig.worker.connections.clients[key].conn.awaits_ack());
        read_to_end(&ours).expect("an end without a reset");
        assert_eq!(rig.evicted(Reason::Lifetime), 1);
    }
}

/// The peer has taken all that it was sent, and waits for what the worker still has.
#[test]
fn a_client_that_waits_for_its_pending_output_is_not_stalled() {
    let mut rig = Rig::new(TimeLimits {
        stall: Some(4 * SECOND),
        ..limits()
    });
    let (mut ours, key) = rig.admit_blocked();
    ours.set_nonblocking(true).unwrap();
    let mut block = vec![0; 64 * 1024];
    wait_until(|| {
        while let Ok(1..) = ours.read(&mut block) {}
        rig.acknowledged(key).0 == rig.worker.connections.clients[key].conn.sent()
    });
    assert!(rig.worker.connections.clients[key].conn.has_pending());
    for _ in 0..3 {
        rig.pass(4 * SECOND);
        assert!(rig.is_connected(key));
    }
    assert_eq!(rig.evicted(Reason::Stalled), 0);
}

/// Drops all segments that reach a socket, as if their sender's network were gone.
#[cfg(target_os = "linux")]
fn deafen(socket: &std::net::TcpStream) {
    let drop_all = socket2::SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);
    SockRef::from(socket).attach_filter(&[drop_all]).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_one_shot_client_that_takes_no_answer_holds_its_place_until_it_is_stalled() {
    let answers: [fn(&mut Rig) -> Admitted; 3] = [
        |rig| {
            let (mut ours, key) = rig.admit_to(Protocol::Counted, false);
            ours.write_all(b"hi\0").unwrap();
            wait_until(|| stream_has(rig, key) == 3);
            deafen(&ours);
            (ours, key)
        },
        |rig| {
            let (ours, key) = rig.admit_to(Protocol::Whoami, false);
            deafen(&ours);
            (ours, key)
        },
        // It has closed its side.
        |rig| {
            let (ours, key) = rig.admit_to(Protocol::Counted, false);
            ours.shutdown(Shutdown::Write).unwrap();
            let stream = rig.worker.connections.clients[key].conn.transport();
            wait_until(|| stream.peek(&mut [0]).is_ok());
            deafen(&ours);
            (ours, key)
        },
    ];
    for admit in answers {
        let mut rig = Rig::new(TimeLimits {
            stall: Some(20 * SECOND),
            ..limits()
        });
        let (_ours, key) = admit(&mut rig);
        rig.serve(key);
        assert!(rig.worker.connections.clients[key].conn.sent() > 0);
        for _ in 0..39 {
            rig.pass(500 * MS);
            rig.serve_ready();
            assert!(rig.is_connected(key));
        }
        assert_eq!(rig.evicted(Reason::Stalled), 0);
        rig.pass(10 * SECOND);
        assert!(!rig.is_connected(key));
        assert_eq!(rig.evicted(Reason::Stalled), 1);
    }
}

/// What the segment that is lost begins with.
#[cfg(target_os = "linux")]
const LOST: &[u8] = b"lost";

/// Drops the segments that begin with [`LOST`], however often they are sent.
#[cfg(target_os = "linux")]
fn lose(socket: &impl std::os::fd::AsFd) {
    use socket2::SockFilter;

    let code = |code: u32| code as u16;
    let word = u32::from_be_bytes(LOST.try_into().unwrap());
    // The TCP header with its time stamps has 32 bytes.
    let filter = [
        SockFilter::new(code(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN), 0, 0, 0),
        SockFilter::new(code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K), 0, 3, 36),
        SockFilter::new(code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), 0, 0, 32),
        SockFilter::new(
            code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K),
            0,
            1,
            word,
        ),
        SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, 0),
        SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, u32::MAX),
    ];
    SockRef::from(socket).attach_filter(&filter).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn bytes_behind_a_gap_are_held_and_shed_although_no_event_shows_them() {
    let mut rig = Rig::new(TimeLimits {
        stall: Some(SECOND),
        ..limits()
    });
    let (mut ours, key) = rig.admit();
    let (mut healthy, other) = rig.admit();
    ours.set_nodelay(true).unwrap();
    for (client, key) in [(&mut ours, key), (&mut healthy, other)] {
        client.write_all(b"hello").unwrap();
        rig.serve_bytes(key, 5);
        client.read_exact(&mut [0; 5]).unwrap();
        wait_until(|| rig.acknowledged(key).1);
    }
    rig.pass(SECOND);
    lose(rig.worker.connections.clients[key].conn.transport());
    ours.write_all(LOST).unwrap();
    ours.write_all(&[7; LONGEST]).unwrap();
    wait_until(|| rig.worker.connections.clients[key].conn.has_gap());
    rig.pass(60 * SECOND);
    assert_eq!(rig.worker.connections.context.metrics.held(), 0);
    rig.worker.connections.context.metrics.order_check();
    rig.worker.handle_wake_up();
    rig.pass(Duration::ZERO);
    assert!(rig.worker.connections.context.metrics.held() >= LONGEST);
    assert!(rig.worker.connections.clients[other].watch == Watch::None);
    rig.pass(60 * SECOND);
    rig.pass(SECOND);
    assert!(rig.is_connected(key), "it is not stalled: it has taken all");
    rig.worker.connections.shed((1, 0));
    assert!(!rig.is_connected(key) && rig.is_connected(other));
    assert_eq!(rig.evicted(Reason::Shed), 1);
    assert!(is_reset(&ours));
    assert_eq!(rig.worker.connections.context.metrics.held(), 0);
}

#[test]
fn the_main_thread_is_notified_after_so_many_echoed_bytes() {
    let mut rig = Rig::new(limits());
    rig.worker.connections.context.settings.check_after = 10;
    let (mut ours, key) = rig.admit();
    ours.write_all(&[7; 9]).unwrap();
    rig.serve_bytes(key, 9);
    let takes = |rig: &Rig| {
        let metrics = &rig.worker.connections.context.metrics;
        metrics.take_echoed_much()
    };
    assert!(!takes(&rig));
    ours.write_all(&[7; 1]).unwrap();
    rig.serve_bytes(key, 1);
    assert!(takes(&rig) && !takes(&rig));
    ours.write_all(&[7; 9]).unwrap();
    rig.serve_bytes(key, 9);
    assert!(!takes(&rig), "it counts anew");
    ours.write_all(&[7; 2 * NARROW_SLICE]).unwrap();
    rig.serve_bytes(key, 2 * NARROW_SLICE as u64);
    assert!(takes(&rig));
    assert_eq!(rig.class(key), Class::Stream);
    rig.serve(key);
    assert!(!takes(&rig));
    ours.write_all(&[7; 11]).unwrap();
    rig.serve_bytes(key, 11);
    assert!(takes(&rig), "what streams is counted as well");
}

#[test]
fn what_clients_hold_is_checked_on_order_before_its_time_and_published() {
    let mut rig = Rig::new(limits());
    let (mut ours, key) = rig.admit_blocked();
    rig.pass(Duration::ZERO);
    let before = rig.worker.connections.context.metrics.held();
    ours.set_nonblocking(true).unwrap();
    wait_until(|| {
        let _ = ours.write(&[7; 64 * 1024]);
        rig.worker.connections.clients[key].conn.memory() > before + LONGEST
    });
    rig.pass(Duration::ZERO);
    let metrics = std::sync::Arc::clone(&rig.worker.connections.context.metrics);
    assert_eq!(metrics.held(), before, "it is not due");
    assert!(!metrics.take_checked());
    let due = rig.worker.connections.stalls.soonest();
    metrics.order_check();
    rig.worker.handle_wake_up();
    rig.pass(Duration::ZERO);
    assert!(metrics.held() > before + LONGEST && metrics.take_checked());
    assert_eq!(
        rig.worker.connections.stalls.soonest(),
        due,
        "it is due as before"
    );
}

#[test]
fn far_over_the_limit_nobody_is_spared_and_those_that_took_nothing_for_the_longest_come_first() {
    let mut rig = Rig::new(limits());
    let (_first, first) = rig.admit_blocked();
    rig.skip(100 * MS);
    let (_second, second) = rig.admit_blocked();
    rig.skip(MS);
    rig.worker.connections.shed((1, 0));
    assert_eq!(rig.evicted(Reason::Shed), 0, "the time is too short");
    rig.worker.connections.context.metrics.order_soon(1);
    rig.worker.handle_wake_up();
    assert!(!rig.is_connected(first) && rig.is_connected(second));
    assert_eq!(rig.evicted(Reason::Shed), 1);
}
