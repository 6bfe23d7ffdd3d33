//! Whether it is their length above which datagrams are lost: lengths on both sides of the edge
//! that was found, even and odd ones.

use std::time::Duration;

use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::target::{TRIES, Target};
use crate::probe::datagram::socket::Options;

/// How far from the edge each length is, on its side: of each remainder of 2, 3, 4, 5 and 8.
const STEPS: [usize; 8] = [0, 1, 2, 3, 5, 7, 12, 30];

/// The time between two.
const INTERVAL: Duration = Duration::from_millis(2);

/// The least data that is tried, in bytes.
const LEAST: usize = 8;

/// Whether all of some lengths up to `edge` come back, and none of some above, each sent several
/// times. Lengths are of the datagrams' data, in bytes; none is above `most`.
pub(super) fn is_sharp(
    target: &mut Target<'_>,
    edge: usize,
    most: usize,
    unfragmented: bool,
) -> Result<bool, NotPassed> {
    let below = STEPS.iter().filter_map(|step| edge.checked_sub(*step));
    let below: Vec<_> = below.filter(|bytes| *bytes >= LEAST).collect();
    let above = STEPS.iter().map(|step| edge + 1 + step);
    let above: Vec<_> = above.filter(|bytes| *bytes <= most).collect();
    let tries = Target::tries(edge);
    if came(target, &above, TRIES, unfragmented)? > 0 {
        return Ok(false);
    }
    Ok(came(target, &below, tries, unfragmented)? == below.len())
}

/// How many of these lengths come back, of so many tries.
fn came(
    target: &mut Target<'_>,
    lengths: &[usize],
    tries: usize,
    unfragmented: bool,
) -> Result<usize, NotPassed> {
    let options = Options {
        unfragmented,
        ..Options::default()
    };
    let mut port = target.open_with(options)?;
    let datagrams = lengths.iter().map(|bytes| target.content(*bytes));
    let datagrams = datagrams.collect();
    let all = target.ask_all(&mut port, datagrams, INTERVAL, tries)?;
    Ok(all.filter(|at| port.sent[*at].is_answered()).count())
}

/// The first of the lengths that are compared, how many they are, and how often each is sent.
const FIRST: usize = 200;
const IN_A_ROW: usize = 16;
const EACH: usize = 5;

/// Lengths that are lost each time, of some in a row of which others never are; `None` where that
/// is not so.
pub(super) fn lost_lengths(target: &mut Target<'_>) -> Result<Option<Vec<usize>>, NotPassed> {
    let mut port = target.open()?;
    let lengths = (0..EACH).flat_map(|_| FIRST..FIRST + IN_A_ROW);
    let datagrams = lengths.map(|bytes| target.content(bytes)).collect();
    let all = target.ask_all(&mut port, datagrams, INTERVAL, 1)?;
    let mut came = [0; IN_A_ROW];
    for at in all.filter(|at| port.sent[*at].is_answered()) {
        came[port.sent[at].bytes.len() - FIRST] += 1;
    }
    Ok(judge(&came))
}

/// What it means that of each length so many came.
fn judge(came: &[usize]) -> Option<Vec<usize>> {
    // One of the others may be lost by chance.
    let is_clear = came.iter().all(|came| *came == 0 || *came + 1 >= EACH);
    let lost = (FIRST..).zip(came).filter(|(_, came)| **came == 0);
    let lost: Vec<_> = lost.map(|(bytes, _)| bytes).collect();
    (is_clear && !lost.is_empty() && lost.len() < came.len()).then_some(lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_are_lost_are_told_from_a_loss() {
        let odd: Vec<_> = (0..IN_A_ROW).map(|at| EACH * ((at + 1) % 2)).collect();
        let lost = judge(&odd).unwrap();
        assert_eq!((lost.len(), lost[0], lost[7]), (8, 201, 215));
        assert_eq!(judge(&[EACH; IN_A_ROW]), None);
        assert_eq!(judge(&[0; IN_A_ROW]), None);
        let mut by_chance = odd;
        by_chance[2] = 2;
        assert_eq!(judge(&by_chance), None);
    }
}
