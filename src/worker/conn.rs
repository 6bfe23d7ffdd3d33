//! One connection's state and how it moves bytes.
//!
//! A connection owns no buffer while all is well: what it receives lies in its
//! worker's scratch block until it is sent, within the same turn. Only what the
//! peer does not take is copied out into the connection's own [`Owed`] bytes,
//! and then nothing more is read until the peer has taken them. So a peer that
//! never reads costs one slice of memory, and order needs no further thought.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use socket2::SockRef;

use super::pipe::{Pipe, Pipes, is_refusal};
use super::proxy_header::{Header, HeaderParser};
use crate::base::sys;
use crate::proto::{self, Message, Protocol};

/// The most that is thrown away, in bytes, of what a peer still sends after
/// its answer. Beyond it the connection is closed at once: the peer is not
/// going to stop.
const DISCARD_LIMIT: usize = 1 << 20;

/// A turn that moves less, in bytes, is not streaming: to copy costs less than
/// the third call that a pipe needs.
const BULK_LEAST: usize = if cfg!(test) { 8 } else { 16 * 1024 };

/// What a connection needs of its socket.
pub(crate) trait Transport: Read + Write {
    /// Closes our side: everything written so far, then our FIN.
    fn half_close(&mut self) -> io::Result<()>;
    /// How many bytes the peer has not acknowledged, where the system can tell.
    ///
    /// # Errors
    /// The connection's end before its peer had them, which a read behind the
    /// peer's FIN does not tell.
    fn unacknowledged(&self) -> io::Result<Option<usize>>;
    /// Whether a read would find something: bytes, the end, or an error.
    fn has_input(&self) -> bool;
    /// Moves up to `most` received bytes into a pipe; see [`Pipe::fill`].
    fn fill(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize>;
    /// Sends what the pipe holds; see [`Pipe::empty`].
    fn empty(&mut self, pipe: &mut Pipe) -> io::Result<usize>;
}

impl Transport for TcpStream {
    fn half_close(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn unacknowledged(&self) -> io::Result<Option<usize>> {
        let bytes = sys::unacknowledged(self);
        match bytes {
            // Of a connection that was reset the count stays for ever.
            Some(1..) if sys::has_failed(self) => self.take_error()?.map_or(Ok(bytes), Err),
            _ => Ok(bytes),
        }
    }

    fn has_input(&self) -> bool {
        let probe = self.peek(&mut [0]);
        !probe.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    fn fill(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        pipe.fill(self, most)
    }

    fn empty(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        pipe.empty(self)
    }
}

/// What a poller said of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer's FIN has arrived, behind everything it sent.
    pub(crate) read_closed: bool,
    /// Urgent data is about, at whose mark a read stops short.
    pub(crate) urgent: bool,
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Self {
        Self {
            readable: event.is_readable() || event.is_error(),
            writable: event.is_writable() || event.is_error(),
            read_closed: event.is_read_closed(),
            urgent: event.is_priority(),
        }
    }
}

/// What one read brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Bytes read into the front of the block.
    pub(crate) bytes: usize,
    /// Whether these bytes are to be sent back.
    pub(crate) echo: bool,
}

/// What a connection waits for once its turn is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The poller's word.
    Wait,
    /// Another turn: its socket may hold more, and an edge is not told twice.
    Again,
    /// The peer's end: our side is closed, or the time for that has come.
    Linger,
    /// Nothing: all is done, it can be dropped.
    Close,
}

/// What a connection speaks beside plain echo, and how far it has come in it.
enum ProtocolState {
    Counted(Message),
    Whoami,
    /// Nothing yet: a load balancer says first whose connection it is.
    ProxyHeader(HeaderParser, Protocol),
}

impl ProtocolState {
    /// An echo has no state, and most connections are one: so it takes a word.
    fn of(protocol: Protocol) -> Option<Box<Self>> {
        match protocol {
            Protocol::Echo => None,
            Protocol::Counted => Some(Box::new(Self::Counted(Message::default()))),
            Protocol::Whoami => Some(Box::new(Self::Whoami)),
        }
    }
}

/// How far a connection has come on its way to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Reads and answers.
    Open,
    /// Its input is over; what it owes goes out.
    Finishing,
    /// It was cut short and our side is closed. What the peer still sends is not
    /// read, and so bounded, until it has acknowledged all it was sent.
    Taking,
    /// Our side is closed. What the peer still sends is thrown away, since
    /// closing a socket with unread input sends RST, which destroys echoed
    /// bytes that are still on their way.
    Lingering { discarded: u32 },
}

/// What the peer has not taken yet.
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
    /// The socket has refused what is owed and not told of room since.
    blocked: bool,
    /// The socket may hold input that no event will tell of again.
    unread: bool,
    /// The peer's FIN has arrived; there may be input before it.
    fin_seen: bool,
    /// All input up to the peer's FIN has been read.
    input_ended: bool,
    /// It was ended in the midst of its input.
    cut_short: bool,
    urgent: bool,
    /// The peer streams: its bytes go through a pipe.
    bulk: bool,
    sent: u64,
    active: Instant,
}

impl<T: Transport> Conn<T> {
    /// One whose client is known; it has yet to be [greeted](Self::greet).
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

    /// One whose client is named by the PROXY header that comes first.
    pub(crate) fn behind_proxy(transport: T, protocol: Protocol, now: Instant) -> Self {
        Self {
            state: Some(Box::new(ProtocolState::ProxyHeader(
                HeaderParser::default(),
                protocol,
            ))),
            ..Self::new(transport, protocol, now)
        }
    }

    /// Whether its PROXY header has yet to be complete, or to be acted on.
    pub(crate) fn awaits_header(&self) -> bool {
        matches!(self.state.as_deref(), Some(ProtocolState::ProxyHeader(..)))
    }

    /// Its PROXY header, between the read that completes it and the greeting.
    pub(crate) fn header(&self) -> Option<Header> {
        match self.state.as_deref() {
            Some(ProtocolState::ProxyHeader(parser, _)) => parser.header(),
            _ => None,
        }
    }

    /// Begins to serve a client that is known from now on as `peer`, with what came
    /// behind its header.
    pub(crate) fn start(&mut self, peer: SocketAddr) {
        let rest = self.end_preface();
        if let Some(ProtocolState::Whoami) = self.state.as_deref() {
            self.keep_pending(proto::whoami(peer));
            self.stage = Stage::Finishing;
        } else if !rest.is_empty() && self.take(&rest) {
            self.keep_pending(rest);
        }
        if self.input_ended {
            self.end_input();
        }
    }

    /// Returns what came behind the header, if there was one.
    fn end_preface(&mut self) -> Vec<u8> {
        let Some(ProtocolState::ProxyHeader(parser, protocol)) = self.state.as_deref_mut() else {
            return Vec::new();
        };
        let rest = std::mem::take(parser).into_rest();
        self.state = ProtocolState::of(*protocol);
        rest
    }

    /// Bytes sent to the peer so far.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether it reads and answers: nothing has begun to end it.
    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether the peer has yet to take bytes that only this connection has.
    pub(crate) const fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// When a byte was last received, sent or seen to be taken.
    pub(crate) const fn active(&self) -> Instant {
        self.active
    }

    /// A byte was seen to be taken.
    pub(crate) const fn keep_alive(&mut self, now: Instant) {
        self.active = now;
    }

    /// How many bytes the peer has taken so far, and whether these are all. Where
    /// the system can't tell what is acknowledged, sent is taken.
    ///
    /// # Errors
    /// The connection's end.
    pub(crate) fn taken(&self) -> io::Result<(u64, bool)> {
        let under_way = self.transport.unacknowledged()?.unwrap_or(0);
        let taken = self.sent.saturating_sub(under_way as u64);
        Ok((taken, under_way == 0 && self.pending.is_none()))
    }

    /// Reads no further: what it owes goes out, then our end, and nothing else
    /// before the peer has taken that.
    pub(crate) fn cut_short(&mut self) {
        if self.stage == Stage::Open {
            self.stage = Stage::Finishing;
            self.cut_short = true;
        }
    }

    /// Whether it was ended in the midst of its input.
    pub(crate) const fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// The peer has taken all. Returns what now is to be waited for, if it was that
    /// until now.
    pub(crate) fn begin_linger(&mut self) -> Option<Next> {
        if self.stage != Stage::Taking {
            return None;
        }
        self.stage = Stage::Lingering { discarded: 0 };
        Some(Next::Linger)
    }

    /// Whether a message has begun to arrive and is not complete.
    pub(crate) fn is_mid_message(&self) -> bool {
        self.stage == Stage::Open
            && matches!(self.state.as_deref(), Some(ProtocolState::Counted(message)) if !message.is_empty())
    }

    /// Takes the poller's word. Returns whether it is worth a turn.
    pub(crate) fn note(&mut self, readiness: Readiness) -> bool {
        self.fin_seen |= readiness.read_closed;
        self.urgent |= readiness.urgent;
        self.blocked &= !readiness.writable;
        self.unread |= readiness.readable || readiness.read_closed;
        match self.pending {
            Some(_) => readiness.writable,
            None => self.unread,
        }
    }

    /// Reads once into `block`, unless the peer must first take what it is owed.
    ///
    /// # Errors
    /// The socket's own; the connection is dead then.
    pub(crate) fn receive(&mut self, block: &mut [u8], now: Instant) -> io::Result<Received> {
        if self.pending.is_some() || matches!(self.stage, Stage::Finishing | Stage::Taking) {
            return Ok(Received::default());
        }
        self.unread = false;
        let bytes = match retrying(|| self.transport.read(block)) {
            Ok(0) => {
                self.end_input();
                return Ok(Received::default());
            }
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.urgent = false;
                return Ok(Received::default());
            }
            Err(error) => return Err(error),
        };
        self.active = now;
        self.unread = bytes == block.len() || self.urgent || !sys::SHORT_READ_DRAINS;
        let echo = self.take(&block[..bytes]);
        self.bulk = echo && bytes == block.len() && !self.urgent;
        // The FIN was seen before this read, which took all that came before it.
        if self.fin_seen && !self.unread {
            self.end_input();
        }
        Ok(Received { bytes, echo })
    }

    /// Hands what arrived to the protocol. Returns whether it is to be echoed.
    fn take(&mut self, arrived: &[u8]) -> bool {
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
            // Its input is never read but to be thrown away.
            Some(ProtocolState::Whoami) => false,
        }
    }

    /// The peer has half-closed and all it sent has been read.
    fn end_input(&mut self) {
        self.input_ended = true;
        self.unread = false;
        if let Some(ProtocolState::ProxyHeader(parser, _)) = self.state.as_deref_mut() {
            parser.finish();
        }
        // What came behind a header is served first: the greeting comes back here.
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
            "nothing is read while bytes are owed"
        );
        self.pending = Some(Box::new(PendingOutput::Bytes { bytes, sent: 0 }));
    }

    /// Sends `bytes`, which were just received; keeps what the peer does not take.
    ///
    /// # Errors
    /// The socket's own; the connection is dead then.
    pub(crate) fn send(&mut self, bytes: &[u8], now: Instant) -> io::Result<()> {
        let sent = self.write(bytes, now)?;
        if sent < bytes.len() {
            self.keep_pending(bytes[sent..].to_vec());
        }
        Ok(())
    }

    /// Sends what is owed, as far as the peer takes it. A socket that has refused
    /// is not asked again before the poller has told of room.
    ///
    /// # Errors
    /// The socket's own; the connection is dead then.
    pub(crate) fn flush(&mut self, pipes: &mut Pipes, now: Instant) -> io::Result<()> {
        if self.blocked {
            return Ok(());
        }
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        match *pending {
            PendingOutput::Pipe(pipe) => self.pour(pipe, pipes, now),
            PendingOutput::Bytes { bytes, sent } => {
                let sent = sent + self.write(&bytes[sent..], now)?;
                if sent < bytes.len() {
                    self.pending = Some(Box::new(PendingOutput::Bytes { bytes, sent }));
                }
                Ok(())
            }
        }
    }

    /// Whether its bytes go through a pipe now.
    pub(crate) const fn is_bulk(&self) -> bool {
        self.bulk && matches!(self.stage, Stage::Open) && self.pending.is_none()
    }

    /// Moves up to `most` bytes from the peer back to it through pipes.
    /// Nothing of it is left to be echoed. What a pipe can't tell (the end, the mark
    /// of urgent data) is left to the next [`receive`](Self::receive).
    ///
    /// # Errors
    /// The socket's own; the connection is dead then, and the pipe with it.
    pub(crate) fn relay(
        &mut self,
        pipes: &mut Pipes,
        most: usize,
        now: Instant,
    ) -> io::Result<Received> {
        let mut received = 0;
        self.unread = true;
        while received < most && self.pending.is_none() {
            let Some(mut pipe) = pipes.lend() else {
                self.bulk = false;
                break;
            };
            match retrying(|| self.transport.fill(&mut pipe, most - received)) {
                Ok(bytes @ 1..) => {
                    received += bytes;
                    self.active = now;
                    self.pour(pipe, pipes, now)?;
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

    /// Nothing more came into an empty pipe: what that means.
    fn end_relay(
        &mut self,
        stopped: io::Result<usize>,
        received: usize,
        pipes: &mut Pipes,
    ) -> io::Result<()> {
        self.bulk = false;
        match stopped {
            Ok(_) => {}
            // The pipe is empty, so it is the socket that has nothing; unless
            // its next byte is behind a mark that only a read passes.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.unread = self.urgent;
                self.bulk = received >= BULK_LEAST && !self.urgent;
            }
            Err(error) if is_refusal(&error) => pipes.give_up(&error),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Sends what a pipe holds, as far as the peer takes it; the rest is owed.
    fn pour(&mut self, mut pipe: Pipe, pipes: &mut Pipes, now: Instant) -> io::Result<()> {
        while !pipe.is_empty() {
            match retrying(|| self.transport.empty(&mut pipe)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => {
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

    /// Writes until all is taken or the socket would block, which arms the
    /// poller's next word on it. Returns how many bytes were taken.
    fn write(&mut self, bytes: &[u8], now: Instant) -> io::Result<usize> {
        let mut taken = 0;
        while taken < bytes.len() {
            match retrying(|| self.transport.write(&bytes[taken..])) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => taken += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if taken > 0 {
            self.sent += taken as u64;
            self.active = now;
        }
        Ok(taken)
    }

    /// What to wait for now. With `draining`, a finished connection lingers
    /// until its peer has acknowledged everything.
    ///
    /// # Errors
    /// The socket's own; the connection is dead then.
    pub(crate) fn next(&mut self, draining: bool) -> io::Result<Next> {
        if self.pending.is_some() {
            return Ok(Next::Wait);
        }
        match self.stage {
            Stage::Finishing | Stage::Lingering { .. }
                if self.input_ended && !draining && !self.is_under_way()? =>
            {
                Ok(Next::Close)
            }
            Stage::Finishing => self.half_close(),
            Stage::Taking => Ok(Next::Wait),
            Stage::Lingering { discarded } if discarded as usize > DISCARD_LIMIT => Ok(Next::Close),
            Stage::Open | Stage::Lingering { .. } if self.unread => Ok(Next::Again),
            Stage::Open | Stage::Lingering { .. } => Ok(Next::Wait),
        }
    }

    /// Whether the kernel still holds bytes for the peer. A socket that is closed
    /// with such is an orphan, which the kernel gives up after some minutes, and
    /// the bytes with it, however alive a peer is that just does not read.
    fn is_under_way(&self) -> io::Result<bool> {
        Ok(self
            .transport
            .unacknowledged()?
            .is_some_and(|bytes| bytes > 0))
    }

    /// Whether the peer has yet to close its side.
    pub(crate) const fn awaits_end(&self) -> bool {
        !self.input_ended
    }

    fn half_close(&mut self) -> io::Result<Next> {
        let must_take = self.cut_short && self.is_under_way()?;
        self.transport.half_close()?;
        if must_take {
            self.stage = Stage::Taking;
            return Ok(Next::Wait);
        }
        self.stage = Stage::Lingering { discarded: 0 };
        Ok(Next::Linger)
    }

    /// One look at a connection while the server stops, which it does since
    /// `since`: half-closes it once it was quiet for `quiet` from then on (what was
    /// sent before shall find time to arrive), and lets it go once the peer has
    /// acknowledged all.
    ///
    /// # Errors
    /// The socket's own; the connection is dead then.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        since: Instant,
        quiet: Duration,
    ) -> io::Result<Next> {
        let unacknowledged = self.transport.unacknowledged()?;
        if self.stage == Stage::Open && unacknowledged.is_some_and(|bytes| bytes > 0) {
            // Its echo is still under way: the peer may go on once it is there.
            self.active = now;
        }
        // Our FIN alone may be out for long.
        if unacknowledged.is_none_or(|bytes| bytes < 2) && self.begin_linger().is_some() {
            return Ok(Next::Again);
        }
        let still_for = now.saturating_duration_since(self.active.max(since));
        let waits = match self.stage {
            _ if self.pending.is_some() || self.unread => true,
            Stage::Open => still_for < quiet,
            Stage::Finishing | Stage::Taking => true,
            Stage::Lingering { .. } => match unacknowledged {
                Some(2..) => true,
                Some(0) => false,
                // Our FIN alone is out, or nobody can tell: another quiet time must do,
                // since a peer that has vanished never acknowledges it.
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

    /// Looks whether input came that no event has told of yet, and notes it.
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

    /// When it is dropped the peer sees a reset, and the kernel forgets at once
    /// what the peer has not taken.
    pub(crate) fn reset_on_close(&self) {
        // It fails only where the connection has ended already.
        let _ = SockRef::from(&self.transport).set_linger(Some(Duration::ZERO));
    }

    /// About how many bytes the kernel takes for the peer now, where the system
    /// can tell.
    pub(crate) fn room(&self) -> Option<usize> {
        sys::send_room(&self.transport)
    }

    /// The memory that its bytes take, here and in the kernel's buffers.
    pub(crate) fn memory(&self) -> usize {
        let pending = match self.pending.as_deref() {
            Some(PendingOutput::Bytes { bytes, .. }) => bytes.capacity(),
            Some(PendingOutput::Pipe(pipe)) => pipe.held(),
            None => 0,
        };
        pending + sys::socket_memory(&self.transport)
    }
}

/// Calls again whatever a signal has interrupted.
fn retrying<R>(mut call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
