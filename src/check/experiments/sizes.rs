//! The largest packet that passes each way: messages of one packet each, several sizes at
//! a time, of which our system tells whether they arrived, and the echo whether they came
//! back.

use std::thread;
use std::time::Instant;

use super::connection::Connection;
use super::setting::{Setting, letters};
use crate::check::context::TICK;
use crate::check::findings::{Direction, Sizes};

/// Sizes that are tried at once, each on a connection of its own: the least and the most. No
/// more than half of what was served at once before.
const AT_ONCE: (usize, usize) = (4, 8);

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
    let usual = USUAL.map(|packet| packet.saturating_sub(full.headers));
    let mut sizes = usual.to_vec();
    let at_once = (setting.width / 2).clamp(AT_ONCE.0, AT_ONCE.1);
    loop {
        sizes.retain(|size| (passes + 1..fails).contains(size));
        for sizes in sizes.chunks(at_once) {
            for (size, passed) in sizes.iter().zip(all(setting, sizes)?) {
                match holds(passed) {
                    true => passes = passes.max(*size),
                    false => fails = fails.min(*size),
                }
            }
        }
        if setting.is_stopped() || fails <= passes {
            return None;
        }
        if fails - passes == 1 {
            break;
        }
        // Where a usual size is the largest, the next one fails.
        let parts = (at_once as u64).min(fails - passes);
        sizes = (1..parts)
            .map(|part| passes + (fails - passes) * part / parts)
            .collect();
        if !sizes.contains(&(passes + 1)) {
            sizes.insert(0, passes + 1);
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

/// What becomes of one message of each size, all at once where the system starts as many
/// threads.
fn all(setting: &Setting<'_>, sizes: &[u64]) -> Option<Vec<Passed>> {
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
