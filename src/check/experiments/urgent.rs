//! What becomes of an urgent byte.

use super::setting::{Setting, letters};
use crate::check::findings::{Ending, Urgent};

/// The urgent byte, which is none of the letters around it.
const MARK: u8 = b'!';

/// Letters before it and behind it.
const AROUND: usize = 16;

/// Sends letters without an urgent byte, then one before others, and then one in the midst
/// of others: what a server has read before it looks for urgent data decides where it goes.
pub(super) fn urgent(setting: &Setting<'_>) -> Option<Urgent> {
    match of_one(setting, 0)? {
        Urgent::Kept => of_one(setting, AROUND),
        other => Some(other),
    }
}

/// What becomes of an urgent byte that is sent behind so many letters, and before others.
fn of_one(setting: &Setting<'_>, before: usize) -> Option<Urgent> {
    let connection = setting.open().ok()?;
    let (patience, around) = (setting.patience(), letters(AROUND));
    for _ in 0..2 {
        if connection.send(&around, patience).is_some()
            || connection.receive(AROUND, patience).1.is_some()
        {
            return None;
        }
    }
    if connection.send(&around[..before], patience).is_some() || !connection.send_urgent(MARK) {
        return None;
    }
    let unsent = connection.send(&around, patience);
    let all = before + AROUND;
    let (came, end) = connection.receive(all + 1, patience);
    // The system tells of a reset only once.
    let end = unsent.filter(|by| *by == Ending::Reset).or(end);
    match came.iter().position(|byte| *byte == MARK) {
        Some(place) if place == before && came.len() == all + 1 => Some(Urgent::Kept),
        Some(place) if place > before => Some(Urgent::Moved),
        None if came.len() == all => Some(Urgent::TakenOut),
        _ if setting.is_stopped() => None,
        None => match end? {
            Ending::Silence => Some(Urgent::Dropped),
            // Without an urgent byte it had not ended before.
            by => Some(Urgent::Ended(by)),
        },
        Some(_) => None,
    }
}
