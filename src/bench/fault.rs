//! Explains why bytes differ from those that were sent.

use crate::probe::pattern::{Damage, Pattern, WINDOW};

/// So many bytes from the first wrong one on are looked at as one place, and
/// awaited before it is explained.
pub(super) const STRANGE: usize = 64;

/// A place at which the stream was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// In the connection's stream.
    pub(super) position: u64,
    /// How.
    pub(super) damage: Damage,
}

/// Where bytes differ from those that were sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Difference {
    /// The connection's number.
    pub(super) connection: u64,
    /// Where the first of them lies in the connection's stream.
    pub(super) position: u64,
    /// Bytes from there on that were sent.
    pub(super) owed: u64,
}

impl Difference {
    /// What happened to the bytes that came at the present position, if that
    /// can be told already.
    pub(super) fn explain(&self, pattern: &Pattern, bytes: &[u8], no_more: bool) -> Option<Damage> {
        let sample = &bytes[..bytes.len().min(STRANGE)];
        let all_is_back = bytes.len() as u64 == self.owed;
        if !no_more && sample.len() < STRANGE && !all_is_back {
            return None;
        }
        let by_length = match sample.len() < WINDOW && no_more {
            true => self.explain_by_length(pattern, sample),
            false => None,
        };
        let damage =
            by_length.unwrap_or_else(|| pattern.explain(self.connection, self.position, sample));
        match damage {
            // What comes behind the end can't be a changed echo of anything.
            Damage::Changed if self.owed == 0 => Some(Damage::Unknown),
            Damage::Changed => Some(damage),
            _ if no_more || sample.len() == STRANGE => Some(damage),
            _ => None,
        }
    }

    /// Too few bytes to tell where they are from; but if they are all, their
    /// number tells how many are missing or too many.
    fn explain_by_length(&self, pattern: &Pattern, bytes: &[u8]) -> Option<Damage> {
        let came = bytes.len() as u64;
        let is_from = |position| {
            let difference = pattern.first_difference(self.connection, position, bytes);
            difference.is_none()
        };
        if came == self.owed {
            Some(Damage::Changed)
        } else if came < self.owed && is_from(self.position + (self.owed - came)) {
            let bytes = self.owed - came;
            Some(Damage::Lost { bytes })
        } else if came > self.owed && is_from(self.position.checked_sub(came - self.owed)?) {
            let bytes = came - self.owed;
            Some(Damage::Repeated { bytes })
        } else {
            None
        }
    }
}
