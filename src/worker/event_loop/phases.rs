//! The two phases in which connections are served: what is received lies in the worker's
//! block, or in a pipe, until it is sent.

use std::io;
#[cfg(test)]
use std::sync::atomic::Ordering;

#[cfg(test)]
use super::PANIC_FOR;
use super::Worker;
use crate::base::units;
use crate::worker::block::{Block, LONG_MESSAGE, MESSAGE, NARROW_SLICE, SLICE};
use crate::worker::conn::Received;
use crate::worker::connections::CloseReason;
use crate::worker::ready::Class;
use crate::worker::slices::EXPECT_MORE;

impl Worker {
    /// Reads up to `turns` connections that exchange messages, while the block has room
    /// for a whole slice. Pending output that is sent, and input that is discarded, count as
    /// though they took room: they take as long. Returns how many it took from the ready list.
    pub(super) fn receive_phase(&mut self, turns: usize) -> usize {
        let mut used = 0;
        let mut taken = 0;
        self.moved = 0;
        while taken < turns && self.block.has_room(used.max(self.moved)) {
            taken += 1;
            let Some(key) = self.connections.ready.pop(Class::Message) else {
                break;
            };
            used = self.receive_into_batch(key, Class::Message, used);
        }
        taken
    }

    /// Serves the receive phase of a connection, which was ready in this class, with the block
    /// from `used` on. Returns where the block is free afterwards.
    pub(super) fn receive_into_batch(&mut self, key: usize, class: Class, used: usize) -> usize {
        match self.receive(key, class, used) {
            Ok(Received { bytes, echo }) => {
                let range = used..used + if echo { bytes } else { 0 };
                let free = Block::behind(range.end);
                self.batch.push((key, range));
                if let Some(header) = self.connections.clients[key].conn.header() {
                    self.apply_header(key, header);
                }
                free
            }
            Err(error) => {
                self.connections.close(key, &CloseReason::Failed(error));
                used
            }
        }
    }

    /// Sends a connection's pending output, then reads its slice into the block from
    /// `used` on, or moves it through a pipe.
    fn receive(&mut self, key: usize, class: Class, used: usize) -> io::Result<Received> {
        let client = &mut self.connections.clients[key];
        client.queued = None;
        let before = client.conn.sent();
        let received = self.move_bytes(key, class, used);
        self.count(key, before);
        received
    }

    fn move_bytes(&mut self, key: usize, class: Class, used: usize) -> io::Result<Received> {
        let client = &mut self.connections.clients[key];
        let before = client.conn.sent();
        client.conn.flush(&mut self.pipes, self.connections.now)?;
        let flushed = usize::try_from(client.conn.sent() - before).unwrap_or(usize::MAX);
        self.moved = self.moved.saturating_add(flushed);
        // What a stream may still move in its slice.
        let longest = self.slices.longest(self.connections.now);
        let left = longest.saturating_sub(flushed);
        let relays = class == Class::Stream && client.conn.is_bulk() && self.pipes.can_lend();
        let received = if class == Class::Stream && left == 0 {
            Received::default()
        } else if relays {
            // What the socket does not accept stays in the pipe.
            let most = client.conn.room().unwrap_or(SLICE).max(SLICE).min(left);
            let is_alone = self.connections.ready.len(Class::Stream) == 0;
            let at_once = self.slices.at_once(is_alone);
            client
                .conn
                .relay(&mut self.pipes, most, at_once, self.connections.now)?
        } else {
            match class {
                Class::Stream => self.read_slice(key, left, used)?,
                Class::Message => self.read_message(key, used)?,
            }
        };
        self.moved = self.moved.saturating_add(received.bytes);
        self.classify(key, class, received.bytes, flushed)?;
        let client = &self.connections.clients[key];
        #[cfg(test)]
        assert_ne!(
            PANIC_FOR.load(Ordering::SeqCst),
            client.peer.port(),
            "on demand"
        );
        if received.bytes > 0 {
            // The count is a text of its own: as an argument it is made for a line that is
            // logged, not for every read.
            log::trace!(
                "client {}: {} read",
                client.peer,
                units::plain_count(received.bytes as u64, "byte", "bytes")
            );
        }
        Ok(received)
    }

    /// Reads up to `most` bytes of a stream, whose slice these are.
    fn read_slice(&mut self, key: usize, most: usize, used: usize) -> io::Result<Received> {
        let conn = &mut self.connections.clients[key].conn;
        let room = conn.room().unwrap_or(SLICE).min(most);
        let free = self
            .block
            .free(used, room.clamp(NARROW_SLICE.min(most), SLICE));
        conn.receive(free, self.connections.now)
    }

    /// Moves a message: reads its first part and, at once, what is left of a long one. So a long
    /// message waits for no more slices of the streams than a short one. Much goes through a
    /// pipe, as the bytes of streams do.
    fn read_message(&mut self, key: usize, used: usize) -> io::Result<Received> {
        let client = &mut self.connections.clients[key];
        let left = LONG_MESSAGE.saturating_sub(client.since_rest as usize);
        if left > 0 && client.conn.is_bulk() && self.pipes.can_lend() {
            let now = self.connections.now;
            return client.conn.relay(&mut self.pipes, left, left, now);
        }
        let free = self.block.free(used, NARROW_SLICE);
        let first = client.conn.receive(free, self.connections.now)?;
        let left = left.saturating_sub(first.bytes);
        match first.echo && left > 0 && client.conn.is_bulk() {
            true => self.read_on(key, used, first.bytes, left),
            false => Ok(first),
        }
    }

    /// Moves up to `most` further bytes of a long message, of which `first` bytes lie in the
    /// block from `used` on.
    fn read_on(
        &mut self,
        key: usize,
        used: usize,
        first: usize,
        most: usize,
    ) -> io::Result<Received> {
        let now = self.connections.now;
        let conn = &mut self.connections.clients[key].conn;
        if conn.has_much_input() && self.pipes.can_lend() {
            conn.send(self.block.filled(used..used + first), now)?;
            let rest = match conn.has_pending() {
                true => 0,
                false => conn.relay(&mut self.pipes, most, most, now)?.bytes,
            };
            return Ok(Received {
                bytes: first + rest,
                echo: false,
            });
        }
        let most = conn.room().map_or(most, |room| room.min(most));
        let rest = match most {
            0 => 0,
            _ => {
                let free = self.block.free(used + first, most);
                conn.receive(free, now)?.bytes
            }
        };
        Ok(Received {
            bytes: first + rest,
            echo: true,
        })
    }

    /// Counts what a client has sent since it was at rest. It streams if that, or what it was
    /// sent and has not acknowledged, is longer than a message: it does not wait for its echo
    /// before it sends more.
    fn classify(
        &mut self,
        key: usize,
        class: Class,
        received: usize,
        flushed: usize,
    ) -> io::Result<()> {
        let clock = self.connections.clock();
        let client = &mut self.connections.clients[key];
        client.add_since_rest(received);
        // A stream that is read as fast as it arrives also yields short reads at times.
        if flushed > 2 * MESSAGE
            || client.since_rest as usize >= LONG_MESSAGE
            || received > MESSAGE && client.conn.is_ahead(LONG_MESSAGE)?
        {
            client.streams_until = clock + EXPECT_MORE.as_nanos() as u64;
        } else if received > 0 && class == Class::Message {
            self.slices.count_messages(1, self.connections.now);
        }
        Ok(())
    }

    /// Writes back what the receive phase read, and does what each of its connections
    /// waits for next.
    pub(super) fn send_phase(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        for (key, range) in batch.drain(..) {
            let Some(client) = self.connections.clients.get_mut(key) else {
                continue;
            };
            let before = client.conn.sent();
            let sent = if range.is_empty() {
                client.conn.flush(&mut self.pipes, self.connections.now)
            } else {
                client
                    .conn
                    .send(self.block.filled(range), self.connections.now)
            };
            self.count(key, before);
            let client = &mut self.connections.clients[key];
            let draining = self.connections.drain.is_some();
            let next = sent.and_then(|()| client.conn.next(draining));
            let next = match client.wants_watch() {
                true => self.connections.watch(key).and(next),
                false => next,
            };
            self.connections.act(key, next, &CloseReason::Finished);
        }
        self.batch = batch;
    }

    /// Counts the bytes sent to a connection beyond the first `before`.
    fn count(&mut self, key: usize, before: u64) {
        let client = &self.connections.clients[key];
        let sent = client.conn.sent();
        if sent == before {
            return;
        }
        self.echoed += sent - before;
        let counters = &self.connections.context.metrics.counters;
        counters.bytes.add(sent - before);
        counters.echoes.add(1);
        if before == 0 {
            // Not `now`, the turn's start: the connection has waited for others since.
            counters.first_echo.add(client.opened.elapsed());
        }
    }
}
