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
/// come back each time: another reason ends some of either. One that comes back as another one
/// must do so as often as that again, and one for which nothing comes, which takes longer: of
/// those no more than so many are tried.
const CONFIRMED: usize = 6;
const CHANGED: usize = 4;
const SILENT: usize = 3;
const SILENT_MOST: usize = 2;

/// What became of a text that did not come back as it was sent.
#[derive(Clone, PartialEq, Eq)]
enum Returned {
    Changed(Vec<u8>),
    /// `Silence` where nothing came.
    Ended(Ending),
}

/// Sends texts of bytes with a meaning, and keeps those that come back otherwise.
pub(super) fn changes(setting: &Setting<'_>) -> Option<Changes> {
    let texts: Vec<_> = TEXTS.iter().map(|text| (*text, None)).collect();
    let all = each(setting, &texts, |text, _| returned(setting, text));
    let is_plain = !all.iter().any(|(text, _)| *text == TEXTS[0]);
    let is_changed = |returned: &Returned| matches!(returned, Returned::Changed(_));
    let (changed, ended): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, at)| is_changed(at));
    let before: Vec<_> = changed
        .into_iter()
        .map(|(text, at)| (text, Some(at)))
        .collect();
    let again = each(setting, &before, |text, before| {
        let before = before?;
        let is_so = || returned(setting, text).as_ref() == Some(before);
        let is_plain_sound = || !is_plain || returned(setting, TEXTS[0]).is_none();
        let is_it = (0..CHANGED).all(|_| !setting.is_stopped() && is_so() && is_plain_sound());
        is_it.then(|| before.clone())
    });
    let mut changes = Changes::default();
    for (text, before) in before {
        match before {
            Some(Returned::Changed(came)) if again.iter().any(|(at, _)| *at == text) => {
                changes.changed.push((text.to_vec(), came));
            }
            Some(Returned::Changed(came)) => changes.fickle = changes.fickle.or(Some(came)),
            Some(Returned::Ended(_)) | None => {}
        }
    }
    let mut silent = 0;
    for (text, returned) in ended {
        let Returned::Ended(by) = returned else {
            continue;
        };
        silent += usize::from(by == Ending::Silence);
        if (by != Ending::Silence || silent <= SILENT_MOST) && ends_each(setting, text, by) {
            changes.ended.push((text.to_vec(), by));
        }
    }
    (!setting.is_stopped()).then_some(changes)
}

/// Does that with each text, some at once; what came of those of which anything did, in the
/// order of the texts: the first one is the example.
fn each<'t>(
    setting: &Setting<'_>,
    texts: &[(&'t [u8], Option<Returned>)],
    act: impl Fn(&[u8], Option<&Returned>) -> Option<Returned> + Sync,
) -> Vec<(&'t [u8], Returned)> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::SeqCst);
            let Some((text, before)) = texts.get(at).filter(|_| !setting.is_stopped()) else {
                return done;
            };
            done.extend(act(text, before.as_ref()).map(|returned| (at, (*text, returned))));
        }
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..AT_ONCE).map_while(start).collect();
        let mut done = work();
        for other in others {
            done.extend(other.join().unwrap_or_default());
        }
        done
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, done)| done).collect()
}

/// Whether a text ends each connection so, and a plain one none.
fn ends_each(setting: &Setting<'_>, text: &[u8], by: Ending) -> bool {
    let times = match by {
        Ending::Silence => SILENT,
        Ending::Close | Ending::Reset => CONFIRMED,
    };
    let is_ended = |text| match returned(setting, text) {
        Some(Returned::Ended(end)) => Some(end),
        _ => None,
    };
    (0..times).all(|_| {
        let end = || is_ended(text);
        let is_so = || match by {
            Ending::Silence => end() == Some(by),
            Ending::Close | Ending::Reset => end().is_some_and(|end| end != Ending::Silence),
        };
        !setting.is_stopped() && is_so() && is_ended(TEXTS[0]).is_none()
    })
}

/// What came back for a text, if that was something else.
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
        Some(Ending::Silence) if came.is_empty() => return Some(Returned::Ended(Ending::Silence)),
        Some(Ending::Silence) => {}
        Some(by) => return Some(Returned::Ended(by)),
    }
    (came != text).then_some(Returned::Changed(came))
}
