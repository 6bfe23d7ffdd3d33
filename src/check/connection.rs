//! One connection of a check: sends its byte stream and compares the echo.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::context::{Context, TICK};
use super::not_passed::NotPassed;
use super::observation::{End, Observation, Wrong};
use crate::base::error::cause;
use crate::base::kernel::KernelView;
use crate::base::units::{count, duration, whole};
use crate::probe::exchange::{first_difference, is_timeout, no_data};
use crate::probe::pattern::{Damage, WINDOW};
use crate::proto::Protocol;

/// The size of one send or receive call, in bytes.
const BLOCK: usize = 64 * 1024;

/// The size of a message in bytes: it fits the buffers of any path, so that it can be
/// sent whole before its echo is received.
pub(super) const MESSAGE: u64 = 1024;

/// The rate at which a transfer must progress, in bytes a second: 16 kbit/s, a fourth of what the
/// slowest path has that is worth a check. Of that, headers and what a full queue loses take
/// their part, and only one direction may be moving.
const LEAST_RATE: u64 = 2 * 1024;

/// The part of the time-out for which a wait counts beside clauses that load the path: a full
/// queue drops packets of others, too, and each is sent again later than the one before.
const LOADED_PART: u32 = 3;

/// The most bytes of a wrong place that are kept.
const EXCERPT: usize = 64;

/// The size of the system's buffers where a path is to be filled, in bytes, and the largest
/// segment of a path between machines: Ethernet's with jumbo frames.
#[cfg(unix)]
const SMALL_BUFFER: usize = 64 * 1024;
const LARGE_BUFFER: usize = 4 << 20;
#[cfg(unix)]
const LARGE_MSS: u32 = 9000;

/// What became of a path that was to be filled.
pub(super) enum Filled {
    /// It accepts no more after so many bytes.
    Full(u64),
    /// It took the most that was to be sent.
    Most,
    /// It still took more when the time was over, after so many bytes.
    NotYet(u64),
}

/// Why a transfer ended early.
enum TransferError {
    /// The peer closed its side.
    Eof,
    Io(io::Error),
    /// Only this many bytes moved within the time-out.
    Slow(u64),
    /// Other bytes arrived than were sent.
    Wrong(Wrong),
    Stopped,
}

/// A connection. Unless it is [finished](Self::finish) it is reset when dropped, so that
/// nothing of a failed clause stays on the path.
pub(super) struct Connection<'a> {
    context: &'a Context<'a>,
    stream: TcpStream,
    /// Its number within the check, which selects its byte stream.
    number: u64,
    /// How long nothing may move.
    timeout: Duration,
    /// How long it took to connect.
    pub(super) connect_time: Duration,
    /// Bytes that must come back, including those that have.
    expected: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    /// A call failed because the peer had reset the connection. The system reports that
    /// only once; later reads return end of file.
    reset: AtomicBool,
    /// When it was made, and its age when a byte last moved, in nanoseconds.
    made: Instant,
    moved_at: AtomicU64,
    half_closed: AtomicBool,
    urgent: AtomicBool,
    /// Other clauses load the path meanwhile, and it waits longer then.
    beside: bool,
    finished: bool,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        context: &'a Context<'a>,
        stream: TcpStream,
        number: u64,
        connect_time: Duration,
    ) -> Result<Self, NotPassed> {
        let connection = Self {
            context,
            stream,
            number,
            timeout: context.plan.timeout,
            connect_time,
            expected: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            reset: AtomicBool::new(false),
            made: Instant::now(),
            moved_at: AtomicU64::new(0),
            half_closed: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            beside: false,
            finished: false,
        };
        let prepared = connection.stream.set_read_timeout(Some(TICK));
        prepared
            .and_then(|()| connection.stream.set_write_timeout(Some(TICK)))
            .map_err(|error| connection.failure(TransferError::Io(error)))?;
        Ok(connection)
    }

    /// The same, with another time-out.
    pub(super) fn with_timeout(self, timeout: Duration) -> Self {
        let mut connection = self;
        connection.timeout = timeout;
        connection
    }

    /// The same, of a clause that runs beside those that load the path.
    pub(super) fn beside_others(self) -> Self {
        let mut connection = self;
        connection.beside = true;
        connection
    }

    /// Its age.
    pub(super) fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// For how long no byte has moved on it.
    pub(super) fn silent_for(&self) -> Duration {
        let moved_at = Duration::from_nanos(self.moved_at.load(Ordering::SeqCst));
        self.age().saturating_sub(moved_at)
    }

    /// The peer's address and the local one.
    pub(super) fn addresses(&self) -> Result<(SocketAddr, SocketAddr), NotPassed> {
        let peer = self.stream.peer_addr();
        peer.and_then(|peer| Ok((peer, self.stream.local_addr()?)))
            .map_err(|error| self.failure(TransferError::Io(error)))
    }

    /// The socket, for its options.
    pub(super) fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.stream)
    }

    /// Sends the stream's next `length` bytes, in writes as large as the socket accepts.
    pub(super) fn send(&self, length: u64) -> Result<(), NotPassed> {
        self.expect(length);
        self.send_stream(length, BLOCK)
            .map_err(|error| self.failure(error))
    }

    /// Receives the stream's next `length` bytes.
    pub(super) fn receive(&self, length: u64) -> Result<(), NotPassed> {
        self.receive_stream(length)
            .map_err(|error| self.failure(error))
    }

    /// Sends `length` bytes in writes of `piece` bytes. Meanwhile receives them and all
    /// that was sent before.
    pub(super) fn exchange(&self, length: u64, piece: usize) -> Result<(), NotPassed> {
        self.expect(length);
        let missing = self.expected.load(Ordering::SeqCst) - self.received.load(Ordering::SeqCst);
        self.duplex(
            || self.send_stream(length, piece),
            || self.receive_stream(missing),
        )
    }

    /// Sends up to `most` bytes, as many as come back within `within`; all of them if that is
    /// `None`. Receives those and all that was sent before, from `delay` on: until then they
    /// fill the path's buffers. Returns how many were sent.
    pub(super) fn exchange_within(
        &self,
        most: u64,
        within: Option<Duration>,
        delay: Duration,
    ) -> Result<u64, NotPassed> {
        self.exchange_some(most, within, delay, || Ok(()))
    }

    /// The same, with a half-close behind the bytes, after which the end is expected.
    pub(super) fn exchange_to_end(
        &self,
        most: u64,
        within: Option<Duration>,
        delay: Duration,
    ) -> Result<u64, NotPassed> {
        let sent = self.exchange_some(most, within, delay, || self.shut_down())?;
        self.expect_end()?;
        Ok(sent)
    }

    fn exchange_some(
        &self,
        most: u64,
        within: Option<Duration>,
        delay: Duration,
        then: impl FnOnce() -> Result<(), TransferError> + Send,
    ) -> Result<u64, NotPassed> {
        let (before, all_expected) = (self.expected(), AtomicBool::new(false));
        let send = || {
            self.send_within(most, within, &all_expected)?;
            then()
        };
        let receive = || {
            thread::sleep(delay);
            self.receive_until(&all_expected)
        };
        let begun = Instant::now();
        self.duplex(send, receive)?;
        let sent = self.expected() - before;
        // Less says more of the round trip than of the rate.
        if sent > BLOCK as u64 {
            self.context.saw_stream(sent, begun.elapsed());
        }
        Ok(sent)
    }

    /// How many bytes must come back, including those that have.
    pub(super) fn expected(&self) -> u64 {
        self.expected.load(Ordering::SeqCst)
    }

    /// How many bytes have come back, all of them right.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }

    /// Sends and receives at the same time. A failed receive ends the send, too.
    fn duplex(
        &self,
        send: impl FnOnce() -> Result<(), TransferError> + Send,
        receive: impl FnOnce() -> Result<(), TransferError>,
    ) -> Result<(), NotPassed> {
        thread::scope(|scope| {
            let sender = scope.spawn(send);
            let received = receive().map_err(|error| self.failure(error));
            if received.is_err() {
                // It fails if the connection has ended already, and so has the sender.
                let _ = self.stream.shutdown(Shutdown::Both);
            }
            let sent = sender.join().unwrap_or_else(|panic| resume_unwind(panic));
            // The receive error says more than the send error that follows from it.
            received.and_then(|()| sent.map_err(|error| self.failure(error)))
        })
    }

    /// The protocol that the server is expected to speak.
    pub(super) const fn protocol(&self) -> Protocol {
        self.context.plan.protocol
    }

    /// A text that no other connection sends.
    pub(super) fn unique_text(&self) -> String {
        let mut bytes = [0; 32];
        self.context.pattern.fill(self.number, 0, &mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Sends bytes that are not of the stream.
    pub(super) fn send_bytes(&self, bytes: &[u8]) -> Result<(), NotPassed> {
        let sent = self.write_all(bytes, &mut TransferTimer::new(self));
        sent.map_err(|error| self.failure(error))
    }

    /// Receives exactly these bytes.
    pub(super) fn receive_bytes(&self, bytes: &[u8]) -> Result<(), NotPassed> {
        self.expect(bytes.len() as u64);
        let mut received = vec![0; bytes.len()];
        let mut done = 0;
        let mut timer = TransferTimer::new(self);
        while done < bytes.len() {
            let length = self.read_some(&mut received[done..], &mut timer);
            let length = length.map_err(|error| self.failure(error))?;
            let part = &received[done..done + length];
            let start = self.received.load(Ordering::SeqCst);
            if let Some(fault) = first_difference(&bytes[done..], part, start) {
                let pairs = bytes[done..].iter().zip(part);
                let right = pairs.take_while(|(sent, came)| sent == came).count();
                let wrong = Wrong {
                    at: start + right as u64,
                    damage: None,
                    sent: excerpt(&bytes[done + right..]),
                    came: excerpt(&part[right..]),
                };
                return Err(self.observed(fault, End::Wrong(wrong)));
            }
            self.count_received(length);
            done += length;
        }
        Ok(())
    }

    /// Receives up to the end of a line, or `most` bytes.
    pub(super) fn receive_line(&self, most: usize) -> Result<Vec<u8>, NotPassed> {
        let mut line = Vec::new();
        let mut byte = [0];
        let mut timer = TransferTimer::new(self);
        while line.last() != Some(&b'\n') && line.len() < most {
            self.expect(1);
            let read = self.read_some(&mut byte, &mut timer);
            read.map_err(|error| self.failure(error))?;
            self.count_received(1);
            line.push(byte[0]);
        }
        Ok(line)
    }

    /// Sends the stream's next byte as urgent data.
    pub(super) fn send_urgent(&self) -> Result<(), NotPassed> {
        self.send_out_of_band()?;
        self.urgent.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// The same, and does not expect it back. All that was sent before must have come. What
    /// goes wrong behind it is then not for the urgent byte's sake.
    pub(super) fn send_urgent_out_of_line(&self) -> Result<(), NotPassed> {
        self.send_out_of_band()?;
        self.count_received(1);
        Ok(())
    }

    fn send_out_of_band(&self) -> Result<(), NotPassed> {
        self.expect(1);
        let mut byte = [0];
        let at = self.sent.load(Ordering::SeqCst);
        self.context.pattern.fill(self.number, at, &mut byte);
        let sent = self.socket().send_out_of_band(&byte);
        sent.map_err(|error| self.failure(TransferError::Io(error)))?;
        self.count_sent(1);
        Ok(())
    }

    /// Sends, without receiving, until the path accepts no more, `most` bytes are sent, or
    /// `within` is over.
    pub(super) fn send_until_full(
        &self,
        most: u64,
        within: Option<Duration>,
    ) -> Result<Filled, NotPassed> {
        let mut block = vec![0; BLOCK];
        let (begun, full_after) = (Instant::now(), self.context.full_after());
        let (mut sent, mut refused) = (0, Duration::ZERO);
        while sent < most && refused < full_after {
            if self.context.is_stopped() {
                return Err(NotPassed::Stopped);
            }
            if within.is_some_and(|within| refused.is_zero() && begun.elapsed() >= within) {
                return Ok(Filled::NotYet(sent));
            }
            let at = self.sent.load(Ordering::SeqCst);
            let room = block.len().min((most - sent) as usize);
            self.context
                .pattern
                .fill(self.number, at, &mut block[..room]);
            let called = Instant::now();
            match (&self.stream).write(&block[..room]) {
                Ok(length) => {
                    self.expect(length as u64);
                    self.count_sent(length);
                    sent += length as u64;
                    refused = Duration::ZERO;
                }
                // A machine that is too busy to run this thread is not the path's fault.
                Err(error) if is_timeout(&error) => refused += called.elapsed().min(TICK),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure(TransferError::Io(error))),
            }
        }
        Ok(match sent < most {
            true => Filled::Full(sent),
            false => Filled::Most,
        })
    }

    /// Makes the system's buffers small, so that they are full soon: on a path that is slow they
    /// would hold seconds. Not within one machine, where a segment is as large.
    #[cfg(unix)]
    pub(super) fn shrink_buffers(&self) {
        if self.socket().tcp_mss().is_ok_and(|mss| mss <= LARGE_MSS) {
            // If it fails, it only takes longer.
            let _ = self.socket().set_send_buffer_size(SMALL_BUFFER);
            let _ = self.socket().set_recv_buffer_size(SMALL_BUFFER);
        }
    }

    #[cfg(not(unix))]
    pub(super) const fn shrink_buffers(&self) {}

    /// Makes the receive buffer large, once the path is full: a small one empties it by no
    /// more than that in a round trip.
    pub(super) fn grow_buffer(&self) {
        // The system takes no more than it allows.
        let _ = self.socket().set_recv_buffer_size(LARGE_BUFFER);
    }

    /// Closes the sending side; the peer's stays open.
    pub(super) fn half_close(&self) -> Result<(), NotPassed> {
        self.shut_down().map_err(|error| self.failure(error))
    }

    /// Waits until the peer closes its side, before which nothing may arrive.
    pub(super) fn expect_end(&self) -> Result<(), NotPassed> {
        self.receive_to_end(0).map(drop)
    }

    /// Receives up to `most` bytes, behind which the peer closes its side.
    pub(super) fn receive_to_end(&self, most: usize) -> Result<Vec<u8>, NotPassed> {
        let mut block = vec![0; most + 1];
        let (mut rest, mut timer) = (Vec::new(), TransferTimer::new(self));
        let after = self.received_text();
        loop {
            match self.read_some(&mut block, &mut timer) {
                Err(error) if self.is_reset(&error) => {
                    let seen = format!("reset, not ended, after {after}");
                    return Err(self.observed(seen, End::Reset));
                }
                Err(TransferError::Eof) => return Ok(rest),
                Err(TransferError::Slow(_)) => {
                    let still = no_data(self.timeout);
                    let seen = format!("no end after {after}: {still}");
                    return Err(self.observed(seen, End::Silence));
                }
                Err(other) => return Err(self.failure(other)),
                Ok(length) => rest.extend_from_slice(&block[..length]),
            }
            if rest.len() > most {
                return Err(self.unexpected(&rest));
            }
        }
    }

    /// Keeps the connection idle for `time`, in which nothing may arrive.
    pub(super) fn hold_idle(&self, time: Duration) -> Result<(), NotPassed> {
        let started = Instant::now();
        let mut byte = [0];
        while started.elapsed() < time {
            let (how, end) = match (&self.stream).read(&mut byte) {
                Ok(0) => (String::from("closed"), End::Close),
                Ok(_) => return Err(self.unexpected(&byte)),
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {
                    match self.context.is_stopped() {
                        true => return Err(NotPassed::Stopped),
                        false => continue,
                    }
                }
                Err(error) if is_reset(&error) => (String::from("reset"), End::Reset),
                Err(error) => (cause(&error), End::Other),
            };
            let seen = format!("{how} after {} of silence", duration(started.elapsed()));
            let observed = Observation {
                held_silent: true,
                ..self.observation(end)
            };
            return Err(NotPassed::observed(seen, observed));
        }
        Ok(())
    }

    /// Closes it in order: nothing may have arrived beyond what was expected.
    pub(super) fn finish(mut self) -> Result<(), NotPassed> {
        let mut bytes = [0; WINDOW];
        let looked = self.stream.set_nonblocking(true);
        match looked.and_then(|()| (&self.stream).read(&mut bytes)) {
            Ok(length @ 1..) => Err(self.unexpected(&bytes[..length])),
            // Nothing, or an end of file, which no clause that calls this forbids.
            _ => {
                self.finished = true;
                Ok(())
            }
        }
    }

    /// Closes it in order, without a look at what has arrived.
    pub(super) fn finish_unchecked(mut self) {
        self.finished = true;
    }

    /// What it has come to, with that end.
    fn observation(&self, end: End) -> Observation {
        Observation {
            end,
            sent: self.sent.load(Ordering::SeqCst),
            received: self.received.load(Ordering::SeqCst),
            expected: self.expected.load(Ordering::SeqCst),
            age: self.made.elapsed(),
            moved_at: Duration::from_nanos(self.moved_at.load(Ordering::SeqCst)),
            connect_time: self.connect_time,
            half_closed: self.half_closed.load(Ordering::SeqCst),
            urgent: self.urgent.load(Ordering::SeqCst),
            ..Observation::default()
        }
    }

    /// A failure with what the connection has come to.
    fn observed(&self, seen: String, end: End) -> NotPassed {
        NotPassed::observed(seen, self.observation(end))
    }

    fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::SeqCst);
        self.note_move();
    }

    fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::SeqCst);
        self.note_move();
    }

    fn note_move(&self) {
        let age = u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.moved_at.store(age, Ordering::SeqCst);
    }

    fn expect(&self, bytes: u64) {
        self.expected.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Bytes moved in either direction.
    fn moved(&self) -> u64 {
        self.sent.load(Ordering::SeqCst) + self.received.load(Ordering::SeqCst)
    }

    fn send_stream(&self, length: u64, piece: usize) -> Result<(), TransferError> {
        let mut block = vec![0; piece.min(BLOCK)];
        let mut left = length;
        let mut timer = TransferTimer::new(self);
        while left > 0 {
            let room = (block.len() as u64).min(left) as usize;
            let at = self.sent.load(Ordering::SeqCst);
            self.context
                .pattern
                .fill(self.number, at, &mut block[..room]);
            self.write_all(&block[..room], &mut timer)?;
            left -= room as u64;
        }
        Ok(())
    }

    /// Sends up to `most` bytes, until those under way would take longer than `within` to come
    /// back. All are expected once `all_expected` is set.
    fn send_within(
        &self,
        most: u64,
        within: Option<Duration>,
        all_expected: &AtomicBool,
    ) -> Result<(), TransferError> {
        let mut block = vec![0; BLOCK];
        let (begun, before) = (Instant::now(), self.received.load(Ordering::SeqCst));
        let mut left = most;
        let mut timer = TransferTimer::new(self);
        while left > 0 {
            let room = (block.len() as u64).min(left) as usize;
            let at = self.sent.load(Ordering::SeqCst);
            self.context
                .pattern
                .fill(self.number, at, &mut block[..room]);
            self.expect(room as u64);
            left -= room as u64;
            let received = self.received.load(Ordering::SeqCst);
            let outstanding = self.expected() - received;
            let is_over = within.is_some_and(|within| {
                let elapsed = begun.elapsed();
                // At least a block, to have no number beyond all bounds at the beginning.
                let rate = (received - before).max(BLOCK as u64) as f64;
                elapsed >= within || elapsed.mul_f64(1.0 + outstanding as f64 / rate) >= within
            });
            if is_over {
                left = 0;
            }
            // Before it is sent, so that the receiver always has something to wait for.
            all_expected.store(left == 0, Ordering::SeqCst);
            self.write_all(&block[..room], &mut timer)?;
        }
        Ok(())
    }

    /// Receives until all that is expected has come.
    fn receive_until(&self, all_expected: &AtomicBool) -> Result<(), TransferError> {
        let mut block = vec![0; BLOCK];
        let mut timer = TransferTimer::new(self);
        loop {
            let is_all = all_expected.load(Ordering::SeqCst);
            let left = self.expected() - self.received.load(Ordering::SeqCst);
            if is_all && left == 0 {
                return Ok(());
            }
            let room = (block.len() as u64).min(left.max(1)) as usize;
            let length = self.read_some(&mut block[..room], &mut timer)?;
            self.compare(&block[..length])?;
            self.count_received(length);
        }
    }

    fn write_all(
        &self,
        mut bytes: &[u8],
        timer: &mut TransferTimer<'_>,
    ) -> Result<(), TransferError> {
        while !bytes.is_empty() {
            let length = timer.wait(|| (&self.stream).write(bytes))?;
            self.count_sent(length);
            bytes = &bytes[length..];
        }
        Ok(())
    }

    fn shut_down(&self) -> Result<(), TransferError> {
        self.half_closed.store(true, Ordering::SeqCst);
        self.stream
            .shutdown(Shutdown::Write)
            .map_err(TransferError::Io)
    }

    fn receive_stream(&self, length: u64) -> Result<(), TransferError> {
        let mut block = vec![0; BLOCK];
        let mut left = length;
        let mut timer = TransferTimer::new(self);
        while left > 0 {
            let room = (block.len() as u64).min(left) as usize;
            let length = self.read_some(&mut block[..room], &mut timer)?;
            self.compare(&block[..length])?;
            self.count_received(length);
            left -= length as u64;
        }
        Ok(())
    }

    /// Reads at least one byte.
    fn read_some(
        &self,
        block: &mut [u8],
        timer: &mut TransferTimer<'_>,
    ) -> Result<usize, TransferError> {
        match timer.wait(|| (&self.stream).read(block))? {
            0 => Err(TransferError::Eof),
            length => Ok(length),
        }
    }

    /// Compares the bytes received next with the stream.
    fn compare(&self, bytes: &[u8]) -> Result<(), TransferError> {
        let start = self.received.load(Ordering::SeqCst);
        let pattern = &self.context.pattern;
        let Some(offset) = pattern.first_difference(self.number, start, bytes) else {
            return Ok(());
        };
        let mut wrong = bytes[offset..].to_vec();
        self.read_window(&mut wrong);
        let at = start + offset as u64;
        let damage = pattern.explain(self.number, at, &wrong);
        let mut sent = vec![0; wrong.len().min(EXCERPT)];
        pattern.fill(self.number, at, &mut sent);
        Err(TransferError::Wrong(Wrong {
            at,
            damage: Some(damage),
            sent,
            came: excerpt(&wrong),
        }))
    }

    /// Completes wrong bytes to the [`WINDOW`] that identifies where they belong, as far as
    /// more arrive within a tick.
    fn read_window(&self, bytes: &mut Vec<u8>) {
        let mut block = [0; WINDOW];
        while bytes.len() < WINDOW {
            match (&self.stream).read(&mut block) {
                Ok(length @ 1..) => bytes.extend_from_slice(&block[..length]),
                _ => return,
            }
        }
    }

    /// A failure: bytes arrived that were not expected.
    pub(super) fn unexpected(&self, bytes: &[u8]) -> NotPassed {
        let mut extra = bytes.to_vec();
        self.read_window(&mut extra);
        let at = self.received.load(Ordering::SeqCst);
        let damage = self.context.pattern.explain(self.number, at, &extra);
        let after = self.received_text();
        let wrong = Wrong {
            at,
            damage: Some(damage),
            sent: Vec::new(),
            came: excerpt(&extra),
        };
        let seen = format!("more came than was sent, after {after}: {damage}");
        self.observed(seen, End::Wrong(wrong))
    }

    fn is_reset(&self, error: &TransferError) -> bool {
        match error {
            TransferError::Eof => self.reset.load(Ordering::SeqCst),
            TransferError::Io(error) => is_reset(error),
            _ => false,
        }
    }

    /// The number of bytes received so far, as text.
    fn received_text(&self) -> String {
        count(self.received.load(Ordering::SeqCst), "byte", "bytes")
    }

    /// Why a transfer failed, and after how many of the expected bytes.
    fn failure(&self, error: TransferError) -> NotPassed {
        let (how, end) = match error {
            TransferError::Stopped => return NotPassed::Stopped,
            TransferError::Wrong(wrong) => {
                let at = whole(wrong.at);
                let damage = wrong.damage.unwrap_or(Damage::Unknown);
                let seen = format!("at offset {at}: {damage}");
                return self.observed(seen, End::Wrong(wrong));
            }
            error if self.is_reset(&error) => (String::from("reset"), End::Reset),
            TransferError::Eof => (String::from("the end came"), End::Close),
            TransferError::Slow(0) => (no_data(self.timeout), End::Silence),
            TransferError::Slow(bytes) => {
                let bytes = count(bytes, "byte", "bytes");
                let time = humantime::format_duration(self.timeout);
                (
                    format!("no more than {bytes} moved in {time}, and that"),
                    End::Slow,
                )
            }
            TransferError::Io(error) => (cause(&error), End::Other),
        };
        let received = whole(self.received.load(Ordering::SeqCst));
        let expected = count(self.expected.load(Ordering::SeqCst), "byte", "bytes");
        self.observed(format!("{how} after {received} of {expected}"), end)
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.context.saw_segments(KernelView::read(&self.stream));
        if !self.finished {
            // If this fails, the connection is closed in order instead, which does no harm.
            let _ = self.socket().set_linger(Some(Duration::ZERO));
        }
    }
}

/// The time-out of a transfer. A path that moves nothing for the time-out is stuck. One
/// that moves a few bytes now and then would hold the check for ever, so in that time it
/// must move what [`LEAST_RATE`] demands, or all that is left.
///
/// Only the time spent in calls counts, and of each call at most a [`TICK`]: a machine
/// that is too busy to run this thread is not the path's fault.
struct TransferTimer<'a> {
    connection: &'a Connection<'a>,
    /// Bytes moved when the current period began, and the time waited since.
    moved: u64,
    waited: Duration,
    /// Bytes moved at the last progress, and the time waited since.
    last: u64,
    silent: Duration,
}

impl<'a> TransferTimer<'a> {
    fn new(connection: &'a Connection<'a>) -> Self {
        Self {
            connection,
            moved: connection.moved(),
            waited: Duration::ZERO,
            last: connection.moved(),
            silent: Duration::ZERO,
        }
    }

    /// Repeats a call until it succeeds, fails, or the time is over.
    fn wait(
        &mut self,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> Result<usize, TransferError> {
        loop {
            self.check()?;
            let called = Instant::now();
            let result = call();
            let waited = called.elapsed().min(TICK);
            let waited = match self.connection.beside && self.connection.context.is_loaded() {
                true => waited / LOADED_PART,
                false => waited,
            };
            self.waited += waited;
            self.silent += waited;
            match result {
                Ok(length) => return Ok(length),
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    if is_reset(&error) {
                        self.connection.reset.store(true, Ordering::SeqCst);
                    }
                    return Err(TransferError::Io(error));
                }
            }
        }
    }

    /// Fails when the check was stopped or the time is over.
    fn check(&mut self) -> Result<(), TransferError> {
        let Connection {
            context, timeout, ..
        } = self.connection;
        if context.is_stopped() {
            return Err(TransferError::Stopped);
        }
        let moved = self.connection.moved();
        if moved != self.last {
            (self.last, self.silent) = (moved, Duration::ZERO);
        }
        context.is_silent_for(self.silent);
        // Clauses beside each other share the path. At least one byte, also where the product
        // is less.
        let rate = LEAST_RATE as f64 / context.running() as f64;
        let least = (timeout.as_secs_f64() * rate).max(1.0);
        let moved = moved - self.moved;
        if moved as f64 >= least {
            (self.moved, self.waited) = (self.last, Duration::ZERO);
        } else if self.silent >= *timeout {
            return Err(TransferError::Slow(0));
        // A path that may be stuck is given the whole time-out to show it.
        } else if self.waited >= *timeout && self.silent < *timeout / 2 {
            return Err(TransferError::Slow(moved));
        }
        Ok(())
    }
}

/// The first of some bytes.
fn excerpt(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(EXCERPT)].to_vec()
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    )
}
