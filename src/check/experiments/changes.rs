//! Which bytes come back as others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::setting::Setting;
use crate::check::findings::{Changes, Ending};

/// Each has bytes of one kind that something may take for more than bytes.
pub(in crate::check) const TEXTS: [&[u8]; 11] = [
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
    b"a\x08\x7fb",
];

/// Connections at once: no more than a small pool has workers.
const AT_ONCE: usize = 4;

/// Sends texts of bytes with a meaning, and keeps those that come back otherwise.
pub(super) fn changes(setting: &Setting<'_>) -> Option<Changes> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut changed = Vec::new();
        while let Some(text) = TEXTS.get(next.fetch_add(1, Ordering::SeqCst)) {
            if let Some(came) = returned(setting, text)
                && came != *text
            {
                changed.push((text.to_vec(), came));
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
    (!setting.is_stopped()).then(|| {
        let mut changed = changed;
        // In the order of the texts: the first one is the example.
        changed.sort_by_key(|(sent, _)| TEXTS.iter().position(|text| text == sent));
        Changes { changed }
    })
}

/// What comes back for a text; `None` where nothing does, or the connection ends early.
fn returned(setting: &Setting<'_>, text: &[u8]) -> Option<Vec<u8>> {
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
        Some(_) => return None,
    }
    (!came.is_empty()).then_some(came)
}
