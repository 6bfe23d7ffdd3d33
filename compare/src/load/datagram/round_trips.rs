//! Flows that each have a number of datagrams in flight, in the loop of one thread.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddrV4;
use std::thread;
use std::time::{Duration, Instant};

use super::drops;
use super::flow::{Counts, Flow, Shape};
use crate::load::poller::{EventFlags, Poller};
use crate::load::threads::Load;

/// Flows served in a turn.
const TURN: usize = 64;

/// More than any datagram has, and as much as the kernel joins.
const LONGEST: usize = 1 << 16;

/// After so long a datagram is lost. No queue here holds any for as long: a server that
/// answers 10,000 a second needs half of it for all that fit into 4 MiB.
const LOST_AFTER: Duration = Duration::from_secs(1);

/// How often it is looked for lost ones.
const TICK: Duration = Duration::from_millis(10);

/// The flows of one thread.
pub struct RoundTrips {
    poller: Poller,
    room: Vec<u8>,
    flows: Vec<Flow>,
    ports: BTreeSet<u16>,
    /// Given up when nothing came back for this long.
    timeout: Duration,
    start: Instant,
    tick_at: u64,
    /// When something came back last.
    came_at: u64,
    /// The time of turns in which something was ready: while the last are awaited none is.
    busy: u64,
    /// Whether new datagrams are sent, or only awaited.
    sends: bool,
    has_begun: bool,
    counts: Counts,
}

impl RoundTrips {
    /// Opens the flows number `first` and the following.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn open(
        server: SocketAddrV4,
        (first, count): (usize, usize),
        shape: Shape,
        timeout: Duration,
    ) -> io::Result<Self> {
        let flows = (first..first + count).map(|key| Flow::open(server, key, shape));
        let flows = flows.collect::<io::Result<Vec<_>>>()?;
        let poller = Poller::new(TURN)?;
        for (token, flow) in flows.iter().enumerate() {
            poller.add(flow, token, EventFlags::IN)?;
        }
        Ok(Self {
            poller,
            room: vec![0; LONGEST],
            ports: flows.iter().map(Flow::port).collect::<io::Result<_>>()?,
            flows,
            timeout,
            start: Instant::now(),
            tick_at: 0,
            came_at: 0,
            busy: 0,
            sends: true,
            has_begun: false,
            counts: Counts::default(),
        })
    }

    /// How many datagrams were dropped in the queues of its sockets so far; of a train, the
    /// whole is one. A foreign socket of the same port may be among them until it is closed.
    fn dropped(&self) -> io::Result<u64> {
        drops::at_ports(&self.ports)
    }

    fn now(&self) -> u64 {
        nanoseconds(self.start.elapsed())
    }

    /// Takes turns for `time`. Returns what it counted meanwhile.
    ///
    /// # Errors
    /// The system's, a byte was wrong, or nothing came back.
    pub fn run_for(&mut self, time: Duration) -> io::Result<Counts> {
        self.begin()?;
        let start = self.now();
        while self.turn()?.0 - start < nanoseconds(time) {}
        Ok(self.take_counts())
    }

    /// Has `run` take turns for `time`, then awaits all that is in flight, for `wait` again and
    /// again. So the lost ones are of those that were sent meanwhile, if nothing was in flight
    /// before. Returns what it counted, and how many came back in the time itself.
    ///
    /// # Errors
    /// Those of `run`, or the system's.
    pub fn drained(
        &mut self,
        time: Duration,
        wait: Duration,
        mut run: impl FnMut(&mut Self, Duration) -> io::Result<()>,
    ) -> io::Result<(Counts, u64)> {
        let before = self.dropped()?;
        self.take_counts();
        self.begin()?;
        run(self, time)?;
        let in_time = self.counts.echoed;
        self.sends = false;
        while self.flows.iter().any(|flow| flow.awaited() > 0) {
            // Within the time after which they are lost.
            run(self, wait)?;
        }
        self.has_begun = false;
        let mut counts = self.take_counts();
        counts.dropped = self.dropped()?.saturating_sub(before);
        Ok((counts, in_time))
    }

    /// Has all flows send from now on.
    fn begin(&mut self) -> io::Result<()> {
        let now = self.now();
        (self.sends, self.came_at) = (true, now);
        if !std::mem::replace(&mut self.has_begun, true) {
            self.send_all(now)?;
        }
        Ok(())
    }

    fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Serves each of the flows that are ready once, and never waits. Returns the time, and
    /// whether any was.
    ///
    /// # Errors
    /// The system's, a byte was wrong, or nothing came back.
    pub fn turn(&mut self) -> io::Result<(u64, bool)> {
        let before = self.now();
        let ready = self.poller.wait(Duration::ZERO)?;
        for index in 0..ready {
            self.serve(self.poller.event(index).0)?;
        }
        if ready == 0 {
            // A server on the same CPU may need it.
            thread::yield_now();
        }
        let now = self.now();
        if ready > 0 {
            (self.came_at, self.busy) = (now, self.busy + now - before);
        }
        if now >= self.tick_at {
            self.tick(now)?;
        }
        Ok((now, ready > 0))
    }

    fn serve(&mut self, token: usize) -> io::Result<()> {
        let flow = &mut self.flows[token];
        let start = self.start;
        let clock = || nanoseconds(start.elapsed());
        flow.receive(&mut self.room, clock, &mut self.counts)?;
        match self.sends {
            true => flow.send(clock(), &mut self.counts),
            false => Ok(()),
        }
    }

    /// Looks for lost datagrams, in whose places the next ones are sent.
    fn tick(&mut self, now: u64) -> io::Result<()> {
        self.tick_at = now + nanoseconds(TICK);
        if now - self.came_at > nanoseconds(self.timeout) {
            let silence = humantime::format_duration(self.timeout);
            let error = format!("given up, nothing came back for {silence}");
            return Err(io::Error::other(error));
        }
        if let Some(until) = now.checked_sub(nanoseconds(LOST_AFTER)) {
            for flow in &mut self.flows {
                flow.expire(until, &mut self.counts);
            }
        }
        self.send_all(now)
    }

    fn send_all(&mut self, now: u64) -> io::Result<()> {
        if !self.sends {
            return Ok(());
        }
        let counts = &mut self.counts;
        let mut flows = self.flows.iter_mut();
        flows.try_for_each(|flow| flow.send(now, counts))
    }
}

impl Load for RoundTrips {
    type Counts = Counts;

    fn run_and_drain(&mut self, time: Duration) -> io::Result<Counts> {
        let run = |load: &mut Self, time| {
            let start = load.now();
            while load.turn()?.0 - start < nanoseconds(time) {}
            Ok(())
        };
        Ok(self.drained(time, Duration::ZERO, run)?.0)
    }

    fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy)
    }

    fn came_at(&self) -> Instant {
        self.start + Duration::from_nanos(self.came_at)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
