//! Streaming: connections that send and receive as fast as they can.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::Load;
use super::client::Client;
use super::poller::{EventFlags, Poller};
use crate::payload::{LONGEST, Payload};

/// Bytes of one write.
pub const WRITE: usize = 64 * 1024;

/// Writes of a step: together as long as a read, and more than a server should
/// move for one client before it turns to the others.
const STEP_WRITES: usize = LONGEST / WRITE;

/// A connection that streams, and its block to receive into.
#[derive(Debug)]
pub struct Hose {
    client: Client,
    scratch: Vec<u8>,
    /// The offset at which the present write ends.
    end: u64,
    /// Bytes that came back.
    bytes: u64,
}

impl Hose {
    /// Begins to connect.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn connect(server: SocketAddrV4, number: usize) -> io::Result<Self> {
        Ok(Self {
            client: Client::connect(server, number)?,
            scratch: vec![0; LONGEST],
            end: WRITE as u64,
            bytes: 0,
        })
    }

    /// Sends for a step beside others and reads as much, as far as it goes.
    /// Returns whether anything moved.
    ///
    /// # Errors
    /// The connection failed, or a byte was wrong.
    pub fn step(&mut self, payload: &Payload) -> io::Result<bool> {
        let before = self.client.sent();
        for _ in 0..STEP_WRITES {
            if !self.send(payload)? {
                break;
            }
        }
        let received = self.receive(payload)?;
        Ok(received > 0 || self.client.sent() > before)
    }

    /// The bytes that came back since the last call.
    pub const fn take_bytes(&mut self) -> u64 {
        std::mem::replace(&mut self.bytes, 0)
    }

    /// One write, or what is left of it. Returns whether it all went out.
    fn send(&mut self, payload: &Payload) -> io::Result<bool> {
        let whole = self.client.send(payload, self.end)?;
        if whole {
            self.end += WRITE as u64;
        }
        Ok(whole)
    }

    fn receive(&mut self, payload: &Payload) -> io::Result<usize> {
        let length = self.client.receive(payload, &mut self.scratch)?;
        self.bytes += length as u64;
        Ok(length)
    }
}

impl AsFd for Hose {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }
}

/// Connections that all stream.
pub struct Streams {
    poller: Poller,
    payload: Payload,
    hoses: Vec<Hose>,
}

impl Streams {
    /// Connects `count` of them.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn connect(server: SocketAddrV4, count: usize) -> io::Result<Self> {
        let poller = Poller::new(count)?;
        let hoses = (0..count)
            .map(|number| {
                let hose = Hose::connect(server, number)?;
                poller.add(&hose, number, EventFlags::IN)?;
                Ok(hose)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            poller,
            payload: Payload::new(),
            hoses,
        })
    }

    /// Level-triggered: one write and one read a turn, and no hose waits for
    /// another.
    fn watch(&self, flags: EventFlags) -> io::Result<()> {
        let mut hoses = self.hoses.iter().enumerate();
        hoses.try_for_each(|(token, hose)| self.poller.modify(hose, token, flags))
    }
}

impl Load for Streams {
    fn start(&mut self) -> io::Result<()> {
        self.watch(EventFlags::IN | EventFlags::OUT)
    }

    fn stop(&mut self) -> io::Result<()> {
        self.watch(EventFlags::IN)
    }

    fn in_flight(&self) -> u64 {
        let clients = self.hoses.iter().map(|hose| &hose.client);
        clients.map(|client| client.sent() - client.echoed()).sum()
    }

    fn done(&self) -> u64 {
        self.hoses.iter().map(|hose| hose.client.echoed()).sum()
    }

    fn turn(&mut self, most: Duration) -> io::Result<()> {
        let count = self.poller.wait(most)?;
        for index in 0..count {
            let (token, flags) = self.poller.event(index);
            let hose = &mut self.hoses[token];
            if flags.contains(EventFlags::OUT) {
                hose.send(&self.payload)?;
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                hose.receive(&self.payload)?;
            }
        }
        Ok(())
    }
}
