//! Many datagrams a system call, for a probe that makes load.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;

use mio::{Interest, Registry, Token};

use super::{Batched, Datagram, Incoming, ProbeSocket};
use crate::base::sys::datagram::{Batch, send_many};
use crate::probe::datagram::path_error::is_of_path;

impl ProbeSocket {
    /// Has the poller report these tokens when something has come: from the server, and from
    /// others.
    pub(crate) fn register_apart(
        &mut self,
        registry: &Registry,
        server: Token,
        others: Token,
    ) -> io::Result<()> {
        registry.register(&mut self.connected, server, Interest::READABLE)?;
        match &mut self.strangers {
            Some(strangers) => registry.register(strangers, others, Interest::READABLE),
            None => Ok(()),
        }
    }

    /// Our address and port.
    pub(crate) fn local(&self) -> io::Result<SocketAddr> {
        self.connected.local_addr()
    }

    /// Sends these datagrams in this order. Returns how many the system took. An error of an
    /// earlier one, which it reports here, is kept for
    /// [`receive_batch`](Self::receive_batch).
    ///
    /// # Errors
    /// The system's; the first one was not sent.
    pub(crate) fn send_batch(&mut self, datagrams: &[IoSlice<'_>]) -> io::Result<usize> {
        match send_many(&self.connected, datagrams) {
            Err(error) if is_of_path(&error) => {
                // Where it is this datagram's own error, it comes again.
                let sent = send_many(&self.connected, datagrams)?;
                self.pending = Some(error);
                Ok(sent)
            }
            result => result,
        }
    }

    /// Receives as many datagrams from the server as have come and fit, or the error of one.
    ///
    /// # Errors
    /// The system's, that is no error of the path.
    pub(crate) fn receive_batch(
        &mut self,
        batch: &mut Batch,
        block: &mut [u8],
    ) -> io::Result<Batched> {
        if let Some(error) = self.pending.take() {
            return Ok(Batched::Error(self.details(error, block)));
        }
        match batch.receive(&self.connected, batch.slots()) {
            Ok(count) => Ok(Batched::Datagrams(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Batched::Nothing),
            Err(error) if is_of_path(&error) => Ok(Batched::Error(self.details(error, block))),
            Err(error) => Err(error),
        }
    }

    /// Receives a datagram that did not come by the socket that is connected to the server;
    /// `None` when there is none.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn receive_other(&self, block: &mut [u8]) -> io::Result<Option<Datagram>> {
        match self.receive_from_stranger(block, self.empty_at.elapsed())? {
            Some(Incoming::Datagram(datagram)) => Ok(Some(datagram)),
            Some(Incoming::Error(_)) | None => Ok(None),
        }
    }
}
