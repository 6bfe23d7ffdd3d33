//! A long mixed load, after which the server holds no more than before: `make soak`.
#![cfg(target_os = "linux")]

mod common;

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::http::{admin_of, metrics};
use common::serve::{descriptors, memory, serve, serve_again, stop, stop_cleanly, threads, totals};
use common::trains::send_segmented;
use common::{Over, Program, connect, expect_end, keyed, reset, round_trip, wait_until};
use fastrand::Rng;
use rustix::process::Signal;

const MIB: u64 = 1 << 20;

/// Clients that do something else each time they come.
const CLIENTS: u64 = 2_000;

/// Clients that send a small message twice a second.
const PINGERS: u64 = 500;

/// Clients that send datagrams. Together they send more than `--udp-rate` allows.
const DATAGRAM_CLIENTS: u64 = 200;

/// The most datagrams that are sent as one message.
const MOST_JOINED: u64 = 40;

/// A datagram that has not come back by then is not waited for.
const PATIENCE: Duration = Duration::from_millis(100);

/// A thread that talks to a server needs no more, in bytes.
const STACK: usize = 128 * 1024;

const WORKERS: usize = 2;

/// The room of the workers for datagrams, 32 of the longest each. It is there from the start, but
/// the kernel gives a page of it only once a datagram is as long.
const BATCHES: u64 = WORKERS as u64 * 2 * MIB;

/// The resources of a server that could leak.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    descriptors: usize,
    threads: usize,
    memory: u64,
}

impl Holdings {
    fn of(program: &Program) -> Self {
        let pid = program.child.id();
        Self {
            descriptors: descriptors(pid),
            threads: threads(pid),
            memory: memory(pid),
        }
    }

    /// Waits until a server without clients uses no more than at the time of
    /// `self`, except for so many bytes of memory.
    fn come_back(self, program: &Program, bytes: u64) {
        let pid = program.child.id();
        // Each worker keeps a spare pipe.
        let most = self.descriptors + 2 * WORKERS;
        wait_until("the descriptors to be closed", || descriptors(pid) <= most);
        let now = Self::of(program);
        println!("  {now:?}");
        assert_eq!(now.threads, self.threads, "before: {self:?}");
        assert!(
            now.memory <= self.memory + bytes,
            "before: {self:?}, now: {now:?}"
        );
    }
}

/// The state that all clients share.
struct Shared {
    address: SocketAddr,
    udp: SocketAddr,
    /// Clients finish their visit, and begin no other one until this is cleared.
    resting: AtomicBool,
    over: AtomicBool,
    /// Counts stops and starts: odd while the server may be away.
    phase: AtomicU64,
    visits_under_way: AtomicUsize,
    visits: AtomicU64,
    sent_bytes: AtomicU64,
    echoed_bytes: AtomicU64,
    longest_ping_ms: AtomicU64,
    /// Of this start of the server.
    datagrams_sent: AtomicU64,
    datagrams_back: AtomicU64,
    /// Of each datagram that was sent.
    hashes: Mutex<HashSet<u64>>,
}

impl Shared {
    fn new(address: SocketAddr, udp: SocketAddr) -> Self {
        Self {
            address,
            udp,
            resting: AtomicBool::new(true),
            over: AtomicBool::new(false),
            phase: AtomicU64::new(0),
            visits_under_way: AtomicUsize::new(0),
            visits: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            echoed_bytes: AtomicU64::new(0),
            longest_ping_ms: AtomicU64::new(0),
            datagrams_sent: AtomicU64::new(0),
            datagrams_back: AtomicU64::new(0),
            hashes: Mutex::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn is_resting(&self) -> bool {
        self.resting.load(Ordering::SeqCst) || self.is_over()
    }

    /// Sends the clients away, and waits until the last has gone.
    fn rest(&self) {
        self.resting.store(true, Ordering::SeqCst);
        wait_until("the clients to go", || {
            self.visits_under_way.load(Ordering::SeqCst) == 0 || self.is_over()
        });
        assert!(!self.is_over(), "a client failed");
    }

    fn wake(&self) {
        self.resting.store(false, Ordering::SeqCst);
    }

    /// Makes visits, with other bytes each time, until the test is over. A
    /// visit may only fail in a time in which the server was stopped.
    fn keep_visiting(&self, key: u64, mut random: Rng) {
        // Where one fails there is no need for the others to go on.
        let _over = Over(&self.over);
        for number in 0.. {
            thread::sleep(Duration::from_millis(random.u64(0..2_000)));
            self.visits_under_way.fetch_add(1, Ordering::SeqCst);
            let phase = self.phase.load(Ordering::SeqCst);
            if !self.is_resting() {
                let key = key << 16 | number & 0xffff;
                if let Err(error) = self.visit(key, &mut random) {
                    let stopped = phase % 2 == 1 || self.phase.load(Ordering::SeqCst) != phase;
                    assert!(stopped, "client {key:#x}: {error}");
                }
            }
            self.visits_under_way.fetch_sub(1, Ordering::SeqCst);
            if self.is_over() {
                return;
            }
        }
    }

    fn visit(&self, key: u64, random: &mut Rng) -> io::Result<()> {
        self.visits.fetch_add(1, Ordering::SeqCst);
        if key >> 16 >= PINGERS + CLIENTS {
            return self.send_datagrams(key, random);
        }
        let stream = TcpStream::connect_timeout(&self.address, common::DEADLINE)?;
        stream.set_read_timeout(Some(common::DEADLINE))?;
        stream.set_write_timeout(Some(common::DEADLINE))?;
        let mut visit = Visit {
            shared: self,
            stream,
            key,
            sent: 0,
            back: 0,
        };
        if key >> 16 < PINGERS {
            return visit.ping();
        }
        match random.u8(0..100) {
            0..40 => visit.talk(random),
            40..44 => visit.stream(random),
            44..60 => visit.stall(random),
            60..75 => visit.half_close(random),
            75..90 => visit.reset(random),
            // It goes with its echo unread, or before that has come.
            _ => visit.send(random.usize(0..100_000)),
        }
    }
}

fn hash(datagram: &[u8]) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(datagram)
}

impl Shared {
    /// A client with a port of its own, which sends some datagrams and waits for their echoes.
    fn send_datagrams(&self, key: u64, random: &mut Rng) -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(self.udp)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let size = random.usize(1..1_400);
        let (count, size, joined) = match random.u8(0..100) {
            0..40 => (1, size, 1),
            40..60 => (random.usize(1..30), size, 1),
            60..80 => (
                random.usize(1..4),
                size,
                random.usize(2..=MOST_JOINED as usize),
            ),
            80..85 => (1, random.usize(1_400..65_508), 1),
            85..90 => (2, 0, 1),
            // It goes before its echo comes.
            _ => return self.send_train(&socket, key, (size, 1)).map(|_| ()),
        };
        let mut sent = VecDeque::new();
        for number in 0..count as u64 {
            sent.extend(self.send_train(&socket, key << 8 | number, (size, joined))?);
        }
        let mut echo = vec![0; 65_536];
        while !sent.is_empty() {
            let length = match socket.recv(&mut echo) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            // In order; some may have been over the rate.
            let place = sent.iter().position(|datagram| *datagram == echo[..length]);
            let Some(place) = place else {
                // Of a client that had this port before and left: its echo was late.
                let is_known = self.hashes.lock().unwrap().contains(&hash(&echo[..length]));
                assert!(is_known, "client {key:#x}: {length} other bytes");
                continue;
            };
            sent.drain(..=place);
            self.datagrams_back.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Sends so many datagrams of so many bytes as one message, and returns them.
    fn send_train(
        &self,
        socket: &UdpSocket,
        key: u64,
        (size, count): (usize, usize),
    ) -> io::Result<Vec<Vec<u8>>> {
        let count = count.min(65_507 / size.max(1));
        if count > 1 {
            send_segmented(socket, size as i32);
        }
        let message = keyed(key, 0, size * count);
        let empty = message.is_empty().then(|| hash(&[]));
        let each = message.chunks(size.max(1)).map(hash).chain(empty);
        self.hashes.lock().unwrap().extend(each);
        socket.send(&message)?;
        self.datagrams_sent
            .fetch_add(count as u64, Ordering::SeqCst);
        Ok(match size {
            0 => vec![message],
            size => message.chunks(size).map(<[u8]>::to_vec).collect(),
        })
    }

    /// Checks that the server has counted each datagram once.
    fn reconcile_datagrams(&self, admin: SocketAddr) {
        let counted = settled(admin);
        let sent = self.datagrams_sent.load(Ordering::SeqCst);
        let back = self.datagrams_back.load(Ordering::SeqCst);
        println!("  {sent} datagrams, {back} came back, {counted:?}");
        let Counted {
            received,
            answered,
            refused,
            unsent,
            dropped,
        } = counted;
        assert_eq!(answered + refused + unsent, received);
        // Several that came as one are one drop for the kernel, so what was dropped is known
        // between two bounds, which are the same where nothing was.
        let missing = sent - received;
        assert!((dropped..=dropped * MOST_JOINED).contains(&missing));
        assert!(0 < back && back <= answered);
    }
}

/// What a server has counted of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    received: u64,
    answered: u64,
    refused: u64,
    unsent: u64,
    dropped: u64,
}

impl Counted {
    fn of(admin: SocketAddr) -> Self {
        let samples = metrics(admin);
        let count = |name: &str| {
            let name = format!("echopool_datagrams_{name}");
            let its = samples.iter().filter(|(its, _)| its.starts_with(&name));
            its.map(|(_, &value)| value as u64).sum()
        };
        Self {
            received: count("received_total"),
            answered: count("answered_total"),
            refused: count("refused_total"),
            unsent: count("unsent_total"),
            dropped: count("dropped_total"),
        }
    }
}

/// What is counted once nothing waits to be received.
fn settled(admin: SocketAddr) -> Counted {
    let mut before = Counted::of(admin);
    wait_until("the datagrams to be received", || {
        thread::sleep(Duration::from_millis(100));
        let now = Counted::of(admin);
        std::mem::replace(&mut before, now) == now
    });
    before
}

/// One connection, whose bytes are those of its key.
struct Visit<'a> {
    shared: &'a Shared,
    stream: TcpStream,
    key: u64,
    sent: usize,
    back: usize,
}

impl Visit<'_> {
    fn send(&mut self, length: usize) -> io::Result<()> {
        let bytes = keyed(self.key, self.sent, length);
        // Also what was sent in part may come back.
        self.shared
            .sent_bytes
            .fetch_add(length as u64, Ordering::SeqCst);
        self.sent += length;
        self.stream.write_all(&bytes)
    }

    /// Reads so many bytes of what was sent and compares them.
    fn take(&mut self, length: usize) -> io::Result<()> {
        let mut echo = vec![0; length.min(64 * 1024)];
        let end = self.back + length;
        while self.back < end {
            let most = echo.len().min(end - self.back);
            let count = match self.stream.read(&mut echo[..most])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => count,
            };
            assert!(
                echo[..count] == keyed(self.key, self.back, count),
                "client {:#x}: a wrong byte after offset {}",
                self.key,
                self.back
            );
            self.back += count;
            self.shared
                .echoed_bytes
                .fetch_add(count as u64, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Half-closes, and awaits the rest and the end.
    fn finish(mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.await_end()
    }

    fn await_end(&mut self) -> io::Result<()> {
        self.take(self.sent - self.back)?;
        match self.stream.read(&mut [0])? {
            0 => Ok(()),
            _ => panic!("client {:#x}: a byte beyond the echo", self.key),
        }
    }

    fn ping(mut self) -> io::Result<()> {
        while !self.shared.is_resting() {
            let start = Instant::now();
            self.send(64)?;
            self.take(64)?;
            let time = start.elapsed().as_millis() as u64;
            self.shared
                .longest_ping_ms
                .fetch_max(time, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(500));
        }
        self.finish()
    }

    fn talk(mut self, random: &mut Rng) -> io::Result<()> {
        for _ in 0..random.usize(1..10) {
            self.send(random.usize(1..2_000))?;
            thread::sleep(Duration::from_millis(random.u64(0..100)));
            self.take(self.sent - self.back)?;
        }
        self.finish()
    }

    fn stream(mut self, random: &mut Rng) -> io::Result<()> {
        const STEP: usize = 64 * 1024;

        for _ in 0..random.usize(1..32) {
            self.send(STEP)?;
            // Never more than the kernel holds.
            self.take((self.sent - self.back).saturating_sub(2 * STEP))?;
        }
        self.finish()
    }

    fn stall(mut self, random: &mut Rng) -> io::Result<()> {
        self.send(random.usize(1..300_000))?;
        thread::sleep(Duration::from_millis(random.u64(0..2_000)));
        self.finish()
    }

    fn half_close(mut self, random: &mut Rng) -> io::Result<()> {
        self.send(random.usize(0..100_000))?;
        self.stream.shutdown(Shutdown::Write)?;
        thread::sleep(Duration::from_millis(random.u64(0..200)));
        self.await_end()
    }

    fn reset(mut self, random: &mut Rng) -> io::Result<()> {
        self.send(random.usize(0..100_000))?;
        self.take(random.usize(0..=self.sent))?;
        reset(self.stream);
        Ok(())
    }
}

/// The options of the server, which answers datagrams on this address.
fn options(udp: &str) -> [&str; 8] {
    const ADMIN: &str = "127.0.0.1:0";

    [
        "--workers",
        "2",
        "--grace",
        "30s",
        "--udp",
        udp,
        "--admin",
        ADMIN,
    ]
}

/// How long it takes, from the environment: `DURATION=10m`.
fn duration() -> Duration {
    let text = std::env::var("DURATION").unwrap_or_else(|_| String::from("10m"));
    humantime::parse_duration(&text).unwrap_or_else(|error| panic!("DURATION={text}: {error}"))
}

/// One run of a server: load, a pause in which it must release everything, load
/// again, and a stop in the midst of that.
fn run_once(
    program: &mut Program,
    admin: SocketAddr,
    shared: &Shared,
    random: &mut Rng,
    longest: Duration,
) -> (u64, u64) {
    let fresh = Holdings::of(program);
    println!("  {fresh:?}");
    let some_time = |random: &mut Rng| {
        let most = (longest / 2).as_millis() as u64;
        thread::sleep(Duration::from_millis(random.u64(most / 2..=most)));
    };
    shared.wake();
    some_time(random);
    shared.rest();
    fresh.come_back(program, 4 * MIB + BATCHES);
    let lull = Holdings::of(program);
    shared.wake();
    some_time(random);
    shared.rest();
    shared.reconcile_datagrams(admin);
    lull.come_back(program, MIB + BATCHES);
    shared.wake();
    some_time(random);
    shared.phase.fetch_add(1, Ordering::SeqCst);
    let (code, time) = stop(program, Signal::TERM);
    println!("  stopped within {time:?}");
    assert_eq!(code, Some(0), "{:#?}", program.log);
    assert!(!program.logged("ERROR"), "{:#?}", program.log);
    totals(program)
}

#[test]
#[ignore = "takes DURATION, ten minutes by default: make soak"]
fn a_server_accounts_for_every_byte_and_keeps_nothing_of_its_clients() {
    let duration = duration();
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
    println!("{duration:?}, SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let (mut program, address) = serve(&options("127.0.0.1:0"));
    let udp = program.wait_for_listener("udp");
    let shared = Shared::new(address, udp);
    let (udp, mut admin) = (udp.to_string(), admin_of(&mut program));
    let start = Instant::now();
    let mut echoed = 0;
    thread::scope(|scope| {
        let _over = Over(&shared.over);
        for key in 0..PINGERS + CLIENTS + DATAGRAM_CLIENTS {
            let (shared, random) = (&shared, random.fork());
            let thread = thread::Builder::new().stack_size(STACK);
            thread
                .spawn_scoped(scope, move || shared.keep_visiting(key, random))
                .unwrap();
        }
        while start.elapsed() < duration {
            let longest = Duration::from_secs(20).min(duration / 3);
            echoed += run_once(&mut program, admin, &shared, &mut random, longest).1;
            program = serve_again(address, &options(&udp));
            program.wait_for_listener("udp");
            admin = admin_of(&mut program);
            shared.phase.fetch_add(1, Ordering::SeqCst);
            shared.rest();
            // Some of those that were sent in between have come to the new one.
            let received = settled(admin).received;
            shared.datagrams_sent.store(received, Ordering::SeqCst);
            shared.datagrams_back.store(0, Ordering::SeqCst);
            println!(
                "{:?}, {} visits",
                start.elapsed(),
                shared.visits.load(Ordering::SeqCst)
            );
        }
    });
    echoed += totals(&stop_cleanly(program)).1;
    let sent = shared.sent_bytes.into_inner();
    let back = shared.echoed_bytes.into_inner();
    println!(
        "{} visits, {sent} bytes sent, {echoed} echoed, {back} compared; longest ping {} ms",
        shared.visits.into_inner(),
        shared.longest_ping_ms.into_inner()
    );
    assert!(back <= echoed && echoed <= sent);
}

/// So many connections of one small message each, four at a time; every other
/// one ends with a reset.
fn come_and_go(address: SocketAddr, count: u32) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for number in 0..count / 4 {
                    // A port of ours is free again for another address of the server's.
                    let ip = Ipv4Addr::new(127, 0, (number >> 8) as u8, 1 + (number % 250) as u8);
                    let mut client = connect(SocketAddr::new(ip.into(), address.port()));
                    round_trip(&mut client, b"hello");
                    if number % 2 == 0 {
                        reset(client);
                    } else {
                        client.shutdown(Shutdown::Write).unwrap();
                        expect_end(&mut client);
                    }
                }
            });
        }
    });
}

#[test]
#[ignore = "takes more than a minute: make soak"]
fn a_million_connections_leave_the_descriptors_and_the_memory_as_they_were() {
    let mut program = Program::start(["serve", "--workers", "2", "--echo", "0.0.0.0:0"]);
    let address = program.wait_for_listener("echo");
    come_and_go(address, 20_000);
    let before = Holdings::of(&program);
    let start = Instant::now();
    come_and_go(address, 1_000_000);
    println!("a million connections in {:?}, {before:?}", start.elapsed());
    let pid = program.child.id();
    wait_until("the descriptors to be closed", || {
        descriptors(pid) <= before.descriptors
    });
    let now = Holdings::of(&program);
    println!("{now:?}");
    assert_eq!(
        (now.descriptors, now.threads),
        (before.descriptors, before.threads)
    );
    assert!(now.memory <= before.memory + MIB, "{before:?}, {now:?}");
    assert_eq!(totals(&stop_cleanly(program)).0, 1_020_000);
}
