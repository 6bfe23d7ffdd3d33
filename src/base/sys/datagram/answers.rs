//! The answers of a batch: sendmmsg(2). Consecutive ones of one size to one peer are one message,
//! which the kernel or the network card takes apart again: udp(7), `UDP_SEGMENT`. The way through
//! the kernel, most of what a datagram costs, is then taken once for all of them.
#![allow(
    clippy::unnecessary_cast,
    reason = "the types of these fields differ between C libraries"
)]

use std::io;
use std::net::SocketAddr;

use super::control::{self, Control};
use super::joins::Joins;
use super::name::Name;
use super::received::Local;

/// The most datagrams of one message: `UDP_MAX_SEGMENTS` of the kernels that allow the fewest.
const MOST_JOINED: usize = 64;

/// The most bytes of one message: as many as the longest datagram by IPv4 has.
const MOST_BYTES: usize = 65_507;

/// What became of the answers of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
    /// Those that the system refused to send.
    pub(crate) failed: u64,
}

/// One answer. What it points to is not this module's.
pub(super) struct Answer {
    pub(super) start: *mut u8,
    pub(super) bytes: usize,
    /// The peer's address, and where it stays.
    pub(super) peer: Name,
    pub(super) name: *mut Name,
    pub(super) name_length: libc::socklen_t,
    pub(super) from: Option<Local>,
    pub(super) marks: u8,
}

/// The last message, as long as others may join it.
struct Open {
    /// To whom it goes, from which address and with which marks.
    peer: (Name, libc::socklen_t),
    from: Option<Local>,
    marks: u8,
    /// The bytes of its first datagram.
    size: usize,
    datagrams: usize,
    /// The bytes of all its datagrams.
    bytes: usize,
    /// How many bytes of its control messages are used.
    used: usize,
}

impl Open {
    /// Whether a datagram may be added.
    fn admits(&self, answer: &Answer) -> bool {
        let (peer, length) = &self.peer;
        let end = (*length as usize).min(peer.0.len());
        0 < answer.bytes
            && answer.bytes <= self.size
            && self.datagrams < MOST_JOINED
            && self.bytes + answer.bytes <= MOST_BYTES
            && (self.from, self.marks) == (answer.from, answer.marks)
            && *length == answer.name_length
            && peer.0[..end] == answer.peer.0[..end]
    }
}

/// Room for a number of answers.
///
/// The headers hold pointers into the other vectors, which never grow or shrink.
pub(super) struct Answers {
    /// One a datagram.
    vectors: Vec<libc::iovec>,
    /// How many of them are used.
    datagrams: usize,
    /// One a message.
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
    /// How many of them are used.
    messages: usize,
    open: Option<Open>,
}

impl Answers {
    /// Room for so many.
    pub(super) fn new(count: usize) -> Self {
        let vector = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: a header of zeros is a valid one, with null pointers and lengths of 0.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self {
            vectors: vec![vector; count],
            datagrams: 0,
            controls: vec![Control::EMPTY; count],
            headers: vec![header; count],
            messages: 0,
            open: None,
        }
    }

    /// Whether there is room for another one.
    pub(super) const fn has_room(&self) -> bool {
        self.datagrams < self.vectors.len()
    }

    /// Forgets those that were not sent.
    pub(super) fn clear(&mut self) {
        (self.datagrams, self.messages, self.open) = (0, 0, None);
    }

    /// Adds an answer, to the last message where it can be joined to that. What it points to
    /// stays as it is until the answers are sent or cleared.
    pub(super) fn push(&mut self, answer: &Answer, joins: Joins) {
        assert!(self.has_room(), "no more answers than there is room for");
        self.vectors[self.datagrams] = libc::iovec {
            iov_base: answer.start.cast(),
            iov_len: answer.bytes,
        };
        self.datagrams += 1;
        match self.open.take() {
            Some(open) if open.admits(answer) => self.join(open, answer.bytes),
            _ => self.begin(answer, joins),
        }
    }

    /// A message of the last datagram alone.
    fn begin(&mut self, answer: &Answer, joins: Joins) {
        let to = answer.peer.address();
        let to_v4 = to.is_some_and(|address| address.ip().to_canonical().is_ipv4());
        let control = &mut self.controls[self.messages];
        let used = control.send(answer.from, answer.marks, to_v4);
        self.open = joins.allows(answer.bytes).then_some(Open {
            peer: (answer.peer, answer.name_length),
            from: answer.from,
            marks: answer.marks,
            size: answer.bytes,
            datagrams: 1,
            bytes: answer.bytes,
            used,
        });
        let header = &mut self.headers[self.messages].msg_hdr;
        header.msg_name = answer.name.cast();
        header.msg_namelen = answer.name_length;
        let vectors = self.vectors.as_mut_ptr();
        header.msg_iov = vectors.wrapping_add(self.datagrams - 1);
        header.msg_iovlen = 1;
        header.msg_control = self
            .controls
            .as_mut_ptr()
            .wrapping_add(self.messages)
            .cast();
        header.msg_controllen = used as _;
        self.messages += 1;
    }

    /// Adds the last datagram to the last message.
    fn join(&mut self, mut open: Open, bytes: usize) {
        let message = self.messages - 1;
        open.datagrams += 1;
        open.bytes += bytes;
        let header = &mut self.headers[message].msg_hdr;
        header.msg_iovlen = open.datagrams as _;
        // Never for a datagram alone.
        if open.datagrams == 2 {
            open.used = self.controls[message].segment(open.used, open.size as u16);
            header.msg_controllen = open.used as _;
        }
        // A shorter one is the last of its message.
        self.open = (bytes == open.size).then_some(open);
    }

    /// Sends all by `call`, which is given headers and returns of how many the messages were
    /// sent. What was sent in part goes on behind the last one sent. A message of several that is
    /// refused has sent none of them: they are sent one by one, and `joins` learns of it. One
    /// that is refused by itself is passed over, and `failed` is told which of the datagrams it
    /// was, to whom it was to go, and why.
    pub(super) fn send(
        &mut self,
        joins: &mut Joins,
        mut call: impl FnMut(&mut [libc::mmsghdr]) -> io::Result<usize>,
        mut failed: impl FnMut(usize, Option<SocketAddr>, &io::Error),
    ) -> Sent {
        let mut sent = Sent::default();
        let (all, mut next, mut first) = (self.messages, 0, 0);
        while next < all {
            let result = call(&mut self.headers[next..all]);
            let taken = result
                .as_ref()
                .map_or(1, |&count| count.clamp(1, all - next));
            let datagrams = self.joined(next, taken);
            match result {
                Ok(_) => sent.add(&self.vectors[first..first + datagrams]),
                Err(error) if datagrams > 1 => {
                    let singly = self.send_singly(next, first, &mut call, &mut failed);
                    if singly.datagrams > 0 {
                        joins.refused(self.vectors[first].iov_len, &error);
                    }
                    sent.add_all(singly);
                }
                Err(error) => {
                    failed(first, self.peer(next), &error);
                    sent.failed += 1;
                }
            }
            next += taken;
            first += datagrams;
        }
        self.clear();
        sent
    }

    /// Sends the datagrams of a message one by one, of which `first` is the number of the first.
    fn send_singly(
        &mut self,
        message: usize,
        first: usize,
        call: &mut impl FnMut(&mut [libc::mmsghdr]) -> io::Result<usize>,
        failed: &mut impl FnMut(usize, Option<SocketAddr>, &io::Error),
    ) -> Sent {
        let mut sent = Sent::default();
        let datagrams = self.joined(message, 1);
        let vectors = self.vectors.as_mut_ptr();
        for index in first..first + datagrams {
            let header = &mut self.headers[message].msg_hdr;
            if index == first {
                // What says that it is several stands last.
                let used = header.msg_controllen as usize - control::SEGMENT_SIZE;
                header.msg_controllen = used as _;
                header.msg_iovlen = 1;
            }
            header.msg_iov = vectors.wrapping_add(index);
            match call(&mut self.headers[message..=message]) {
                Ok(_) => sent.add(&self.vectors[index..=index]),
                Err(error) => {
                    failed(index, self.peer(message), &error);
                    sent.failed += 1;
                }
            }
        }
        sent
    }

    /// To whom a message goes; `None` where the sender had no address.
    fn peer(&self, message: usize) -> Option<SocketAddr> {
        let name = self.headers[message].msg_hdr.msg_name.cast::<Name>();
        // SAFETY: it is that of an `Answer`, which stays as it is until the answers are sent.
        unsafe { name.read() }.address()
    }

    /// How many datagrams so many messages have.
    fn joined(&self, first: usize, messages: usize) -> usize {
        let its = self.headers[first..first + messages].iter();
        its.map(|header| header.msg_hdr.msg_iovlen as usize).sum()
    }
}

impl Sent {
    fn add(&mut self, datagrams: &[libc::iovec]) {
        self.datagrams += datagrams.len() as u64;
        self.bytes += datagrams.iter().map(|its| its.iov_len as u64).sum::<u64>();
    }

    const fn add_all(&mut self, others: Self) {
        self.datagrams += others.datagrams;
        self.bytes += others.bytes;
        self.failed += others.failed;
    }
}
