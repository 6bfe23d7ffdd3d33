//! One worker on sockets of its own, phase by phase, with a clock that the test moves.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener};

use socket2::{Domain, SockRef, Socket, Type};

use super::*;
use crate::base::testing::wait_until;
use crate::proto::Protocol;
use crate::worker::connections::LINGER_TIME;
use crate::worker::context::{Accepted, CountGuard, Drain, Settings, TimeLimits};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The longest message; what brings more is a stream.
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
        let settings = Settings {
            limits,
            busy_poll: Duration::ZERO,
            pipes: 1,
            sources: None,
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

    /// Serves a client once, as if the poller had told of it.
    fn serve(&mut self, key: usize) {
        self.worker.connections.clients[key].conn.note(Readiness {
            readable: true,
            writable: true,
            ..Readiness::default()
        });
        self.worker.connections.enqueue(key);
        assert_eq!(self.worker.receive_phase(1), 1);
        self.worker.send_phase();
    }

    /// Serves a client until it has received so much more than now.
    fn serve_bytes(&mut self, key: usize, bytes: u64) {
        let sent = self.worker.connections.clients[key].conn.sent() + bytes;
        wait_until(|| {
            self.serve(key);
            self.worker.connections.clients[key].conn.sent() >= sent
        });
    }

    /// A client that takes nothing, and is owed what the kernel has no room for.
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

    /// A client that takes nothing, and has sent no more than the kernel keeps for it.
    fn admit_behind(&mut self) -> (std::net::TcpStream, usize) {
        let (mut ours, key) = self.admit();
        wait_until(|| {
            ours.write_all(&[7; LONGEST]).unwrap();
            self.serve_bytes(key, LONGEST as u64);
            let conn = &self.worker.connections.clients[key].conn;
            conn.sent() - conn.taken().unwrap().0 > 4 * LONGEST as u64
        });
        // An acknowledgement may be late.
        let mut block = [0; 4 * LONGEST];
        wait_until(|| {
            let (taken, _) = self.worker.connections.clients[key].conn.taken().unwrap();
            ours.peek(&mut block).is_ok_and(|here| here as u64 == taken)
        });
        assert!(!self.worker.connections.clients[key].conn.has_pending());
        (ours, key)
    }

    /// Time passes in which blocked clients take nothing: what the kernel has still
    /// given them counts as taken before.
    fn skip(&mut self, time: Duration) {
        self.worker.connections.shed((0, 0));
        self.worker.connections.now += time;
    }

    /// So much later all is looked at whose time has come.
    fn pass(&mut self, time: Duration) {
        self.worker.connections.now += time;
        self.worker.connections.look();
    }

    fn is_there(&self, key: usize) -> bool {
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

/// Reads what is there, up to the end, which is returned.
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
fn who_takes_nothing_for_the_stall_limit_is_reset() {
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
        assert!(rig.is_there(key));
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
    assert!(!rig.is_there(key));
    assert_eq!(rig.evicted(Reason::Stalled), 1);
    assert_eq!(
        rig.worker.connections.clients.len(),
        1,
        "who is owed nothing may be silent"
    );
    let end = read_to_end(&ours).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    rig.pass(500 * MS);
    assert_eq!(rig.worker.connections.context.metrics.held(), 0);
}

#[test]
fn who_takes_some_now_and_then_is_not_stalled() {
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
            assert!(rig.is_there(key));
        }
        let (taken, _) = rig.worker.connections.clients[key].conn.taken().unwrap();
        ours.read_exact(&mut vec![0; 128 * 1024]).unwrap();
        wait_until(|| rig.worker.connections.clients[key].conn.taken().unwrap().0 > taken);
        rig.pass(500 * MS);
        assert_eq!(
            rig.worker.connections.clients[key].conn.active(),
            rig.worker.connections.now
        );
    }
    assert_eq!(rig.evicted(Reason::Stalled), 0);
}

#[test]
fn who_has_taken_all_is_not_watched_any_more_and_idle_from_then_on() {
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
        rig.worker.connections.clients[key].conn.taken().unwrap().1
    });
    assert!(rig.worker.connections.clients[key].watch == Watch::Behind);
    rig.pass(500 * MS);
    assert!(rig.worker.connections.clients[key].watch == Watch::None);
    assert_eq!(rig.worker.connections.context.metrics.held(), 0);
    rig.pass(4 * SECOND - MS);
    assert!(rig.is_there(key));
    rig.pass(MS);
    assert!(!rig.is_there(key));
    assert_eq!(rig.evicted(Reason::Idle), 1);
}

#[test]
fn who_is_silent_for_the_idle_limit_sees_the_end() {
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
    assert!(rig.is_there(key));
    rig.pass(MS);
    assert!(!rig.is_there(key));
    assert_eq!(rig.evicted(Reason::Idle), 1);
    read_to_end(&ours).expect("an end without a reset");
}

#[test]
fn a_byte_puts_off_the_idle_limit() {
    let mut rig = Rig::new(TimeLimits {
        idle: Some(SECOND),
        ..limits()
    });
    let (mut ours, key) = rig.admit();
    rig.worker.connections.now += 999 * MS;
    ours.write_all(b"x").unwrap();
    rig.serve_bytes(key, 1);
    ours.read_exact(&mut [0]).unwrap();
    wait_until(|| rig.worker.connections.clients[key].conn.taken().unwrap().1);
    rig.pass(999 * MS);
    assert!(rig.is_there(key));
    rig.pass(MS);
    assert!(!rig.is_there(key));
    assert_eq!(rig.evicted(Reason::Idle), 1);
}

#[test]
fn whether_a_held_one_is_idle_is_decided_when_it_is_looked_at() {
    let mut rig = Rig::new(TimeLimits {
        idle: Some(SECOND),
        ..limits()
    });
    let (_ours, key) = rig.admit_blocked();
    rig.worker.connections.now += SECOND;
    rig.worker.connections.expire();
    assert!(rig.is_there(key));
    assert_eq!(
        rig.worker.connections.deadlines.soonest(),
        None,
        "it has no other time"
    );
    rig.worker.connections.check();
    assert!(!rig.is_there(key));
    assert_eq!(rig.evicted(Reason::Idle), 1);
}

#[test]
fn who_has_bytes_to_take_is_not_idle_however_late_its_worker_comes_to_look() {
    let mut rig = Rig::new(TimeLimits {
        idle: Some(SECOND),
        ..limits()
    });
    let (_ours, key) = rig.admit_behind();
    rig.pass(10 * SECOND);
    assert!(rig.is_there(key));
    rig.skip(SECOND);
    rig.pass(Duration::ZERO);
    assert!(!rig.is_there(key), "it took none of them");
    assert_eq!(rig.evicted(Reason::Idle), 1);
}

#[test]
fn who_was_sent_something_and_took_it_is_looked_at_once() {
    let mut rig = Rig::new(limits());
    let (mut ours, key) = rig.admit();
    ours.write_all(b"hello").unwrap();
    rig.serve_bytes(key, 5);
    assert!(rig.worker.connections.clients[key].watch == Watch::Unchecked);
    ours.read_exact(&mut [0; 5]).unwrap();
    wait_until(|| rig.worker.connections.clients[key].conn.taken().unwrap().1);
    rig.pass(15 * SECOND - MS);
    assert!(rig.worker.connections.clients[key].watch == Watch::Unchecked);
    rig.pass(MS);
    assert!(rig.worker.connections.clients[key].watch == Watch::None);
    assert_eq!(rig.worker.connections.stalls.soonest(), None);
}

#[test]
fn a_connection_that_is_too_old_is_finished_and_closed_when_its_peer_is_not() {
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
    rig.pass(LINGER_TIME - MS);
    assert!(rig.is_there(key));
    rig.pass(MS);
    assert!(!rig.is_there(key));
    assert_eq!(rig.evicted(Reason::Lifetime), 1);
}

#[test]
fn who_was_not_looked_at_when_its_time_is_over_has_a_minute_from_then_on() {
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
    assert!(rig.is_there(key));
    rig.pass(500 * MS);
    assert!(!rig.is_there(key));
    assert_eq!(rig.evicted(Reason::Lifetime), 1);
    let end = read_to_end(&ours).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn who_has_closed_its_side_has_the_time_it_takes_to_take_its_echo() {
    let mut rig = Rig::new(limits());
    let (ours, key) = rig.admit_behind();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    wait_until(|| {
        rig.serve(key);
        !rig.worker.connections.clients[key].conn.awaits_end()
    });
    rig.pass(2 * LINGER_TIME);
    assert!(rig.is_there(key));
    read_to_end(&ours).expect("the echo, and an end without a reset");
    wait_until(|| {
        rig.serve(key);
        !rig.is_there(key)
    });
}

#[test]
fn a_message_that_has_begun_must_end_in_time() {
    let mut rig = Rig::new(limits());
    let (mut ours, key) = rig.admit_to(Protocol::Counted, false);
    rig.pass(60 * SECOND);
    assert!(rig.is_there(key), "it has not begun");
    ours.write_all(b"hi").unwrap();
    wait_until(|| {
        rig.serve(key);
        rig.worker.connections.clients[key].until.is_some()
    });
    rig.pass(10 * SECOND);
    rig.serve(key);
    rig.pass(20 * SECOND - MS);
    assert!(rig.is_there(key));
    rig.pass(MS);
    assert!(!rig.is_there(key));
    assert_eq!(rig.evicted(Reason::Message), 1);
}

#[test]
fn a_header_must_come_in_time() {
    let mut rig = Rig::new(limits());
    let (_ours, key) = rig.admit_to(Protocol::Echo, true);
    rig.pass(5 * SECOND - MS);
    assert!(rig.is_there(key));
    rig.pass(MS);
    assert!(!rig.is_there(key));
    assert_eq!(rig.evicted(Reason::Header), 1);
}

#[test]
fn memory_is_freed_of_those_that_took_nothing_for_the_longest() {
    let mut rig = Rig::new(limits());
    let (_first, first) = rig.admit_blocked();
    rig.skip(100 * MS);
    let (_second, second) = rig.admit_blocked();
    rig.skip(149 * MS);
    rig.worker.connections.shed((usize::MAX, 0));
    assert_eq!(rig.evicted(Reason::Shed), 0, "it is not long yet");
    rig.skip(MS);
    rig.worker.connections.shed((usize::MAX, 0));
    assert!(!rig.is_there(first) && rig.is_there(second));
    let (_third, third) = rig.admit_blocked();
    rig.skip(SECOND);
    rig.worker.connections.shed((1, 0));
    assert!(!rig.is_there(second) && rig.is_there(third));
    assert_eq!(rig.evicted(Reason::Shed), 2);
    assert!(
        rig.worker.connections.context.metrics.held() > 0,
        "the third is held still"
    );
}

#[test]
fn room_is_made_by_those_that_took_nothing_for_the_longest() {
    let mut rig = Rig::new(limits());
    let (_first, first) = rig.admit_blocked();
    rig.skip(SECOND);
    let (_second, second) = rig.admit_blocked();
    rig.skip(4 * SECOND - MS);
    rig.worker.connections.shed((0, 9));
    assert_eq!(rig.evicted(Reason::Shed), 0, "it is not long yet");
    rig.skip(MS);
    rig.worker.connections.shed((0, 9));
    assert!(!rig.is_there(first) && rig.is_there(second));
    let (_third, third) = rig.admit_blocked();
    rig.skip(9 * SECOND);
    rig.worker.connections.shed((0, 1));
    assert!(!rig.is_there(second) && rig.is_there(third));
    assert_eq!(rig.evicted(Reason::Shed), 2);
}

#[test]
fn an_order_to_shed_is_obeyed_once() {
    let mut rig = Rig::new(limits());
    let (_first, first) = rig.admit_blocked();
    rig.skip(SECOND);
    let (_second, second) = rig.admit_blocked();
    rig.skip(SECOND);
    rig.worker.take_new();
    assert_eq!(rig.evicted(Reason::Shed), 0, "nobody has ordered it");
    rig.worker.connections.context.metrics.order_bytes(1);
    rig.worker.take_new();
    rig.worker.take_new();
    assert!(!rig.is_there(first) && rig.is_there(second));
}

#[test]
fn who_may_hold_bytes_is_told_of_and_looked_at_when_that_is_asked_for() {
    let mut rig = Rig::new(limits());
    let (mut ours, key) = rig.admit();
    rig.worker.connections.check();
    assert!(!rig.worker.connections.context.metrics.has_unchecked());
    ours.write_all(b"hello").unwrap();
    rig.serve_bytes(key, 5);
    rig.worker.connections.check();
    assert!(rig.worker.connections.context.metrics.has_unchecked());
    ours.read_exact(&mut [0; 5]).unwrap();
    wait_until(|| rig.worker.connections.clients[key].conn.taken().unwrap().1);
    rig.worker.connections.context.metrics.order_check();
    rig.worker.take_new();
    rig.worker.connections.check();
    assert!(!rig.worker.connections.context.metrics.has_unchecked());
}

#[test]
fn times_that_count_no_more_are_thrown_away_many_at_a_time() {
    let mut rig = Rig::new(limits());
    let clients: Vec<_> = (0..40).map(|_| rig.admit()).collect();
    let (mut thrown, mut entries) = (0, 0);
    for (round, (_, key)) in (0..800_u32).rev().zip(clients.iter().cycle()) {
        rig.worker.connections.allow(*key, SECOND + round * MS);
        let left = rig.worker.connections.deadlines.len();
        thrown += usize::from(left <= entries);
        entries = left;
    }
    // To throw away looks at all of them, which as many new ones must pay for.
    assert!(thrown * (64 + clients.len()) <= 800, "{thrown} times");
}

#[test]
fn times_that_count_no_more_are_not_kept_for_ever() {
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
    assert!(!rig.is_there(key), "the time that counts is kept");
}

#[test]
fn a_worker_sleeps_until_the_first_of_its_clients_times() {
    let mut rig = Rig::new(TimeLimits {
        idle: Some(200 * MS),
        ..limits()
    });
    let _client = rig.admit();
    let mut events = Events::with_capacity(EVENTS);
    rig.worker.wait(&mut events).unwrap();
    assert!(!events.is_empty(), "its socket has room");
    rig.worker.wait(&mut events).unwrap();
    assert!(events.is_empty());
    assert!(Some(rig.worker.connections.now) >= rig.worker.connections.deadlines.soonest());
}

#[test]
fn a_worker_does_not_sleep_while_someone_is_ready_nor_where_it_is_to_poll() {
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
    rig.worker.receive_phase(1);
    rig.worker.send_phase();
    rig.worker.connections.context.settings.busy_poll = 3600 * SECOND;
    ours.write_all(b"x").unwrap();
    rig.worker.wait(&mut events).unwrap();
    assert!(!events.is_empty(), "a byte has come");
    rig.worker.wait(&mut events).unwrap();
    assert!(events.is_empty());
    let look_at = rig.worker.connections.stalls.soonest();
    assert!(Some(rig.worker.connections.now) < look_at, "it slept");
}

#[test]
fn who_sends_messages_keeps_streams_short_and_who_streams_does_not() {
    let mut rig = Rig::new(limits());
    let (mut ours, key) = rig.admit();
    let now = rig.worker.connections.now + SECOND;
    rig.worker.connections.now = now;
    rig.serve(key);
    assert!(rig.worker.messages_until < now, "nothing came");
    ours.write_all(b"x").unwrap();
    rig.serve_bytes(key, 1);
    assert_eq!(rig.worker.messages_until, now + HABIT);
    assert!(streams_until(&rig, key) < now);

    rig.worker.connections.now += SECOND;
    let (mut stream, streaming) = rig.admit();
    stream.write_all(&[7; LONGEST + 1]).unwrap();
    wait_until(|| stream_has(&rig, streaming) > LONGEST);
    rig.serve_bytes(streaming, LONGEST as u64 + 1);
    let now = rig.worker.connections.now;
    assert_eq!(streams_until(&rig, streaming), now + HABIT);
    rig.worker.connections.now += HABIT - MS;
    stream.write_all(b"x").unwrap();
    rig.serve_bytes(streaming, 1);
    assert!(
        rig.worker.messages_until < now,
        "a stream also brings little"
    );
    rig.worker.connections.now += MS;
    stream.write_all(&[7; LONGEST]).unwrap();
    wait_until(|| stream_has(&rig, streaming) == LONGEST);
    rig.serve_bytes(streaming, LONGEST as u64);
    assert_eq!(rig.worker.messages_until, now + 2 * HABIT);
}

#[test]
fn a_stream_that_messages_keep_short_is_not_taken_for_one_of_them() {
    let mut rig = Rig::new(limits());
    let (mut stream, key) = rig.admit();
    stream.write_all(&[7; 2 * NARROW_SLICE]).unwrap();
    wait_until(|| stream_has(&rig, key) == 2 * NARROW_SLICE);
    rig.serve_bytes(key, NARROW_SLICE as u64);
    assert!(rig.worker.connections.clients[key].conn.is_bulk());

    rig.worker.connections.now += HABIT;
    let messages_until = rig.worker.connections.now + MS;
    rig.worker.messages_until = messages_until;
    wait_until(|| stream_has(&rig, key) == NARROW_SLICE);
    rig.serve(key);
    assert_eq!(streams_until(&rig, key), rig.worker.connections.now + HABIT);
    assert_eq!(rig.worker.messages_until, messages_until);
}

fn streams_until(rig: &Rig, key: usize) -> Instant {
    let clock = rig.worker.connections.clients[key].streams_until;
    rig.worker.started + Duration::from_nanos(clock)
}

/// How many bytes wait to be read of a client, up to some more than three messages.
fn stream_has(rig: &Rig, key: usize) -> usize {
    let stream = rig.worker.connections.clients[key].conn.transport();
    stream.peek(&mut vec![0; 4 * LONGEST]).unwrap_or(0)
}

/// Has a client's bytes wait to be read, and serves it once. Returns how many it was sent.
fn serve_waiting(rig: &mut Rig, ours: &mut std::net::TcpStream, key: usize, bytes: usize) -> usize {
    let waiting = stream_has(rig, key) + bytes;
    ours.write_all(&vec![7; bytes]).unwrap();
    wait_until(|| stream_has(rig, key) == waiting);
    let before = rig.worker.connections.clients[key].conn.sent();
    rig.serve(key);
    (rig.worker.connections.clients[key].conn.sent() - before) as usize
}

#[cfg(target_os = "linux")]
#[test]
fn a_stream_moves_all_it_has_in_a_turn_but_beside_messages_little() {
    let mut rig = Rig::new(limits());
    let (mut stream, key) = rig.admit();
    let first = serve_waiting(&mut rig, &mut stream, key, 2 * LONGEST);
    assert!(first > LONGEST && first < 2 * LONGEST);
    let second = serve_waiting(&mut rig, &mut stream, key, LONGEST);
    assert_eq!(first + second, 3 * LONGEST, "nobody waits for it");

    let (mut ours, message) = rig.admit();
    ours.write_all(b"x").unwrap();
    rig.serve_bytes(message, 1);
    rig.worker.connections.now += HABIT - MS;
    let third = serve_waiting(&mut rig, &mut stream, key, 2 * LONGEST);
    assert!(third <= BULK_SLICE_BESIDE, "{third} bytes beside messages");
    rig.worker.connections.now += MS;
    let fourth = serve_waiting(&mut rig, &mut stream, key, LONGEST);
    assert_eq!(third + fourth, 3 * LONGEST, "there are none any more");
}

#[test]
fn without_pipes_who_was_seen_to_stream_is_read_in_larger_parts_for_a_while() {
    let mut rig = Rig::new(limits());
    rig.worker.pipes = Pipes::new(0);
    let (mut stream, key) = rig.admit();
    let first = serve_waiting(&mut rig, &mut stream, key, 3 * LONGEST);
    assert!(first > LONGEST && first < 2 * LONGEST);
    rig.worker.connections.now += HABIT - MS;
    let second = serve_waiting(&mut rig, &mut stream, key, 0);
    assert_eq!(first + second, 3 * LONGEST);
    rig.worker.connections.now += HABIT;
    let third = serve_waiting(&mut rig, &mut stream, key, 3 * LONGEST);
    assert_eq!(third, first, "it has not streamed for a while");
}

#[test]
fn what_was_sent_is_counted_with_the_first_echo_and_each() {
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
fn a_stop_lets_go_of_the_quiet_and_cuts_who_takes_nothing_when_the_grace_is_over() {
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
    assert!(!rig.is_there(quiet_key) && rig.is_there(blocked_key));
    rig.pass(290 * MS);
    assert!(rig.is_there(blocked_key));
    assert_eq!(rig.cut(), 0);
    rig.pass(MS);
    assert!(!rig.is_there(blocked_key));
    assert_eq!(rig.cut(), 1);
}

#[test]
fn at_a_stop_what_came_unnoticed_is_still_read_but_not_when_the_grace_is_over() {
    let mut rig = Rig::new(limits());
    let (mut ours, key) = rig.admit();
    rig.stop(SECOND);
    ours.write_all(b"x").unwrap();
    wait_until(|| stream_has(&rig, key) == 1);
    rig.pass(500 * MS);
    rig.serve_bytes(key, 1);
    ours.read_exact(&mut [0]).unwrap();
    wait_until(|| rig.worker.connections.clients[key].conn.taken().unwrap().1);
    ours.write_all(b"x").unwrap();
    wait_until(|| stream_has(&rig, key) == 1);
    rig.pass(500 * MS);
    assert!(!rig.is_there(key));
    assert_eq!(rig.cut(), 1);
}

#[test]
fn a_stop_looks_at_its_clients_every_10_ms_and_not_in_every_turn() {
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
fn a_key_that_is_free_again_is_not_served_for_who_had_it() {
    let mut rig = Rig::new(limits());
    let (_ours, key) = rig.admit();
    rig.worker.connections.enqueue(key);
    rig.worker.connections.enqueue(key);
    assert_eq!(rig.worker.connections.ready.len(), 1);
    rig.worker.connections.close(key, &CloseReason::Finished);
    assert!(rig.worker.connections.ready.is_empty());
}

/// A client, and the key under which the worker has it.
type Admitted = (std::net::TcpStream, usize);

/// A client that takes nothing and has closed its side. Its echo is with the kernel,
/// or a part of it is still `owed`.
fn admit_half_closed(rig: &mut Rig, pending: bool) -> Admitted {
    let (mut ours, key) = rig.admit();
    // As messages, which are copied: behind a pipe the end is seen a turn later.
    for _ in 0..4 {
        ours.write_all(&[7; LONGEST]).unwrap();
        rig.serve_bytes(key, LONGEST as u64);
    }
    if pending {
        // Less than is under way: the kernel takes nothing more.
        let theirs = SockRef::from(rig.worker.connections.clients[key].conn.transport());
        theirs.set_send_buffer_size(1).unwrap();
    }
    ours.write_all(&[7; 1000]).unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    wait_until(|| stream_has(rig, key) == 1000);
    rig.worker.connections.clients[key].conn.note(Readiness {
        read_closed: true,
        ..Readiness::default()
    });
    rig.serve(key);
    let conn = &rig.worker.connections.clients[key].conn;
    assert_eq!((conn.is_open(), conn.has_pending()), (false, pending));
    (ours, key)
}

/// Lets half a second after another pass until the server ends a client. Returns for
/// how long that had taken nothing.
fn pass_until_ended(rig: &mut Rig, key: usize) -> Duration {
    for _ in 0..1000 {
        rig.worker.connections.shed((0, 0));
        let active = rig.worker.connections.clients[key].conn.active();
        rig.pass(500 * MS);
        if !rig.is_there(key) {
            return rig.worker.connections.now - active;
        }
    }
    panic!("it is never ended");
}

fn is_reset(client: &std::net::TcpStream) -> bool {
    read_to_end(client).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn who_has_closed_its_side_and_takes_nothing_is_idle_like_others() {
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
fn who_has_closed_its_side_and_takes_its_echo_slowly_gets_all_of_it() {
    for pending in [false, true] {
        let mut rig = Rig::new(TimeLimits {
            idle: Some(SECOND),
            lifetime: Some(SECOND),
            ..limits()
        });
        let start = rig.worker.connections.now;
        let (mut ours, key) = admit_half_closed(&mut rig, pending);
        let mut left = 4 * LONGEST + 1000;
        while rig.is_there(key) {
            let (before, _) = rig.worker.connections.clients[key].conn.taken().unwrap();
            wait_until(|| {
                left -= ours.read(&mut [0; 8 * 1024]).unwrap();
                rig.serve(key);
                !rig.is_there(key)
                    || rig.worker.connections.clients[key].conn.taken().unwrap().0 > before
            });
            rig.pass(250 * MS);
            rig.pass(500 * MS);
        }
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).expect("an end without a reset");
        assert_eq!(rest.len(), left);
        assert!(
            rig.worker.connections.now - start > 2 * SECOND,
            "it was to be slow"
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
fn past_its_lifetime_who_takes_nothing_for_a_minute_is_reset_also_without_a_stall_limit() {
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
fn without_a_stall_limit_who_takes_nothing_is_kept_until_its_lifetime_is_over() {
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
