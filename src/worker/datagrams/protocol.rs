//! What the server does with datagrams.

use std::fmt;

use crate::proto::stamp;

/// What is spoken on a socket for datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramProtocol {
    /// RFC 862: each is sent back.
    Echo,
    /// The reflector of RFC 8762.
    Stamp,
}

impl DatagramProtocol {
    /// The port where none is given.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Echo => 20162,
            Self::Stamp => stamp::PORT,
        }
    }
}

/// The scheme in log lines: `udp` or `stamp`.
impl fmt::Display for DatagramProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "udp",
            Self::Stamp => "stamp",
        })
    }
}
