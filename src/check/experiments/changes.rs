//! Which bytes come back as others.

use super::each::each;
use super::setting::Setting;
use crate::check::findings::{Changes, Ending};

/// Each has bytes of one kind that something may take for more than bytes.
pub(in crate::check) const TEXTS: [&[u8]; 15] = [
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
    b"a \nb",
];

/// Before a text is taken for what ends connections, it must do so so often, and a plain text
/// come back each time: another reason ends some of either. One that comes back as another one
/// must do so as often as that again, and one for which nothing comes, which takes longer.
const CONFIRMED: usize = 6;
const CHANGED: usize = 4;
const SILENT: usize = 3;

/// What became of a text that did not come back as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Returned {
    Changed(Vec<u8>),
    /// `Silence` where nothing came.
    Ended(Ending),
}

impl Returned {
    /// Whether the same became of it again. What is sent after a close is answered by a reset.
    fn is_again(&self, again: &Self) -> bool {
        let is_silence = |one: &Self| *one == Self::Ended(Ending::Silence);
        match (self, again) {
            (Self::Ended(_), Self::Ended(_)) => is_silence(self) == is_silence(again),
            _ => self == again,
        }
    }
}

/// A text, and what became of it.
type Tried<'a> = (&'a [u8], Returned);

/// Sends texts of bytes with a meaning, and `more`, and keeps those that come back otherwise, each
/// time. Where
/// the time is over before it is known that some end connections, what is changed is told all the
/// same.
pub(super) fn changes(setting: &Setting<'_>, more: &[[u8; 3]]) -> Option<Changes> {
    // In the order of the texts: the first one is the example.
    let more = more.iter().map(|text| &text[..]);
    let texts: Vec<&[u8]> = TEXTS.into_iter().chain(more).collect();
    let tried = texts.iter().copied().zip(all(setting, &texts)?);
    let tried = tried.filter_map(|(text, returned)| Some((text, returned?)));
    let is_changed = |(_, returned): &Tried<'_>| matches!(returned, Returned::Changed(_));
    let (changed, ended): (Vec<_>, Vec<_>) = tried.partition(is_changed);
    let is_silent = |(_, returned): &Tried<'_>| *returned == Returned::Ended(Ending::Silence);
    let (silent, ended): (Vec<_>, Vec<_>) = ended.into_iter().partition(is_silent);
    let mut changes = Changes::default();
    let again = confirmed(setting, changed.clone(), CHANGED)?;
    for (text, returned) in changed {
        let is_again = again.iter().any(|(other, _)| *other == text);
        match returned {
            Returned::Changed(came) if is_again => changes.changed.push((text.to_vec(), came)),
            Returned::Changed(came) => changes.fickle = changes.fickle.or(Some(came)),
            Returned::Ended(_) => {}
        }
    }
    let ended = confirmed(setting, ended, CONFIRMED)
        .and_then(|ended| Some([ended, confirmed(setting, silent, SILENT)?].concat()));
    let is_known = ended.is_some() || !changes.changed.is_empty();
    for (text, returned) in ended.unwrap_or_default() {
        if let Returned::Ended(by) = returned {
            changes.ended.push((text.to_vec(), by));
        }
    }
    is_known.then_some(changes)
}

/// Those of which the same becomes so often, while a plain text comes back each time, unless it is
/// one of them. `None` if the check was stopped before that was known.
fn confirmed<'a>(
    setting: &Setting<'_>,
    mut tried: Vec<Tried<'a>>,
    times: usize,
) -> Option<Vec<Tried<'a>>> {
    for _ in 0..times {
        if tried.is_empty() {
            break;
        }
        let texts = tried.iter().map(|(text, _)| *text);
        let texts: Vec<_> = std::iter::once(TEXTS[0]).chain(texts).collect();
        let mut again = all(setting, &texts)?.into_iter();
        let is_plain_changed = tried
            .iter()
            .any(|(text, returned)| *text == TEXTS[0] && matches!(returned, Returned::Changed(_)));
        let is_of_ends = tried
            .iter()
            .all(|(_, one)| matches!(one, Returned::Ended(_)));
        let is_plain_sound = match again.next().flatten() {
            None => true,
            Some(Returned::Changed(_)) => is_plain_changed || is_of_ends,
            Some(Returned::Ended(_)) => false,
        };
        if !is_plain_sound {
            return Some(Vec::new());
        }
        tried.retain(|(_, one)| again.next().flatten().is_some_and(|at| one.is_again(&at)));
    }
    Some(tried)
}

/// What becomes of each of these texts, several at once. `None` if the check was stopped
/// meanwhile.
fn all(setting: &Setting<'_>, texts: &[&[u8]]) -> Option<Vec<Option<Returned>>> {
    each(setting, texts, |text| returned(setting, text))
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
