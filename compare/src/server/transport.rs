//! What clients speak to a server, below the echo.

/// What clients speak to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
    /// Some the one, some the other, on ports of the same number.
    Both,
}

impl Transport {
    /// Whether connections are made.
    #[must_use]
    pub const fn has_tcp(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether datagrams are sent.
    #[must_use]
    pub const fn has_udp(self) -> bool {
        !matches!(self, Self::Tcp)
    }
}
