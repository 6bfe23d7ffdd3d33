//! A slot: one connection at a time, made again after it has ended.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;

use super::fault::Fault;
use super::flow::Flow;
use crate::bench::cause::Cause;
use crate::bench::outage::Gap;
use crate::bench::recorder::Recorder;
use crate::bench::targets::{Target, Targets};
use crate::probe::connect::refuse_self;
use crate::probe::pattern::Pattern;

/// The state of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits for something to do.
    Idle,
    /// It waits in the queue of slots that are to connect.
    Queued,
    /// It connects.
    Connecting,
    /// Its connection carries load.
    Open,
    /// Everything is back and our side is closed; the server's FIN is awaited.
    Closing,
    /// It pauses before it connects again.
    Paused,
    /// Its connection is lost for good.
    Lost,
}

/// A slot for a connection; without one it has no socket.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) stage: Stage,
    pub(super) stream: Option<TcpStream>,
    pub(super) flow: Flow,
    /// When it began to connect; of a stream, when it last received something.
    pub(super) since: u64,
    /// The address that it connects to, or is connected to.
    pub(super) target: Option<Arc<Target>>,
    /// Its turn among the addresses, until it has an echo.
    pub(super) turn: u32,
    /// The local port of its connection.
    pub(super) port: u16,
    /// Attempts to connect since the last echo.
    pub(super) attempts: u32,
    /// The present time without a server, if there is one.
    pub(super) gap: Option<Box<Gap>>,
    /// Churn: its message belongs to the measured part.
    pub(super) counts: bool,
    /// No write was short or would have blocked since the last writable event.
    pub(super) writable: bool,
    /// The server's FIN has arrived; there may be input before it.
    pub(super) fin_seen: bool,
    /// It is in the list of slots to receive from.
    pub(super) to_receive: bool,
    /// It is in the list of slots to send for.
    pub(super) to_send: bool,
}

impl Slot {
    pub(super) const fn new(stage: Stage) -> Self {
        Self {
            stage,
            stream: None,
            flow: Flow::new(0),
            since: 0,
            target: None,
            turn: 0,
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

    /// Chooses the address to connect to: the next one in turn, and after a failure the one
    /// after it.
    pub(super) fn aim(&mut self, targets: &Targets) -> SocketAddr {
        if self.attempts == 0 {
            self.turn = targets.next_turn();
        }
        let target = targets.choose(self.turn, self.attempts);
        let address = target.address;
        self.target = Some(target);
        address
    }

    /// Takes a socket that is still connecting.
    pub(super) fn start_connecting(&mut self, stream: TcpStream, now: u64) {
        self.stage = Stage::Connecting;
        self.stream = Some(stream);
        self.since = now;
        self.writable = false;
        self.fin_seen = false;
    }

    /// Whether the socket is connected by now.
    ///
    /// # Errors
    /// The attempt failed.
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

    /// Checks bytes that came at the time `at`; see [`Flow::receive`].
    pub(super) fn receive(
        &mut self,
        pattern: &Pattern,
        bytes: &[u8],
        at: u64,
        recorder: &mut Recorder,
    ) -> bool {
        let (number, port) = (self.flow.connection(), self.port);
        let mut report =
            |recorder: &mut Recorder, fault| report_fault(recorder, number, port, fault);
        self.flow.receive(pattern, bytes, at, recorder, &mut report)
    }

    /// Explains the bytes that wait for it; see [`Flow::resolve`].
    pub(super) fn resolve(&mut self, pattern: &Pattern, recorder: &mut Recorder) -> bool {
        let (number, port) = (self.flow.connection(), self.port);
        let mut report =
            |recorder: &mut Recorder, fault| report_fault(recorder, number, port, fault);
        self.flow.resolve(pattern, recorder, &mut report)
    }
}

fn report_fault(recorder: &mut Recorder, number: u64, port: u16, fault: Fault) {
    recorder.damaged(fault.damage);
    let cause = Cause::damaged(&fault.damage);
    recorder.add_example(cause, || {
        format!("connection {number} (local port {port}), {fault}")
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_takes_little_memory() {
        // A message in flight is 24 bytes beside it, and never a buffer.
        assert!(size_of::<Slot>() <= 256, "{}", size_of::<Slot>());
    }
}
