//! Pipes through which a streaming connection's bytes pass without being copied.
//!
//! `splice(2)` moves pages from a socket into a pipe and from there into a
//! socket; the bytes never enter this process. A worker lends its one spare pipe
//! to whichever connection has its turn. A pipe whose bytes the peer does not
//! take stays with its connection, and the worker makes another, up to a limit.
//! A pipe that is not known to be empty is closed and never lent again: its
//! bytes belong to one client and must not reach the next.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

/// How long bytes are copied after the system was short of memory or descriptors
/// for a pipe: what was short may be there again, and to ask in every turn would
/// cost each of them a call in vain.
const REST: Duration = Duration::from_secs(1);

/// A pipe, and how many bytes are in it.
pub(crate) struct Pipe {
    exit: OwnedFd,
    entry: OwnedFd,
    held: usize,
    /// Counts the pipes that exist.
    _alive: Arc<()>,
}

impl Pipe {
    /// Whether it holds nothing.
    pub(crate) const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// How many bytes are in it.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Takes up to `most` bytes out of a socket. As with a read, 0 is its end,
    /// but also the mark of urgent data. `WouldBlock` from an empty pipe means
    /// that the socket has nothing; a pipe that holds bytes may also be full,
    /// which depends on the number of segments, not of bytes.
    pub(crate) fn fill(&mut self, socket: impl AsFd, most: usize) -> io::Result<usize> {
        let moved = splice(socket, None, &self.entry, None, most, flags())?;
        self.held += moved;
        Ok(moved)
    }

    /// Gives the socket what it takes. Returns how many bytes that were.
    pub(crate) fn empty(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let moved = splice(&self.exit, None, socket, None, self.held, flags())?;
        self.held -= moved;
        Ok(moved)
    }

    /// What it holds, for a socket that can't be spliced to.
    pub(crate) fn into_bytes(self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.held];
        std::fs::File::from(self.exit).read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// For sockets that are not the system's.
#[cfg(test)]
impl Pipe {
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        rustix::io::write(&self.entry, bytes).unwrap();
        self.held += bytes.len();
    }

    pub(crate) fn take(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most.min(self.held)];
        rustix::io::read(&self.exit, &mut bytes).unwrap();
        self.held -= bytes.len();
        bytes
    }
}

fn flags() -> SpliceFlags {
    SpliceFlags::MOVE | SpliceFlags::NONBLOCK
}

/// A worker's pipes: one spare, and those that are lent.
pub(crate) struct Pipes {
    spare: Option<Pipe>,
    alive: Arc<()>,
    most: usize,
    /// None is lent until then.
    resting_until: Option<Instant>,
}

impl Pipes {
    /// A store that has at most so many pipes at a time.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            spare: None,
            alive: Arc::new(()),
            most,
            resting_until: None,
        }
    }

    /// Whether one more pipe may be asked for.
    pub(crate) fn can_lend(&self) -> bool {
        let there = self.spare.is_some() || Arc::strong_count(&self.alive) <= self.most;
        let rested = || {
            self.resting_until
                .is_none_or(|until| Instant::now() >= until)
        };
        there && rested()
    }

    /// An empty pipe, or none if there are enough or the system refuses one.
    pub(crate) fn lend(&mut self) -> Option<Pipe> {
        if !self.can_lend() {
            return None;
        }
        self.resting_until = None;
        if let Some(pipe) = self.spare.take() {
            return Some(pipe);
        }
        match pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) {
            Ok((exit, entry)) => Some(Pipe {
                exit,
                entry,
                held: 0,
                _alive: Arc::clone(&self.alive),
            }),
            Err(_) => {
                self.rest();
                None
            }
        }
    }

    /// Takes a pipe back, to lend it again if it is empty.
    pub(crate) fn give_back(&mut self, pipe: Pipe) {
        if pipe.is_empty() && self.most > 0 {
            self.spare = Some(pipe);
        }
    }

    /// A splice was refused with `error`: no pipes for a while where memory was
    /// short, and none any more where the system does not let sockets be spliced.
    pub(crate) fn give_up(&mut self, error: &io::Error) {
        if Errno::from_io_error(error) == Some(Errno::NOMEM) {
            self.rest();
        } else {
            self.most = 0;
            self.spare = None;
        }
    }

    fn rest(&mut self) {
        self.resting_until = Some(Instant::now() + REST);
    }
}

/// Whether an error says that this can't be spliced, rather than that the
/// connection is dead: the kernel, a sandbox or a socket layer without it, or no
/// memory for it.
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
    fn pipes_rest_while_memory_is_short_and_end_where_they_are_not_to_be_had() {
        let error = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        let mut pipes = Pipes::new(1);
        pipes.give_up(&error(Errno::NOMEM));
        assert!(!pipes.can_lend() && pipes.lend().is_none(), "it rests");
        let over = |until: &mut Option<Instant>| *until = until.map(|until| until - REST);
        over(&mut pipes.resting_until);
        assert!(pipes.can_lend() && pipes.lend().is_some(), "it has rested");
        pipes.give_up(&error(Errno::INVAL));
        over(&mut pipes.resting_until);
        assert!(!pipes.can_lend() && pipes.lend().is_none(), "for good");
    }

    #[test]
    fn bytes_of_a_pipe_can_be_had_as_they_are() {
        let mut pipes = Pipes::new(1);
        let (mut one, other) = UnixStream::pair().unwrap();
        one.write_all(b"some bytes").unwrap();
        let mut pipe = pipes.lend().unwrap();
        pipe.fill(&other, 100).unwrap();
        assert_eq!(pipe.into_bytes().unwrap(), b"some bytes");
    }
}
