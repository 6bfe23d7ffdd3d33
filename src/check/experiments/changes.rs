//! Which bytes come back as others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::setting::Setting;
use crate::check::findings::{Changes, Ending};

/// Each has bytes of one kind that something may take for more than bytes.
pub(in crate::check) const TEXTS: [&[u8]; 14] = [
    b"aAbBz",
    b"a\0b",
    b"a\r\nb",
    b"a\nb",
    b"a\rb",
    b"a\x11b",
    b"a\x13b",
    b"a\xff\xffb",
    b"a\xe9b",
    b"a\x1ab",
    b"a\x03b",
    b"a\x04b",
    b"a\x1bb",
    b"a\x08\x7fb",
];

/// Connections at once: no more than a small pool has workers.
const AT_ONCE: usize = 4;

/// Before a text is taken for what ends connections, it must do so so often, and a plain text
/// come back each time: another reason ends some of either.
const CONFIRMED: usize = 6;

/// What became of a text that did not come back as it was sent.
enum Returned {
    Changed(Vec<u8>),
    Ended(Ending),
}

/// Sends texts of bytes with a meaning, and keeps those that come back otherwise.
pub(super) fn changes(setting: &Setting<'_>) -> Option<Changes> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut changed = Vec::new();
        while let Some(text) = TEXTS.get(next.fetch_add(1, Ordering::SeqCst))
            && !setting.is_stopped()
        {
            if let Some(returned) = returned(setting, text) {
                changed.push((*text, returned));
            }
        }
        changed
    };
    let changed: Vec<_> = thread::scope(|scope| {
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..AT_ONCE).map_while(start).collect();
        let mut changed = work();
        for other in others {
            changed.extend(other.join().unwrap_or_default());
        }
        changed
    });
    if setting.is_stopped() {
        return None;
    }
    let mut all = changed;
    // In the order of the texts: the first one is the example.
    all.sort_by_key(|(sent, _)| TEXTS.iter().position(|text| text == sent));
    let mut changes = Changes::default();
    for (sent, returned) in all {
        match returned {
            Returned::Changed(came) => changes.changed.push((sent.to_vec(), came)),
            Returned::Ended(by) => changes.ended.push((sent.to_vec(), by)),
        }
    }
    changes.ended.retain(|(text, _)| ends_each(setting, text));
    Some(changes)
}

/// Whether a text ends each connection, and a plain one none.
fn ends_each(setting: &Setting<'_>, text: &[u8]) -> bool {
    let is_ended = |text| matches!(returned(setting, text), Some(Returned::Ended(_)));
    (0..CONFIRMED).all(|_| !setting.is_stopped() && is_ended(text) && !is_ended(TEXTS[0]))
}

/// What came back for a text, if that was something else; `None` also where nothing did.
fn returned(setting: &Setting<'_>, text: &[u8]) -> Option<Returned> {
    let connection = setting.open().ok()?;
    let patience = setting.patience();
    if connection.send(text, patience).is_some() {
        return None;
    }
    let (mut came, end) = connection.receive(text.len(), patience);
    match end {
        // More than was sent comes right behind.
        None => came.extend(connection.receive(64, patience / 8).0),
        Some(Ending::Silence) => {}
        Some(by) => return Some(Returned::Ended(by)),
    }
    (!came.is_empty() && came != text).then_some(Returned::Changed(came))
}
