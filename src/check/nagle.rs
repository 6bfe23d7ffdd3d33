//! Whether small writes are delayed by Nagle's algorithm.
//!
//! Nagle's algorithm holds a small segment back until the one before it is
//! acknowledged, and a receiver may delay that, on Linux by 40 ms. So a server
//! that has not switched it off sometimes answers two small writes late. Every other
//! exchange is acknowledged at once, so that nothing is held back: that distinguishes
//! Nagle's delay from a path whose round-trip times vary.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::clause::{Clause, Load};
use super::connection::Connection;
use super::not_passed::NotPassed;
use super::observation::End;
use super::parallel::{open_together, together};
use super::target::Target;
use crate::base::units::duration;

pub(super) const SMALL_WRITES: Clause = Clause {
    name: "small-writes",
    proves: "small writes are answered at once, however late we acknowledge",
    usually: "the server or a proxy has not set TCP_NODELAY: Nagle's algorithm waits for our \
              delayed acknowledgement",
    rfc: "RFC 896, RFC 9293 sections 3.7.4 and 3.8.6.3",
    load: Load::waits(LONG_CONNECTIONS),
    run: small_writes,
};

/// Exchanges of each kind: the most; the least, however slow the path is; and the part of the
/// budget, or else of the time-out, after which no more than the least are made.
const MOST: u32 = 400;
const LEAST: u32 = 10;
const PART: u32 = 2;

/// How many connections share the exchanges where the least would take longer than that.
const LONG_CONNECTIONS: usize = 4;

/// The size of each of the two writes of an exchange, in bytes.
const WRITE: u64 = 20;

/// The second write must arrive after the first has been read, and be sent before the
/// first one's echo arrives. On loopback that window is microseconds wide, so the gap
/// takes every fraction of a round trip: the fractional parts of multiples of the golden
/// ratio are spread evenly, however many there are.
const STEP: f64 = 0.618_033_988_749_895;

/// An exchange that takes this much longer than the fastest one was held back. It is less
/// than any delay of an acknowledgement, which is a timer of this system and in no round
/// trips: 40 ms and more on Linux, and up to 500 ms are allowed (RFC 1122 section 4.2.3.2).
const HELD: Duration = Duration::from_millis(30);

/// The clause fails if at least `ENOUGH` exchanges were held back, and `CLEARLY` times as
/// many as of those acknowledged at once, plus one. A lost packet that is retransmitted,
/// after 200 ms or a few round trips, delays both kinds alike.
const ENOUGH: usize = 6;
const CLEARLY: usize = 4;

fn small_writes(target: &Target<'_>) -> Result<String, NotPassed> {
    // On a long path, several connections together; on a short one the processors are busy.
    let time = target.budget(PART).unwrap_or(target.plan().timeout / PART);
    let number = match target.context.round_trip() * LEAST * 3 > time {
        true => LONG_CONNECTIONS.min(target.shared.width()),
        false => 1,
    };
    let connections = open_together(target, number)?;
    let all = Mutex::new((Duration::MAX, Vec::new(), Vec::new()));
    together(&connections, |_, connection| {
        let (fastest, late, prompt) = exchanges(connection, LEAST.div_ceil(number as u32), time)?;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.0 = all.0.min(fastest);
        all.1.extend(late);
        all.2.extend(prompt);
        Ok(())
    })?;
    connections.into_iter().try_for_each(Connection::finish)?;
    let (fastest, late, prompt) = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    judge(fastest, &late, &prompt)
}

/// The fastest exchange, and how long those took that were acknowledged late, and at once.
type Times = (Duration, Vec<Duration>, Vec<Duration>);

/// Makes as many exchanges of each kind as there is `time` for, and no fewer than `least`.
fn exchanges(connection: &Connection<'_>, least: u32, time: Duration) -> Result<Times, NotPassed> {
    let started = Instant::now();
    let mut fastest = exchange(connection, Duration::ZERO, true)?;
    let (mut late, mut prompt) = (Vec::new(), Vec::new());
    for at in 0..MOST {
        if at >= least && started.elapsed() >= time {
            break;
        }
        let gap = fastest.mul_f64((f64::from(at) * STEP).fract());
        late.push(exchange(connection, gap, false)?);
        prompt.push(exchange(connection, gap, true)?);
        fastest = fastest
            .min(late[late.len() - 1])
            .min(prompt[prompt.len() - 1]);
    }
    Ok((fastest, late, prompt))
}

/// Sends two small writes and receives their echo. Returns how long that took.
fn exchange(
    connection: &Connection<'_>,
    gap: Duration,
    prompt: bool,
) -> Result<Duration, NotPassed> {
    acknowledge(connection, prompt);
    let started = Instant::now();
    connection.send(WRITE)?;
    wait_until(started + gap);
    connection.send(WRITE)?;
    if prompt {
        // Also what arrived during the gap.
        acknowledge(connection, prompt);
    }
    connection.receive(2 * WRITE)?;
    Ok(started.elapsed())
}

/// Waits precisely: a sleep of less than a millisecond takes longer, so it spins.
fn wait_until(time: Instant) {
    let left = time.saturating_duration_since(Instant::now());
    if left >= Duration::from_millis(1) {
        std::thread::sleep(left);
    }
    while Instant::now() < time {
        std::hint::spin_loop();
    }
}

/// Compares the times of exchanges that were acknowledged late, and at once.
fn judge(fastest: Duration, late: &[Duration], prompt: &[Duration]) -> Result<String, NotPassed> {
    let held = |times: &[Duration]| -> Vec<_> {
        let held = times.iter().filter(|time| **time >= fastest + HELD);
        held.copied().collect()
    };
    let (mut held, beside) = (held(late), held(prompt).len());
    let (all, slow, quick) = (late.len(), held.len(), duration(fastest));
    if slow < ENOUGH {
        let none = match slow {
            0 => String::from("none"),
            _ => format!("no more than {slow}"),
        };
        return Ok(format!(
            "{all} pairs of small writes, {none} held back, the fastest took {quick}"
        ));
    }
    held.sort();
    let by = held[slow / 2].saturating_sub(fastest);
    let longer = duration(by);
    let seen = format!(
        "{slow} of {all} pairs of small writes took {longer} longer than the fastest ({quick})"
    );
    match slow >= CLEARLY * (beside + 1) {
        true => Err(NotPassed::ended(
            format!("{seen}, and of those that were acknowledged at once {beside}"),
            End::Late {
                late: slow,
                of: all,
                by,
            },
        )),
        false => Ok(format!(
            "{seen}, but {beside} that were acknowledged at once did so too: the path's times vary, \
             or it loses packets"
        )),
    }
}

/// Chooses whether the next segments are acknowledged at once, where the system allows it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn acknowledge(connection: &Connection<'_>, prompt: bool) {
    // If it fails, the exchange counts as one of the other kind, which weakens the result only.
    let _ = connection.socket().set_tcp_quickack(prompt);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn acknowledge(_: &Connection<'_>, _: bool) {}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(100);

    fn times(quick: usize, held: usize) -> Vec<Duration> {
        let quick = std::iter::repeat_n(QUICK, quick);
        let held = std::iter::repeat_n(Duration::from_millis(41), held);
        quick.chain(held).collect()
    }

    #[test]
    fn only_delays_that_prompt_acknowledgements_avoid_are_nagles() {
        let few = judge(QUICK, &times(35, 5), &times(40, 0)).unwrap();
        assert!(few.contains("no more than 5 held back"), "{few}");
        // One packet in a hundred was lost, none of them in the prompt exchanges.
        let loss = judge(QUICK, &times(38, 7), &times(44, 1)).unwrap();
        assert!(loss.ends_with("vary, or it loses packets"), "{loss}");
        let vary = judge(QUICK, &times(30, 10), &times(30, 10)).unwrap();
        assert!(vary.starts_with("10 of 40 "), "{vary}");
        assert!(vary.contains("but 10 that were acknowledged"), "{vary}");
        let Err(NotPassed::Failed { seen, .. }) = judge(QUICK, &times(20, 20), &times(38, 2))
        else {
            panic!("20 that were held back are no accident");
        };
        assert!(seen.starts_with("20 of 40 "), "{seen}");
        assert!(seen.contains(" took 40.9 ms longer than "), "{seen}");
        assert!(seen.ends_with(" acknowledged at once 2"), "{seen}");
    }
}
