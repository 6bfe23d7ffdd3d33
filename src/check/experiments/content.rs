//! Which bytes end a connection: what was under way when one ended is sent again, beside other
//! bytes of the same length, and cut down to the bytes that do it.

use std::thread;
use std::time::{Duration, Instant};

use super::each::{at_once, each};
use super::setting::{Setting, letters};
use crate::check::findings::{Content, Ending};

/// The most windows that are sent again, the shortest first.
const WINDOWS: usize = 4;

/// What is sent behind each: something that leaves bytes out brings it back all the same.
const BEHIND: &[u8] = b"qzqzqzqzqzqzqzqz";

/// How often what is found must end a connection, and the same with one byte changed must come
/// back. Silence may be a lost packet.
const CONFIRMED: usize = 4;

/// Ends of a window that are tried first: what is looked for is mostly short.
const SHORT: [usize; 8] = [1, 2, 3, 4, 6, 8, 16, 32];

/// The pause between looks at the socket.
const LOOK: Duration = Duration::from_micros(200);

/// Finds bytes that end a connection in one of these windows. `None` where none of them does so
/// again, or others of its length do as well.
pub(super) fn content(setting: &Setting<'_>, windows: &[&[u8]]) -> Option<Content> {
    for window in windows.iter().take(WINDOWS) {
        let others = controls(window.len());
        let mut tried: Vec<&[u8]> = vec![window];
        tried.extend(others.iter().map(|other| &other[..]));
        let ends = each(setting, &tried, |bytes| ending(setting, bytes))?;
        let (Some(by), Some(sound)) = (ends[0], ends[1..].iter().position(Option::is_none)) else {
            continue;
        };
        let is_ending = |bytes: &[u8]| is_by(ending(setting, bytes), by);
        let up_to = least(setting, window.len(), |length| is_ending(&window[..length]))?;
        let window = &window[..up_to];
        let from_end = |length: usize| is_ending(&window[up_to - length..]);
        let length = shortest(setting, up_to, from_end)?;
        let found = &window[up_to - length..];
        if is_confirmed(setting, found, by, sound)? {
            let bytes = found.to_vec();
            return Some(Content { bytes, by });
        }
    }
    None
}

/// Other bytes of the same length. What is looked for may be letters.
fn controls(length: usize) -> [Vec<u8>; 2] {
    let mut reversed = letters(length);
    reversed.reverse();
    [letters(length), reversed]
}

/// Whether it ended so. What is sent after a close is answered by a reset.
fn is_by(end: Option<Ending>, by: Ending) -> bool {
    end.is_some_and(|end| (end == Ending::Silence) == (by == Ending::Silence))
}

/// The least length at which that holds; at the whole length it does.
fn least(
    setting: &Setting<'_>,
    whole: usize,
    holds: impl Fn(usize) -> bool + Sync,
) -> Option<usize> {
    between(setting, 0, whole, &holds)
}

/// The same, where it is likely short.
fn shortest(
    setting: &Setting<'_>,
    whole: usize,
    holds: impl Fn(usize) -> bool + Sync,
) -> Option<usize> {
    let mut lengths: Vec<_> = SHORT.into_iter().filter(|length| *length < whole).collect();
    lengths.push(whole);
    let first = each(setting, &lengths, |length| holds(*length))?;
    let at = first.iter().position(|is_it| *is_it)?;
    let below = at.checked_sub(1).map_or(0, |at| lengths[at]);
    between(setting, below, lengths[at], &holds)
}

/// The least length above `fails` at which that holds; at `holding` it does.
fn between(
    setting: &Setting<'_>,
    mut fails: usize,
    mut holding: usize,
    holds: &(impl Fn(usize) -> bool + Sync),
) -> Option<usize> {
    while holding - fails > 1 {
        let lengths = spread(fails, holding, at_once(setting));
        let all = each(setting, &lengths, |length| holds(*length))?;
        for (length, is_it) in lengths.into_iter().zip(all) {
            match is_it {
                true => holding = holding.min(length),
                false => fails = fails.max(length),
            }
        }
        // Not the same each time: no matter of content.
        if fails >= holding {
            return None;
        }
    }
    Some(holding)
}

/// So many lengths between the two, evenly.
fn spread(fails: usize, holding: usize, number: usize) -> Vec<usize> {
    let left = holding - fails - 1;
    let number = number.min(left);
    (1..=number)
        .map(|at| fails + (left + 1) * at / (number + 1))
        .collect()
}

/// Whether these bytes end each connection so, while they come back with one of them changed, and
/// while other bytes do.
fn is_confirmed(setting: &Setting<'_>, found: &[u8], by: Ending, sound: usize) -> Option<bool> {
    for round in 0..CONFIRMED {
        let mut changed = found.to_vec();
        let byte = &mut changed[round % found.len()];
        *byte = if *byte == b'q' { b'z' } else { b'q' };
        let other = &controls(found.len())[sound];
        let tried = [found, &changed, other];
        let ends = each(setting, &tried, |bytes| ending(setting, bytes))?;
        if !is_by(ends[0], by) || ends[1].is_some() || ends[2].is_some() {
            return Some(false);
        }
    }
    Some(true)
}

/// How a connection ended on which these bytes were sent, if before all had come back. One on
/// which other bytes came did not end for these.
fn ending(setting: &Setting<'_>, bytes: &[u8]) -> Option<Ending> {
    let connection = setting.open().ok()?;
    let all = [bytes, BEHIND].concat();
    let (mut sent, mut came, mut into) = (0, 0, vec![0; 64 * 1024]);
    let mut moved = Instant::now();
    while came < all.len() {
        let went = match sent < all.len() {
            true => connection.send_some(&all[sent..]),
            false => Ok(0),
        };
        let got = connection.receive_some(&mut into);
        let (went, got) = match (went, got) {
            (Ok(went), Ok(got)) => (went, got),
            (_, Err(end)) | (Err(end), _) => return Some(end),
        };
        sent += went;
        let is_same = all[came..].starts_with(&into[..got]);
        came += got;
        if !is_same || setting.is_stopped() {
            return None;
        }
        if went + got > 0 {
            moved = Instant::now();
        } else if moved.elapsed() > setting.patience() {
            return Some(Ending::Silence);
        } else {
            thread::sleep(LOOK);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_spread_between_the_two_and_are_neither() {
        assert_eq!(spread(0, 2, 8), [1]);
        assert_eq!(spread(3, 7, 8), [4, 5, 6]);
        assert_eq!(spread(0, 16_384, 1), [8_192]);
        for number in 1..=8 {
            let lengths = spread(100, 1_000, number);
            assert_eq!(lengths.len(), number);
            assert!(lengths.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(lengths.iter().all(|length| (101..1_000).contains(length)));
        }
    }
}
