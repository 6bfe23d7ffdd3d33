//! Explains why bytes differ from those that were sent.

use std::fmt;

use crate::probe::pattern::{Damage, Pattern, WINDOW};
use crate::probe::service::{BY_CHANCE, looks_like};

/// Up to this many bytes from the first wrong one on are explained together, as
/// one fault. The explanation waits until they have arrived.
pub(super) const SAMPLE: usize = 64;

/// A place at which the stream was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The offset in the connection's stream.
    pub(super) position: u64,
    /// The kind of damage.
    pub(super) damage: Damage,
    /// The byte that was sent there, if one was.
    expected: Option<u8>,
    /// The byte that came.
    received: u8,
    /// Which service the bytes look like.
    service: Option<&'static str>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, .. } = self;
        match self.expected {
            Some(expected) => write!(f, "byte {position}: expected {expected:#04x}, ")?,
            None => write!(f, "byte {position}: expected none, ")?,
        }
        write!(f, "received {:#04x}; ", self.received)?;
        match self.service {
            Some(service) => write!(f, "this looks like {service}"),
            None => write!(f, "{}", self.damage),
        }
    }
}

/// Where bytes differ from those that were sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Difference {
    /// The connection's number.
    pub(super) connection: u64,
    /// The offset of the first of them in the connection's stream.
    pub(super) position: u64,
    /// How many bytes from this offset on were sent and have not come back.
    pub(super) unechoed: u64,
}

impl Difference {
    /// Explains `bytes`, which came at this offset. Returns `None` if more bytes are
    /// needed; with `no_more`, none are awaited.
    pub(super) fn explain(&self, pattern: &Pattern, bytes: &[u8], no_more: bool) -> Option<Damage> {
        let sample = &bytes[..bytes.len().min(SAMPLE)];
        let is_all = bytes.len() as u64 == self.unechoed;
        if !no_more && sample.len() < SAMPLE && !is_all {
            return None;
        }
        let by_length = match sample.len() < WINDOW && no_more {
            true => self.explain_by_length(pattern, sample),
            false => None,
        };
        let damage =
            by_length.unwrap_or_else(|| pattern.explain(self.connection, self.position, sample));
        match damage {
            // Bytes beyond the end of what was sent are no changed echo.
            Damage::Changed if self.unechoed == 0 => Some(Damage::Unknown),
            Damage::Changed => Some(damage),
            _ if no_more || sample.len() == SAMPLE => Some(damage),
            _ => None,
        }
    }

    /// The fault at which `bytes` came, which has been explained.
    pub(super) fn fault(&self, pattern: &Pattern, bytes: &[u8], damage: Damage) -> Fault {
        let mut expected = [0];
        pattern.fill(self.connection, self.position, &mut expected);
        Fault {
            position: self.position,
            damage,
            expected: (self.unechoed > 0).then_some(expected[0]),
            received: bytes.first().copied().unwrap_or_default(),
            service: match damage {
                Damage::Unknown => self.service(pattern, bytes),
                _ => None,
            },
        }
    }

    /// The service that `bytes` look like. It speaks from the connection's first byte on, and
    /// what is right before this offset is so by chance.
    fn service(&self, pattern: &Pattern, bytes: &[u8]) -> Option<&'static str> {
        let right = match self.position {
            right @ ..=BY_CHANCE => right as usize,
            _ => 0,
        };
        let mut speech = vec![0; right];
        pattern.fill(self.connection, 0, &mut speech);
        speech.extend_from_slice(&bytes[..bytes.len().min(SAMPLE)]);
        looks_like(b"", &speech)
    }

    /// Explains too few bytes to find their origin. As no more are awaited, their
    /// number shows how many are missing or too many.
    fn explain_by_length(&self, pattern: &Pattern, bytes: &[u8]) -> Option<Damage> {
        let received = bytes.len() as u64;
        let is_from = |position| {
            let difference = pattern.first_difference(self.connection, position, bytes);
            difference.is_none()
        };
        if received == self.unechoed {
            Some(Damage::Changed)
        } else if received < self.unechoed && is_from(self.position + (self.unechoed - received)) {
            let bytes = self.unechoed - received;
            Some(Damage::Lost { bytes })
        } else if received > self.unechoed
            && is_from(self.position.checked_sub(received - self.unechoed)?)
        {
            let bytes = received - self.unechoed;
            Some(Damage::Repeated { bytes })
        } else {
            None
        }
    }
}
