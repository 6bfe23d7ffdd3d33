//! Pingers, and what disturbs them from some moment on.

use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use echopool::probe::latency::Latency;

use super::datagram::flood::Flood;
use super::datagram::flow::Counts as DatagramCounts;
use super::datagram::round_trips::RoundTrips;
use super::mixed::{self, MixedLoad};

/// What pingers have counted, and what is beside them.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Messages or datagrams that came back to the pingers.
    pub round_trips: u64,
    /// How long those took.
    pub latency: Latency,
    /// The part of the pingers' datagrams that is lost, from 0 to 1, where they send any.
    pub lost: Option<f64>,
    /// What came back beside them: bytes of streams, or datagrams.
    pub others: u64,
}

/// Pingers that are alone at first.
pub trait Pingers {
    /// Has the others begin.
    ///
    /// # Errors
    /// They can't.
    fn disturb(&mut self) -> io::Result<()>;

    /// Takes turns for `time`. Returns what came back meanwhile.
    ///
    /// # Errors
    /// A client failed, a byte of a pinger's was wrong, or nothing came back.
    fn run_for(&mut self, time: Duration) -> io::Result<Counts>;
}

/// Pingers and streams of the same load.
pub struct BesideStreams {
    /// The pingers.
    pub load: MixedLoad,
    /// How many streams there will be.
    pub streams: usize,
}

impl Pingers for BesideStreams {
    fn disturb(&mut self) -> io::Result<()> {
        self.load.add_streams(self.streams)
    }

    fn run_for(&mut self, time: Duration) -> io::Result<Counts> {
        Ok(of_messages(self.load.run_for(time)?))
    }
}

/// Pingers over TCP, beside datagrams that nobody waits for.
pub struct BesideFlood {
    /// The pingers.
    pub load: MixedLoad,
    /// Where the flood goes to.
    pub server: SocketAddrV4,
    /// Its flows, and the bytes of its datagrams.
    pub shape: (usize, usize),
    /// The flood, once it has begun.
    pub flood: Option<Flood>,
}

impl Pingers for BesideFlood {
    fn disturb(&mut self) -> io::Result<()> {
        let (flows, size) = self.shape;
        self.flood = Some(Flood::open(self.server, flows, size)?);
        Ok(())
    }

    fn run_for(&mut self, time: Duration) -> io::Result<Counts> {
        let Some(flood) = &mut self.flood else {
            return Ok(of_messages(self.load.run_for(time)?));
        };
        flood.take_echoed();
        let counts = self.load.run_with(time, || flood.turn())?;
        Ok(Counts {
            others: flood.take_echoed(),
            ..of_messages(counts)
        })
    }
}

/// Datagrams that go to and fro, beside streams over TCP.
pub struct DatagramsBesideStreams {
    /// The pingers.
    pub load: RoundTrips,
    /// No pingers, and so many streams from some moment on.
    pub others: (MixedLoad, usize),
    /// Whether there are streams.
    pub is_disturbed: bool,
}

impl Pingers for DatagramsBesideStreams {
    fn disturb(&mut self) -> io::Result<()> {
        self.is_disturbed = true;
        let (streams, count) = &mut self.others;
        streams.add_streams(*count)
    }

    fn run_for(&mut self, time: Duration) -> io::Result<Counts> {
        let Self { load, others, .. } = self;
        if !self.is_disturbed {
            return Ok(of_datagrams(&load.run_for(time)?, 0));
        }
        load.begin()?;
        let counts = others.0.run_with(time, || load.turn().map(drop))?;
        Ok(of_datagrams(&load.take_counts(), counts.stream_bytes))
    }
}

fn of_messages(counts: mixed::Counts) -> Counts {
    Counts {
        round_trips: counts.round_trips,
        latency: counts.latency,
        lost: None,
        others: counts.stream_bytes,
    }
}

fn of_datagrams(counts: &DatagramCounts, others: u64) -> Counts {
    Counts {
        round_trips: counts.echoed,
        latency: counts.latency.clone(),
        lost: Some(counts.lost_part()),
        others,
    }
}
