//! Ping-pong: many connections, each with one message on its way.

use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::client::Client;
use super::poller::{EventFlags, Poller};
use super::stream::Hose;
use super::{Load, drive};
use crate::payload::Payload;

/// Events served in a turn: all are received, then all are answered.
const TURN: usize = 64;

/// Connections made and tried before the next ones, far below any backlog.
const WAVE: usize = 128;

/// All connections have to be made within this time.
const CONNECT_TIME: Duration = Duration::from_secs(60);

/// The token of the firehose; the pingers' are their numbers.
const HOSE: usize = usize::MAX;

/// Pingers, and beside them a firehose if there is one.
pub struct Fleet {
    poller: Poller,
    payload: Payload,
    scratch: Vec<u8>,
    server: SocketAddrV4,
    size: usize,
    pingers: Vec<Pinger>,
    answered: Vec<usize>,
    hose: Option<Hose>,
    /// Whether an answered message is followed by the next one.
    again: bool,
    /// Messages on their way.
    waiting: u64,
    /// Messages that ever came back.
    done: u64,
    tally: Tally,
}

struct Pinger {
    client: Client,
    /// The offset at which the message on its way ends.
    end: u64,
    sent_at: Instant,
}

/// What a fleet has counted.
#[derive(Clone, Debug)]
pub struct Tally {
    /// From before a message was sent until it was back whole, in nanoseconds.
    pub latency_ns: Histogram<u64>,
    /// Bytes of the firehose that came back.
    pub hose_bytes: u64,
}

impl Tally {
    fn new() -> Self {
        Self {
            latency_ns: Histogram::new(3).expect("three digits are allowed"),
            hose_bytes: 0,
        }
    }

    /// A latency in microseconds; `quantile` is between 0 and 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a latency is below 2^53 ns")]
    pub fn latency_us(&self, quantile: f64) -> f64 {
        self.latency_ns.value_at_quantile(quantile) as f64 / 1e3
    }
}

impl Fleet {
    /// Connects `count` pingers with messages of `size` bytes. Each has had one
    /// message echoed, so the server has accepted it and serves it.
    ///
    /// # Errors
    /// A connection failed, a byte was wrong, or it took longer than a minute.
    pub fn connect(server: SocketAddrV4, count: usize, size: usize) -> io::Result<Self> {
        let mut fleet = Self {
            poller: Poller::new(TURN)?,
            payload: Payload::new(),
            scratch: vec![0; size],
            server,
            size,
            pingers: Vec::with_capacity(count),
            answered: Vec::with_capacity(TURN),
            hose: None,
            again: false,
            waiting: 0,
            done: 0,
            tally: Tally::new(),
        };
        fleet.grow(count)?;
        Ok(fleet)
    }

    /// Connects `count` more pingers, in waves.
    ///
    /// # Errors
    /// As [`Fleet::connect`].
    pub fn grow(&mut self, count: usize) -> io::Result<()> {
        let start = Instant::now();
        let goal = self.pingers.len() + count;
        while self.pingers.len() < goal {
            let wave = self.pingers.len()..goal.min(self.pingers.len() + WAVE);
            for number in wave.clone() {
                self.add(number)?;
            }
            drive(self, |fleet, _| fleet.waiting == 0)?;
            if start.elapsed() > CONNECT_TIME {
                let error = format!("only {} of {goal} clients in a minute", wave.end);
                return Err(io::Error::other(error));
            }
        }
        Ok(())
    }

    fn add(&mut self, number: usize) -> io::Result<()> {
        let client = Client::connect(self.server, number)?;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        self.poller.add(&client, number, flags)?;
        self.waiting += 1;
        self.pingers.push(Pinger {
            client,
            end: self.size as u64,
            sent_at: Instant::now(),
        });
        Ok(())
    }

    /// Connects a firehose beside the pingers.
    ///
    /// # Errors
    /// It could not connect.
    pub fn add_hose(&mut self) -> io::Result<()> {
        let hose = Hose::connect(self.server, self.pingers.len())?;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        self.poller.add(&hose, HOSE, flags)?;
        self.hose = Some(hose);
        Ok(())
    }

    /// What was counted since the last call.
    pub fn take_tally(&mut self) -> Tally {
        let tally = std::mem::replace(&mut self.tally, Tally::new());
        let hose_bytes = self.hose.as_mut().map_or(0, Hose::take_bytes);
        Tally {
            hose_bytes,
            ..tally
        }
    }

    fn ping(&mut self, token: usize) -> io::Result<()> {
        let pinger = &mut self.pingers[token];
        pinger.end += self.size as u64;
        self.waiting += 1;
        pinger.sent_at = Instant::now();
        pinger.client.send(&self.payload, pinger.end).map(drop)
    }

    /// Receives what there is of an answer.
    fn receive(&mut self, token: usize, flags: EventFlags) -> io::Result<()> {
        let pinger = &mut self.pingers[token];
        if pinger.client.sent() < pinger.end && flags.contains(EventFlags::OUT) {
            pinger.client.send(&self.payload, pinger.end)?;
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(());
        }
        while pinger.client.echoed() < pinger.end {
            if pinger.client.receive(&self.payload, &mut self.scratch)? == 0 {
                return Ok(());
            }
        }
        let elapsed = pinger.sent_at.elapsed().as_nanos();
        self.tally.latency_ns += u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.done += 1;
        self.waiting -= 1;
        self.answered.push(token);
        Ok(())
    }
}

impl Load for Fleet {
    fn start(&mut self) -> io::Result<()> {
        self.again = true;
        self.take_tally();
        (0..self.pingers.len()).try_for_each(|token| self.ping(token))
    }

    fn stop(&mut self) -> io::Result<()> {
        self.again = false;
        Ok(())
    }

    fn in_flight(&self) -> u64 {
        self.waiting
    }

    fn done(&self) -> u64 {
        self.done
    }

    fn turn(&mut self, most: Duration) -> io::Result<()> {
        let hose_moved = match &mut self.hose {
            Some(hose) => hose.step(&self.payload)?,
            None => false,
        };
        let most = if hose_moved { Duration::ZERO } else { most };
        let count = self.poller.wait(most)?;
        for index in 0..count {
            let (token, flags) = self.poller.event(index);
            if token != HOSE {
                self.receive(token, flags)?;
            }
        }
        let mut answered = std::mem::take(&mut self.answered);
        for token in answered.drain(..) {
            if self.again {
                self.ping(token)?;
            }
        }
        self.answered = answered;
        Ok(())
    }
}
