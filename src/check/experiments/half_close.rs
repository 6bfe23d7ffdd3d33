//! What a half-close does to bytes that are on their way.

use super::setting::{Setting, letters};
use crate::check::findings::{Ending, HalfClosed};

/// A few bytes are echoed in one write, and many in several; each with how often it is
/// tried, since the echo races with the end.
const TRIES: [(usize, usize); 2] = [(10, 6), (64 * 1024, 3)];

/// Sends bytes and closes our side behind them, where without that all comes back.
pub(super) fn half_close(setting: &Setting<'_>) -> Option<HalfClosed> {
    let patience = setting.patience();
    let mut ends = HalfClosed::Sound;
    for (bytes, tries) in TRIES {
        let sent = letters(bytes);
        let control = setting.open().ok()?;
        if control.send(&sent, patience).is_some() || control.receive(bytes, patience).1.is_some() {
            return None;
        }
        for _ in 0..tries {
            let connection = setting.open().ok()?;
            if connection.send(&sent, patience).is_some() {
                return None;
            }
            connection.half_close();
            let (came, end) = connection.receive(bytes + 1, patience);
            match (end?, came.len() == bytes) {
                (Ending::Close, true) => {}
                (by, all_came) => ends = HalfClosed::Ends { by, all_came },
            }
            match ends {
                _ if setting.is_stopped() => return None,
                HalfClosed::Sound => {}
                // More bytes may tell whether any are lost.
                HalfClosed::Ends { all_came: true, .. } => break,
                HalfClosed::Ends { .. } => return Some(ends),
            }
        }
    }
    Some(ends)
}
