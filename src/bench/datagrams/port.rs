//! A flow and its socket: what it sends, and what comes to it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mio::{Registry, Token};

use super::flow::{Flow, Strange};
use crate::base::not_sent::not_sent;
use crate::base::sys::clock::unix_now;
use crate::base::sys::datagram::Batch;
use crate::bench::cause::Cause;
use crate::bench::clock::{Clock, nanoseconds};
use crate::bench::datagram_counts::FlowCounts;
use crate::bench::recorder::Recorder;
use crate::bench::recorder::datagrams::Sent;
use crate::probe::datagram::checksums::Checksums;
use crate::probe::datagram::path_error::PathError;
use crate::probe::datagram::socket::{Batched, Options, ProbeSocket};

/// The receive buffer that is asked for, in bytes: the kernel's default of 208 KiB loses where
/// 50 flows have 16 in flight each.
const RECEIVE_BUFFER: usize = 4 << 20;

/// How many datagrams a call sends or receives at the most.
const BATCH: usize = 32;

/// More than any datagram has, in bytes.
const LONGEST: usize = 1 << 16;

/// The memory that all flows of a thread receive into and send from, and what they know of
/// drops.
pub(super) struct Memory {
    batch: Batch,
    block: Vec<u8>,
    /// One for all threads.
    checksums: Arc<Checksums>,
    /// Those of the datagrams that are sent by the next call.
    lengths: Vec<usize>,
}

impl Memory {
    /// For the flows of a thread; all threads share `checksums`.
    pub(super) fn new(checksums: Arc<Checksums>) -> Self {
        Self {
            batch: Batch::new(BATCH, LONGEST, 0),
            block: vec![0; LONGEST],
            checksums,
            lengths: Vec::with_capacity(BATCH),
        }
    }
}

/// Whether it was counted how late a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lateness {
    /// It is counted when it is sent.
    New,
    /// It was counted when the datagram was due and had no place.
    Known,
}

/// A flow and its socket.
#[derive(Debug)]
pub(super) struct Port {
    socket: ProbeSocket,
    source: SocketAddr,
    pub(super) flow: Flow,
    /// Datagrams that are due and have no place among those in flight: when they were due.
    pub(super) waiting: VecDeque<u64>,
    /// Datagrams that are sent in this turn: when they were due.
    pub(super) sending: VecDeque<u64>,
    /// The causes that an example was given of: the others are the same.
    given: Vec<Cause>,
    /// The kernel's count of drops when it was last looked at.
    dropped: Option<u32>,
    /// When the socket was last asked and had nothing more.
    empty_at: u64,
}

impl Port {
    /// A flow to this address, from this one of ours if it is chosen. What comes is reported
    /// to the poller by the tokens `2 * key`, and `2 * key + 1` from others than the server.
    ///
    /// # Errors
    /// The system's, as when there is no route or no descriptor.
    pub(super) fn open(
        to: SocketAddr,
        from: Option<IpAddr>,
        flow: Flow,
        (registry, key): (&Registry, usize),
    ) -> io::Result<Self> {
        let options = Options {
            receive_buffer: Some(RECEIVE_BUFFER),
            from,
            only_time: true,
            ..Options::default()
        };
        let mut socket = ProbeSocket::new(to, options)?;
        socket.register_apart(registry, Token(2 * key), Token(2 * key + 1))?;
        Ok(Self {
            source: socket.local()?,
            dropped: socket.dropped(),
            socket,
            flow,
            waiting: VecDeque::new(),
            sending: VecDeque::new(),
            given: Vec::new(),
            empty_at: 0,
        })
    }

    /// Sends what is due from the time `now` on, as many by one call as fit into the memory.
    /// All of a call count as sent before it: what it takes is a part of their round trips.
    /// Returns when it ended.
    pub(super) fn send(
        &mut self,
        lateness: Lateness,
        (mut now, clock): (u64, Clock),
        memory: &mut Memory,
        recorder: &mut Recorder,
    ) -> u64 {
        let Memory { block, lengths, .. } = memory;
        while !self.sending.is_empty() {
            self.fill(block, lengths);
            let sent = self.send_filled(block, lengths);
            // One that is not sent was as late as if it were.
            let count = *sent.as_ref().unwrap_or(&1);
            if lateness == Lateness::New {
                for &due in self.sending.range(..count) {
                    recorder.record_lateness(due, now);
                }
            }
            match sent {
                Ok(count) => {
                    for due in self.sending.drain(..count) {
                        self.flow.sent(Sent { due, at: now }, recorder);
                    }
                }
                Err(error) => self.not_sent(&error, now, recorder),
            }
            now = clock.now();
        }
        now
    }

    /// Writes the datagrams of the next call one behind another, and their lengths.
    fn fill(&self, block: &mut [u8], lengths: &mut Vec<usize>) {
        lengths.clear();
        let mut rest = block;
        for ahead in 0..self.sending.len().min(BATCH) as u64 {
            let Some(length) = self.flow.fill(ahead, rest) else {
                return;
            };
            lengths.push(length);
            rest = &mut rest[length..];
        }
    }

    fn send_filled(&mut self, block: &[u8], lengths: &[usize]) -> io::Result<usize> {
        if let [length] = lengths {
            return self.socket.send(&block[..*length]).map(|()| 1);
        }
        let mut slices = [IoSlice::new(&[]); BATCH];
        let mut rest = block;
        for (slice, &length) in slices.iter_mut().zip(lengths) {
            let (datagram, others) = rest.split_at(length);
            (*slice, rest) = (IoSlice::new(datagram), others);
        }
        self.socket.send_batch(&slices[..lengths.len()])
    }

    /// The first of those that are due was not sent.
    fn not_sent(&mut self, error: &io::Error, now: u64, recorder: &mut Recorder) {
        let Some(due) = self.sending.pop_front() else {
            return;
        };
        self.flow.not_sent(Sent { due, at: now }, recorder);
        let source = self.source;
        self.give_once(Cause::NotSent(error.kind()), recorder, || {
            format!("not sent from {source}: {}", not_sent(error))
        });
    }

    /// Adds an example of this cause, unless the flow had one.
    fn give_once(&mut self, cause: Cause, recorder: &mut Recorder, text: impl FnOnce() -> String) {
        if !self.given.contains(&cause) {
            self.given.push(cause);
            recorder.add_example(cause, text);
        }
    }

    /// Receives what has come from the server. Where the event told of an error, it goes on
    /// until there is nothing more; else a batch that is not full was all.
    ///
    /// # Errors
    /// The system's, that is no error of the path.
    pub(super) fn receive(
        &mut self,
        is_error: bool,
        clock: Clock,
        memory: &mut Memory,
        recorder: &mut Recorder,
    ) -> io::Result<()> {
        loop {
            let Memory { batch, block, .. } = memory;
            let asked_at = clock.now();
            match self.socket.receive_batch(batch, block)? {
                Batched::Datagrams(count) => {
                    self.verify(count, clock, batch, recorder);
                    if count < batch.slots() && !is_error {
                        self.empty_at = asked_at;
                        return Ok(());
                    }
                }
                Batched::Error(error) => self.refused(&error, clock.now(), block, recorder),
                Batched::Nothing => {
                    self.empty_at = asked_at;
                    return Ok(());
                }
            }
        }
    }

    fn verify(&mut self, count: usize, clock: Clock, batch: &mut Batch, recorder: &mut Recorder) {
        // How long each has waited is by the kernel's clock: it is compared with that clock now, and
        // what is left is the time by ours. The clock may be set meanwhile. Then the difference
        // says nothing, as is seen where it is longer than since the socket had nothing.
        let (wall, now) = (unix_now(), clock.now());
        for index in 0..count {
            let received = batch.received(index);
            let waited = received.at.map(|at| wall.saturating_sub(at));
            let at = now.saturating_sub(waited.map_or(0, nanoseconds));
            let at = if at < self.empty_at { now } else { at };
            let bytes = &batch.slot(index)[..received.bytes];
            let source = self.source;
            let text = |strange: &Strange| format!("port {source}, {strange}");
            match self.flow.received(bytes, at, recorder) {
                None => {}
                Some(strange @ Strange::Changed(..)) => {
                    recorder.add_example(strange.cause(), || text(&strange));
                }
                Some(strange) => {
                    self.give_once(strange.cause(), recorder, || text(&strange));
                }
            }
        }
    }

    fn refused(&mut self, error: &PathError, now: u64, block: &[u8], recorder: &mut Recorder) {
        let quoted = &block[..error.quoted];
        let Some(errors) = self.flow.refused(quoted, now, recorder) else {
            return;
        };
        match error.error.kind() {
            io::ErrorKind::ConnectionRefused => errors.refused += 1,
            _ => errors.failed += 1,
        }
        let source = self.source;
        self.give_once(Cause::Path(error.error.kind()), recorder, || {
            format!("port {source}: {}", error.explained())
        });
    }

    /// Receives what has come from others than the server.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn receive_others(
        &mut self,
        clock: Clock,
        memory: &mut Memory,
        recorder: &mut Recorder,
    ) -> io::Result<()> {
        while let Some(datagram) = self.socket.receive_other(&mut memory.block)? {
            let bytes = &memory.block[..datagram.length];
            let (source, server) = (self.source, self.socket.server);
            match datagram.stranger {
                // It came before the socket was connected.
                None => drop(self.flow.received(bytes, clock.now(), recorder)),
                Some(stranger) => {
                    self.flow.foreign(recorder);
                    self.give_once(Cause::Stranger, recorder, || {
                        format!("port {source}: {stranger} answered, and {server} was asked")
                    });
                }
            }
        }
        Ok(())
    }

    /// Counts what the kernel has dropped of what came, since the last look. `counts` says
    /// whether load is measured.
    pub(super) fn look_for_drops(
        &mut self,
        counts: bool,
        now: u64,
        memory: &mut Memory,
        recorder: &mut Recorder,
    ) {
        let count = self.socket.dropped();
        let before = std::mem::replace(&mut self.dropped, count);
        let more = count
            .zip(before)
            .map(|(now, before)| u64::from(now.wrapping_sub(before)));
        if more != Some(0) {
            let wrong = more.and_then(|more| memory.checksums.among(more));
            self.flow.dropped((more, wrong), counts, now, recorder);
        }
    }

    /// The counts of the measured part.
    pub(super) fn counts(&self) -> FlowCounts {
        let (counts, echoed) = self.flow.counts();
        FlowCounts {
            source: self.source.to_string(),
            echoed,
            counts,
        }
    }
}
