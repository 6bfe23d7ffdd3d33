//! What becomes of many that are sent at once: whether the last of them are lost, and whether
//! nothing is answered for a while after them.

use std::time::{Duration, Instant};

use crate::check::datagram::findings::Ban;
use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::port::Port;
use crate::check::datagram::reachable::SMALL;
use crate::check::datagram::target::Target;
use crate::probe::datagram::socket::Options;

/// How many are sent at once, as the clause `order` sends.
const BURST: usize = 64;

/// As many bursts, with this time between two: a bucket is full again then.
const BURSTS: usize = 3;
const BETWEEN: Duration = Duration::from_millis(600);

/// So many of each burst are lost, at the least, and of as many that are sent in turn so few.
const MANY: usize = 8;
const FEW: usize = 2;
const IN_TURN: Duration = Duration::from_millis(5);

/// The fewest that pass: below it no burst is what matters.
const LEAST: usize = 3;

/// How many of each burst come back before one is lost, where one is lost in each, and none of as
/// many that are sent one after another; `None` where that is not so.
pub(super) fn limit(target: &mut Target<'_>) -> Result<Option<usize>, NotPassed> {
    let mut bursts = Vec::new();
    for _ in 0..BURSTS {
        target.pause(BETWEEN)?;
        bursts.push(answered(target, Duration::ZERO)?);
    }
    let in_turn = answered(target, IN_TURN)?;
    Ok(judge(&bursts, &in_turn))
}

/// What it means that those of each burst were answered, and those sent in turn.
fn judge(bursts: &[Vec<bool>], in_turn: &[bool]) -> Option<usize> {
    let lost = |all: &[bool]| all.iter().filter(|answered| !**answered).count();
    let is_it = bursts.iter().all(|burst| lost(burst) >= MANY) && lost(in_turn) <= FEW;
    let passed = |burst: &Vec<bool>| burst.iter().position(|answered| !answered);
    let least = bursts.iter().filter_map(passed).min();
    least.filter(|least| is_it && *least >= LEAST)
}

/// Which of so many datagrams have an answer.
fn answered(target: &mut Target<'_>, interval: Duration) -> Result<Vec<bool>, NotPassed> {
    let mut port = target.open()?;
    let datagrams: Vec<_> = (0..BURST).map(|_| target.content(SMALL)).collect();
    let all = target.ask_all(&mut port, datagrams, interval, 1)?;
    Ok(all.map(|at| port.sent[at].is_answered()).collect())
}

/// How long an answer is waited for before anything is tried, and after a burst.
const BEFORE: Duration = Duration::from_secs(10);
const AFTER: Duration = Duration::from_secs(8);

/// The time from one datagram to the next while none is answered.
const AGAIN: Duration = Duration::from_millis(250);

/// So many at so low a rate are answered, all but one, before a burst.
const SLOW: usize = 8;
const SLOW_INTERVAL: Duration = Duration::from_millis(125);

/// The burst that may be taken for an attack: at 1,000 a second, and then at once.
const AHEAD: usize = 192;

/// A bucket has a token again after less than that, if it passes the slow ones.
const LEAST_BAN: Duration = Duration::from_millis(1500);

/// Whether a source that sends many is not served for a while.
pub(super) fn ban(target: &mut Target<'_>) -> Result<Option<Ban>, NotPassed> {
    if silence(target, BEFORE)?.is_none() {
        return Ok(Some(Ban::Gone { since: BEFORE }));
    }
    let mut port = target.open()?;
    let datagrams: Vec<_> = (0..SLOW).map(|_| target.content(SMALL)).collect();
    let all = target.ask_all(&mut port, datagrams, SLOW_INTERVAL, 1)?;
    let came = all.filter(|at| port.sent[*at].is_answered()).count();
    if came + 1 < SLOW {
        return Ok(None);
    }
    for (number, interval) in [(AHEAD, Duration::from_millis(1)), (BURST, Duration::ZERO)] {
        let datagrams: Vec<_> = (0..number).map(|_| target.content(SMALL)).collect();
        target.ask_all(&mut port, datagrams, interval, 1)?;
    }
    let came = port.order.len() - came;
    let silence = silence(target, AFTER)?.unwrap_or(AFTER);
    Ok((silence >= LEAST_BAN).then_some(Ban::After { silence, came }))
}

/// How long no datagram is answered; `None` if that is longer than `most`. Each is sent from a
/// socket of its own port in turn with that which got echoes.
fn silence(target: &mut Target<'_>, most: Duration) -> Result<Option<Duration>, NotPassed> {
    let begun = Instant::now();
    while begun.elapsed() < most {
        let at = begun.elapsed();
        let mut ports: [Port; 2] = [target.open()?, target.open_any(Options::default())?];
        let until = Instant::now() + AGAIN.max(target.wait());
        for port in &mut ports {
            let bytes = target.content(SMALL);
            port.send(bytes);
        }
        for port in &mut ports {
            target.listen(port, until, &|port| port.sent[0].is_answered())?;
            if port.sent[0].is_answered() {
                return Ok(Some(at));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost_from(first: usize, every: usize) -> Vec<bool> {
        let is_answered = |at: usize| at < first || !(at - first).is_multiple_of(every);
        (0..BURST).map(is_answered).collect()
    }

    #[test]
    fn the_end_of_a_burst_is_told_from_a_loss() {
        let [whole, tail] = [lost_from(BURST, 1), lost_from(20, 1)];
        let all = |burst: &Vec<bool>| vec![burst.clone(); BURSTS];
        assert_eq!(judge(&all(&tail), &whole), Some(20));
        // Some pass while others are sent.
        assert_eq!(judge(&all(&lost_from(20, 3)), &whole), Some(20));
        assert_eq!(judge(&all(&tail), &lost_from(4, 10)), None, "a loss");
        assert_eq!(judge(&all(&lost_from(50, 3)), &whole), None, "few");
        let mut once = all(&tail);
        once[1] = whole.clone();
        assert_eq!(judge(&once, &whole), None, "not each");
        assert_eq!(judge(&all(&lost_from(0, 1)), &whole), None, "all");
    }
}
