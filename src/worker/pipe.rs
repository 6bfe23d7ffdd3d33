//! Pipes through which a streaming connection's bytes pass without being copied.
//!
//! `splice(2)` moves memory pages from a socket into a pipe and from there into a
//! socket; the bytes never enter this process. A worker lends its one spare pipe to the
//! connection that has its turn. If the socket does not accept all bytes, the pipe
//! stays with its connection and the worker creates another one, up to a limit. A pipe
//! that is not known to be empty is closed and never lent again: its bytes belong to
//! one client and must not reach the next.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// How long bytes are copied after the system had no memory or descriptors for a pipe.
/// Both may be available again later; trying in every turn would cost a failing system
/// call each time.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The size of a large pipe, in bytes. It is as much as a client that stops reading may
/// leave in its pipe. With 1 MiB streams cost about as much.
const LARGE: usize = 256 * 1024;

/// How many pipes of a worker are large. Only those of clients that do not read are more
/// than one. If all were large, those of four workers would be all the memory that a user
/// without privileges may have in pipes.
const MOST_LARGE: usize = 4;

/// A pipe, and how many bytes are in it.
pub(crate) struct Pipe {
    read_end: OwnedFd,
    write_end: OwnedFd,
    held: usize,
    /// It was made large.
    is_large: bool,
    /// Counts the pipes that exist.
    _count: Arc<()>,
}

impl Pipe {
    /// Whether it holds no bytes.
    pub(crate) const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// How many bytes it holds.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Moves up to `most` bytes from a socket into the pipe. As with a read, 0 means the
    /// end of input, but also the mark of urgent data. With an empty pipe, `WouldBlock`
    /// means that the socket has no input. A pipe that holds bytes may also be full,
    /// which depends on the number of segments, not of bytes.
    pub(crate) fn fill(&mut self, socket: impl AsFd, most: usize) -> io::Result<usize> {
        let moved = splice(socket, None, &self.write_end, None, most, flags())?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves bytes from the pipe into a socket. Returns how many the socket accepted.
    pub(crate) fn empty(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let moved = splice(&self.read_end, None, socket, None, self.held, flags())?;
        self.held -= moved;
        Ok(moved)
    }

    /// The bytes that it holds, for a socket that can't be spliced to.
    pub(crate) fn into_bytes(self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.held];
        std::fs::File::from(self.read_end).read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// For the tests' socket in memory, which can't be spliced.
#[cfg(test)]
impl Pipe {
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        rustix::io::write(&self.write_end, bytes).unwrap();
        self.held += bytes.len();
    }

    pub(crate) fn take(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most.min(self.held)];
        rustix::io::read(&self.read_end, &mut bytes).unwrap();
        self.held -= bytes.len();
        bytes
    }
}

fn flags() -> SpliceFlags {
    SpliceFlags::MOVE | SpliceFlags::NONBLOCK
}

/// A worker's pipes: one spare pipe, and the count of all that exist.
pub(crate) struct Pipes {
    spare: Option<Pipe>,
    count: Arc<()>,
    limit: usize,
    /// No pipe is lent before this time.
    paused_until: Option<Instant>,
    /// A splice has gone all the way, so the system does not forbid them.
    proven: bool,
}

impl Pipes {
    /// At most `limit` pipes exist at a time.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            spare: None,
            count: Arc::new(()),
            limit,
            paused_until: None,
            proven: false,
        }
    }

    /// Whether a pipe can be lent: one is spare or may be created.
    pub(crate) fn can_lend(&self) -> bool {
        let within_limit = self.spare.is_some() || Arc::strong_count(&self.count) <= self.limit;
        let is_paused = || {
            self.paused_until
                .is_some_and(|until| Instant::now() < until)
        };
        within_limit && !is_paused()
    }

    /// An empty pipe; `None` if the limit is reached or the system refuses one.
    pub(crate) fn lend(&mut self) -> Option<Pipe> {
        if !self.can_lend() {
            return None;
        }
        self.paused_until = None;
        if let Some(pipe) = self.spare.take() {
            return Some(pipe);
        }
        match pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) {
            Ok((read_end, write_end)) => {
                // Where the user may not have more memory in pipes it stays as it is.
                let is_large = Arc::strong_count(&self.count) <= MOST_LARGE
                    && fcntl_setpipe_size(&write_end, LARGE).is_ok();
                Some(Pipe {
                    read_end,
                    write_end,
                    held: 0,
                    is_large,
                    _count: Arc::clone(&self.count),
                })
            }
            Err(_) => {
                self.pause();
                None
            }
        }
    }

    /// Takes a pipe back. An empty one becomes the spare, a large one rather than another;
    /// others are closed.
    pub(crate) fn give_back(&mut self, pipe: Pipe) {
        let spare_is_large = self.spare.as_ref().is_some_and(|spare| spare.is_large);
        if pipe.is_empty() && self.limit > 0 && (pipe.is_large || !spare_is_large) {
            self.spare = Some(pipe);
        }
    }

    /// Bytes went from socket to socket.
    pub(crate) const fn mark_proven(&mut self) {
        self.proven = true;
    }

    /// A splice was refused with `error`. No pipe is lent for a while if memory was
    /// short, and never again if the system does not splice sockets. Other errors may be
    /// a sandbox's, which concern all, or those of this one connection, for instance of
    /// its route or its protocol: if splices have gone well, others are still lent pipes.
    pub(crate) fn give_up(&mut self, error: &io::Error) {
        match Errno::from_io_error(error) {
            Some(Errno::NOMEM) => self.pause(),
            Some(errno) if errno != Errno::NOSYS && self.proven => {}
            Some(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => self.pause(),
            _ => {
                self.limit = 0;
                self.spare = None;
            }
        }
    }

    fn pause(&mut self) {
        self.paused_until = Some(Instant::now() + RETRY_AFTER);
    }
}

/// Whether an error means that a splice is not possible, rather than that the
/// connection is dead: the kernel, a sandbox or a socket layer does not support it, or
/// there is no memory for it.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    let refusals = [
        Errno::INVAL,
        Errno::NOSYS,
        Errno::OPNOTSUPP,
        Errno::PERM,
        Errno::ACCESS,
        Errno::NOMEM,
    ];
    Errno::from_io_error(error).is_some_and(|errno| refusals.contains(&errno))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_pipe_that_is_not_empty_is_never_lent_again() {
        let mut pipes = Pipes::new(1);
        let (mut one, other) = UnixStream::pair().unwrap();
        one.write_all(b"secret").unwrap();
        let mut pipe = pipes.lend().unwrap();
        assert!(pipes.lend().is_none(), "one is the limit");
        assert_eq!(pipe.fill(&other, 100).unwrap(), 6);
        pipes.give_back(pipe);
        let pipe = pipes.lend().unwrap();
        assert!(pipe.is_empty());
        assert_eq!(pipe.into_bytes().unwrap(), b"");
    }

    #[test]
    fn no_pipe_is_lent_while_memory_is_short_nor_where_the_system_does_not_splice() {
        let error = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        let mut pipes = Pipes::new(1);
        pipes.give_up(&error(Errno::NOMEM));
        assert!(
            !pipes.can_lend() && pipes.lend().is_none(),
            "they are paused"
        );
        let end_pause =
            |until: &mut Option<Instant>| *until = until.map(|until| until - RETRY_AFTER);
        end_pause(&mut pipes.paused_until);
        assert!(
            pipes.can_lend() && pipes.lend().is_some(),
            "the pause is over"
        );
        pipes.give_up(&error(Errno::INVAL));
        end_pause(&mut pipes.paused_until);
        assert!(!pipes.can_lend() && pipes.lend().is_none(), "for good");
    }

    #[test]
    fn a_denial_concerns_one_connection_where_splices_have_gone_well_and_else_is_tried_again() {
        for errno in [Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP] {
            let error = io::Error::from_raw_os_error(errno.raw_os_error());
            assert!(is_refusal(&error));
            let mut pipes = Pipes::new(1);
            pipes.give_up(&error);
            assert!(!pipes.can_lend(), "it may be a sandbox's");
            pipes.paused_until = pipes.paused_until.map(|until| until - RETRY_AFTER);
            assert!(pipes.can_lend(), "and may be not");
            pipes.mark_proven();
            pipes.give_up(&error);
            assert!(pipes.can_lend(), "others are spliced");
            pipes.give_up(&io::Error::from_raw_os_error(Errno::INVAL.raw_os_error()));
            assert!(pipes.can_lend(), "others are spliced");
            pipes.give_up(&io::Error::from_raw_os_error(Errno::NOSYS.raw_os_error()));
            assert!(!pipes.can_lend());
        }
    }

    #[test]
    fn few_pipes_are_large_and_the_spare_is_one_of_them() {
        let mut pipes = Pipes::new(MOST_LARGE + 2);
        let large = |pipes: &[Pipe]| pipes.iter().filter(|pipe| pipe.is_large).count();
        let mut lent: Vec<Pipe> = std::iter::from_fn(|| pipes.lend()).collect();
        assert_eq!((lent.len(), large(&lent)), (MOST_LARGE + 2, MOST_LARGE));
        let (small, large) = (lent.pop().unwrap(), lent.remove(0));
        pipes.give_back(small);
        pipes.give_back(large);
        pipes.give_back(lent.pop().unwrap());
        assert!(pipes.lend().unwrap().is_large);
    }

    #[test]
    fn the_bytes_of_a_pipe_can_be_read_out() {
        let mut pipes = Pipes::new(1);
        let (mut one, other) = UnixStream::pair().unwrap();
        one.write_all(b"some bytes").unwrap();
        let mut pipe = pipes.lend().unwrap();
        pipe.fill(&other, 100).unwrap();
        assert_eq!(pipe.into_bytes().unwrap(), b"some bytes");
    }
}
