//! What a failure of a connection is told as.

use std::sync::atomic::Ordering;

use super::error::{TransferError, is_reset};
use super::state::Connection;
use crate::base::error::cause;
use crate::base::units::{count, whole};
use crate::check::not_passed::NotPassed;
use crate::check::observation::{End, Wrong};
use crate::probe::exchange::no_data;
use crate::probe::pattern::Damage;

/// The most bytes of a wrong place that are kept.
pub(super) const EXCERPT: usize = 64;

/// The first of some bytes.
pub(super) fn excerpt(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(EXCERPT)].to_vec()
}

impl Connection<'_> {
    /// A failure: bytes arrived that were not expected.
    pub(in crate::check) fn unexpected(&self, bytes: &[u8]) -> NotPassed {
        let mut extra = bytes.to_vec();
        self.read_window(&mut extra);
        let at = self.received.load(Ordering::SeqCst);
        let damage = self.context.pattern.explain(self.number, at, &extra);
        let after = self.received_text();
        let wrong = Wrong {
            at,
            damage: Some(damage),
            sent: Vec::new(),
            came: excerpt(&extra),
        };
        let seen = format!("more came than was sent, after {after}: {damage}");
        self.observed(seen, End::Wrong(wrong))
    }

    pub(super) fn is_reset(&self, error: &TransferError) -> bool {
        match error {
            TransferError::Eof => self.reset.load(Ordering::SeqCst),
            TransferError::Io(error) => is_reset(error),
            _ => false,
        }
    }

    /// The number of bytes received so far, as text.
    pub(super) fn received_text(&self) -> String {
        count(self.received.load(Ordering::SeqCst), "byte", "bytes")
    }

    /// Why a transfer failed, and after how many of the expected bytes.
    pub(super) fn failure(&self, error: TransferError) -> NotPassed {
        let (how, end) = match error {
            TransferError::Stopped => return NotPassed::Stopped,
            TransferError::Wrong(wrong) => {
                let at = whole(wrong.at);
                let damage = wrong.damage.unwrap_or(Damage::Unknown);
                let seen = format!("at offset {at}: {damage}");
                return self.observed(seen, End::Wrong(wrong));
            }
            error if self.is_reset(&error) => (String::from("reset"), End::Reset),
            TransferError::Eof => (String::from("the end came"), End::Close),
            TransferError::Slow(0) => (no_data(self.timeout), End::Silence),
            TransferError::Slow(bytes) => {
                let bytes = count(bytes, "byte", "bytes");
                let time = humantime::format_duration(self.timeout);
                (
                    format!("no more than {bytes} moved in {time}, and that"),
                    End::Slow,
                )
            }
            TransferError::Io(error) => (cause(&error), End::Other),
        };
        let received = whole(self.received.load(Ordering::SeqCst));
        let expected = count(self.expected.load(Ordering::SeqCst), "byte", "bytes");
        self.observed(format!("{how} after {received} of {expected}"), end)
    }
}
