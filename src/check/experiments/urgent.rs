//! What becomes of an urgent byte.

use super::connection::Connection;
use super::setting::{Setting, letters};
use crate::check::findings::{Ending, Urgent};

/// The urgent byte, which is none of the letters around it.
const MARK: u8 = b'!';

/// Letters before it and behind it.
const AROUND: usize = 16;

/// What ends the connection, or nothing comes behind, must do so each time, and the same bytes
/// without urgent data come back each time: another reason ends some of either.
const CONFIRMED: usize = 3;

/// Sends letters without an urgent byte, then one before others, and then one in the midst
/// of others: what a server has read before it looks for urgent data decides where it goes.
pub(super) fn urgent(setting: &Setting<'_>) -> Option<Urgent> {
    let (before, what) = match of_one(setting, 0)? {
        Urgent::Kept => (AROUND, of_one(setting, AROUND)?),
        other => (0, other),
    };
    let is_whole = || comes_back_plain(setting, before) == Some(true);
    let is_so_again = || of_one(setting, before) == Some(what);
    let is_it = match what {
        Urgent::Kept => true,
        Urgent::TakenOut | Urgent::Moved => is_whole(),
        Urgent::Dropped | Urgent::Stalled | Urgent::Ended(_) => {
            is_whole() && (1..CONFIRMED).all(|_| is_so_again() && is_whole())
        }
    };
    is_it.then_some(what)
}

/// A connection on which so many bytes came back as are sent before.
fn open_used<'a>(setting: &'a Setting<'_>) -> Option<Connection<'a>> {
    let connection = setting.open().ok()?;
    let is_used = (0..2).all(|_| exchanges(setting, &connection, &letters(AROUND)));
    is_used.then_some(connection)
}

fn exchanges(setting: &Setting<'_>, connection: &Connection<'_>, bytes: &[u8]) -> bool {
    let patience = setting.patience();
    let is_sent = connection.send(bytes, patience).is_none();
    is_sent && connection.receive(bytes.len(), patience) == (bytes.to_vec(), None)
}

/// Whether the same bytes come back without urgent data. A system gives those before an urgent
/// byte to its program by themselves: here each part waits for the one before, so that the
/// program reads no less often.
fn comes_back_plain(setting: &Setting<'_>, before: usize) -> Option<bool> {
    let (connection, around) = (open_used(setting)?, letters(AROUND));
    let parts = [&around[..before], &[MARK], &around];
    let mut parts = parts.into_iter();
    Some(parts.all(|part| exchanges(setting, &connection, part)))
}

/// What becomes of an urgent byte that is sent behind so many letters, and before others.
fn of_one(setting: &Setting<'_>, before: usize) -> Option<Urgent> {
    let connection = open_used(setting)?;
    let (patience, around) = (setting.patience(), letters(AROUND));
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
            Ending::Silence => Some(match connection.is_acknowledged() {
                Some(true) => Urgent::Stalled,
                Some(false) | None => Urgent::Dropped,
            }),
            by => Some(Urgent::Ended(by)),
        },
        Some(_) => None,
    }
}
