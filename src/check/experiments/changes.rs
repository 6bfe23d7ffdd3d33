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

/// The most connections at once. No more than half of what was served at once before: one that
/// waits for another's end brings nothing.
const AT_ONCE: usize = 8;

/// Before a text is taken for what ends connections, it must do so so often, and a plain text
/// come back each time: another reason ends some of either.
const CONFIRMED: usize = 6;

/// What became of a text that did not come back as it was sent.
#[derive(Clone, Debug)]
enum Returned {
    Changed(Vec<u8>),
    Ended(Ending),
}

/// Sends texts of bytes with a meaning, and keeps those that come back otherwise. Where the time
/// is over before it is known that some end connections, what is changed is told all the same.
pub(super) fn changes(setting: &Setting<'_>) -> Option<Changes> {
    let mut changes = Changes::default();
    let mut ended = Vec::new();
    // In the order of the texts: the first one is the example.
    for (sent, returned) in TEXTS.into_iter().zip(all(setting, &TEXTS)?) {
        match returned {
            Some(Returned::Changed(came)) => changes.changed.push((sent.to_vec(), came)),
            Some(Returned::Ended(by)) => ended.push((sent, by)),
            None => {}
        }
    }
    let confirmed = confirmed(setting, ended);
    let is_known = confirmed.is_some() || !changes.changed.is_empty();
    let ended = confirmed.unwrap_or_default().into_iter();
    changes.ended = ended.map(|(text, by)| (text.to_vec(), by)).collect();
    is_known.then_some(changes)
}

/// Those of the texts that end each connection, while a plain one ends none. `None` if the check
/// was stopped before that was known.
fn confirmed<'a>(
    setting: &Setting<'_>,
    mut ended: Vec<(&'a [u8], Ending)>,
) -> Option<Vec<(&'a [u8], Ending)>> {
    let is_ended = |returned: &Option<Returned>| matches!(returned, Some(Returned::Ended(_)));
    for _ in 0..CONFIRMED {
        if ended.is_empty() {
            break;
        }
        let texts = ended.iter().map(|(text, _)| *text);
        let texts: Vec<_> = std::iter::once(TEXTS[0]).chain(texts).collect();
        let mut again = all(setting, &texts)?.into_iter();
        if again.next().is_some_and(|plain| is_ended(&plain)) {
            return Some(Vec::new());
        }
        ended.retain(|_| again.next().is_some_and(|one| is_ended(&one)));
    }
    Some(ended)
}

/// What becomes of each of these texts, several at once. `None` if the check was stopped
/// meanwhile.
fn all(setting: &Setting<'_>, texts: &[&[u8]]) -> Option<Vec<Option<Returned>>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut all = Vec::new();
        while !setting.is_stopped() {
            let at = next.fetch_add(1, Ordering::SeqCst);
            let Some(text) = texts.get(at) else { break };
            all.push((at, returned(setting, text)));
        }
        all
    };
    let mut all = thread::scope(|scope| {
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let at_once = (setting.width / 2).clamp(1, AT_ONCE);
        let others: Vec<_> = (1..at_once).map_while(start).collect();
        let mut all = work();
        for other in others {
            all.extend(other.join().unwrap_or_default());
        }
        all
    });
    all.sort_by_key(|(at, _)| *at);
    // One under way when it was stopped may have been waited for too briefly.
    let is_whole = all.len() == texts.len() && !setting.is_stopped();
    is_whole.then(|| all.into_iter().map(|(_, returned)| returned).collect())
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
