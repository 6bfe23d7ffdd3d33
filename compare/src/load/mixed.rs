//! Clients that ping and clients that stream, in the loop of one thread.
//!
//! Between two turns of the pingers one stream moves a bounded number of bytes: of
//! two threads on one CPU the one's bytes would be in the other's latencies for as
//! long as the scheduler likes.

use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use echopool::probe::latency::Latency;

use super::connection::Connection;
use super::poller::{EventFlags, Poller};
use super::stream::{BLOCK, Stream};
use super::threads::Load;
use super::usage::thread_cpu_time;

/// Events served in a turn: all are received, then all are answered.
const TURN: usize = 64;

/// The longest wait for sockets that are ready.
const WAIT: Duration = Duration::from_millis(20);

/// Pingers, and the streams beside them.
pub struct MixedLoad {
    poller: Poller,
    block: Vec<u8>,
    server: SocketAddrV4,
    size: usize,
    /// Given up when nothing came back for this long: to the pingers, where there
    /// are any.
    timeout: Duration,
    /// From a pinger's message to its next one, where the answer is there by then.
    every: Duration,
    pingers: Vec<Pinger>,
    /// Those that have no message on its way.
    answered: Vec<usize>,
    /// Their tokens are behind those of the pingers.
    streams: Vec<Stream>,
    /// Which of them may have something to send or to receive.
    ready: Vec<bool>,
    /// The stream whose turn it is.
    next: usize,
    /// Whether streams still send, or only receive what is in flight.
    sends: bool,
    /// Messages that ever came back.
    done: u64,
    counts: Counts,
    /// Time in which it polled and neither it nor what is beside it had anything to do.
    idle: Duration,
    start: Instant,
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
            ready: Vec::new(),
            next: 0,
            sends: true,
            done: 0,
            counts: Counts::default(),
            idle: Duration::ZERO,
            start: Instant::now(),
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
            let stream = Stream::connect(self.server)?;
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            let token = self.pingers.len() + self.streams.len();
            self.poller.add(&stream, token, flags)?;
            self.streams.push(stream);
            self.ready.push(false);
        }
        Ok(())
    }

    /// Takes turns for `time`. Returns what came back meanwhile.
    ///
    /// # Errors
    /// A connection failed, a byte of a pinger's was wrong, or nothing came back.
    pub fn run_for(&mut self, time: Duration) -> io::Result<Counts> {
        self.take_turns(time, WAIT, || Ok(true))
    }

    /// The same without a sleep, with `other` between two turns, which says whether it had
    /// anything to do.
    ///
    /// # Errors
    /// As before, and those of `other`.
    pub fn run_with(
        &mut self,
        time: Duration,
        other: impl FnMut() -> io::Result<bool>,
    ) -> io::Result<Counts> {
        self.take_turns(time, Duration::ZERO, other)
    }

    /// How long it did not poll in vain so far, where it runs with others.
    #[must_use]
    pub fn busy_with_others(&self) -> Duration {
        self.start.elapsed().saturating_sub(self.idle)
    }

    fn take_turns(
        &mut self,
        time: Duration,
        wait: Duration,
        mut other: impl FnMut() -> io::Result<bool>,
    ) -> io::Result<Counts> {
        self.take_counts();
        let start = Instant::now();
        let (mut now, mut last_sign, mut done) = (start, start, self.done());
        while now - start < time {
            let is_busy = self.turn(wait)? | other()?;
            let before = std::mem::replace(&mut now, Instant::now());
            if !is_busy {
                self.idle += now - before;
            }
            if self.done() > done {
                (done, last_sign) = (self.done(), now);
            } else if now - last_sign > self.timeout {
                let silence = humantime::format_duration(self.timeout);
                let error = format!("given up, nothing came back for {silence}");
                return Err(io::Error::other(error));
            }
        }
        Ok(self.take_counts())
    }

    /// Sends nothing more on the streams until all that is in flight is back.
    /// Returns how many bytes that were.
    ///
    /// # Errors
    /// A connection failed, or it took longer than the timeout.
    pub fn drain(&mut self) -> io::Result<u64> {
        self.take_counts();
        self.sends = false;
        let deadline = Instant::now() + self.timeout;
        loop {
            let left: u64 = self.streams.iter().map(Stream::in_flight).sum();
            if left == 0 {
                break;
            }
            if Instant::now() > deadline {
                let most = humantime::format_duration(self.timeout);
                let error = format!("given up, {left} bytes did not come back within {most}");
                return Err(io::Error::other(error));
            }
            self.turn(WAIT)?;
        }
        self.sends = true;
        // Edges that said 'writable' passed while they did not send.
        self.ready.fill(true);
        Ok(self.take_counts().stream_bytes)
    }

    /// What grows while the server answers.
    fn done(&self) -> u64 {
        match self.pingers.is_empty() {
            true => self.streams.iter().map(Stream::echoed).sum(),
            false => self.done,
        }
    }

    fn take_counts(&mut self) -> Counts {
        let mut counts = std::mem::take(&mut self.counts);
        counts.stream_bytes = self.streams.iter_mut().map(Stream::take_bytes).sum();
        counts
    }

    /// Serves one of the streams, then each of the sockets that are ready once, for which it
    /// waits up to `wait` where it has nothing else to do. Returns whether it had.
    fn turn(&mut self, wait: Duration) -> io::Result<bool> {
        let has_moved = self.step()?;
        let most = match has_moved {
            true => Duration::ZERO,
            false => self.rest().min(wait),
        };
        let ready = self.poller.wait(most)?;
        for index in 0..ready {
            let (token, flags) = self.poller.event(index);
            match token.checked_sub(self.pingers.len()) {
                Some(stream) => self.ready[stream] = true,
                None => self.receive(token, flags)?,
            }
        }
        self.ping_again()?;
        Ok(has_moved || ready > 0)
    }

    /// Moves the next ready stream by a step. Returns whether there was one.
    fn step(&mut self) -> io::Result<bool> {
        for _ in 0..self.streams.len() {
            let turn = self.next;
            self.next = (turn + 1) % self.streams.len();
            if self.ready[turn] {
                self.ready[turn] = self.streams[turn].step(&mut self.block, self.sends)?;
                if self.ready[turn] {
                    return Ok(true);
                }
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
        if pinger.connection.echoed() == pinger.end {
            // It has its answer; an error shows when it sends again.
            return Ok(());
        }
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

impl Load for MixedLoad {
    /// Bytes of the streams.
    type Counts = u64;

    fn run_and_drain(&mut self, time: Duration) -> io::Result<u64> {
        Ok(self.run_for(time)?.stream_bytes + self.drain()?)
    }

    /// It sleeps while it has nothing to do.
    fn busy(&self) -> Duration {
        thread_cpu_time()
    }

    /// All comes back.
    fn came_at(&self) -> Instant {
        Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn turns_in_vain_are_not_busy() {
        const TIME: Duration = Duration::from_millis(50);
        let nowhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
        let mut load = MixedLoad::connect(nowhere, 0, 0, TIME * 20).unwrap();
        let mut grown = |is_busy| {
            let before = load.busy_with_others();
            load.run_with(TIME, || Ok(is_busy)).unwrap();
            load.busy_with_others() - before
        };
        assert!(grown(true) >= TIME);
        assert!(grown(false) < TIME / 2);
    }
}
