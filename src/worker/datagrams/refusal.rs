//! Datagrams that are not answered: the reasons, and their counts.

use std::fmt;

use crate::base::units;

/// Why a datagram is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was longer than any that UDP carries, or cut on its way here.
    Cut,
    /// Its source port is 0, which can't be answered.
    PortZero,
    /// Its source port is below 1024, which other services answer by themselves.
    LowPort,
    /// Its source or its destination is a broadcast, multicast or unspecified address.
    Address,
    /// Its source is a port of this server.
    Own,
    /// Its source sent more than it may.
    Rate,
    /// It is too short for a request of STAMP.
    Malformed,
    /// Its source has as many sessions of STAMP as it may have.
    Sessions,
}

impl Refusal {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Cut,
        Self::PortZero,
        Self::LowPort,
        Self::Address,
        Self::Own,
        Self::Rate,
        Self::Malformed,
        Self::Sessions,
    ];

    /// The label in the metrics. It must not change, since dashboards depend on it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::PortZero => "port_zero",
            Self::LowPort => "low_port",
            Self::Address => "address",
            Self::Own => "own",
            Self::Rate => "rate",
            Self::Malformed => "malformed",
            Self::Sessions => "sessions",
        }
    }
}

/// The text in the log and the closing report.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "cut",
            Self::PortZero => "from port 0",
            Self::LowPort => "from a port below 1024 (--udp-low-ports)",
            Self::Address => "to or from a broadcast, multicast or unspecified address",
            Self::Own => "from a port of this server",
            Self::Rate => "over --udp-rate",
            Self::Malformed => "too short for STAMP",
            Self::Sessions => "over the most sessions of STAMP a source",
        })
    }
}

/// What became of the datagrams that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramCounts {
    /// Those that came.
    pub received: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Bytes sent back.
    pub bytes: u64,
    /// Those whose answer the system refused to send: its buffer was full, or no route or no
    /// permission leads back.
    pub unsent: u64,
    /// Those that the kernel dropped before they could be received, for want of room in the
    /// queue of their socket.
    pub dropped: u64,
    pub(crate) refused: [u64; Refusal::ALL.len()],
}

impl DatagramCounts {
    /// How many were refused for one reason.
    pub const fn refused(&self, why: Refusal) -> u64 {
        self.refused[why as usize]
    }

    /// The sum of these counts and others.
    pub(crate) fn and(mut self, others: &Self) -> Self {
        self.received += others.received;
        self.answered += others.answered;
        self.bytes += others.bytes;
        self.unsent += others.unsent;
        self.dropped += others.dropped;
        for (mine, other) in self.refused.iter_mut().zip(others.refused) {
            *mine += other;
        }
        self
    }
}

/// The tail of a line in the closing report: `, 5 datagrams answered with 320 bytes, 2 refused: 2 cut`,
/// or nothing where none came.
impl fmt::Display for DatagramCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.received == 0 && self.dropped == 0 {
            return Ok(());
        }
        let answered = units::plain_count(self.answered, "datagram", "datagrams");
        let bytes = units::plain_count(self.bytes, "byte", "bytes");
        write!(f, ", {answered} answered with {bytes}")?;
        let refused: u64 = self.refused.iter().sum();
        let some = Refusal::ALL
            .into_iter()
            .filter(|&why| self.refused(why) > 0);
        for (index, why) in some.enumerate() {
            match index {
                0 => write!(f, ", {refused} refused: ")?,
                _ => f.write_str(", ")?,
            }
            write!(f, "{} {why}", self.refused(why))?;
        }
        if self.unsent > 0 {
            write!(f, ", {} could not be sent back", self.unsent)?;
        }
        match self.dropped {
            0 => Ok(()),
            dropped => write!(f, ", {dropped} dropped by the kernel, its buffer was full"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_number_and_word() {
        let mut words = std::collections::BTreeSet::new();
        for (number, why) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, number);
            assert!(words.insert(why.word()));
        }
    }

    #[test]
    fn only_what_occurred_is_reported() {
        assert_eq!(DatagramCounts::default().to_string(), "");
        let mut counts = DatagramCounts {
            received: 9,
            answered: 5,
            bytes: 320,
            ..DatagramCounts::default()
        };
        let plain = ", 5 datagrams answered with 320 bytes";
        assert_eq!(counts.to_string(), plain);
        counts.refused[Refusal::PortZero as usize] = 1;
        counts.refused[Refusal::Rate as usize] = 2;
        (counts.unsent, counts.dropped) = (1, 7);
        assert_eq!(
            counts.and(&DatagramCounts::default()).to_string(),
            format!(
                "{plain}, 3 refused: 1 from port 0, 2 over --udp-rate, 1 could not be sent back, \
                 7 dropped by the kernel, its buffer was full"
            )
        );
    }
}
