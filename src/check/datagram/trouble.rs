//! What a failed clause saw, as data.

use std::net::{IpAddr, SocketAddr};

use crate::probe::datagram::payload::Change;

/// Why a datagram could not arrive, as the network says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// No program has the port open, or a firewall says so.
    pub(super) is_port: bool,
    /// The ICMP message by its name.
    pub(super) icmp: &'static str,
    /// Who says so, where the system tells.
    pub(super) from: Option<IpAddr>,
    /// In words, with who says so and what to do.
    pub(super) words: String,
}

/// What a failed clause saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The system did not take a datagram, and why.
    NotSent(String),
    /// Nothing came for a datagram, however often it was sent.
    Unanswered,
    /// An ICMP message came for it, each time.
    Refused(Refused),
    /// What was sent came back changed.
    Changed(Change),
    /// Something came, and was nothing that was sent; its begin.
    Foreign(Vec<u8>),
    /// The answer came from another address.
    Elsewhere { asked: SocketAddr, seen: SocketAddr },
    /// So many of so many did not come back.
    Lost { lost: usize, of: usize },
    /// So many of so many came back after a later one, each time.
    Reordered { late: usize, of: usize },
    /// So many of so many came back more than once.
    Duplicated { copies: usize, of: usize },
    /// What is not kept of the marks: `dscp`, `ecn` or both.
    Marks(&'static str),
    /// Nothing came back to these source ports of so many, and to the others it did.
    Ports { silent: Vec<u16>, of: usize },
    /// These source ports of so many lose a part, and others beside them do not.
    PortsLose {
        ports: Vec<u16>,
        of: usize,
        by_them: Portion,
        by_others: Portion,
    },
    /// Packets of at most so many bytes pass unfragmented, and no ICMP message says so.
    Hole { packet: usize },
    /// A socket that was used before gets nothing any more, and a new one does.
    Forgotten,
}

/// So many of so many were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Portion {
    pub(super) lost: usize,
    pub(super) sent: usize,
}

impl Trouble {
    /// Whether nothing at all came back.
    pub(super) const fn is_of_all(&self) -> bool {
        match self {
            Self::Unanswered => true,
            Self::Lost { lost, of } => *lost == *of,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lost_each_datagram_is_of_all() {
        assert!(Trouble::Unanswered.is_of_all());
        assert!(Trouble::Lost { lost: 64, of: 64 }.is_of_all());
        assert!(!Trouble::Lost { lost: 63, of: 64 }.is_of_all());
        assert!(!Trouble::Forgotten.is_of_all());
    }
}
