//! One connection of a check: it sends its own stream and compares what comes back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::context::{Context, TICK};
use super::ended::Ended;
use crate::base::error::cause;
use crate::base::units::{count, duration, whole};
use crate::probe::exchange::{first_difference, is_timeout, nothing_moved};
use crate::probe::pattern::WINDOW;
use crate::proto::Protocol;

/// How much is sent and received at once, in bytes.
const BLOCK: usize = 64 * 1024;

/// A message that fits the buffers of any path, in bytes, so that it can be sent
/// whole before its echo is received.
pub(super) const MESSAGE: u64 = 1024;

/// What a path must move while it is waited for, in bytes a second: 64 kbit/s, less
/// than any line that one would check, and enough for a check to come to its end.
const LEAST_RATE: u64 = 8 * 1024;

/// When a path takes nothing for so many ticks, it is full.
const FULL: u32 = 4;

/// Why bytes go no further.
enum Break {
    /// The peer has ended its side.
    End,
    Broken(io::Error),
    /// So many bytes have moved within the time-out, and those are too few.
    Slow(u64),
    /// Other bytes came than were sent.
    Wrong(String),
    Stopped,
}

/// A connection. Unless it is [finished](Self::finish) it ends by RST: nothing of
/// a clause that failed goes on behind its back.
pub(super) struct Line<'a> {
    context: &'a Context<'a>,
    stream: TcpStream,
    /// Its number among those of the check.
    number: u64,
    /// How long it took to be made.
    pub(super) took: Duration,
    /// Bytes that are to come back, those that have included.
    due: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    /// Some call failed because the peer had reset it. The system tells that once,
    /// and a read only of an end from then on.
    reset: AtomicBool,
    finished: bool,
}

impl<'a> Line<'a> {
    pub(super) fn new(
        context: &'a Context<'a>,
        stream: TcpStream,
        number: u64,
        took: Duration,
    ) -> Result<Self, Ended> {
        let line = Self {
            context,
            stream,
            number,
            took,
            due: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            reset: AtomicBool::new(false),
            finished: false,
        };
        let prepared = line.stream.set_read_timeout(Some(TICK));
        prepared
            .and_then(|()| line.stream.set_write_timeout(Some(TICK)))
            .map_err(|error| line.tell(Break::Broken(error)))?;
        Ok(line)
    }

    /// The peer's address and ours.
    pub(super) fn ends(&self) -> Result<(SocketAddr, SocketAddr), Ended> {
        let ends = self.stream.peer_addr();
        ends.and_then(|peer| Ok((peer, self.stream.local_addr()?)))
            .map_err(|error| self.tell(Break::Broken(error)))
    }

    /// For options of the socket.
    pub(super) fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.stream)
    }

    /// Sends the stream's next `length` bytes, in one piece as far as the socket
    /// takes it so.
    pub(super) fn send(&self, length: u64) -> Result<(), Ended> {
        self.promise(length);
        self.push(length, BLOCK).map_err(|at| self.tell(at))
    }

    /// Receives the stream's next `length` bytes.
    pub(super) fn receive(&self, length: u64) -> Result<(), Ended> {
        self.pull(length).map_err(|at| self.tell(at))
    }

    /// Sends `length` bytes in pieces of `piece`, and meanwhile receives them and
    /// all that was sent before.
    pub(super) fn exchange(&self, length: u64, piece: usize) -> Result<(), Ended> {
        self.promise(length);
        let owed = self.due.load(Ordering::SeqCst) - self.received.load(Ordering::SeqCst);
        self.both(|| self.push(length, piece), || self.pull(owed))
    }

    /// Sends `length` bytes and half-closes at once; receives them, from `late` on,
    /// and the end.
    pub(super) fn exchange_to_end(&self, length: u64, late: Duration) -> Result<(), Ended> {
        self.promise(length);
        let send = || {
            self.push(length, BLOCK)?;
            self.shut_down()
        };
        let receive = || {
            thread::sleep(late);
            self.pull(length)
        };
        self.both(send, receive)?;
        self.expect_end()
    }

    /// Sends `length` bytes and receives them from `late` on: meanwhile they gather on
    /// the way.
    pub(super) fn exchange_late(&self, length: u64, late: Duration) -> Result<(), Ended> {
        self.promise(length);
        let receive = || {
            thread::sleep(late);
            self.pull(length)
        };
        self.both(|| self.push(length, BLOCK), receive)
    }

    /// Sends while receiving. When receiving fails, sending is over too.
    fn both(
        &self,
        send: impl FnOnce() -> Result<(), Break> + Send,
        receive: impl FnOnce() -> Result<(), Break>,
    ) -> Result<(), Ended> {
        thread::scope(|scope| {
            let sender = scope.spawn(send);
            let received = receive().map_err(|at| self.tell(at));
            if received.is_err() {
                // It may have ended already; then nobody sends any more.
                let _ = self.stream.shutdown(Shutdown::Both);
            }
            let sent = sender.join().unwrap_or_else(|panic| resume_unwind(panic));
            // What came, or did not, tells more than that nothing could be sent.
            received.and_then(|()| sent.map_err(|at| self.tell(at)))
        })
    }

    /// The protocol that the server is expected to speak.
    pub(super) const fn protocol(&self) -> Protocol {
        self.context.plan.protocol
    }

    /// A text that no other connection has.
    pub(super) fn text(&self) -> String {
        let mut bytes = [0; 32];
        self.context.pattern.fill(self.number, 0, &mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Sends bytes that are not the stream's.
    pub(super) fn send_these(&self, bytes: &[u8]) -> Result<(), Ended> {
        let sent = self.write_all(bytes, &mut Patience::new(self));
        sent.map_err(|at| self.tell(at))
    }

    /// Receives exactly these bytes.
    pub(super) fn receive_these(&self, bytes: &[u8]) -> Result<(), Ended> {
        self.promise(bytes.len() as u64);
        let mut came = vec![0; bytes.len()];
        let mut done = 0;
        let mut patience = Patience::new(self);
        while done < bytes.len() {
            let length = self.read_some(&mut came[done..], &mut patience);
            let length = length.map_err(|at| self.tell(at))?;
            let part = &came[done..done + length];
            let start = self.received.load(Ordering::SeqCst);
            if let Some(fault) = first_difference(&bytes[done..], part, start) {
                return Err(Ended::failed(fault));
            }
            self.received.fetch_add(length as u64, Ordering::SeqCst);
            done += length;
        }
        Ok(())
    }

    /// Receives up to the end of a line, which is at most so long.
    pub(super) fn receive_line(&self, most: usize) -> Result<Vec<u8>, Ended> {
        let mut line = Vec::new();
        let mut byte = [0];
        let mut patience = Patience::new(self);
        while line.last() != Some(&b'\n') && line.len() < most {
            self.promise(1);
            let read = self.read_some(&mut byte, &mut patience);
            read.map_err(|at| self.tell(at))?;
            self.received.fetch_add(1, Ordering::SeqCst);
            line.push(byte[0]);
        }
        Ok(line)
    }

    /// Sends the stream's next byte as urgent data.
    pub(super) fn send_urgent(&self) -> Result<(), Ended> {
        self.promise(1);
        let mut byte = [0];
        let at = self.sent.load(Ordering::SeqCst);
        self.context.pattern.fill(self.number, at, &mut byte);
        let sent = self.socket().send_out_of_band(&byte);
        sent.map_err(|error| self.tell(Break::Broken(error)))?;
        self.sent.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Sends and receives nothing until the path takes no more, or `most` bytes.
    /// Returns how many it took.
    pub(super) fn flood(&self, most: u64) -> Result<u64, Ended> {
        let mut block = vec![0; BLOCK];
        let (mut taken, mut refused) = (0, 0);
        while taken < most && refused < FULL {
            if self.context.is_stopped() {
                return Err(Ended::Stopped);
            }
            let at = self.sent.load(Ordering::SeqCst);
            let room = block.len().min((most - taken) as usize);
            self.context
                .pattern
                .fill(self.number, at, &mut block[..room]);
            match (&self.stream).write(&block[..room]) {
                Ok(length) => {
                    self.promise(length as u64);
                    self.sent.fetch_add(length as u64, Ordering::SeqCst);
                    taken += length as u64;
                    refused = 0;
                }
                Err(error) if is_timeout(&error) => refused += 1,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.tell(Break::Broken(error))),
            }
        }
        Ok(taken)
    }

    /// Closes our side; the peer's stays open.
    pub(super) fn half_close(&self) -> Result<(), Ended> {
        self.shut_down().map_err(|at| self.tell(at))
    }

    /// Waits for the peer's end, before which nothing may come.
    pub(super) fn expect_end(&self) -> Result<(), Ended> {
        let mut byte = [0];
        let after = self.came();
        match self.read_some(&mut byte, &mut Patience::new(self)) {
            Err(at) if self.is_reset(&at) => {
                Err(Ended::failed(format!("reset, not ended, after {after}")))
            }
            Err(Break::End) => Ok(()),
            Err(Break::Slow(_)) => {
                let still = nothing_moved(self.context.plan.timeout);
                Err(Ended::failed(format!("no end after {after}: {still}")))
            }
            Err(other) => Err(self.tell(other)),
            Ok(_) => Err(self.extra(&byte)),
        }
    }

    /// Holds the connection for so long, in which nothing may come.
    pub(super) fn stay_silent(&self, time: Duration) -> Result<(), Ended> {
        let started = Instant::now();
        let mut byte = [0];
        while started.elapsed() < time {
            let how = match (&self.stream).read(&mut byte) {
                Ok(0) => String::from("closed"),
                Ok(_) => return Err(self.extra(&byte)),
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {
                    match self.context.is_stopped() {
                        true => return Err(Ended::Stopped),
                        false => continue,
                    }
                }
                Err(error) if is_reset(&error) => String::from("reset"),
                Err(error) => cause(&error),
            };
            let after = duration(started.elapsed());
            return Err(Ended::failed(format!("{how} after {after} of silence")));
        }
        Ok(())
    }

    /// Ends it in order: nothing may have come beyond what was awaited.
    pub(super) fn finish(mut self) -> Result<(), Ended> {
        let mut bytes = [0; WINDOW];
        let looked = self.stream.set_nonblocking(true);
        match looked.and_then(|()| (&self.stream).read(&mut bytes)) {
            Ok(length @ 1..) => Err(self.extra(&bytes[..length])),
            // Nothing, or an end that nobody asked about.
            _ => {
                self.finished = true;
                Ok(())
            }
        }
    }

    /// Ends it in order, whatever has come.
    pub(super) fn leave(mut self) {
        self.finished = true;
    }

    fn promise(&self, bytes: u64) {
        self.due.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Bytes that went either way.
    fn moved(&self) -> u64 {
        self.sent.load(Ordering::SeqCst) + self.received.load(Ordering::SeqCst)
    }

    fn push(&self, length: u64, piece: usize) -> Result<(), Break> {
        let mut block = vec![0; piece.min(BLOCK)];
        let mut left = length;
        let mut patience = Patience::new(self);
        while left > 0 {
            let room = (block.len() as u64).min(left) as usize;
            let at = self.sent.load(Ordering::SeqCst);
            self.context
                .pattern
                .fill(self.number, at, &mut block[..room]);
            self.write_all(&block[..room], &mut patience)?;
            left -= room as u64;
        }
        Ok(())
    }

    fn write_all(&self, mut bytes: &[u8], patience: &mut Patience<'_>) -> Result<(), Break> {
        while !bytes.is_empty() {
            let length = patience.wait(|| (&self.stream).write(bytes))?;
            self.sent.fetch_add(length as u64, Ordering::SeqCst);
            bytes = &bytes[length..];
        }
        Ok(())
    }

    fn shut_down(&self) -> Result<(), Break> {
        self.stream.shutdown(Shutdown::Write).map_err(Break::Broken)
    }

    fn pull(&self, length: u64) -> Result<(), Break> {
        let mut block = vec![0; BLOCK];
        let mut left = length;
        let mut patience = Patience::new(self);
        while left > 0 {
            let room = (block.len() as u64).min(left) as usize;
            let came = self.read_some(&mut block[..room], &mut patience)?;
            self.compare(&block[..came])?;
            self.received.fetch_add(came as u64, Ordering::SeqCst);
            left -= came as u64;
        }
        Ok(())
    }

    /// At least one byte.
    fn read_some(&self, block: &mut [u8], patience: &mut Patience<'_>) -> Result<usize, Break> {
        match patience.wait(|| (&self.stream).read(block))? {
            0 => Err(Break::End),
            length => Ok(length),
        }
    }

    /// What has come next must be what was sent there.
    fn compare(&self, bytes: &[u8]) -> Result<(), Break> {
        let start = self.received.load(Ordering::SeqCst);
        let pattern = &self.context.pattern;
        let Some(offset) = pattern.first_difference(self.number, start, bytes) else {
            return Ok(());
        };
        let mut strange = bytes[offset..].to_vec();
        self.read_more(&mut strange);
        let at = start + offset as u64;
        let damage = pattern.explain(self.number, at, &strange);
        let at = whole(at);
        Err(Break::Wrong(format!("at offset {at}: {damage}")))
    }

    /// So many bytes as tell where they are from, if they come at once.
    fn read_more(&self, strange: &mut Vec<u8>) {
        let mut block = [0; WINDOW];
        while strange.len() < WINDOW {
            match (&self.stream).read(&mut block) {
                Ok(length @ 1..) => strange.extend_from_slice(&block[..length]),
                _ => return,
            }
        }
    }

    fn extra(&self, bytes: &[u8]) -> Ended {
        let mut strange = bytes.to_vec();
        self.read_more(&mut strange);
        let at = self.received.load(Ordering::SeqCst);
        let damage = self.context.pattern.explain(self.number, at, &strange);
        let after = self.came();
        Ended::failed(format!("more came than was sent, after {after}: {damage}"))
    }

    fn is_reset(&self, at: &Break) -> bool {
        match at {
            Break::End => self.reset.load(Ordering::SeqCst),
            Break::Broken(error) => is_reset(error),
            _ => false,
        }
    }

    /// What has come back so far, in words.
    fn came(&self) -> String {
        count(self.received.load(Ordering::SeqCst), "byte", "bytes")
    }

    fn tell(&self, at: Break) -> Ended {
        let how = match at {
            Break::Stopped => return Ended::Stopped,
            Break::Wrong(fault) => return Ended::failed(fault),
            at if self.is_reset(&at) => String::from("reset"),
            Break::End => String::from("the end came"),
            Break::Slow(0) => nothing_moved(self.context.plan.timeout),
            Break::Slow(bytes) => {
                let bytes = count(bytes, "byte", "bytes");
                let time = humantime::format_duration(self.context.plan.timeout);
                format!("no more than {bytes} moved in {time}, and that")
            }
            Break::Broken(error) => cause(&error),
        };
        let came = whole(self.received.load(Ordering::SeqCst));
        let due = count(self.due.load(Ordering::SeqCst), "byte", "bytes");
        Ended::failed(format!("{how} after {came} of {due}"))
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // If it is closed in order instead, so be it.
            let _ = self.socket().set_linger(Some(Duration::ZERO));
        }
    }
}

/// How long a transfer has waited. A path that moves nothing for the time-out is
/// stuck; one that moves something now and then would keep us for ever, so it must move
/// as much as the [least rate](LEAST_RATE) demands, or all that is left, in that time.
///
/// Only what calls have waited counts, and of each no more than it was to wait: it is
/// not held against the path that this machine has no time for us.
struct Patience<'a> {
    line: &'a Line<'a>,
    /// What had moved when the current time-out began, and how long it lasts.
    moved: u64,
    waited: Duration,
    /// What had moved when anything did last, and how long that is ago.
    last: u64,
    silent: Duration,
}

impl<'a> Patience<'a> {
    fn new(line: &'a Line<'a>) -> Self {
        Self {
            line,
            moved: line.moved(),
            waited: Duration::ZERO,
            last: line.moved(),
            silent: Duration::ZERO,
        }
    }

    /// Calls until it is done, and returns what came of it.
    fn wait(&mut self, mut call: impl FnMut() -> io::Result<usize>) -> Result<usize, Break> {
        loop {
            self.ask()?;
            let called = Instant::now();
            let result = call();
            let waited = called.elapsed().min(TICK);
            self.waited += waited;
            self.silent += waited;
            match result {
                Ok(length) => return Ok(length),
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    if is_reset(&error) {
                        self.line.reset.store(true, Ordering::SeqCst);
                    }
                    return Err(Break::Broken(error));
                }
            }
        }
    }

    /// Whether to wait on.
    fn ask(&mut self) -> Result<(), Break> {
        let Context { plan, .. } = self.line.context;
        if self.line.context.is_stopped() {
            return Err(Break::Stopped);
        }
        let moved = self.line.moved();
        if moved != self.last {
            (self.last, self.silent) = (moved, Duration::ZERO);
        }
        // Even where it rounds to nothing, a byte must move.
        let least = (plan.timeout.as_secs_f64() * LEAST_RATE as f64).max(1.0);
        let moved = moved - self.moved;
        if moved as f64 >= least {
            (self.moved, self.waited) = (self.last, Duration::ZERO);
        } else if self.silent >= plan.timeout {
            return Err(Break::Slow(0));
        // What seems to be stuck has the time to be so beyond doubt.
        } else if self.waited >= plan.timeout && self.silent < plan.timeout / 2 {
            return Err(Break::Slow(moved));
        }
        Ok(())
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    )
}
