//! The reads and writes of one thread, and their buffers.
//!
//! The bytes to send are generated from their offset in the stream for each write.
//! So after a partial write only the offset is kept.

use std::io::{ErrorKind, Read, Write};

use super::loss::Loss;
use super::slot::Stage;
use super::state::State;
use crate::base::sys;
use crate::bench::plan::Load;

/// The size of the receive buffer, in bytes: it fits the second-level cache of
/// current processors.
const RECEIVE_BUFFER: usize = 256 * 1024;

/// The size of the send buffer, in bytes. It is filled for each write, and is still
/// in the cache when the kernel copies it.
const SEND_BUFFER: usize = 64 * 1024;

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Nothing, for now.
    None,
    /// Bytes; no fault in them made the stream's offset unknown.
    Bytes,
    /// The server's FIN.
    End,
}

/// The buffers of one thread.
#[derive(Debug)]
pub(super) struct Transfer {
    received: Box<[u8]>,
    outgoing: Box<[u8]>,
}

impl Transfer {
    pub(super) fn new() -> Self {
        Self {
            received: vec![0; RECEIVE_BUFFER].into_boxed_slice(),
            outgoing: vec![0; SEND_BUFFER].into_boxed_slice(),
        }
    }

    /// Reads once, and checks and counts the bytes.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) fn receive(&mut self, state: &mut State<'_>, key: usize) -> Result<Input, Loss> {
        let slot = &mut state.slots[key];
        slot.to_receive = false;
        let has_connection = matches!(slot.stage, Stage::Open | Stage::Closing);
        let Some(stream) = slot.stream.as_mut().filter(|_| has_connection) else {
            return Ok(Input::None);
        };
        match stream.read(&mut self.received) {
            Ok(0) => Ok(Input::End),
            Ok(bytes) => {
                let drained = bytes < RECEIVE_BUFFER && sys::SHORT_READ_DRAINS && !slot.fin_seen;
                state.clock.look_at_clock();
                if !drained {
                    state.want_to_receive(key);
                }
                self.verify(state, key, bytes)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Input::None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                state.want_to_receive(key);
                Ok(Input::None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Checks and counts the first `bytes` of the receive buffer.
    fn verify(&self, state: &mut State<'_>, key: usize, bytes: usize) -> Result<Input, Loss> {
        let slot = &mut state.slots[key];
        let first = match slot.flow.received() {
            0 => slot.flow.oldest().copied(),
            _ => None,
        };
        let bytes = &self.received[..bytes];
        if !slot.receive(
            &state.clock.shared.pattern,
            bytes,
            state.clock.now,
            &mut state.recorder,
        ) {
            return Err(Loss::Damaged);
        }
        if let Some(message) = first {
            state.first_echo(key, &message);
        }
        if state.is(Load::Stream) {
            state.slots[key].since = state.clock.now;
        }
        Ok(Input::Bytes)
    }

    /// Writes once what is queued, as far as the socket takes it.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) fn send(&mut self, state: &mut State<'_>, key: usize) -> Result<(), Loss> {
        let depth = state.clock.shared.plan.depth;
        let slot = &mut state.slots[key];
        let Some(stream) = &mut slot.stream else {
            return Ok(());
        };
        let length = slot.flow.sendable(depth).min(SEND_BUFFER as u64);
        let outgoing = &mut self.outgoing[..usize::try_from(length).unwrap_or(SEND_BUFFER)];
        if outgoing.is_empty() {
            return Ok(());
        }
        let (connection, position) = (slot.flow.connection(), slot.flow.sent());
        state
            .clock
            .shared
            .pattern
            .fill(connection, position, outgoing);
        state.clock.now = state.clock.shared.clock.now();
        match stream.write(outgoing) {
            Ok(bytes) => {
                slot.flow
                    .wrote(bytes as u64, state.clock.now, &mut state.recorder);
                slot.writable = bytes == outgoing.len();
                if slot.flow.sendable(depth) > 0 {
                    state.want_to_send(key);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => slot.writable = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => state.want_to_send(key),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
