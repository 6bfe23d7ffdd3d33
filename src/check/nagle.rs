//! What small writes wait for.
//!
//! Nagle's algorithm holds a small segment back until the one before it is
//! acknowledged, and a receiver may delay that, on Linux by 40 ms. So a server
//! that has not switched it off answers two small writes late now and then. It is
//! told from a path whose times just vary by acknowledging at once in every other
//! exchange: then there is nothing to wait for.

use std::time::{Duration, Instant};

use super::clause::Clause;
use super::ended::Ended;
use super::line::Line;
use super::probe::Probe;
use crate::base::units::duration;

pub(super) const SMALL_WRITES: Clause = Clause {
    name: "small-writes",
    proves: "small writes are answered at once, however late we acknowledge",
    usually: "the server or a proxy has not set TCP_NODELAY: Nagle's algorithm waits for our \
              delayed acknowledgement",
    rfc: "RFC 896, RFC 9293 sections 3.7.4 and 3.8.6.3",
    run: small_writes,
};

/// Exchanges of each kind: at the most; at the least, however slow the path is;
/// and how long they may take all together beyond that.
const MOST: u32 = 400;
const LEAST: u32 = 10;
const TIME: Duration = Duration::from_secs(1);

/// The two writes of an exchange, in bytes each.
const WRITE: u64 = 20;

/// The second write must arrive when the first has been read, and leave before
/// the first one's echo is here. On loopback that is a matter of microseconds, so
/// it is sent after every part of a round trip: multiples of the golden ratio,
/// less their whole parts, are spread evenly however many they are.
const STEP: f64 = 0.618_033_988_749_895;

/// An exchange that takes so much longer than the fastest one was held back:
/// less than any delay of an acknowledgement.
const HELD: Duration = Duration::from_millis(30);

/// So many exchanges that were held back are no accident, if they are so many times as
/// many as of those that were acknowledged at once, and one more: what is lost on the
/// way and sent again, after 200 ms or a few round trips, is as late in both kinds.
const ENOUGH: usize = 6;
const CLEARLY: usize = 4;

fn small_writes(probe: &Probe<'_>) -> Result<String, Ended> {
    let line = probe.open()?;
    let started = Instant::now();
    let mut fastest = exchange(&line, Duration::ZERO, true)?;
    let (mut late, mut prompt) = (Vec::new(), Vec::new());
    for at in 0..MOST {
        if at >= LEAST && started.elapsed() >= TIME {
            break;
        }
        let gap = fastest.mul_f64((f64::from(at) * STEP).fract());
        late.push(exchange(&line, gap, false)?);
        prompt.push(exchange(&line, gap, true)?);
        fastest = fastest
            .min(late[late.len() - 1])
            .min(prompt[prompt.len() - 1]);
    }
    line.finish()?;
    judge(fastest, &late, &prompt)
}

/// Two small writes and their echo. Returns how long they took.
fn exchange(line: &Line<'_>, gap: Duration, prompt: bool) -> Result<Duration, Ended> {
    acknowledge(line, prompt);
    let started = Instant::now();
    line.send(WRITE)?;
    wait_until(started + gap);
    line.send(WRITE)?;
    if prompt {
        // What has come meanwhile, too.
        acknowledge(line, prompt);
    }
    line.receive(2 * WRITE)?;
    Ok(started.elapsed())
}

/// As exactly as it goes: a sleep of less than a millisecond takes longer.
fn wait_until(time: Instant) {
    let left = time.saturating_duration_since(Instant::now());
    if left >= Duration::from_millis(1) {
        std::thread::sleep(left);
    }
    while Instant::now() < time {
        std::hint::spin_loop();
    }
}

/// What the times say: of exchanges that were acknowledged late, and at once.
fn judge(fastest: Duration, late: &[Duration], prompt: &[Duration]) -> Result<String, Ended> {
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
    let longer = duration(held[slow / 2].saturating_sub(fastest));
    let seen = format!(
        "{slow} of {all} pairs of small writes took {longer} longer than the fastest ({quick})"
    );
    match slow >= CLEARLY * (beside + 1) {
        true => Err(Ended::failed(format!(
            "{seen}, and of those that were acknowledged at once {beside}"
        ))),
        false => Ok(format!(
            "{seen}, but {beside} that were acknowledged at once did so too: the path's times vary, \
             or it loses packets"
        )),
    }
}

/// Whether what comes next is acknowledged at once or late, where that can be said.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn acknowledge(line: &Line<'_>, prompt: bool) {
    // Should it fail, the exchange is one of the other kind.
    let _ = line.socket().set_tcp_quickack(prompt);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn acknowledge(_: &Line<'_>, _: bool) {}

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
    fn only_what_late_acknowledgements_hold_back_is_nagles() {
        let few = judge(QUICK, &times(35, 5), &times(40, 0)).unwrap();
        assert!(few.contains("no more than 5 held back"), "{few}");
        // One packet in a hundred was lost, and not one of those in every other exchange.
        let loss = judge(QUICK, &times(38, 7), &times(44, 1)).unwrap();
        assert!(loss.ends_with("vary, or it loses packets"), "{loss}");
        let vary = judge(QUICK, &times(30, 10), &times(30, 10)).unwrap();
        assert!(vary.starts_with("10 of 40 "), "{vary}");
        assert!(vary.contains("but 10 that were acknowledged"), "{vary}");
        let Err(Ended::Failed { seen, .. }) = judge(QUICK, &times(20, 20), &times(38, 2)) else {
            panic!("20 that were held back are no accident");
        };
        assert!(seen.starts_with("20 of 40 "), "{seen}");
        assert!(seen.contains(" took 40.9 ms longer than "), "{seen}");
        assert!(seen.ends_with(" acknowledged at once 2"), "{seen}");
    }
}
