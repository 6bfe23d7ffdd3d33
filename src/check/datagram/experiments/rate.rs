//! Whether more is lost the faster datagrams are sent.

use std::time::Duration;

use crate::check::datagram::findings::{Loss, Rate, Slow};
use crate::check::datagram::load::missing;
use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::reachable::SMALL;
use crate::check::datagram::target::Target;

/// So few that no limit is in the way.
const SLOW: usize = 12;
const SLOW_PER_S: u32 = 4;

/// As many as are sent in the second before those that count: a token bucket is empty then.
const AHEAD: usize = 1500;

/// Those that count, and the time in which they are sent.
const FAST: usize = 1000;
const FAST_INTERVAL: Duration = Duration::from_millis(1);
const FAST_SECONDS: f64 = 1.0;

/// At least so many of 100 of those that come back at a low rate do not at a high one, where
/// there is a limit: as many are not lost by chance.
const LESS: f64 = 0.6;

/// Datagrams that are counted to measure the loss, and the time between two.
const COUNTED: usize = 300;
const COUNTED_INTERVAL: Duration = Duration::from_millis(10);

/// Compares a low rate with a high one.
pub(super) fn rate(target: &mut Target<'_>) -> Result<Rate, NotPassed> {
    let slow = SLOW - missing(target, SLOW, Duration::from_secs(1) / SLOW_PER_S)?.all();
    let mut port = target.open()?;
    let datagrams = (0..AHEAD + FAST).map(|_| target.content(SMALL));
    let datagrams = datagrams.collect();
    let all = target.ask_all(&mut port, datagrams, FAST_INTERVAL, 1)?;
    let counted = all.skip(AHEAD);
    let fast = counted.filter(|at| port.sent[*at].is_answered()).count();
    Ok(judge(slow, fast))
}

/// What so many answers to those of the low rate and of the high one mean.
fn judge(slow: usize, fast: usize) -> Rate {
    let part = |answered: usize, of: usize| answered as f64 / of as f64;
    // Where few come back at a low rate, so few more are chance.
    let is_limited = slow * 2 >= SLOW && part(fast, FAST) < LESS * part(slow, SLOW);
    match is_limited {
        true => Rate::Limited {
            per_s: fast as f64 / FAST_SECONDS,
            slow: Slow {
                came: slow,
                of: SLOW,
                per_s: SLOW_PER_S,
            },
        },
        false => Rate::Alike,
    }
}

/// Measures the loss at a low rate.
pub(super) fn loss(target: &mut Target<'_>) -> Result<Loss, NotPassed> {
    // What is refused is not lost.
    let lost = missing(target, COUNTED, COUNTED_INTERVAL)?.lost;
    Ok(Loss { lost, of: COUNTED })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_from_a_loss() {
        let limited = |slow, fast| match judge(slow, fast) {
            Rate::Limited { per_s, slow } => Some((per_s, slow.came, slow.is_whole())),
            Rate::Alike => None,
        };
        assert_eq!(limited(12, 100), Some((100.0, 12, true)));
        assert_eq!(limited(11, 0), Some((0.0, 11, true)));
        assert_eq!(limited(8, 100), Some((100.0, 8, false)));
        assert_eq!(judge(12, 900), Rate::Alike);
        assert_eq!(limited(6, 100), Some((100.0, 6, false)), "half of them");
        assert_eq!(judge(5, 100), Rate::Alike, "less than half");
        assert_eq!(judge(1, 40), Rate::Alike, "one of twelve is chance");
        assert_eq!(judge(6, 500), Rate::Alike);
        assert_eq!(judge(0, 0), Rate::Alike);
    }
}
