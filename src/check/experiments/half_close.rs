//! What a half-close does to bytes that are on their way.

use std::thread;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::setting::{Setting, letters};
use crate::check::findings::{Ending, HalfClosed};

/// A few bytes are echoed in one write, and many in several; each with how often it is
/// tried, since the echo races with the end.
const TRIES: [(usize, usize); 2] = [(10, 6), (64 * 1024, 3)];

/// As many bytes as fill what the path and the server hold, if that is done in the time; of
/// those nothing is received before all are sent, or there is no room for more.
const MANY: usize = 4 << 20;
const SENDING: Duration = Duration::from_secs(2);

/// What was sent so must be back in this time, or no more is tried: the path is too slow.
const BACK: Duration = Duration::from_secs(4);

/// A path that takes nothing for so long, and for so many round trips, is full.
const FULL: Duration = Duration::from_millis(200);
const FULL_ROUND_TRIPS: u32 = 3;

/// The pause between looks at a full path.
const LOOK: Duration = Duration::from_millis(1);

/// Before an end is believed, our side is closed on so many connections, and on others not, in an
/// order in which one of two to five servers behind a balancer meets both: those that stay open
/// must all bring everything back, and of the others as many must not.
const CLOSED: [bool; 12] = [
    false, true, false, false, true, false, false, true, false, false, false, true,
];
const ENDED_LEAST: usize = 3;

/// Sends bytes and closes our side behind them, where without that all comes back.
pub(super) fn half_close(setting: &Setting<'_>) -> Option<HalfClosed> {
    let (mut found, mut is_doubtful) = (None, false);
    for (bytes, tries) in TRIES {
        let sent = letters(bytes);
        if !comes_back(setting, &sent)? {
            return None;
        }
        for _ in 0..tries {
            let ended = closed_behind(setting, &sent)?;
            if setting.is_stopped() {
                return None;
            }
            let Some(ended) = ended else { continue };
            if found.is_none() && !is_confirmed(setting, &sent)? {
                is_doubtful = true;
                break;
            }
            found = Some(ended);
            match ended {
                // More bytes may tell whether any are lost.
                HalfClosed::Ends { all_came: true, .. } => break,
                _ => return found,
            }
        }
    }
    match found {
        None if is_doubtful => None,
        None => unread(setting),
        found => found,
    }
}

/// Whether it is for our half-close that connections end, and not for a server of several that
/// is dead, or for chance.
fn is_confirmed(setting: &Setting<'_>, sent: &[u8]) -> Option<bool> {
    let mut ended = 0;
    for is_closed in CLOSED {
        match is_closed {
            _ if setting.is_stopped() => return None,
            true => ended += usize::from(closed_behind(setting, sent)?.is_some()),
            false if !comes_back(setting, sent)? => return Some(false),
            false => {}
        }
    }
    Some(ended >= ENDED_LEAST)
}

/// Whether all comes back where our side stays open.
fn comes_back(setting: &Setting<'_>, sent: &[u8]) -> Option<bool> {
    let connection = setting.open().ok()?;
    let patience = setting.patience();
    Some(
        connection.send(sent, patience).is_none()
            && connection.receive(sent.len(), patience).1.is_none(),
    )
}

/// How a connection ended other than it should once our side was closed.
fn closed_behind(setting: &Setting<'_>, sent: &[u8]) -> Option<Option<HalfClosed>> {
    let connection = setting.open().ok()?;
    let patience = setting.patience();
    if connection.send(sent, patience).is_some() {
        return None;
    }
    connection.half_close();
    let (came, by) = connection.receive(sent.len() + 1, patience);
    let all_came = came.len() == sent.len();
    Some(match (by?, all_came) {
        (Ending::Close, true) => None,
        // The FIN is the last that was sent.
        (Ending::Silence, _) if connection.is_acknowledged() == Some(false) => {
            Some(HalfClosed::Unheard { all_came })
        }
        (by, all_came) => Some(HalfClosed::Ends { by, all_came }),
    })
}

/// The same with bytes of which many are still with the server when our side is closed.
fn unread(setting: &Setting<'_>) -> Option<HalfClosed> {
    let patience = setting.patience();
    let mut ends = HalfClosed::Sound;
    for is_closed in [false, true, false, true] {
        let connection = setting.open().ok()?;
        let left = send_unread(setting, &connection)?;
        if is_closed {
            connection.half_close();
        }
        // So that it is there before there is room for more.
        setting.pause(FULL + 2 * setting.round_trip);
        let most = left + usize::from(is_closed);
        let begun = Instant::now();
        let (came, end) = connection.receive_in(most, patience, Some(BACK));
        let all_came = came.len() == left;
        match end {
            _ if setting.is_stopped() => return None,
            Some(Ending::Silence) if begun.elapsed() >= BACK => {
                setting.give_up();
                return None;
            }
            // Without a half-close it is something else.
            Some(_) if !is_closed => return None,
            None if is_closed => return None,
            Some(by) if by != Ending::Close || !all_came => {
                ends = HalfClosed::Ends { by, all_came };
            }
            // Each time, or never.
            Some(_) if ends != HalfClosed::Sound => return None,
            Some(_) => return Some(ends),
            None => {}
        }
    }
    Some(ends)
}

/// Sends many bytes, and receives some only where there is room for no more; how many are to
/// come back.
fn send_unread(setting: &Setting<'_>, connection: &Connection<'_>) -> Option<usize> {
    let (block, mut into) = (letters(64 * 1024), vec![0; 64 * 1024]);
    let (started, mut moved) = (Instant::now(), Instant::now());
    let full = FULL.max(setting.round_trip * FULL_ROUND_TRIPS);
    let (mut sent, mut came, mut is_full) = (0, 0, false);
    while sent < MANY && started.elapsed() < SENDING {
        if setting.is_stopped() {
            return None;
        }
        let part = block.len().min(MANY - sent);
        match connection.send_some(&block[..part]).ok()? {
            0 if is_full => {
                came += connection.receive_some(&mut into).ok()?;
                thread::sleep(LOOK);
            }
            0 => {
                is_full = moved.elapsed() >= full;
                thread::sleep(LOOK);
            }
            length => {
                sent += length;
                moved = Instant::now();
            }
        }
    }
    sent.checked_sub(came)
}
