//! Which answers go out several in one message. What the kernel refuses is learnt, a socket at a
//! time.

use std::io;
use std::os::fd::AsFd;

use super::switches::can_segment;

/// What is known of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Joins {
    /// Datagrams with fewer bytes than this are joined.
    below: usize,
}

impl Joins {
    /// Each datagram is a message.
    pub(crate) const NONE: Self = Self { below: 0 };

    /// All that the kernel has not refused yet, where it knows such messages.
    pub(crate) fn on(socket: &impl AsFd) -> Self {
        match can_segment(socket) {
            true => Self { below: usize::MAX },
            false => Self::NONE,
        }
    }

    /// Those with fewer bytes than this.
    #[cfg(test)]
    pub(super) const fn below(bytes: usize) -> Self {
        Self { below: bytes }
    }

    /// Whether datagrams of this size may be joined. One without a byte may not: in the message
    /// nothing would be left of it.
    pub(super) const fn allows(self, bytes: usize) -> bool {
        0 < bytes && bytes < self.below
    }

    /// A message of datagrams of this size was refused, and one of them by itself was not.
    ///
    /// `EMSGSIZE`, before Linux 6.14 `EINVAL`: such a datagram does not fit a packet of its path,
    /// which only one by itself may be fragmented for. `EIO`: the network card computes no
    /// checksums, or the path encrypts. Source: `udp_send_skb` in net/ipv4/udp.c. With other
    /// errors it is not the joining that was refused: a buffer was full.
    pub(super) fn refused(&mut self, bytes: usize, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::EMSGSIZE | libc::EINVAL) => self.below = self.below.min(bytes),
            Some(libc::EIO | libc::EOPNOTSUPP | libc::ENOPROTOOPT) => *self = Self::NONE,
            _ => {}
        }
    }
}
