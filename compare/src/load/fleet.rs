//! Pingers, each with one message on its way, and a firehose beside them, in one
//! loop: between two turns of theirs the firehose has a bounded one.

use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use echopool::bench::latency::Latency;

use super::client::Client;
use super::hose::{BLOCK, Hose};
use super::poller::{EventFlags, Poller};

/// Events served in a turn: all are received, then all are answered.
const TURN: usize = 64;

/// The token of the firehose; the pingers' are their numbers.
const HOSE: usize = usize::MAX;

/// The longest wait for sockets that are ready.
const WAIT: Duration = Duration::from_millis(20);

/// Pingers, and beside them a firehose if there is one.
pub struct Fleet {
    poller: Poller,
    block: Vec<u8>,
    server: SocketAddrV4,
    size: usize,
    /// Given up when nothing came back to the pingers for this long.
    patience: Duration,
    pingers: Vec<Pinger>,
    answered: Vec<usize>,
    hose: Option<Hose>,
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
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Messages that came back whole.
    pub round_trips: u64,
    /// From before a message was sent until it was back whole.
    pub latency: Latency,
    /// Bytes of the firehose that came back.
    pub hose_bytes: u64,
}

impl Fleet {
    /// Connects `count` pingers with messages of `size` bytes, at most 256 KiB,
    /// the first of which they send as soon as they can. A server of which nothing
    /// comes back for the time of `patience` is given up.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn connect(
        server: SocketAddrV4,
        count: usize,
        size: usize,
        patience: Duration,
    ) -> io::Result<Self> {
        let poller = Poller::new(TURN)?;
        let pingers = (0..count)
            .map(|number| {
                let client = Client::connect(server, number as u64)?;
                let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
                poller.add(&client, number, flags)?;
                Ok(Pinger {
                    client,
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
            patience,
            pingers,
            answered: Vec::with_capacity(TURN),
            hose: None,
            done: 0,
            tally: Tally::default(),
        })
    }

    /// Connects a firehose beside the pingers.
    ///
    /// # Errors
    /// It could not connect.
    pub fn add_hose(&mut self) -> io::Result<()> {
        let hose = Hose::connect(self.server, self.pingers.len() as u64)?;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        self.poller.add(&hose, HOSE, flags)?;
        self.hose = Some(hose);
        Ok(())
    }

    /// Takes turns for `time`. Returns what came back meanwhile.
    ///
    /// # Errors
    /// A connection failed, a byte was wrong, or nothing came back.
    pub fn run_for(&mut self, time: Duration) -> io::Result<Tally> {
        self.take_tally();
        let start = Instant::now();
        let (mut now, mut last_sign, mut done) = (start, start, self.done);
        while now - start < time {
            self.turn()?;
            now = Instant::now();
            if self.done > done {
                (done, last_sign) = (self.done, now);
            } else if now - last_sign > self.patience {
                let silence = humantime::format_duration(self.patience);
                let error = format!("given up, nothing came back for {silence}");
                return Err(io::Error::other(error));
            }
        }
        Ok(self.take_tally())
    }

    fn take_tally(&mut self) -> Tally {
        let tally = std::mem::take(&mut self.tally);
        let hose_bytes = self.hose.as_mut().map_or(0, Hose::take_bytes);
        Tally {
            hose_bytes,
            ..tally
        }
    }

    /// Serves the firehose, then each of the sockets that are ready once.
    fn turn(&mut self) -> io::Result<()> {
        let hose_moved = match &mut self.hose {
            Some(hose) => hose.step(&mut self.block)?,
            None => false,
        };
        let most = if hose_moved { Duration::ZERO } else { WAIT };
        for index in 0..self.poller.wait(most)? {
            let (token, flags) = self.poller.event(index);
            if token != HOSE {
                self.receive(token, flags)?;
            }
        }
        let mut answered = std::mem::take(&mut self.answered);
        answered.drain(..).try_for_each(|token| self.ping(token))?;
        self.answered = answered;
        Ok(())
    }

    fn ping(&mut self, token: usize) -> io::Result<()> {
        let pinger = &mut self.pingers[token];
        pinger.end += self.size as u64;
        pinger.sent_at = Instant::now();
        pinger.client.send(pinger.end, &mut self.block).map(drop)
    }

    /// Receives what there is of an answer.
    fn receive(&mut self, token: usize, flags: EventFlags) -> io::Result<()> {
        let pinger = &mut self.pingers[token];
        if pinger.client.sent() < pinger.end && flags.contains(EventFlags::OUT) {
            pinger.client.send(pinger.end, &mut self.block)?;
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(());
        }
        while pinger.client.echoed() < pinger.end {
            if pinger.client.receive(&mut self.block)? == 0 {
                return Ok(());
            }
        }
        let elapsed = u64::try_from(pinger.sent_at.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.tally.latency.histogram += elapsed;
        self.tally.round_trips += 1;
        self.done += 1;
        self.answered.push(token);
        Ok(())
    }
}
