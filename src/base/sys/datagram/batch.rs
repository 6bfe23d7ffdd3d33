//! Many datagrams a system call, for a server: recvmmsg(2), sendmmsg(2).
#![allow(
    clippy::unnecessary_cast,
    reason = "the types of these fields differ between C libraries"
)]

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};

use super::answers::{Answer, Answers};
use super::control::{self, Control};
use super::joins::Joins;
use super::name::{self, Name};
use super::received::{Local, Received, UNKNOWN};
use super::retry::retry;

pub(crate) use super::answers::Sent;

/// Between two slots, in bytes. Slots of a power of two alone would begin in the same lines
/// of the processor's caches.
const GAP: usize = 128;

/// Room for a number of datagrams, and for a number of answers to them. All memory is
/// allocated at the start; the kernel touches only as much of a slot as a datagram has.
///
/// The headers hold pointers into the other vectors, which never grow or shrink. Elements are
/// accessed by pointers, and no reference to one is held during a system call.
pub(crate) struct Batch {
    slot: usize,
    bytes: Vec<u8>,
    names: Vec<Name>,
    vectors: Vec<libc::iovec>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
    /// How many headers the kernel has written to since they were reset.
    used: usize,
    answers: Answers,
}

// SAFETY: the pointers in it are to the heap memory of its own vectors, which stays where it is
// when the batch moves to another thread, and nothing else points there.
unsafe impl Send for Batch {}

impl Batch {
    /// Room for `slots` datagrams of up to `slot` bytes, and for so many `answers`.
    pub(crate) fn new(slots: usize, slot: usize, answers: usize) -> Self {
        let vector = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: a header of zeros is a valid one, with null pointers and lengths of 0.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let mut batch = Self {
            slot,
            bytes: vec![0; slots * (slot + GAP)],
            names: vec![Name::EMPTY; slots],
            vectors: vec![vector; slots],
            controls: vec![Control::EMPTY; slots],
            headers: vec![header; slots],
            used: slots,
            answers: Answers::new(answers),
        };
        for slot in 0..slots {
            batch.prepare(slot);
        }
        batch
    }

    /// Sets the pointers of one slot's headers.
    fn prepare(&mut self, index: usize) {
        let offset = index * (self.slot + GAP);
        // SAFETY: each index is below the length of its vector, and the offset that of a
        // whole slot in `bytes`.
        unsafe {
            let vector = self.vectors.as_mut_ptr().add(index);
            (*vector).iov_base = self.bytes.as_mut_ptr().add(offset).cast();
            (*vector).iov_len = self.slot;
            let header = &mut (*self.headers.as_mut_ptr().add(index)).msg_hdr;
            header.msg_name = self.names.as_mut_ptr().add(index).cast();
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = self.controls.as_mut_ptr().add(index).cast();
        }
    }

    /// How many datagrams fit.
    pub(crate) fn slots(&self) -> usize {
        self.headers.len()
    }

    /// Receives as many datagrams as have come, up to `most` and what fits, and never waits.
    /// Those of the call before, and answers that were not sent, are forgotten.
    ///
    /// # Errors
    /// `WouldBlock` where none has come.
    pub(crate) fn receive(&mut self, socket: &impl AsFd, most: usize) -> io::Result<usize> {
        self.reset();
        let most = most.min(self.slots()) as libc::c_uint;
        let flags = libc::MSG_DONTWAIT as _;
        let none = std::ptr::null_mut();
        let headers = self.headers.as_mut_ptr();
        let received = retry(|| {
            // SAFETY: there are `most` headers at least. Each pointer in them is to memory
            // of the length beside it that this batch owns; any bytes are valid there.
            unsafe { libc::recvmmsg(socket.as_fd().as_raw_fd(), headers, most, flags, none) }
        })?;
        self.used = received;
        Ok(received)
    }

    /// Gives the headers that were written to their full lengths back.
    fn reset(&mut self) {
        for index in 0..std::mem::take(&mut self.used) {
            // SAFETY: the index is below the number of headers.
            let header = unsafe { &mut (*self.headers.as_mut_ptr().add(index)).msg_hdr };
            header.msg_namelen = name::SIZE as libc::socklen_t;
            header.msg_controllen = control::SIZE as _;
        }
        self.answers.clear();
    }

    /// The header of a datagram of the last call.
    fn header(&self, index: usize) -> &libc::mmsghdr {
        assert!(index < self.used, "no such datagram was received");
        // SAFETY: as asserted, the index is below the number of headers.
        unsafe { &*self.headers.as_ptr().add(index) }
    }

    /// What the kernel said of a datagram of the last call.
    pub(crate) fn received(&self, index: usize) -> Received {
        let header = self.header(index);
        // SAFETY: there are as many names as headers.
        let name = unsafe { &*self.names.as_ptr().add(index) };
        let source = match header.msg_hdr.msg_namelen {
            0 => None,
            _ => name.address(),
        };
        let bytes = (header.msg_len as usize).min(self.slot);
        let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let mut received = Received::plain(bytes, truncated, source.unwrap_or(UNKNOWN));
        let length = (header.msg_hdr.msg_controllen as usize).min(control::SIZE);
        // SAFETY: there are as many control buffers as headers.
        let control = unsafe { &*self.controls.as_ptr().add(index) };
        control::read(&control.0[..length], &mut received);
        received
    }

    /// The whole slot of a datagram of the last call, to be read or answered from.
    pub(crate) fn slot(&mut self, index: usize) -> &mut [u8] {
        let _ = self.header(index);
        let offset = index * (self.slot + GAP);
        // SAFETY: that is a whole slot of `bytes`, and the batch is borrowed as long as the
        // slice is, so the kernel does not write to it.
        unsafe {
            let start = self.bytes.as_mut_ptr().add(offset);
            std::slice::from_raw_parts_mut(start, self.slot)
        }
    }

    /// Whether there is room for another answer.
    pub(crate) const fn has_room(&self) -> bool {
        self.answers.has_room()
    }

    /// Has this part of a datagram's slot sent back to its sender by the next
    /// [`send`](Self::send), from the address `from`, or the socket's own, with these marks;
    /// together with the answers before where `joins` allows it.
    pub(crate) fn answer(
        &mut self,
        index: usize,
        part: Range<usize>,
        from: Option<Local>,
        marks: u8,
        joins: Joins,
    ) {
        assert!(part.end <= self.slot, "an answer fits its slot");
        let name_length = self.header(index).msg_hdr.msg_namelen;
        let offset = index * (self.slot + GAP) + part.start;
        let name = self.names.as_mut_ptr().wrapping_add(index);
        let answer = Answer {
            start: self.bytes.as_mut_ptr().wrapping_add(offset),
            bytes: part.len(),
            // SAFETY: there are as many names as headers.
            peer: unsafe { *name },
            name,
            name_length,
            from,
            marks,
        };
        self.answers.push(&answer, joins);
    }

    /// Sends all answers, and never waits. What was sent in part goes on behind the last one
    /// sent; one that is refused is passed over, and `failed` is told which of
    /// them it was, to whom it was to go, and why. `joins` learns what the kernel does not join.
    pub(crate) fn send(
        &mut self,
        socket: &impl AsFd,
        joins: &mut Joins,
        failed: impl FnMut(usize, Option<SocketAddr>, &io::Error),
    ) -> Sent {
        let call = |headers: &mut [libc::mmsghdr]| {
            // SAFETY: each pointer in them is to memory that this batch owns.
            unsafe { send_messages(socket, headers) }
        };
        self.answers.send(joins, call, failed)
    }

    /// The same, by another call.
    #[cfg(test)]
    pub(super) fn send_by(
        &mut self,
        joins: &mut Joins,
        call: impl FnMut(&mut [libc::mmsghdr]) -> io::Result<usize>,
        failed: impl FnMut(usize, Option<SocketAddr>, &io::Error),
    ) -> Sent {
        self.answers.send(joins, call, failed)
    }
}

/// Sends messages, and never waits. Returns how many were sent.
///
/// # Safety
/// Each pointer in them is to memory of the length beside it.
pub(super) unsafe fn send_messages(
    socket: &impl AsFd,
    messages: &mut [libc::mmsghdr],
) -> io::Result<usize> {
    let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _;
    let (start, count) = (messages.as_mut_ptr(), messages.len() as libc::c_uint);
    // SAFETY: there are `count` of them, and the caller promises what is behind them.
    retry(|| unsafe { libc::sendmmsg(socket.as_fd().as_raw_fd(), start, count, flags) })
}
