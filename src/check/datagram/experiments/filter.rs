//! Whether datagrams are lost for what is in them, and for which bytes.

use std::time::Duration;

use crate::check::datagram::bytes::parts;
use crate::check::datagram::findings::Filtered;
use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::port::Sent;
use crate::check::datagram::target::{TRIES, Target};

/// The time between two datagrams: about 2 Mbit/s.
const INTERVAL: Duration = Duration::from_millis(2);

/// How often one is sent before it is taken for one that is lost each time.
const EACH: usize = 2 * TRIES;

/// Bytes to put in the place of others, none of which means much.
const FILLERS: [u8; 4] = [0x55, 0x00, 0xf0, b'z'];

/// The longest datagram, in bytes.
const LONGEST: usize = 65_507;

/// Which bytes are lost each time, while others of the same length are not; `None` where what is
/// lost follows no such rule.
pub(super) fn filtered(target: &mut Target<'_>) -> Result<Option<Filtered>, NotPassed> {
    let parts = parts();
    let of = parts.len();
    let lost = lost(target, parts.clone(), EACH)?;
    let Some(first) = lost.first().filter(|_| lost.len() * 2 < of) else {
        return Ok(None);
    };
    let whole = &parts[*first];
    let fillers = FILLERS.map(|filler| vec![filler; whole.len()]);
    let lost_fillers = self::lost(target, fillers.to_vec(), TRIES)?;
    let Some(filler) = (0..FILLERS.len()).find(|at| !lost_fillers.contains(at)) else {
        return Ok(None);
    };
    let Some((from, to)) = narrowed(target, whole, FILLERS[filler])? else {
        return Ok(None);
    };
    let longest = vec![FILLERS[filler]; LONGEST];
    let tries = Target::tries(LONGEST);
    let is_all = self::lost(target, vec![longest], tries)?.is_empty();
    Ok(Some(Filtered {
        is_all,
        bytes: whole[from..to].to_vec(),
        offset: from,
        lost: lost.len(),
        of,
    }))
}

/// The least part of a datagram with which it is lost, all else being filled with another byte.
fn narrowed(
    target: &mut Target<'_>,
    whole: &[u8],
    filler: u8,
) -> Result<Option<(usize, usize)>, NotPassed> {
    let keeping = |from: usize, to: usize| {
        let mut bytes = vec![filler; whole.len()];
        bytes[from..to].copy_from_slice(&whole[from..to]);
        bytes
    };
    let end = whole.len();
    let from_each = (0..=end).map(|from| keeping(from, end)).collect();
    let lost_from = lost(target, from_each, TRIES)?;
    // The last begin with which it is still lost.
    let Some(from) = first_of_rest(&lost_from).and_then(|passes| passes.checked_sub(1)) else {
        return Ok(None);
    };
    let to_each = (from..=end).map(|to| keeping(from, to)).collect();
    let lost_to = lost(target, to_each, TRIES)?;
    let is_rest = lost_to.last() == Some(&(end - from)) && is_in_a_row(&lost_to);
    let least = lost_to.first().filter(|_| is_rest);
    Ok(least.map(|least| (from, from + least)))
}

/// Where those end that are lost from the first one on, if no other is.
fn first_of_rest(lost: &[usize]) -> Option<usize> {
    (lost.first() == Some(&0) && is_in_a_row(lost)).then_some(lost.len())
}

fn is_in_a_row(numbers: &[usize]) -> bool {
    numbers.windows(2).all(|pair| pair[0] + 1 == pair[1])
}

/// The numbers of those that never come back.
fn lost(
    target: &mut Target<'_>,
    datagrams: Vec<Vec<u8>>,
    tries: usize,
) -> Result<Vec<usize>, NotPassed> {
    let mut port = target.open()?;
    let all = target.ask_all(&mut port, datagrams, INTERVAL, tries)?;
    // Two that are alike have one answer.
    let has_one = |at: usize| {
        let bytes = &port.sent[at].bytes;
        let mut alike = port.sent.iter().filter(|sent| sent.bytes == *bytes);
        alike.any(Sent::is_answered)
    };
    let open = all.clone().filter(|at| !has_one(*at));
    Ok(open.map(|at| at - all.start).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_without_a_rule_is_no_part() {
        assert_eq!(first_of_rest(&[0, 1, 2]), Some(3));
        assert_eq!(first_of_rest(&[0, 1, 3]), None);
        assert_eq!(first_of_rest(&[1, 2]), None);
        assert_eq!(first_of_rest(&[]), None);
    }
}
