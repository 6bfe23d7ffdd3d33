//! Which of many sockets are ready.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData};
use rustix::io::Errno;

pub use rustix::event::epoll::EventFlags;

/// An `epoll` instance and the events of its last wait.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    /// Reports at most `most` events a wait.
    ///
    /// # Errors
    /// Those of `epoll_create1`.
    pub fn new(most: usize) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(most),
        })
    }

    /// Watches a socket until it is closed; its events carry `token`.
    ///
    /// # Errors
    /// Those of `epoll_ctl`.
    pub fn add(&self, socket: impl AsFd, token: usize, flags: EventFlags) -> io::Result<()> {
        let data = EventData::new_u64(token as u64);
        Ok(epoll::add(&self.epoll, socket, data, flags)?)
    }

    /// Waits at most `most`. Returns the number of events.
    ///
    /// # Errors
    /// Those of `epoll_wait`.
    pub fn wait(&mut self, most: Duration) -> io::Result<usize> {
        self.events.clear();
        let most = Timespec::try_from(most).map_err(io::Error::other)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&most)) {
            Ok(count) => Ok(count),
            Err(Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Token and flags of an event of the last wait.
    #[must_use]
    pub fn event(&self, index: usize) -> (usize, EventFlags) {
        let event = self.events[index];
        let token = usize::try_from(event.data.u64()).expect("a token was a usize");
        (token, event.flags)
    }
}
