//! A connection that we reset, beside others.

use std::time::Duration;

use super::clause::Clause;
use super::ended::Ended;
use super::line::Line;
use super::parallel::each;
use super::probe::Probe;
use super::protocol::{receive_reply, round_trip, send_request};
use crate::proto::Protocol;

pub(super) const RESET: Clause = Clause {
    name: "reset",
    proves: "a connection that we reset in mid-stream harms no other, and the next one is served",
    usually: "the server ends, or a worker, on an error of one connection; or a buffer or a pipe \
              with one client's bytes in it is given to the next",
    rfc: "RFC 9293 section 3.5.3",
    run: reset,
};

/// Connections that are reset, one after another.
const VICTIMS: u64 = 8;

/// Connections that stand beside each.
const OTHERS: usize = 3;

/// The most that a victim has under way, in bytes; of these some at random. But every
/// so many victims one fills the path: then the server has something in hand that it
/// can't send, and what becomes of that is the question.
const SOME: u64 = 1 << 20;
const FULL: u64 = 64 << 20;
const FULL_EVERY: u64 = 4;

/// What those that stay exchange in one go, in bytes, read so late. A server may have
/// another way for streams than for messages, with buffers that connections share, and
/// takes for a stream what comes in large pieces.
const BULK: u64 = 1 << 20;
const LATENESS: Duration = Duration::from_millis(10);

/// What a server that falls over needs to do so.
const REACTION: Duration = Duration::from_millis(10);

fn reset(probe: &Probe<'_>) -> Result<String, Ended> {
    let mut random = fastrand::Rng::with_seed(probe.plan().seed);
    for victim in 1..=VICTIMS {
        let most = match victim % FULL_EVERY {
            1 => FULL,
            _ => random.u64(1..SOME),
        };
        let beside = round(probe, most).map_err(Ended::by_clause);
        beside.map_err(|ended| ended.at(&format!("beside reset {victim}")))?;
        let next = probe.open().map_err(Ended::by_clause).and_then(|line| {
            stream(probe, &line)?;
            line.finish()
        });
        next.map_err(|ended| ended.at(&format!("after reset {victim}")))?;
    }
    Ok(format!(
        "{VICTIMS} connections were reset; {OTHERS} beside each and one after it lost nothing, \
         and got nothing of others"
    ))
}

/// One victim, in the middle of what the others send.
fn round(probe: &Probe<'_>, most: u64) -> Result<(), Ended> {
    let is_echo = probe.plan().protocol == Protocol::Echo;
    let others: Vec<_> = (0..OTHERS)
        .map(|_| probe.open())
        .collect::<Result<_, _>>()?;
    let victim = probe.open()?;
    if is_echo {
        each(&others, OTHERS, send_request)?;
    }
    match victim.flood(most) {
        // A counted server ends it by itself when too much comes, and may; another one
        // when it takes nothing, of which slow-reader tells.
        Err(Ended::Failed { .. }) => {}
        sent => drop(sent?),
    }
    // Without being finished, it is reset.
    drop(victim);
    probe.context.pause(REACTION)?;
    if is_echo {
        each(&others, OTHERS, receive_reply)?;
    }
    each(&others, OTHERS, |line| stream(probe, line))?;
    others.into_iter().try_for_each(Line::finish)
}

/// A message there and back, and in the echo protocol a stream behind it.
fn stream(probe: &Probe<'_>, line: &Line<'_>) -> Result<(), Ended> {
    round_trip(line)?;
    match probe.plan().protocol {
        Protocol::Echo => line.exchange_late(BULK, LATENESS),
        _ => Ok(()),
    }
}
