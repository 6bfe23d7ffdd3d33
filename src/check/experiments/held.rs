//! What makes a path pass on what it holds back.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::setting::{Setting, letters};
use crate::check::findings::{Ending, Held};

/// More than any buffer that is passed on when it is full, and less than the path's own.
const MANY: usize = 64 * 1024;

/// What is sent first.
const WORD: &[u8] = b"hello";

/// An answer is late that takes so much longer than the round trip.
const LATE: Duration = Duration::from_millis(100);

/// Sends a word without a line end, then what may release it, one after the other. Another
/// connection gets the word alone: where that comes back as well, time has released both. A
/// server with one worker comes to that one only once the first has ended.
pub(super) fn held(setting: &Setting<'_>) -> Option<Held> {
    if let Some(last) = keeps_last(setting) {
        return Some(last);
    }
    let (connection, control) = (setting.open().ok()?, setting.open().ok()?);
    let started = Instant::now();
    if control.send(WORD, setting.patience()).is_some() {
        return None;
    }
    let held = released(setting, &connection)?;
    if !matches!(held, Held::Lines | Held::Blocks | Held::UntilEnd) {
        return Some(held);
    }
    let took = started.elapsed();
    drop(connection);
    let alone = Instant::now();
    // As long again, and as much longer as a path may be late.
    let (came, end) = control.receive(1, took + setting.patience());
    match end {
        Some(Ending::Silence) => Some(held),
        // It was never served: it tells nothing of what is held.
        Some(Ending::Close | Ending::Reset) => None,
        None => {
            debug_assert!(!came.is_empty(), "it came without an end");
            let waited = alone.elapsed();
            // What was there already came while the other one was held, too.
            let late = match waited < LATE + 3 * setting.round_trip {
                true => took,
                false => waited,
            };
            Some(collects(setting, late).unwrap_or(Held::Nothing))
        }
    }
}

/// How many of the last bytes are kept until more comes, if a part of the word comes back alone.
fn keeps_last(setting: &Setting<'_>) -> Option<Held> {
    let connection = setting.open().ok()?;
    let patience = setting.patience();
    let (mut came, mut kept) = (Vec::new(), Vec::new());
    for words in 1..=KEPT_TRIES {
        if connection.send(WORD, patience).is_some() {
            return None;
        }
        let (more, end) = connection.receive(words * WORD.len() - came.len(), patience);
        came.extend(more);
        let sent = WORD.repeat(words);
        if end != Some(Ending::Silence) || !sent.starts_with(&came) {
            return None;
        }
        kept.push(sent.len() - came.len());
    }
    // As many each time.
    let last = kept[0];
    let is_it = last < WORD.len() && kept.iter().all(|number| *number == last);
    is_it.then_some(Held::Last(last as u64))
}

/// So often the same number of bytes must be kept.
const KEPT_TRIES: usize = 3;

/// Bytes that are sent at once to see whether all are read: more than one read takes, and fewer than
/// the window that systems begin with, so that one more is taken as well.
const AT_ONCE: usize = 48 * 1024;

/// Whether of many bytes that are sent at once only some come back, and some more with each byte
/// that is sent then.
pub(super) fn unread(setting: &Setting<'_>) -> Option<Held> {
    let connection = setting.open().ok()?;
    let patience = setting.patience();
    if let Some(Ending::Close | Ending::Reset) = connection.send(&letters(AT_ONCE), patience) {
        return None;
    }
    let (came, end) = connection.receive(AT_ONCE, patience);
    let (first, mut all) = (came.len(), came.len());
    if end != Some(Ending::Silence) || first == 0 {
        return None;
    }
    for _ in 0..KEPT_TRIES {
        if connection.send(b"a", patience).is_some() {
            return None;
        }
        let (more, _) = connection.receive(AT_ONCE, patience);
        all += more.len();
        // The byte itself, in its place.
        if more.len() <= 1 && all < AT_ONCE {
            return None;
        }
    }
    Some(Held::Unread(first as u64))
}

/// What releases the word on a connection.
fn released(setting: &Setting<'_>, connection: &Connection<'_>) -> Option<Held> {
    let patience = setting.patience();
    let started = Instant::now();
    // Whether something comes back for it: what was sent, and no late greeting.
    let releases = |bytes: &[u8]| -> Option<bool> {
        match connection.send(bytes, patience) {
            Some(Ending::Close | Ending::Reset) => return None,
            // What takes no more may pass on what it has, too.
            Some(Ending::Silence) | None => {}
        }
        let (came, end) = connection.receive(WORD.len(), patience);
        match end {
            Some(Ending::Close | Ending::Reset) => None,
            _ if came.is_empty() => Some(false),
            _ => is_begin(&came).then_some(true),
        }
    };
    if releases(WORD)? {
        let took = started.elapsed();
        return Some(match took > LATE + 3 * setting.round_trip {
            true => collects(setting, took).unwrap_or(Held::Nothing),
            false => Held::Nothing,
        });
    }
    if releases(b"\n")? {
        return Some(Held::Lines);
    }
    if releases(&letters(MANY))? {
        return Some(Held::Blocks);
    }
    connection.half_close();
    let (came, _) = connection.receive(WORD.len(), patience);
    match came.is_empty() {
        true => Some(Held::Never),
        false => is_begin(&came).then_some(Held::UntilEnd),
    }
}

/// Whether the word that was sent first begins so, be it with capitals or a parity bit.
fn is_begin(came: &[u8]) -> bool {
    let plain = |byte: &u8| (byte & 0x7f).to_ascii_lowercase();
    came.iter().map(plain).zip(WORD).all(|(a, b)| a == *b)
}

/// Whether a byte that is sent while another is held comes back together with it: a server
/// that is far behind a proxy answers late, too, but each byte as late as the other.
fn collects(setting: &Setting<'_>, late: Duration) -> Option<Held> {
    let connection = setting.open().ok()?;
    let patience = setting.patience().max(3 * late);
    let (started, gap) = (Instant::now(), late / 2);
    if connection.send(b"a", patience).is_some() {
        return None;
    }
    setting.pause(gap);
    if connection.send(b"b", patience).is_some() {
        return None;
    }
    let sent = started.elapsed();
    let (_, end) = connection.receive(1, patience);
    let first = started.elapsed();
    // What was there already was not held.
    if end.is_some() || first - sent < gap / 2 {
        return None;
    }
    let (_, end) = connection.receive(1, patience);
    let between = started.elapsed().saturating_sub(first);
    (end.is_none() && between < gap / 4).then_some(Held::Collected(first))
}
