//! The largest packet that passes each way: messages of one packet each, several sizes at
//! a time, of which our system tells whether they arrived, and the echo whether they came
//! back.

use std::thread;
use std::time::Instant;

use super::connection::Connection;
use super::setting::{Setting, letters};
use crate::check::context::TICK;
use crate::check::findings::{Direction, Sizes};

/// Sizes that are tried at once: no more connections than a small limit allows.
const AT_ONCE: usize = 4;

/// The least message: what every path carries in one packet.
const LEAST: u64 = 64;

/// How often a result is seen before it is believed: one packet may be lost otherwise.
const TRIES: u32 = 2;

/// The size of the segments of a stream whose echo comes in large ones, in bytes, and of
/// the stream.
const SMALL: usize = 256;
const STREAM: usize = 96 * 1024;

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Passed {
    to_server: bool,
    back: bool,
}

/// Finds the largest packets that pass. `None` where the system does not tell, or messages
/// of every size fail.
pub(super) fn sizes(setting: &Setting<'_>) -> Option<Sizes> {
    let full = Full::of(&setting.open().ok()?)?;
    let whole = (0..=TRIES).map(|_| one(setting, full.payload));
    let whole = whole.collect::<Option<Vec<_>>>()?;
    if whole.iter().any(|passed| passed.back) || !one(setting, LEAST)?.back {
        return Some(Sizes::All).filter(|_| whole.iter().any(|passed| passed.back));
    }
    let to_server = whole.iter().any(|passed| passed.to_server);
    let (payload, direction) = match to_server {
        true => {
            let largest = largest(setting, full.payload, |passed| passed.back)?;
            (largest, Direction::ToClient)
        }
        false => {
            let there = largest(setting, full.payload, |passed| passed.to_server)?;
            let back = largest(setting, there + 1, |passed| passed.back)?;
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
fn largest(setting: &Setting<'_>, fails: u64, holds: fn(Passed) -> bool) -> Option<u64> {
    let (mut passes, mut fails) = (LEAST, fails);
    while fails - passes > 1 {
        // Evenly between both.
        let parts = (AT_ONCE as u64 + 1).min(fails - passes);
        let sizes: Vec<_> = (1..parts)
            .map(|part| passes + (fails - passes) * part / parts)
            .collect();
        let all: Vec<_> = thread::scope(|scope| {
            let start = |size: &u64| {
                let size = *size;
                scope.spawn(move || try_often(setting, size, holds))
            };
            let threads: Vec<_> = sizes.iter().map(start).collect();
            let done = threads
                .into_iter()
                .map(|thread| thread.join().ok().flatten());
            done.collect()
        });
        for (size, held) in sizes.iter().zip(all) {
            match held? {
                true => passes = passes.max(*size),
                false => fails = fails.min(*size),
            }
        }
        if setting.is_stopped() || fails <= passes {
            return None;
        }
    }
    Some(passes)
}

/// Whether it holds for a message of that size, in one of some tries.
fn try_often(setting: &Setting<'_>, size: u64, holds: fn(Passed) -> bool) -> Option<bool> {
    for _ in 0..TRIES {
        if holds(one(setting, size)?) {
            return Some(true);
        }
    }
    Some(false)
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
        };
        if passed.back || Instant::now() >= until || setting.is_stopped() {
            return Some(passed);
        }
        thread::sleep(TICK / 10);
    }
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
