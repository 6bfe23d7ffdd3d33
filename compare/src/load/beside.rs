//! Pingers, and what disturbs them from some moment on.

use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use echopool::probe::latency::Latency;

use super::datagram::flood::Flood;
use super::datagram::flow::Counts as DatagramCounts;
use super::datagram::round_trips::RoundTrips;
use super::mixed::{self, MixedLoad};
use super::usage::thread_cpu_time;

/// How long at a time the streams run on while datagrams are awaited.
const AWAITED: Duration = Duration::from_millis(1);

/// What pingers have counted, and what is beside them.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Messages or datagrams that came back to the pingers.
    pub round_trips: u64,
    /// How long those took.
    pub latency: Latency,
    /// What became of the pingers' datagrams, where they send any beside others.
    pub datagrams: Option<DatagramCounts>,
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

    /// How long its thread was busy so far, beside what disturbs it.
    fn busy(&self) -> Duration;
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

    /// It sleeps while it has nothing to do.
    fn busy(&self) -> Duration {
        thread_cpu_time()
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

    fn busy(&self) -> Duration {
        self.load.busy_with_others()
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
            let counts = load.run_for(time)?;
            return Ok(Counts {
                round_trips: counts.echoed,
                latency: counts.latency,
                ..Counts::default()
            });
        }
        // The streams go on while the last datagrams are awaited.
        let mut streamed = Vec::new();
        let run = |load: &mut RoundTrips, time| {
            let counts = others.0.run_with(time, || Ok(load.turn()?.1))?;
            streamed.push(counts.stream_bytes);
            Ok(())
        };
        let (datagrams, in_time) = load.drained(time, AWAITED, run)?;
        Ok(Counts {
            round_trips: in_time,
            latency: datagrams.latency.clone(),
            datagrams: Some(datagrams),
            others: streamed.first().copied().unwrap_or_default(),
        })
    }

    fn busy(&self) -> Duration {
        self.others.0.busy_with_others()
    }
}

fn of_messages(counts: mixed::Counts) -> Counts {
    Counts {
        round_trips: counts.round_trips,
        latency: counts.latency,
        datagrams: None,
        others: counts.stream_bytes,
    }
}
