//! Churn: connect, have one message echoed, close, and again.

use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use super::Load;
use super::client::Client;
use super::poller::{EventFlags, Poller};
use crate::payload::Payload;

/// Connections open at any time.
pub const SLOTS: usize = 32;

/// Bytes of the one message.
const SIZE: usize = 64;

/// A fixed number of places, each of which always has a connection.
pub struct Churn {
    poller: Poller,
    payload: Payload,
    server: SocketAddrV4,
    clients: [Option<Client>; SLOTS],
    /// Connections begun.
    begun: usize,
    /// Connections that had their echo and were closed.
    done: u64,
    /// Whether a closed connection is followed by the next one.
    again: bool,
}

impl Churn {
    /// Connects nothing yet.
    ///
    /// # Errors
    /// There is no `epoll` instance to be had.
    pub fn new(server: SocketAddrV4) -> io::Result<Self> {
        Ok(Self {
            poller: Poller::new(SLOTS)?,
            payload: Payload::new(),
            server,
            clients: [const { None }; SLOTS],
            begun: 0,
            done: 0,
            again: false,
        })
    }

    /// Connects and sends, which on loopback mostly succeeds at once; where it
    /// does not, the socket tells when it is writable.
    fn begin(&mut self, slot: usize) -> io::Result<()> {
        let mut client = Client::connect(self.server, self.begun)?;
        self.begun += 1;
        client.send(&self.payload, SIZE as u64)?;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        self.poller.add(&client, slot, flags)?;
        self.clients[slot] = Some(client);
        Ok(())
    }

    /// Returns whether the client in this slot has its echo.
    fn serve(&mut self, slot: usize, flags: EventFlags) -> io::Result<bool> {
        let Some(client) = &mut self.clients[slot] else {
            return Ok(false);
        };
        if flags.contains(EventFlags::OUT) {
            client.send(&self.payload, SIZE as u64)?;
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            let mut scratch = [0; SIZE];
            while client.echoed() < SIZE as u64 {
                if client.receive(&self.payload, &mut scratch)? == 0 {
                    return Ok(false);
                }
            }
        }
        Ok(client.echoed() == SIZE as u64)
    }
}

impl Load for Churn {
    fn start(&mut self) -> io::Result<()> {
        self.again = true;
        (0..SLOTS).try_for_each(|slot| self.begin(slot))
    }

    fn stop(&mut self) -> io::Result<()> {
        self.again = false;
        Ok(())
    }

    fn in_flight(&self) -> u64 {
        self.clients.iter().flatten().count() as u64
    }

    fn done(&self) -> u64 {
        self.done
    }

    fn turn(&mut self, most: Duration) -> io::Result<()> {
        let count = self.poller.wait(most)?;
        for index in 0..count {
            let (slot, flags) = self.poller.event(index);
            if self.serve(slot, flags)? {
                self.done += 1;
                // Closed with nothing unread, so the server sees an orderly end.
                self.clients[slot] = None;
                if self.again {
                    self.begin(slot)?;
                }
            }
        }
        Ok(())
    }
}
