//! One connection's state and how it moves bytes.
//!
//! A connection normally owns no buffer: received bytes stay in the worker's scratch
//! block and are sent back within the same turn. Bytes that the socket does not accept
//! are copied into the connection's [`PendingOutput`], and the connection is not read
//! until they are sent. So a peer that never reads costs one slice of memory, and
//! bytes cannot overtake each other.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use socket2::SockRef;

use super::pipe::{Pipe, Pipes, is_refusal};
use super::proxy_header::{Header, HeaderParser};
use super::transport::{Readiness, Transport, retrying};
use crate::base::sys;
use crate::proto::{self, Message, Protocol};

/// How many bytes are discarded, at most, of what a peer still sends after its answer.
/// A peer that sends more is not going to stop, so its connection is closed.
const DISCARD_LIMIT: usize = 1 << 20;

/// A connection that moves fewer bytes in a turn is not streaming: copying them costs
/// less than the third system call that a pipe needs.
const BULK_LEAST: usize = if cfg!(test) { 8 } else { 16 * 1024 };

/// The result of one read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// How many bytes were read into the front of the block.
    pub(crate) bytes: usize,
    /// Whether these bytes must be sent back.
    pub(crate) echo: bool,
}

/// What a connection waits for after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next readiness event.
    Wait,
    /// Another turn: the socket may hold more input, which an edge-triggered poller does
    /// not report again.
    Again,
    /// The peer's FIN or its acknowledgement: our side is closed.
    Linger,
    /// Nothing: the connection is done and can be dropped.
    Close,
}

/// The protocol of a connection, other than plain echo, and its progress.
enum ProtocolState {
    Counted(Message),
    Whoami,
    /// A PROXY header comes first, in which a load balancer names the client. The
    /// protocol that follows is the second field.
    ProxyHeader(HeaderParser, Protocol),
    /// Echo whose time is over: it reads the bytes that had arrived by then, of which so
    /// many are left, and no further ones.
    LastInput(usize),
}

impl ProtocolState {
    /// Echo has no state. Most connections are echoes, so the state is one pointer wide.
    fn of(protocol: Protocol) -> Option<Box<Self>> {
        match protocol {
            Protocol::Echo => None,
            Protocol::Counted => Some(Box::new(Self::Counted(Message::default()))),
            Protocol::Whoami => Some(Box::new(Self::Whoami)),
        }
    }
}

/// The stage of a connection on its way to being closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It reads and answers.
    Open,
    /// Its input has ended; its pending output is being sent.
    Finishing,
    /// It was cut short and our side is closed. Until the peer has acknowledged all
    /// output, its input is not read, which bounds how much it can send.
    AwaitingAck,
    /// Our side is closed. What the peer still sends is read and discarded: closing a
    /// socket with unread input sends RST, which destroys echoed bytes in flight.
    Lingering { discarded: u32 },
}

/// Bytes that the socket has not accepted yet.
enum PendingOutput {
    Bytes { bytes: Vec<u8>, sent: usize },
    Pipe(Pipe),
}

/// One connection; `T` is its non-blocking socket.
pub(crate) struct Conn<T> {
    transport: T,
    state: Option<Box<ProtocolState>>,
    stage: Stage,
    pending: Option<Box<PendingOutput>>,
    /// The last write would have blocked, and no event has reported free space since.
    blocked: bool,
    /// The socket may hold input that no further event will report.
    unread: bool,
    /// The peer's FIN has arrived; input before it may still be unread.
    fin_seen: bool,
    /// All input up to the peer's FIN has been read.
    input_ended: bool,
    /// The server ended it before the peer's input was complete.
    cut_short: bool,
    /// Urgent data may stop the next read short.
    urgent: bool,
    /// A read filled its slice: while the peer streams, its bytes go through a pipe.
    bulk: bool,
    sent: u64,
    /// The time of the last activity; see [`active`](Self::active).
    active: Instant,
}

impl<T: Transport> Conn<T> {
    /// A connection whose client is known. [`start`](Self::start) begins to serve it.
    pub(crate) fn new(transport: T, protocol: Protocol, now: Instant) -> Self {
        Self {
            transport,
            state: ProtocolState::of(protocol),
            stage: Stage::Open,
            pending: None,
            blocked: false,
            unread: false,
            fin_seen: false,
            input_ended: false,
            cut_short: false,
            urgent: false,
            bulk: false,
            sent: 0,
            active: now,
        }
    }

    /// A connection whose client is named by a PROXY header, which comes first.
    pub(crate) fn behind_proxy(transport: T, protocol: Protocol, now: Instant) -> Self {
        Self {
            state: Some(Box::new(ProtocolState::ProxyHeader(
                HeaderParser::default(),
                protocol,
            ))),
            ..Self::new(transport, protocol, now)
        }
    }

    /// Whether its PROXY header is incomplete or not applied yet.
    pub(crate) fn awaits_header(&self) -> bool {
        matches!(self.state.as_deref(), Some(ProtocolState::ProxyHeader(..)))
    }

    /// Its PROXY header, from the read that completes it until [`start`](Self::start).
    pub(crate) fn header(&self) -> Option<Header> {
        match self.state.as_deref() {
            Some(ProtocolState::ProxyHeader(parser, _)) => parser.header(),
            _ => None,
        }
    }

    /// Begins to serve the client, whose address is `peer`; `tells_tcp` decides whether it is
    /// told what the system knows of the connection, where its protocol has that. Bytes that
    /// followed the PROXY header are processed first.
    pub(crate) fn start(&mut self, peer: SocketAddr, tells_tcp: bool) {
        let payload = self.end_header();
        if let Some(ProtocolState::Whoami) = self.state.as_deref() {
            let view = tells_tcp.then(|| self.transport.kernel_view()).flatten();
            self.keep_pending(match view {
                Some(view) => proto::whoami_with_tcp(peer, &view),
                None => proto::whoami(peer),
            });
            self.stage = Stage::Finishing;
        } else if !payload.is_empty() && self.process(&payload) {
            self.keep_pending(payload);
        }
        if self.input_ended {
            self.end_input();
        }
    }

    /// Replaces the header's state by that of the protocol. Returns the bytes that
    /// followed the header; none if the connection has no header.
    fn end_header(&mut self) -> Vec<u8> {
        let Some(ProtocolState::ProxyHeader(parser, protocol)) = self.state.as_deref_mut() else {
            return Vec::new();
        };
        let payload = std::mem::take(parser).into_payload();
        self.state = ProtocolState::of(*protocol);
        payload
    }

    /// How many bytes were sent to the peer so far.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether it reads and answers, and has not begun to close.
    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open && !self.cut_short
    }

    /// Whether input waits that its next turn would read. A process that was suspended
    /// finds time limits over before it hears of the input.
    pub(crate) fn has_unserved_input(&mut self) -> bool {
        let reads = matches!(self.stage, Stage::Open | Stage::Lingering { .. });
        reads && self.pending.is_none() && !self.input_ended && self.has_input()
    }

    /// Whether its input is a single message or header, which ends by itself.
    pub(crate) fn is_bounded(&self) -> bool {
        self.state.is_some()
    }

    /// Whether it holds pending output.
    pub(crate) const fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// How many bytes of pending output it has yet to send.
    pub(crate) fn pending_bytes(&self) -> usize {
        match self.pending.as_deref() {
            Some(PendingOutput::Bytes { bytes, sent }) => bytes.len() - sent,
            Some(PendingOutput::Pipe(pipe)) => pipe.held(),
            None => 0,
        }
    }

    /// When a byte was last received or sent, or a check last saw that the peer had
    /// acknowledged more.
    pub(crate) const fn active(&self) -> Instant {
        self.active
    }

    /// Records activity: the peer has acknowledged more.
    pub(crate) const fn mark_active(&mut self, now: Instant) {
        self.active = now;
    }

    /// How many bytes the peer has acknowledged so far, and whether these are all of its
    /// output. Where the system does not count them, sent bytes count as acknowledged.
    ///
    /// # Errors
    /// The connection has ended.
    pub(crate) fn acknowledged(&self) -> io::Result<(u64, bool)> {
        let in_flight = self.transport.unacknowledged()?.unwrap_or(0);
        let acknowledged = self.sent.saturating_sub(in_flight as u64);
        Ok((acknowledged, in_flight == 0 && self.pending.is_none()))
    }

    /// Stops reading, but for the bytes that have arrived already. All output is sent,
    /// then our FIN; input is read again, and discarded, once the peer has acknowledged
    /// all output.
    pub(crate) fn cut_short(&mut self) {
        if self.stage != Stage::Open {
            return;
        }
        self.cut_short = true;
        let waiting = match self.state {
            None => self.transport.waiting(),
            Some(_) => 0,
        };
        if waiting > 0 {
            self.state = Some(Box::new(ProtocolState::LastInput(waiting)));
            self.unread = true;
        } else {
            self.stage = Stage::Finishing;
        }
    }

    /// Whether the server ended it before the peer's input was complete.
    pub(crate) const fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// Whether the peer's acknowledgement of all output is what it waits for.
    pub(crate) const fn awaits_ack(&self) -> bool {
        matches!(self.stage, Stage::AwaitingAck)
    }

    /// The peer has acknowledged all output. Returns what to wait for next if the
    /// connection was waiting for that.
    pub(crate) fn begin_linger(&mut self) -> Option<Next> {
        if self.stage != Stage::AwaitingAck {
            return None;
        }
        self.stage = Stage::Lingering { discarded: 0 };
        Some(Next::Linger)
    }

    /// Whether a message has arrived in part.
    pub(crate) fn is_mid_message(&self) -> bool {
        self.stage == Stage::Open
            && matches!(self.state.as_deref(), Some(ProtocolState::Counted(message)) if !message.is_empty())
    }

    /// Records the readiness that the poller reported. Returns whether the connection
    /// has something to do.
    pub(crate) fn update_readiness(&mut self, readiness: Readiness) -> bool {
        self.fin_seen |= readiness.read_closed;
        self.urgent |= readiness.urgent;
        self.blocked &= !readiness.writable;
        self.unread |= readiness.readable || readiness.read_closed;
        match self.pending {
            Some(_) => readiness.writable,
            None => self.unread,
        }
    }

    /// Reads once into `block`, unless pending output must be sent first.
    ///
    /// # Errors
    /// The socket has failed; the connection is dead.
    pub(crate) fn receive(&mut self, block: &mut [u8], now: Instant) -> io::Result<Received> {
        if self.pending.is_some() || matches!(self.stage, Stage::Finishing | Stage::AwaitingAck) {
            return Ok(Received::default());
        }
        self.unread = false;
        let block = match self.state.as_deref() {
            Some(&ProtocolState::LastInput(left)) => {
                let most = left.min(block.len());
                &mut block[..most]
            }
            _ => block,
        };
        let bytes = match retrying(|| self.transport.read(block)) {
            Ok(0) => {
                self.end_input();
                return Ok(Received::default());
            }
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.urgent = false;
                self.end_last_input();
                return Ok(Received::default());
            }
            Err(error) => return Err(error),
        };
        self.active = now;
        self.unread = bytes == block.len() || self.urgent || !sys::SHORT_READ_DRAINS;
        let echo = self.process(&block[..bytes]);
        self.bulk = echo && bytes == block.len() && !self.urgent;
        // The FIN was reported before this read, so the read returned all input before it.
        if self.fin_seen && !self.unread {
            self.end_input();
        }
        self.end_last_input();
        Ok(Received { bytes, echo })
    }

    /// Reads no further if the last input has been read.
    fn end_last_input(&mut self) {
        if let Some(&ProtocolState::LastInput(left)) = self.state.as_deref()
            && (left == 0 || !self.unread)
        {
            self.state = None;
            if self.stage == Stage::Open {
                self.stage = Stage::Finishing;
            }
        }
    }

    /// Passes received bytes to the protocol. Returns whether they must be echoed.
    fn process(&mut self, arrived: &[u8]) -> bool {
        if let Stage::Lingering { discarded } = &mut self.stage {
            let arrived = u32::try_from(arrived.len()).unwrap_or(u32::MAX);
            *discarded = discarded.saturating_add(arrived);
            return false;
        }
        match self.state.as_deref_mut() {
            None => true,
            Some(ProtocolState::Counted(message)) => {
                if let Some(answer) = message.push(arrived) {
                    self.keep_pending(answer);
                    self.stage = Stage::Finishing;
                }
                false
            }
            Some(ProtocolState::ProxyHeader(parser, _)) => {
                parser.push(arrived);
                false
            }
            Some(ProtocolState::LastInput(left)) => {
                *left -= arrived.len();
                true
            }
            // Its input is read only to be discarded.
            Some(ProtocolState::Whoami) => false,
        }
    }

    /// The peer has half-closed and all its input has been read.
    fn end_input(&mut self) {
        self.input_ended = true;
        self.unread = false;
        if let Some(ProtocolState::ProxyHeader(parser, _)) = self.state.as_deref_mut() {
            parser.finish();
        }
        // Bytes that followed a header are processed first: `start` calls this again.
        if self.stage == Stage::Open && self.header().is_none() {
            self.stage = Stage::Finishing;
            if let Some(ProtocolState::Counted(message)) = self.state.as_deref_mut() {
                let answer = message.finish();
                self.keep_pending(answer);
            }
        }
    }

    fn keep_pending(&mut self, bytes: Vec<u8>) {
        debug_assert!(
            self.pending.is_none(),
            "nothing is read while output is pending"
        );
        self.pending = Some(Box::new(PendingOutput::Bytes { bytes, sent: 0 }));
    }

    /// Sends `bytes`, which were just received. What the socket does not accept becomes
    /// pending output.
    ///
    /// # Errors
    /// The socket has failed; the connection is dead.
    pub(crate) fn send(&mut self, bytes: &[u8], now: Instant) -> io::Result<()> {
        let sent = self.write(bytes, now)?;
        if sent < bytes.len() {
            self.keep_pending(bytes[sent..].to_vec());
        }
        Ok(())
    }

    /// Sends pending output until the socket would block. After that the socket is not
    /// tried again before the poller reports it as writable.
    ///
    /// # Errors
    /// The socket has failed; the connection is dead.
    pub(crate) fn flush(&mut self, pipes: &mut Pipes, now: Instant) -> io::Result<()> {
        if self.blocked {
            return Ok(());
        }
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        match *pending {
            PendingOutput::Pipe(pipe) => self.send_pipe(pipe, pipes, now),
            PendingOutput::Bytes { bytes, sent } => {
                let sent = sent + self.write(&bytes[sent..], now)?;
                if sent < bytes.len() {
                    self.pending = Some(Box::new(PendingOutput::Bytes { bytes, sent }));
                }
                Ok(())
            }
        }
    }

    /// Whether the peer, of which bytes have just come, had not acknowledged so many of those
    /// that it was sent before.
    ///
    /// # Errors
    /// The connection has ended.
    pub(crate) fn is_ahead(&self, bytes: usize) -> io::Result<bool> {
        let in_flight = self.transport.unacknowledged()?;
        Ok(in_flight.is_some_and(|in_flight| in_flight > bytes))
    }

    /// Whether so much waits to be read that a pipe costs less than a copy.
    pub(crate) fn has_much_input(&self) -> bool {
        self.transport.waiting() >= BULK_LEAST
    }

    /// Whether its bytes go through a pipe at present.
    pub(crate) fn is_bulk(&self) -> bool {
        self.bulk && self.is_open() && self.pending.is_none()
    }

    /// Moves up to `most` bytes from the peer back to it through pipes, up to `at_once` of
    /// them into an empty pipe, so that none are left to be echoed. A splice does not report the end of input or the mark of
    /// urgent data; the next [`receive`](Self::receive) handles those.
    ///
    /// # Errors
    /// The socket has failed; the connection is dead, and its pipe is closed.
    pub(crate) fn relay(
        &mut self,
        pipes: &mut Pipes,
        most: usize,
        at_once: usize,
        now: Instant,
    ) -> io::Result<Received> {
        let mut received = 0;
        self.unread = true;
        while received < most && self.pending.is_none() {
            let Some(mut pipe) = pipes.lend() else {
                self.bulk = false;
                break;
            };
            let part = at_once.min(most - received);
            match retrying(|| self.transport.fill(&mut pipe, part)) {
                Ok(bytes @ 1..) => {
                    received += bytes;
                    self.active = now;
                    self.send_pipe(pipe, pipes, now)?;
                }
                stopped => {
                    pipes.give_back(pipe);
                    self.end_relay(stopped, received, pipes)?;
                    break;
                }
            }
        }
        Ok(Received {
            bytes: received,
            echo: false,
        })
    }

    /// Handles the result of a splice that moved nothing into an empty pipe.
    fn end_relay(
        &mut self,
        stopped: io::Result<usize>,
        received: usize,
        pipes: &mut Pipes,
    ) -> io::Result<()> {
        self.bulk = false;
        match stopped {
            Ok(_) => {}
            // The pipe is empty, so it is the socket that would block: it has no input,
            // or its next byte follows an urgent mark, which only a read passes.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.unread = self.urgent;
                self.bulk = received >= BULK_LEAST && !self.urgent;
            }
            Err(error) if is_refusal(&error) => pipes.give_up(&error),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Sends what a pipe holds until the socket would block; the pipe with the remaining
    /// bytes becomes pending output.
    fn send_pipe(&mut self, mut pipe: Pipe, pipes: &mut Pipes, now: Instant) -> io::Result<()> {
        while !pipe.is_empty() {
            match retrying(|| self.transport.empty(&mut pipe)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    pipes.mark_proven();
                    self.sent += bytes as u64;
                    self.active = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    self.pending = Some(Box::new(PendingOutput::Pipe(pipe)));
                    return Ok(());
                }
                Err(error) if is_refusal(&error) => {
                    pipes.give_up(&error);
                    self.bulk = false;
                    return self.send(&pipe.into_bytes()?, now);
                }
                Err(error) => return Err(error),
            }
        }
        pipes.give_back(pipe);
        Ok(())
    }

    /// Writes until all bytes are accepted or the socket would block, which makes the
    /// poller report when it is writable again. Returns how many bytes were accepted.
    fn write(&mut self, bytes: &[u8], now: Instant) -> io::Result<usize> {
        let mut written = 0;
        while written < bytes.len() {
            match retrying(|| self.transport.write(&bytes[written..])) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if written > 0 {
            self.sent += written as u64;
            self.active = now;
        }
        Ok(written)
    }

    /// What the connection waits for next. With `draining`, a finished connection
    /// lingers until the peer has acknowledged all output.
    ///
    /// # Errors
    /// The socket has failed; the connection is dead.
    pub(crate) fn next(&mut self, draining: bool) -> io::Result<Next> {
        if self.pending.is_some() {
            return Ok(Next::Wait);
        }
        match self.stage {
            Stage::Finishing | Stage::Lingering { .. }
                if self.input_ended && !draining && !self.is_in_flight()? =>
            {
                Ok(Next::Close)
            }
            Stage::Finishing => self.half_close(),
            Stage::AwaitingAck => Ok(Next::Wait),
            Stage::Lingering { discarded } if discarded as usize > DISCARD_LIMIT => {
                Ok(match self.await_ack()? {
                    true => Next::Wait,
                    false => Next::Close,
                })
            }
            Stage::Open | Stage::Lingering { .. } if self.unread => Ok(Next::Again),
            Stage::Open | Stage::Lingering { .. } => Ok(Next::Wait),
        }
    }

    /// Whether the kernel still holds output for the peer. If the socket were closed now
    /// it would become an orphan, which the kernel drops after some minutes together with
    /// the output, even if the peer is alive and merely does not read.
    fn is_in_flight(&self) -> io::Result<bool> {
        Ok(self
            .transport
            .unacknowledged()?
            .is_some_and(|bytes| bytes > 0))
    }

    /// The peer has had its time to close its side. If it has not acknowledged all output,
    /// the connection is kept until then, and is not read: without it the output would
    /// live on in the kernel, and count for nobody. Returns whether it is kept.
    ///
    /// # Errors
    /// The socket has failed; the connection is dead.
    pub(crate) fn await_ack(&mut self) -> io::Result<bool> {
        if self.pending.is_some() {
            return Ok(true);
        }
        let waits = self.is_in_flight()?;
        if waits && matches!(self.stage, Stage::Lingering { .. }) {
            self.stage = Stage::AwaitingAck;
        }
        Ok(waits)
    }

    /// Whether the peer has not closed its side yet.
    pub(crate) const fn awaits_end(&self) -> bool {
        !self.input_ended
    }

    fn half_close(&mut self) -> io::Result<Next> {
        let awaits_ack = self.cut_short && self.is_in_flight()?;
        self.transport.half_close()?;
        if awaits_ack {
            self.stage = Stage::AwaitingAck;
            return Ok(Next::Wait);
        }
        self.stage = Stage::Lingering { discarded: 0 };
        Ok(Next::Linger)
    }

    /// Checks the connection while the server drains, which it does since `since`. The
    /// connection is half-closed after `quiet` without activity since then, so that
    /// input in flight has time to arrive, and closed once the peer has acknowledged
    /// all output.
    ///
    /// # Errors
    /// The socket has failed; the connection is dead.
    pub(crate) fn check_drain(
        &mut self,
        now: Instant,
        since: Instant,
        quiet: Duration,
    ) -> io::Result<Next> {
        let unacknowledged = self.transport.unacknowledged()?;
        if self.stage == Stage::Open && unacknowledged.is_some_and(|bytes| bytes > 0) {
            // Its echo is in flight: the peer may send more once the echo arrives.
            self.active = now;
        }
        // Our FIN counts as one byte, which may stay unacknowledged for long.
        if unacknowledged.is_none_or(|bytes| bytes < 2) && self.begin_linger().is_some() {
            return Ok(Next::Again);
        }
        let still_for = now.saturating_duration_since(self.active.max(since));
        let waits = match self.stage {
            _ if self.pending.is_some() || self.unread => true,
            Stage::Open => still_for < quiet,
            Stage::Finishing | Stage::AwaitingAck => true,
            Stage::Lingering { .. } => match unacknowledged {
                Some(2..) => true,
                Some(0) => false,
                // Only our FIN is unacknowledged, or the count is unknown: a second quiet
                // time must suffice, since a vanished peer never acknowledges the FIN.
                Some(1) => still_for < 2 * quiet,
                None => !self.input_ended && still_for < 2 * quiet,
            },
        };
        if waits {
            return Ok(Next::Wait);
        }
        if !self.input_ended && self.has_input() {
            return Ok(Next::Again);
        }
        match self.stage {
            Stage::Open => self.half_close(),
            _ => Ok(Next::Close),
        }
    }

    /// Checks for input that no event has reported yet, and records it.
    fn has_input(&mut self) -> bool {
        self.unread = self.transport.has_input();
        self.unread
    }
}

impl Conn<TcpStream> {
    #[cfg(test)]
    pub(crate) const fn transport(&self) -> &TcpStream {
        &self.transport
    }

    /// Makes the close send a reset, so that the kernel frees at once the output that
    /// the peer has not accepted.
    pub(crate) fn reset_on_close(&self) {
        // This fails only if the connection has ended already.
        let _ = SockRef::from(&self.transport).set_linger(Some(Duration::ZERO));
    }

    /// About how many more bytes the send buffer has room for; `None` where the system
    /// does not say.
    pub(crate) fn room(&self) -> Option<usize> {
        sys::send_room(&self.transport)
    }

    /// Whether bytes of its peer lie in the kernel that can't be read: they came behind a
    /// gap in the stream. The peer of a healthy path fills it within a round trip or two.
    pub(crate) fn has_gap(&self) -> bool {
        sys::received_memory(&self.transport) > 0 && !self.transport.has_input()
    }

    /// The memory of its bytes, in pending output and in the kernel's buffers.
    pub(crate) fn memory(&self) -> usize {
        let pending = match self.pending.as_deref() {
            Some(PendingOutput::Bytes { bytes, .. }) => bytes.capacity(),
            Some(PendingOutput::Pipe(pipe)) => pipe.held(),
            None => 0,
        };
        pending + sys::socket_memory(&self.transport)
    }
}

#[cfg(test)]
mod tests;
