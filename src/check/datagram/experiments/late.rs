//! Whether echoes come that nobody waited for any more.

use std::time::{Duration, Instant};

use crate::check::datagram::findings::Late;
use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::reachable::SMALL;
use crate::check::datagram::target::Target;

/// How many are sent at once.
const BURST: usize = 64;

/// How long after a burst its echoes are waited for, at the most.
const LONGEST: Duration = Duration::from_secs(2);

/// Listens for the echoes of what was sent before, and then of so many that are sent at once.
/// `None` where none is late.
pub(super) fn late(target: &mut Target<'_>) -> Result<Option<Late>, NotPassed> {
    let usual = target.wait();
    let mut port = target.open()?;
    // Behind what still waits in a queue nothing new would be seen.
    let begun = Instant::now();
    let quiet = usual.max(Duration::from_millis(500));
    let mut until = begun + quiet;
    while Instant::now() < until.min(begun + target.plan.timeout) {
        let before = port.late.len();
        target.listen(&mut port, until, &|port| port.late.len() > before)?;
        if port.late.len() > before {
            until = Instant::now() + quiet;
        }
    }
    let old = port.late.len();
    if let Some(slowest) = port.late.iter().max() {
        return Ok(Some(Late {
            came: old,
            slowest: *slowest,
            per_s: old as f64 / begun.elapsed().as_secs_f64(),
        }));
    }
    let begun = Instant::now();
    for _ in 0..BURST {
        let bytes = target.content(SMALL);
        port.send(bytes);
    }
    let until = begun + usual.max(LONGEST.min(target.plan.timeout));
    target.listen(&mut port, until, &|port| !port.awaits())?;
    let answers = port.sent.iter().filter_map(|sent| sent.answers.first());
    let times: Vec<_> = answers.map(|answer| answer.round_trip).collect();
    let late = times.iter().filter(|time| **time > usual).count();
    let slowest = times.iter().max().copied().unwrap_or_default();
    Ok((late > 0).then(|| Late {
        came: late,
        slowest,
        per_s: times.len() as f64 / slowest.as_secs_f64(),
    }))
}
