//! The turns of the streams, which have a share of the time after each phase of messages.

use super::Worker;
use crate::worker::ready::Class;
use crate::worker::slices::{LEAST_CHARGE, Slices};

impl Worker {
    /// Serves the stream whose turn it is, for one slice, and further ones
    /// while their slices fit into the share of streams in a phase of so many messages.
    pub(super) fn serve_streams(&mut self, messages: usize) {
        let mut left = Slices::share(messages);
        for _ in 0..self.connections.ready.len(Class::Stream) {
            left = left.saturating_sub(self.serve_stream().max(LEAST_CHARGE));
            if left < self.next_slice() {
                break;
            }
        }
    }

    /// The most that the next stream moves, in bytes: a slice, or its pending output, which
    /// is sent as a whole.
    fn next_slice(&self) -> usize {
        let connections = &self.connections;
        let next = connections.ready.first_stream();
        let pending = next.map_or(0, |key| connections.clients[key].conn.pending_bytes());
        self.slices.longest(connections.now).max(pending)
    }

    /// Serves the stream whose turn it is, for a slice. Returns how many bytes it moved.
    pub(super) fn serve_stream(&mut self) -> usize {
        let Some(key) = self.connections.ready.pop(Class::Stream) else {
            return 0;
        };
        let opened = self.connections.clients[key].opened;
        self.slices.begin_slice((key, opened));
        self.moved = 0;
        self.receive_into_batch(key, Class::Stream, 0);
        self.send_phase();
        if self
            .slices
            .end_slice(self.moved, self.connections.ready.len(Class::Stream))
        {
            self.connections.ready.keep_turn(key);
        }
        self.notifies_of_echo();
        self.moved
    }
}
