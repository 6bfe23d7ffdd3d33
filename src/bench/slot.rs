//! One of the places at which a connection is held, and made again after it ended.

use std::io::{self, ErrorKind};

use mio::net::TcpStream;

use super::fault::Fault;
use super::flow::Flow;
use super::outage::Gap;
use super::recorder::Recorder;
use crate::probe::connect::refuse_self;
use crate::probe::pattern::Pattern;

/// What a place is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits for something to do.
    Idle,
    /// It is in the queue of those that connect.
    Wanting,
    /// It connects.
    Connecting,
    /// Its connection carries load.
    Open,
    /// All is back and our side is closed; the server's end is awaited.
    Closing,
    /// It waits before it connects again.
    Resting,
    /// Its connection is lost for good.
    Gone,
}

/// A place for a connection; without one it has no socket.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) stage: Stage,
    pub(super) stream: Option<TcpStream>,
    pub(super) flow: Flow,
    /// When it began to connect; of a stream, when it last heard something.
    pub(super) since: u64,
    /// The local port of its connection.
    pub(super) port: u16,
    /// Attempts to connect since the last echo.
    pub(super) attempts: u32,
    /// The time without a server that it is in.
    pub(super) gap: Option<Box<Gap>>,
    /// Churn: its message is of the measured part.
    pub(super) counts: bool,
    /// The socket takes bytes, as far as is known.
    pub(super) writable: bool,
    /// The server's FIN has arrived; there may be input before it.
    pub(super) fin_seen: bool,
    /// It is in the list of those to receive from.
    pub(super) to_receive: bool,
    /// It is in the list of those to send for.
    pub(super) to_send: bool,
}

impl Slot {
    pub(super) const fn new(stage: Stage) -> Self {
        Self {
            stage,
            stream: None,
            flow: Flow::new(0),
            since: 0,
            port: 0,
            attempts: 0,
            gap: None,
            counts: false,
            writable: false,
            fin_seen: false,
            to_receive: false,
            to_send: false,
        }
    }

    /// Begins on a socket that is still connecting.
    pub(super) fn connecting(&mut self, stream: TcpStream, now: u64) {
        self.stage = Stage::Connecting;
        self.stream = Some(stream);
        self.since = now;
        self.writable = false;
        self.fin_seen = false;
    }

    /// Whether the socket is connected by now.
    ///
    /// # Errors
    /// It never will be.
    pub(super) fn is_connected(&mut self) -> io::Result<bool> {
        let Some(stream) = &self.stream else {
            return Ok(false);
        };
        let peer = match stream.peer_addr() {
            Ok(peer) => peer,
            Err(error) if error.kind() == ErrorKind::NotConnected => {
                return stream.take_error()?.map_or(Ok(false), Err);
            }
            Err(error) => return Err(error),
        };
        let own = stream.local_addr()?;
        refuse_self(own, peer)?;
        stream.set_nodelay(true)?;
        self.port = own.port();
        Ok(true)
    }

    /// Takes what came at the time `at`; see [`Flow::take`].
    pub(super) fn take(
        &mut self,
        pattern: &Pattern,
        bytes: &[u8],
        at: u64,
        record: &mut Recorder,
    ) -> bool {
        let (number, port) = (self.flow.connection(), self.port);
        let mut tell = |record: &mut Recorder, fault| tell(record, number, port, fault);
        self.flow.take(pattern, bytes, at, record, &mut tell)
    }

    /// Explains strange bytes with what came; see [`Flow::judge`].
    pub(super) fn judge(&mut self, pattern: &Pattern, record: &mut Recorder) -> bool {
        let (number, port) = (self.flow.connection(), self.port);
        let mut tell = |record: &mut Recorder, fault| tell(record, number, port, fault);
        self.flow.judge(pattern, record, &mut tell)
    }
}

fn tell(record: &mut Recorder, number: u64, port: u16, fault: Fault) {
    let Fault { position, damage } = fault;
    record.damaged(damage);
    record.tell(|| format!("connection {number} (local port {port}), offset {position}: {damage}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_costs_little() {
        // A message in flight is 24 bytes beside it, and never a buffer.
        assert!(size_of::<Slot>() <= 256, "{}", size_of::<Slot>());
    }
}
