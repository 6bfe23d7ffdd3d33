//! The largest packet that passes each way: messages of one packet each, several sizes at
//! a time, of which our system tells whether they arrived, and the echo whether they came
//! back.

use std::thread;
use std::time::Instant;

use super::connection::Connection;
use super::setting::{Setting, letters};
use crate::check::context::TICK;
use crate::check::findings::{Direction, Sizes};

/// The most sizes that are tried at once, each on a connection of its own. No more than half
/// of what was served at once before: one that waits for another's end comes back no more than
/// one that is lost.
const AT_ONCE: usize = 8;

/// The least message: what every path carries in one packet.
const LEAST: u64 = 64;

/// The largest packets of usual paths, in bytes, which are tried first: the least that each
/// host takes with IPv4 and with IPv6 (RFC 791, RFC 8200), usual ones of VPNs, WireGuard by
/// IPv6, L2TP, GRE (RFC 2784), PPPoE (RFC 2516).
const USUAL: [u64; 8] = [576, 1280, 1400, 1420, 1440, 1460, 1476, 1492];

/// How often the largest that passes and the least that does not are tried again: a packet
/// may be lost otherwise. Each is sent two times more on its own connection before it is
/// given up.
const TRIES: usize = 2;

/// The size of the segments of a stream whose echo comes in large ones, in bytes, and of
/// the stream.
const SMALL: usize = 256;
const STREAM: usize = 96 * 1024;

/// The least and the most bytes that the system takes for the size of a segment.
const SEGMENT: (u32, u32) = (88, 32_767);

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Passed {
    to_server: bool,
    back: bool,
    /// A part of it came back: somebody answers less than came, and the rest was not lost for
    /// the size of its packet.
    in_part: bool,
}

/// Finds the largest packets that pass. `None` where the system does not tell, or messages
/// of every size fail.
pub(super) fn sizes(setting: &Setting<'_>) -> Option<Sizes> {
    let full = Full::of(&setting.open().ok()?)?;
    let whole = all(setting, &[full.payload; TRIES + 1])?;
    if whole.iter().any(|passed| passed.back) {
        return Some(Sizes::All);
    }
    if whole.iter().any(|passed| passed.in_part) || !one(setting, LEAST)?.back {
        return None;
    }
    let back = |passed: Passed| passed.back;
    let (payload, direction) = match whole.iter().any(|passed| passed.to_server) {
        true => {
            let largest = largest(setting, &full, full.payload, back)?;
            // The same bytes come back in small packets.
            if !comes_back_small(setting, full.payload, largest)? {
                return None;
            }
            (largest, Direction::ToClient)
        }
        false => {
            let there = largest(setting, &full, full.payload, |passed| passed.to_server)?;
            let back = match one(setting, there)?.back {
                true => there,
                false => largest(setting, &full, there, back)?,
            };
            let is_both = back < there || !comes_back_large(setting)?;
            let direction = match is_both {
                true => Direction::Both,
                false => Direction::ToServer,
            };
            (back, direction)
        }
    };
    let bytes = u32::try_from(payload + full.headers).ok()?;
    Some(Sizes::UpTo { bytes, direction })
}

/// A packet of full size.
#[derive(Clone, Copy, Debug)]
struct Full {
    /// The bytes of a message that it carries.
    payload: u64,
    /// The headers of IP and TCP, in bytes.
    headers: u64,
}

impl Full {
    fn of(connection: &Connection<'_>) -> Option<Self> {
        let view = connection.view()?;
        let timestamps = match view.options?.timestamps {
            true => 12,
            false => 0,
        };
        let ip = match connection.is_v6() {
            true => 40,
            false => 20,
        };
        Some(Self {
            payload: view.mss_sent_bytes?,
            headers: ip + 20 + timestamps,
        })
    }
}

/// The largest message below `fails` bytes for which that holds; one of the least size does.
fn largest(
    setting: &Setting<'_>,
    full: &Full,
    fails: u64,
    holds: impl Fn(Passed) -> bool,
) -> Option<u64> {
    let (mut passes, mut fails) = (LEAST, fails);
    // A path whose packets carry less than that is none that is told apart here.
    if fails <= passes {
        return None;
    }
    let usual = USUAL.map(|packet| packet.saturating_sub(full.headers));
    while fails - passes > 1 {
        let sizes = next(&usual, passes, fails, at_once(setting));
        for (size, passed) in sizes.iter().zip(all(setting, &sizes)?) {
            match holds(passed) {
                true => passes = passes.max(*size),
                false => fails = fails.min(*size),
            }
        }
        if setting.is_stopped() || fails <= passes {
            return None;
        }
    }
    let again = all(setting, &[passes, fails].repeat(TRIES))?;
    let pairs = again.chunks(2);
    let is_sound = pairs
        .map(|pair| [holds(pair[0]), holds(pair[1])])
        .fold([false; 2], |any, pair| {
            [any[0] || pair[0], any[1] || pair[1]]
        });
    (is_sound == [true, false]).then_some(passes)
}

/// How many sizes may be tried at once.
fn at_once(setting: &Setting<'_>) -> usize {
    (setting.width / 2).clamp(1, AT_ONCE)
}

/// The sizes to try next: usual ones between the two, as many as may be tried at once, spread
/// over them. Where a usual size is the largest that passes, the next one fails; then parts of
/// what is left.
fn next(usual: &[u64], passes: u64, fails: u64, at_once: usize) -> Vec<u64> {
    let between: Vec<_> = usual
        .iter()
        .copied()
        .filter(|size| (passes + 1..fails).contains(size))
        .collect();
    let spread = |all: usize| {
        let number = at_once.min(all);
        (0..number).map(move |at| (2 * at + 1) * all / (2 * number))
    };
    if !between.is_empty() {
        return spread(between.len()).map(|at| between[at]).collect();
    }
    let left = usize::try_from(fails - passes - 1).unwrap_or(usize::MAX);
    let mut sizes: Vec<_> = spread(left).map(|at| passes + 1 + at as u64).collect();
    if usual.contains(&passes) {
        sizes[0] = passes + 1;
    }
    sizes
}

/// What becomes of one message of each size, as many at once as may be.
fn all(setting: &Setting<'_>, sizes: &[u64]) -> Option<Vec<Passed>> {
    let parts = sizes.chunks(at_once(setting));
    let passed = parts.map(|part| together(setting, part));
    Some(passed.collect::<Option<Vec<_>>>()?.concat())
}

/// All at once, where the system starts as many threads.
fn together(setting: &Setting<'_>, sizes: &[u64]) -> Option<Vec<Passed>> {
    thread::scope(|scope| {
        let start = |size: &u64| {
            let size = *size;
            let thread = thread::Builder::new().spawn_scoped(scope, move || one(setting, size));
            thread.map_err(|_| one(setting, size))
        };
        let threads: Vec<_> = sizes.iter().map(start).collect();
        let passed = threads.into_iter().map(|thread| match thread {
            Ok(thread) => thread.join().ok()?,
            Err(done) => done,
        });
        passed.collect()
    })
}

/// Sends one message in one packet, and sees what becomes of it.
fn one(setting: &Setting<'_>, size: u64) -> Option<Passed> {
    let connection = setting.open().ok()?;
    let message = letters(size as usize);
    if connection.send_some(&message) != Ok(message.len()) {
        return None;
    }
    let until = Instant::now() + setting.patience();
    let (mut came, mut block) = (0, vec![0; message.len()]);
    loop {
        // An end is seen as what does not come.
        came += connection.receive_some(&mut block).unwrap_or_default();
        let to_server = connection.view()?.unacknowledged? == 0;
        let passed = Passed {
            to_server,
            back: came >= message.len(),
            in_part: (1..message.len()).contains(&came),
        };
        if passed.back || Instant::now() >= until || setting.is_stopped() {
            return Some(passed);
        }
        thread::sleep(TICK / 10);
    }
}

/// Whether a message of so many bytes comes back whole where the server is told to send no
/// more than `passes` of them in a packet.
fn comes_back_small(setting: &Setting<'_>, size: u64, passes: u64) -> Option<bool> {
    let segment =
        u32::try_from(passes).map_or(SEGMENT.1, |bytes| bytes.clamp(SEGMENT.0, SEGMENT.1));
    let connection = setting.open_small(segment).ok()?;
    let patience = setting.patience();
    if connection.send(&letters(size as usize), patience).is_some() {
        return Some(false);
    }
    Some(connection.receive(size as usize, patience).1.is_none())
}

/// Whether a stream that is sent in small segments comes back, though its echo comes in
/// large ones: more than the server may have on its way waits there and is put together.
fn comes_back_large(setting: &Setting<'_>) -> Option<bool> {
    let connection = setting.open().ok()?;
    let part = letters(SMALL);
    let mut came = 0;
    for _ in 0..STREAM / SMALL {
        if connection.send_segment(&part, setting.patience()).is_some() {
            return Some(false);
        }
    }
    while came < STREAM {
        let (bytes, end) = connection.receive(STREAM - came, setting.patience());
        came += bytes.len();
        if end.is_some() {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds the largest that passes; how many are tried one after another.
    fn found(largest: u64, at_once: usize) -> u32 {
        let usual = USUAL.map(|packet| packet - 52);
        let (mut passes, mut fails, mut rounds) = (LEAST, 1448, 0);
        while fails - passes > 1 {
            let sizes = next(&usual, passes, fails, at_once);
            assert!(!sizes.is_empty() && sizes.len() <= at_once);
            for size in sizes {
                assert!((passes + 1..1448).contains(&size), "{size}");
                match size <= largest {
                    true => passes = passes.max(size),
                    false => fails = fails.min(size),
                }
            }
            rounds += 1;
        }
        assert_eq!((passes, fails), (largest, largest + 1));
        rounds
    }

    #[test]
    fn the_largest_that_passes_is_found_however_few_are_tried_at_once() {
        for largest in [65, 524, 1228, 1229, 1300, 1348, 1440, 1446] {
            for at_once in [1, 2, 3, 8] {
                let rounds = found(largest, at_once);
                assert!(rounds <= 16, "{largest}, {at_once} at once: {rounds}");
            }
        }
        // A usual one.
        assert!(found(1228, 1) <= 5);
        assert!(found(1228, 8) <= 2);
    }
}
