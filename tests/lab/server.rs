//! A server of the laboratory.

use std::any::Any;
use std::net::SocketAddr;

/// What listens at an address, as long as `keep` lives.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _keep: Box<dyn Any + Send>,
}

impl Server {
    pub(crate) fn new(address: SocketAddr, keep: impl Any + Send) -> Self {
        Self {
            address,
            _keep: Box::new(keep),
        }
    }
}
