//! Pingers, each with one message on its way, and streams beside them, in one
//! loop: between two turns of theirs one of the streams has a bounded one.

use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use echopool::bench::latency::Latency;

use super::connection::Connection;
use super::poller::{EventFlags, Poller};
use super::stream::{BLOCK, Stream};

/// Events served in a turn: all are received, then all are answered.
const TURN: usize = 64;

/// The token of all streams; the pingers' are their numbers.
const STREAM: usize = usize::MAX;

/// The longest wait for sockets that are ready.
const WAIT: Duration = Duration::from_millis(20);

/// Pingers, and the streams beside them.
pub struct MixedLoad {
    poller: Poller,
    block: Vec<u8>,
    server: SocketAddrV4,
    size: usize,
    /// Given up when nothing came back to the pingers for this long.
    timeout: Duration,
    /// From a pinger's message to its next one, where the answer is there by then.
    every: Duration,
    pingers: Vec<Pinger>,
    /// Those that have no message on its way.
    answered: Vec<usize>,
    streams: Vec<Stream>,
    /// The stream whose turn it is.
    next: usize,
    /// Messages that ever came back.
    done: u64,
    counts: Counts,
}

struct Pinger {
    connection: Connection,
    /// The offset at which the message on its way ends.
    end: u64,
    sent_at: Instant,
}

/// What a load has counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Messages that came back whole.
    pub round_trips: u64,
    /// From before a message was sent until it was back whole.
    pub latency: Latency,
    /// Bytes of the streams that came back.
    pub stream_bytes: u64,
}

impl MixedLoad {
    /// Connects `count` pingers with messages of `size` bytes, at most 256 KiB,
    /// the first of which they send as soon as they can. A server of which nothing
    /// comes back for the time of `timeout` is given up.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn connect(
        server: SocketAddrV4,
        count: usize,
        size: usize,
        timeout: Duration,
    ) -> io::Result<Self> {
        let poller = Poller::new(TURN)?;
        let pingers = (0..count)
            .map(|number| {
                let connection = Connection::connect(server, number as u64)?;
                let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
                poller.add(&connection, number, flags)?;
                Ok(Pinger {
                    connection,
                    end: size as u64,
                    sent_at: Instant::now(),
                })
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            poller,
            block: vec![0; BLOCK],
            server,
            size,
            timeout,
            every: Duration::ZERO,
            pingers,
            answered: Vec::with_capacity(TURN),
            streams: Vec::new(),
            next: 0,
            done: 0,
            counts: Counts::default(),
        })
    }

    /// The same, whose pingers send a message only every so often.
    #[must_use]
    pub fn sparse(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// Connects so many streams beside the pingers.
    ///
    /// # Errors
    /// One could not connect.
    pub fn add_streams(&mut self, count: usize) -> io::Result<()> {
        for _ in 0..count {
            let number = self.pingers.len() + self.streams.len();
            let stream = Stream::connect(self.server, number as u64)?;
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            self.poller.add(&stream, STREAM, flags)?;
            self.streams.push(stream);
        }
        Ok(())
    }

    /// Takes turns for `time`. Returns what came back meanwhile.
    ///
    /// # Errors
    /// A connection failed, a byte was wrong, or nothing came back.
    pub fn run_for(&mut self, time: Duration) -> io::Result<Counts> {
        self.take_counts();
        let start = Instant::now();
        let (mut now, mut last_sign, mut done) = (start, start, self.done);
        while now - start < time {
            self.turn()?;
            now = Instant::now();
            if self.done > done {
                (done, last_sign) = (self.done, now);
            } else if now - last_sign > self.timeout {
                let silence = humantime::format_duration(self.timeout);
                let error = format!("given up, nothing came back for {silence}");
                return Err(io::Error::other(error));
            }
        }
        Ok(self.take_counts())
    }

    fn take_counts(&mut self) -> Counts {
        let mut counts = std::mem::take(&mut self.counts);
        counts.stream_bytes = self.streams.iter_mut().map(Stream::take_bytes).sum();
        counts
    }

    /// Serves one of the streams, then each of the sockets that are ready once.
    fn turn(&mut self) -> io::Result<()> {
        let most = match self.step()? {
            true => Duration::ZERO,
            false => self.rest(),
        };
        for index in 0..self.poller.wait(most)? {
            let (token, flags) = self.poller.event(index);
            if token != STREAM {
                self.receive(token, flags)?;
            }
        }
        self.ping_again()
    }

    /// Gives the next stream that can move a step. Returns whether there was one.
    fn step(&mut self) -> io::Result<bool> {
        for _ in 0..self.streams.len() {
            let turn = self.next;
            self.next = (turn + 1) % self.streams.len();
            if self.streams[turn].step(&mut self.block)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How long there is nothing to be sent.
    fn rest(&self) -> Duration {
        let due = self.answered.iter().map(|&token| self.due(token)).min();
        due.map_or(WAIT, |due| {
            due.saturating_duration_since(Instant::now()).min(WAIT)
        })
    }

    /// When a pinger that has its answer sends its next message.
    fn due(&self, token: usize) -> Instant {
        self.pingers[token].sent_at + self.every
    }

    /// Pings again for those whose time has come.
    fn ping_again(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let mut answered = std::mem::take(&mut self.answered);
        let mut sent = Ok(());
        answered.retain(|&token| {
            let stays = sent.is_err() || self.due(token) > now;
            if !stays {
                sent = self.ping(token);
            }
            stays
        });
        self.answered = answered;
        sent
    }

    fn ping(&mut self, token: usize) -> io::Result<()> {
        let pinger = &mut self.pingers[token];
        pinger.end += self.size as u64;
        pinger.sent_at = Instant::now();
        pinger
            .connection
            .send(pinger.end, &mut self.block)
            .map(drop)
    }

    /// Receives what there is of an answer.
    fn receive(&mut self, token: usize, flags: EventFlags) -> io::Result<()> {
        let pinger = &mut self.pingers[token];
        if pinger.connection.sent() < pinger.end && flags.contains(EventFlags::OUT) {
            pinger.connection.send(pinger.end, &mut self.block)?;
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(());
        }
        while pinger.connection.echoed() < pinger.end {
            if pinger.connection.receive(&mut self.block)? == 0 {
                return Ok(());
            }
        }
        let elapsed = u64::try_from(pinger.sent_at.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counts.latency.histogram += elapsed;
        self.counts.round_trips += 1;
        self.done += 1;
        self.answered.push(token);
        Ok(())
    }
}
