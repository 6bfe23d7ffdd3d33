//! Explains why bytes differ from those that were sent.

use crate::probe::pattern::{Damage, Pattern, WINDOW};

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
