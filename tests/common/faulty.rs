//! Servers that misbehave on purpose, each with a clock and counts of its own.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, OnceLock};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::{DEADLINE, reserve, reset, wait_until};

/// What is read at once.
pub const BLOCK: usize = 64 * 1024;

/// A server that serves each connection on a thread of its own, until dropped.
pub struct Faulty {
    pub address: SocketAddr,
    listener: TcpListener,
}

impl Faulty {
    /// With connections counted from 0 in the order in which they came.
    pub fn serve(behave: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Self {
        Self::serve_at(Ipv4Addr::LOCALHOST.into(), behave)
    }

    /// The same on another address.
    pub fn serve_at(ip: IpAddr, behave: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Self {
        let (_reserved, address) = reserve(ip, 0).unwrap();
        Self::serve_on(listen(address), behave)
    }

    fn serve_on(
        listener: TcpListener,
        behave: impl Fn(TcpStream, usize) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let accepting = listener.try_clone().unwrap();
        let behave = Arc::new(behave);
        spawn(move || {
            for (number, stream) in accepting.incoming().enumerate() {
                let Ok(stream) = stream else { break };
                stream.set_nodelay(true).unwrap();
                stream.set_write_timeout(Some(DEADLINE)).unwrap();
                let behave = Arc::clone(&behave);
                spawn(move || behave(stream, number));
            }
        });
        Self { address, listener }
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        // Wakes the thread that accepts; who connects is refused from now on.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }
}

/// Binds an address even if connections of an earlier server linger on it.
fn listen(address: SocketAddr) -> TcpListener {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(4096).unwrap();
    socket.into()
}

/// What came next; nothing at the end, or when the client is gone.
fn receive<'a>(mut stream: &TcpStream, block: &'a mut [u8]) -> &'a [u8] {
    let length = stream.read(block).unwrap_or(0);
    &block[..length]
}

/// Echoes until the client half-closes or is gone.
pub fn echo(mut stream: &TcpStream) {
    let mut block = vec![0; BLOCK];
    loop {
        let bytes = receive(stream, &mut block);
        if bytes.is_empty() || stream.write_all(bytes).is_err() {
            return;
        }
    }
}

/// Echoes exactly so many bytes, and takes no more. Returns whether that worked.
pub fn echo_some(mut stream: &TcpStream, length: usize) -> bool {
    let mut block = vec![0; BLOCK];
    let mut left = length;
    while left > 0 {
        let bytes = receive(stream, &mut block[..left.min(BLOCK)]);
        if bytes.is_empty() || stream.write_all(bytes).is_err() {
            return false;
        }
        left -= bytes.len();
    }
    true
}

/// Takes all and answers nothing.
pub fn swallow(stream: &TcpStream) {
    let mut block = vec![0; BLOCK];
    while !receive(stream, &mut block).is_empty() {}
}

/// Not before that time, and hardly after it.
pub fn sleep_until(time: Instant) {
    sleep(time.saturating_duration_since(Instant::now()));
}

/// One message, by the server's own clock.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    pub connection: usize,
    pub received: Instant,
    /// Just before the echo was sent.
    pub answered: Instant,
}

/// An echo that answers each message at a time of its choice, and keeps the times.
pub struct Timed {
    pub server: Faulty,
    log: Arc<Mutex<Vec<Served>>>,
}

impl Timed {
    /// `when` is asked for each message of `size` bytes with its number on its
    /// connection and the time at which it came; on `None` it is never answered,
    /// nor is anything behind it.
    pub fn start(
        size: usize,
        when: impl Fn(usize, Instant) -> Option<Instant> + Send + Sync + 'static,
    ) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let server = Faulty::serve({
            let log = Arc::clone(&log);
            move |stream, connection| {
                let mut messages = Messages::new(&stream, size);
                let mut number = 0;
                while let Some((bytes, received)) = messages.next() {
                    let Some(time) = when(number, received) else {
                        return swallow(&stream);
                    };
                    number += 1;
                    sleep_until(time);
                    // The log is full before the client can know of the answer.
                    log.lock().unwrap().push(Served {
                        connection,
                        received,
                        answered: Instant::now(),
                    });
                    if (&stream).write_all(&bytes).is_err() {
                        return;
                    }
                }
            }
        });
        Self { server, log }
    }

    /// Answers nothing for 200 ms of every second, 400 ms after the first message
    /// came for the first time: a run of whole seconds has whole stalls.
    pub fn stalling(size: usize) -> Self {
        const PERIOD: Duration = Duration::from_secs(1);
        const STALL: std::ops::Range<Duration> =
            Duration::from_millis(400)..Duration::from_millis(600);
        let epoch = OnceLock::new();
        Self::start(size, move |_, received| {
            let epoch = *epoch.get_or_init(|| received);
            let now = Instant::now();
            let period = epoch + PERIOD * (now - epoch).as_secs() as u32;
            let stalled = STALL.contains(&(now - period));
            Some(if stalled { period + STALL.end } else { now })
        })
    }

    /// Takes `service` for each message, one after another, whoever sent it.
    pub fn serving_one_at_a_time(size: usize, service: Duration) -> Self {
        let free = Mutex::new(Instant::now());
        Self::start(size, move |_, received| {
            let mut free = free.lock().unwrap();
            *free = received.max(*free) + service;
            Some(*free)
        })
    }

    /// All messages so far, in the order in which they came.
    pub fn log(&self) -> Vec<Served> {
        let mut log = self.log.lock().unwrap().clone();
        log.sort_by_key(|served| served.received);
        log
    }

    /// How long each message was kept.
    pub fn holds(&self) -> Vec<Duration> {
        let log = self.log();
        log.iter().map(|at| at.answered - at.received).collect()
    }

    /// What a closed loop's round trips took at the least and at the most, by this clock and
    /// however late anybody ran: a message is not sent before the answer to the one before it,
    /// nor is its own answer read after the next one came. `room` is for the first and the last
    /// of a connection, beside which there is none.
    pub fn round_trips(&self, room: Duration) -> (Vec<Duration>, Vec<Duration>) {
        let mut log = self.log();
        log.sort_by_key(|served| (served.connection, served.received));
        let connections = log.chunk_by(|one, next| one.connection == next.connection);
        let mut most = Vec::new();
        for served in connections {
            for (number, at) in served.iter().enumerate() {
                let before = number.checked_sub(1).map(|number| served[number].answered);
                let next = served.get(number + 1).map(|next| next.received);
                let sent = before.unwrap_or_else(|| at.received - room);
                most.push(next.unwrap_or_else(|| at.answered + room) - sent);
            }
        }
        (self.holds(), most)
    }
}

/// The messages of a connection, with the time at which the last of each came.
struct Messages<'a> {
    stream: &'a TcpStream,
    size: usize,
    block: Vec<u8>,
    pending: Vec<u8>,
    received: Instant,
}

impl<'a> Messages<'a> {
    fn new(stream: &'a TcpStream, size: usize) -> Self {
        Self {
            stream,
            size,
            block: vec![0; BLOCK],
            pending: Vec::new(),
            received: Instant::now(),
        }
    }

    fn next(&mut self) -> Option<(Vec<u8>, Instant)> {
        while self.pending.len() < self.size {
            let bytes = receive(self.stream, &mut self.block);
            self.received = Instant::now();
            if bytes.is_empty() {
                return None;
            }
            self.pending.extend_from_slice(bytes);
        }
        let rest = self.pending.split_off(self.size);
        let message = std::mem::replace(&mut self.pending, rest);
        Some((message, self.received))
    }
}

/// An echo that damages one place of the first connection's stream.
pub struct Meddling {
    pub server: Faulty,
    place: Arc<AtomicU64>,
}

impl Meddling {
    /// From offset `at` on, where the fault shows at once, `fault` gets `span`
    /// bytes and what it leaves of them is sent.
    pub fn start(at: u64, span: usize, fault: fn(&mut Vec<u8>)) -> Self {
        let place = Arc::new(AtomicU64::new(u64::MAX));
        let server = Faulty::serve({
            let place = Arc::clone(&place);
            move |stream, number| {
                if number == 0 {
                    meddle(&stream, at, span, fault, &place);
                }
                echo(&stream);
            }
        });
        Self { server, place }
    }

    /// The offset of the first byte that differs from what was sent, once it did.
    pub fn place(&self) -> Option<u64> {
        let place = self.place.load(Ordering::SeqCst);
        (place != u64::MAX).then_some(place)
    }
}

/// Echoes up to and with the fault. It needs the byte behind the span as well,
/// to know which byte is the first to differ.
fn meddle(stream: &TcpStream, at: u64, span: usize, fault: fn(&mut Vec<u8>), place: &AtomicU64) {
    let mut stream = stream;
    let mut block = vec![0; BLOCK];
    let mut pending = Vec::new();
    let mut offset = 0;
    loop {
        let bytes = receive(stream, &mut block);
        if bytes.is_empty() {
            return;
        }
        pending.extend_from_slice(bytes);
        let early = (at.saturating_sub(offset) as usize).min(pending.len());
        offset += early as u64;
        if stream.write_all(&pending[..early]).is_err() {
            return;
        }
        pending.drain(..early);
        if offset == at && pending.len() > span {
            break;
        }
    }
    let mut came = pending[..span].to_vec();
    fault(&mut came);
    came.extend_from_slice(&pending[span..]);
    let differs = pending
        .iter()
        .zip(&came)
        .position(|(sent, came)| sent != came);
    place.store(offset + differs.unwrap() as u64, Ordering::SeqCst);
    let _ = stream.write_all(&came);
}

/// An echo that once gives each of its first two connections the other's message
/// of that number.
pub fn swapping(size: usize, number: usize) -> Faulty {
    let slots = [const { Mutex::new(Vec::new()) }; 2];
    let (slots, barrier) = (Arc::new(slots), Barrier::new(2));
    Faulty::serve(move |mut stream, connection| {
        if connection >= 2 || !echo_some(&stream, size * number) {
            return echo(&stream);
        }
        let mut message = vec![0; size];
        if stream.read_exact(&mut message).is_err() {
            return;
        }
        *slots[connection].lock().unwrap() = message;
        barrier.wait();
        let others = std::mem::take(&mut *slots[1 - connection].lock().unwrap());
        if stream.write_all(&others).is_ok() {
            echo(&stream);
        }
    })
}

/// An echo that sends a few bytes at a time, each in a segment of its own.
pub fn crumbling() -> Faulty {
    Faulty::serve(|mut stream, _| {
        let mut block = vec![0; BLOCK];
        loop {
            let bytes = receive(&stream, &mut block);
            let whole = bytes.chunks(3).all(|part| stream.write_all(part).is_ok());
            if bytes.is_empty() || !whole {
                return;
            }
        }
    })
}

/// An echo with small buffers, that reads again only after all was written.
pub fn narrow() -> Faulty {
    let (_reserved, address) = reserve(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
    let listener = listen(address);
    // What is accepted inherits both.
    let socket = SockRef::from(&listener);
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    Faulty::serve_on(listener, |stream, _| echo(&stream))
}

/// An echo of two writes under Nagle's algorithm: the second waits for the
/// acknowledgement of the first, which the client delays by 40 ms.
pub fn nagling(size: usize) -> Faulty {
    Faulty::serve(move |stream, _| {
        stream.set_nodelay(false).unwrap();
        let mut messages = Messages::new(&stream, size);
        let mut stream = &stream;
        while let Some((message, _)) = messages.next() {
            let (begin, end) = message.split_at(size / 2);
            if stream
                .write_all(begin)
                .and_then(|()| stream.write_all(end))
                .is_err()
            {
                return;
            }
        }
    })
}

/// How a server leaves its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// By FIN.
    Close,
    /// By RST.
    Reset,
}

/// An echo that goes away and comes back at the same address, with as many
/// connections each time.
pub struct Restarting {
    pub address: SocketAddr,
    connections: usize,
    /// Keeps the port while nobody listens.
    _reserved: Socket,
}

/// One life of a restarting server.
pub struct Life {
    server: Faulty,
    state: Arc<State>,
    connections: usize,
}

#[derive(Default)]
struct State {
    holding: AtomicBool,
    held: AtomicUsize,
    echoing: AtomicUsize,
    echoes: Mutex<Vec<Instant>>,
    verdict: Mutex<Option<Leave>>,
    decided: Condvar,
}

impl Restarting {
    /// For so many connections.
    pub fn new(connections: usize) -> Self {
        let (reserved, address) = reserve(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        Self {
            address,
            connections,
            _reserved: reserved,
        }
    }

    /// Comes up, for messages of `size` bytes, one in flight a connection.
    pub fn start(&self, size: usize) -> Life {
        let state = Arc::new(State::default());
        let server = Faulty::serve_on(listen(self.address), {
            let state = Arc::clone(&state);
            move |stream, _| state.serve(stream, size)
        });
        Life {
            server,
            state,
            connections: self.connections,
        }
    }
}

impl State {
    fn serve(&self, mut stream: TcpStream, size: usize) {
        let mut message = vec![0; size];
        let mut first = true;
        while stream.read_exact(&mut message).is_ok() {
            if self.holding.load(Ordering::SeqCst) {
                return self.leave(stream);
            }
            if stream.write_all(&message).is_err() {
                return;
            }
            if first {
                self.echoes.lock().unwrap().push(Instant::now());
                self.echoing.fetch_add(1, Ordering::SeqCst);
                first = false;
            }
        }
    }

    fn leave(&self, stream: TcpStream) {
        self.held.fetch_add(1, Ordering::SeqCst);
        let undecided = |verdict: &mut Option<Leave>| verdict.is_none();
        let verdict = self.verdict.lock().unwrap();
        let verdict = self.decided.wait_while(verdict, undecided).unwrap();
        match *verdict {
            Some(Leave::Reset) => reset(stream),
            _ => drop(stream),
        }
    }
}

impl Life {
    /// Waits until every connection had an echo. Returns when the first and the
    /// last of them had it.
    pub fn wait_for_echoes(&self) -> (Instant, Instant) {
        let all = || self.state.echoing.load(Ordering::SeqCst) >= self.connections;
        wait_until("an echo on every connection", all);
        let echoes = self.state.echoes.lock().unwrap();
        (echoes[0], echoes[self.connections - 1])
    }

    /// Stops listening, with a message of every connection taken and not
    /// answered, and leaves. Returns when it did.
    pub fn end(self, leave: Leave) -> Instant {
        self.state.holding.store(true, Ordering::SeqCst);
        let all = || self.state.held.load(Ordering::SeqCst) == self.connections;
        wait_until("a message of every connection", all);
        let Self { server, state, .. } = self;
        drop(server);
        let now = Instant::now();
        *state.verdict.lock().unwrap() = Some(leave);
        state.decided.notify_all();
        now
    }
}
