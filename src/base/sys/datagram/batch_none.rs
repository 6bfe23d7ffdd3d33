//! The same as a batch, with a system call for each datagram.

use std::io;
use std::net::SocketAddr;

#[cfg(unix)]
use std::os::fd::AsFd as Handle;
#[cfg(windows)]
use std::os::windows::io::AsSocket as Handle;

use socket2::SockRef;

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

/// Room for a number of datagrams, and for an answer to each of them.
pub(crate) struct Batch {
    slots: Vec<Vec<u8>>,
    received: Vec<Received>,
    /// The slot, the length and the receiver of each answer.
    answers: Vec<(usize, usize, SocketAddr)>,
}

impl Batch {
    /// Room for `slots` datagrams of up to `slot` bytes.
    pub(crate) fn new(slots: usize, slot: usize) -> Self {
        Self {
            slots: vec![vec![0; slot]; slots],
            received: Vec::with_capacity(slots),
            answers: Vec::with_capacity(slots),
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
        for slot in self.slots.iter_mut().take(most) {
            match single::receive(socket, slot) {
                Ok(received) => self.received.push(received),
                Err(error) if self.received.is_empty() => return Err(error),
                Err(_) => break,
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

    /// Has the first `bytes` of a datagram's slot sent back to its sender by the next
    /// [`send`](Self::send), from the socket's own address and without marks.
    pub(crate) fn answer(&mut self, index: usize, bytes: usize, _: Option<Local>, _: u8) {
        let to = self.received[index].source;
        self.answers.push((index, bytes, to));
    }

    /// Sends all answers. One that is refused is passed over, and `failed` is told which of
    /// them it was and why.
    pub(crate) fn send(
        &mut self,
        socket: &impl Handle,
        mut failed: impl FnMut(usize, &io::Error),
    ) -> Sent {
        let mut sent = Sent::default();
        for (answer, (index, bytes, to)) in self.answers.drain(..).enumerate() {
            let content = &self.slots[index][..bytes];
            match SockRef::from(socket).send_to(content, &to.into()) {
                Ok(_) => {
                    sent.datagrams += 1;
                    sent.bytes += bytes as u64;
                }
                Err(error) => {
                    failed(answer, &error);
                    sent.failed += 1;
                }
            }
        }
        sent
    }
}
