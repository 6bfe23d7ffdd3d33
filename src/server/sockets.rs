//! The sockets that a server listens on: all that it is asked for, bound together.

use super::datagram_listener::DatagramListener;
use super::error::Error;
use super::listener::Listener;
use crate::base::address::Address;
use crate::base::listening::{Absent, Options, warn_of_short_queue};
use crate::proto::Protocol;
use crate::worker::datagrams::protocol::DatagramProtocol;

/// The sockets of a server.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Those that listen for connections.
    pub listeners: Vec<Listener>,
    /// Those for datagrams.
    pub datagrams: Vec<DatagramListener>,
}

/// The addresses that a server is asked to listen on.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    /// Those for connections.
    pub connections: Vec<(Protocol, &'a Address)>,
    /// How their sockets are made.
    pub options: Options,
    /// Those for datagrams.
    pub datagrams: Vec<(DatagramProtocol, &'a Address)>,
    /// How many sockets each of these gets: the number of workers.
    pub workers: usize,
    /// The receive buffer of each of these sockets, in bytes.
    pub udp_buffer: usize,
}

impl Asked<'_> {
    /// Binds every address beside the sockets that are there already, in this order.
    /// Addresses that this machine does not have are passed over with a warning as long as
    /// there is one socket, of whichever kind; where the system can, it listens on them
    /// already before it has them.
    ///
    /// # Errors
    /// [`Error::Base`] for an unknown name, and when an address can't be had.
    pub fn bind_beside(&self, there: Sockets) -> Result<Sockets, Error> {
        let mut sockets = there;
        if !self.connections.is_empty() {
            warn_of_short_queue(self.options.backlog);
        }
        let first = sockets.listeners.len();
        let (mut absent, mut absent_datagrams) = (Vec::new(), Vec::new());
        for &(protocol, address) in &self.connections {
            let (bound, lacking) = Listener::attempt(protocol, address, &self.options)?;
            sockets.listeners.extend(bound);
            absent.extend(lacking.into_iter().map(|each| (protocol, each)));
        }
        for &(protocol, address) in &self.datagrams {
            let made = (self.workers, self.udp_buffer);
            let (bound, lacking) = DatagramListener::attempt(protocol, address, made)?;
            sockets.datagrams.extend(bound);
            absent_datagrams.extend(lacking.into_iter().map(|each| (protocol, each)));
        }
        if sockets.listeners.is_empty() && sockets.datagrams.is_empty() {
            let connections = absent.drain(..).map(|(_, each)| each);
            let mut all = connections.chain(absent_datagrams.drain(..).map(|(_, each)| each));
            if let Some(error) = all.next().map(Absent::into_error) {
                return Err(error.into());
            }
        }
        for (protocol, each) in absent {
            let early = Listener::early(protocol, each, &self.options)?;
            sockets.listeners.extend(early);
        }
        for (protocol, each) in absent_datagrams {
            let made = (self.workers, self.udp_buffer);
            let early = DatagramListener::early(protocol, each, made)?;
            sockets.datagrams.extend(early);
        }
        if let (Some(listener), Some(wanted)) = (sockets.listeners.get(first), self.options.buffer)
        {
            listener.warn_of_other_buffers(wanted);
        }
        Ok(sockets)
    }
}
