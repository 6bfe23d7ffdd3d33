//! Waiting for a poller and some sockets together: poll(2), which is on a socket's list of
//! those that wait for it while it waits, and a poller always.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// The descriptors of one call; used again and again without an allocation.
#[derive(Debug, Default)]
pub(crate) struct PollSet(Vec<libc::pollfd>);

impl PollSet {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Has the next [`wait`](Self::wait) wait for bytes, datagrams or events of this one.
    pub(crate) fn add(&mut self, descriptor: &impl AsRawFd) {
        let fd: RawFd = descriptor.as_raw_fd();
        self.0.push(libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        });
    }

    /// Waits until there are some, or an error. A signal ends the wait.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|time| libc::timespec {
            tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: time.subsec_nanos() as _,
        });
        let timeout = timeout
            .as_ref()
            .map_or(std::ptr::null(), |it| &raw const *it);
        let (entries, count) = (self.0.as_mut_ptr(), self.0.len() as libc::nfds_t);
        // SAFETY: the call writes to `count` entries, reads the time if it is given one, and
        // takes a number that is no open descriptor's for an error of that entry.
        if unsafe { libc::ppoll(entries, count, timeout, std::ptr::null()) } >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        self.0.iter_mut().for_each(|entry| entry.revents = 0);
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            _ => Err(error),
        }
    }

    /// Whether the last wait found something for the descriptor that was added in this place.
    pub(crate) fn is_ready(&self, place: usize) -> bool {
        self.0.get(place).is_some_and(|entry| entry.revents != 0)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Instant;

    use super::*;

    #[test]
    fn it_waits_for_any_of_them_and_not_for_longer_than_it_is_told() {
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut set = PollSet::default();
        sockets.iter().for_each(|socket| set.add(socket));
        let (start, time) = (Instant::now(), Duration::from_millis(20));
        set.wait(Some(time)).unwrap();
        assert!(start.elapsed() >= time);
        assert_eq!([0, 1, 2].map(|place| set.is_ready(place)), [false; 3]);
        let to = sockets[1].local_addr().unwrap();
        sockets[0].send_to(b"x", to).unwrap();
        set.wait(None).unwrap();
        assert_eq!([0, 1].map(|place| set.is_ready(place)), [false, true]);
        sockets[1].recv(&mut [0]).unwrap();
        set.wait(Some(Duration::ZERO)).unwrap();
        assert!(!set.is_ready(1));
        set.clear();
        set.wait(Some(Duration::ZERO)).unwrap();
        assert!(!set.is_ready(0));
    }
}
