//! What a connection needs of its socket, and what the poller reports of it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;

use mio::event::Event;
use mio::net::TcpStream;

use super::pipe::Pipe;
use crate::base::kernel::KernelView;
use crate::base::sys;

/// What a connection requires of its socket.
pub(crate) trait Transport: Read + Write {
    /// Closes our side: the bytes written so far are sent, then our FIN.
    fn half_close(&mut self) -> io::Result<()>;
    /// How many bytes the peer has not acknowledged; `None` where the system does not
    /// count them.
    ///
    /// # Errors
    /// The connection ended before the peer received them. After the peer's FIN, a read
    /// does not report that.
    fn unacknowledged(&self) -> io::Result<Option<usize>>;
    /// What the system knows of the connection; `None` where it does not tell.
    fn kernel_view(&self) -> Option<KernelView>;
    /// Whether a read would find something: bytes, the end, or an error.
    fn has_input(&self) -> bool;
    /// How many bytes reads would find now; 0 where the system does not say.
    fn waiting(&self) -> usize;
    /// Moves up to `most` received bytes into a pipe; see [`Pipe::fill`].
    fn fill(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize>;
    /// Sends what the pipe holds; see [`Pipe::empty`].
    fn empty(&mut self, pipe: &mut Pipe) -> io::Result<usize>;
}

impl Transport for TcpStream {
    fn half_close(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn unacknowledged(&self) -> io::Result<Option<usize>> {
        let bytes = sys::unacknowledged(self);
        match bytes {
            // After a reset the count never goes down.
            Some(1..) if sys::has_failed(self) => self.take_error()?.map_or(Ok(bytes), Err),
            _ => Ok(bytes),
        }
    }

    fn kernel_view(&self) -> Option<KernelView> {
        KernelView::read(self)
    }

    fn has_input(&self) -> bool {
        let probe = self.peek(&mut [0]);
        !probe.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    fn waiting(&self) -> usize {
        sys::waiting(self)
    }

    fn fill(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        pipe.fill(self, most)
    }

    fn empty(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        pipe.empty(self)
    }
}

/// The readiness that the poller reported for a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer's FIN has arrived, after all the peer's bytes.
    pub(crate) read_closed: bool,
    /// Urgent data has arrived; a read stops short at its mark.
    pub(crate) urgent: bool,
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Self {
        Self {
            readable: event.is_readable() || event.is_error(),
            writable: event.is_writable() || event.is_error(),
            read_closed: event.is_read_closed(),
            urgent: event.is_priority(),
        }
    }
}

/// Repeats a call while a signal interrupts it.
pub(super) fn retrying<R>(mut call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
