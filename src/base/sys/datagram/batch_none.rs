//! The same as a batch, with a system call for each datagram.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;

#[cfg(unix)]
use std::os::fd::AsFd as Handle;
#[cfg(windows)]
use std::os::windows::io::AsSocket as Handle;

use socket2::SockRef;

use super::joins::Joins;
use super::received::{Local, Received};
use super::single;

/// What became of the answers of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
    /// Those that the system refused to send.
    pub(crate) failed: u64,
}

/// Room for a number of datagrams, and for a number of answers to them.
pub(crate) struct Batch {
    slots: Vec<Vec<u8>>,
    received: Vec<Received>,
    /// The slot, the part of it and the receiver of each answer.
    answers: Vec<(usize, Range<usize>, SocketAddr)>,
    /// How many answers there is room for.
    room: usize,
}

impl Batch {
    /// Room for `slots` datagrams of up to `slot` bytes, and for so many `answers`.
    pub(crate) fn new(slots: usize, slot: usize, answers: usize) -> Self {
        Self {
            slots: vec![vec![0; slot]; slots],
            received: Vec::with_capacity(slots),
            answers: Vec::with_capacity(answers),
            room: answers,
        }
    }

    /// How many datagrams fit.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Receives as many datagrams as have come to a non-blocking socket, up to `most` and
    /// what fits. Those of the call before are forgotten.
    ///
    /// # Errors
    /// `WouldBlock` where none has come.
    pub(crate) fn receive(&mut self, socket: &impl Handle, most: usize) -> io::Result<usize> {
        self.received.clear();
        self.answers.clear();
        for _ in 0..most.min(self.slots.len()) {
            match single::receive(socket, &mut self.slots[self.received.len()]) {
                Ok(received) => self.received.push(received),
                Err(error) if self.received.is_empty() => return Err(error),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What one client has caused keeps none of the others' waiting.
                Err(_) => {}
            }
        }
        Ok(self.received.len())
    }

    /// What is known of a datagram of the last call.
    pub(crate) fn received(&self, index: usize) -> Received {
        self.received[index]
    }

    /// The whole slot of a datagram of the last call, to be read or answered from.
    pub(crate) fn slot(&mut self, index: usize) -> &mut [u8] {
        &mut self.slots[index]
    }

    /// Whether there is room for another answer.
    pub(crate) const fn has_room(&self) -> bool {
        self.answers.len() < self.room
    }

    /// Has this part of a datagram's slot sent back to its sender by the next
    /// [`send`](Self::send), from the socket's own address and without marks.
    pub(crate) fn answer(
        &mut self,
        index: usize,
        part: Range<usize>,
        _: Option<Local>,
        _: u8,
        _: Joins,
    ) {
        let to = self.received[index].source;
        self.answers.push((index, part, to));
    }

    /// Sends all answers. One that is refused is passed over, and `failed` is told which of
    /// them it was, to whom it was to go, and why.
    pub(crate) fn send(
        &mut self,
        socket: &impl Handle,
        _: &mut Joins,
        mut failed: impl FnMut(usize, Option<SocketAddr>, &io::Error),
    ) -> Sent {
        let mut sent = Sent::default();
        for (answer, (index, part, to)) in self.answers.drain(..).enumerate() {
            let content = &self.slots[index][part];
            match SockRef::from(socket).send_to(content, &to.into()) {
                Ok(_) => {
                    sent.datagrams += 1;
                    sent.bytes += content.len() as u64;
                }
                Err(error) => {
                    failed(answer, Some(to), &error);
                    sent.failed += 1;
                }
            }
        }
        sent
    }
}
