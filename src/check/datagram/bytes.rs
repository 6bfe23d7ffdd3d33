//! Bytes of every value.

use std::time::Duration;

use super::clause::Clause;
use super::missing::Missing;
use super::not_passed::NotPassed;
use super::target::{TRIES, Target, trouble};
use super::trouble::Trouble;
use crate::base::units::whole;

pub(super) const BYTES: Clause = Clause {
    name: "bytes",
    proves: "every byte value comes back, and behind every other: no pair means anything",
    usually: "something takes datagrams for text, or rewrites what looks like an address in them",
    rfc: "RFC 862",
    run: bytes,
};

/// The bytes of a datagram: any path carries so many in one packet (RFC 791).
const PART: usize = 508;

/// The time between two: about 2 Mbit/s.
const INTERVAL: Duration = Duration::from_millis(2);

fn bytes(target: &mut Target<'_>) -> Result<String, NotPassed> {
    let mut port = target.open()?;
    let parts = parts();
    // Each but the first begins with the last byte of the one before.
    let bytes = parts.iter().map(Vec::len).sum::<usize>() + 1 - parts.len();
    let all = target.ask_all(&mut port, parts, INTERVAL, TRIES)?;
    let number = all.len();
    let missing = Missing::of(&port, all.clone());
    let wrong: Vec<_> = all.filter_map(|at| trouble(&port, at)).collect();
    let Some(first) = wrong.first() else {
        return Ok(format!(
            "all 65,536 pairs of byte values came back, {} bytes in {number} datagrams",
            whole(bytes as u64)
        ));
    };
    let is_change = |trouble: &Trouble| matches!(trouble, Trouble::Changed(_));
    let changed = wrong.iter().find(|(_, trouble)| is_change(trouble));
    let (seen, trouble) = match (changed, missing.by_icmp()) {
        (Some((seen, trouble)), _) => (seen.clone(), trouble.clone()),
        (None, Some(refusal)) => (refusal.words.clone(), Trouble::Refused(refusal.clone())),
        (None, None) => {
            let (lost, of) = (wrong.len(), number);
            (first.0.clone(), Trouble::Lost { lost, of })
        }
    };
    let seen = format!("{} of {number} datagrams did not: {seen}", wrong.len());
    Err(NotPassed::failed(seen, trouble))
}

/// All pairs of byte values, in datagrams.
pub(super) fn parts() -> Vec<Vec<u8>> {
    let values = || 0..=u8::MAX;
    let pairs = values().flat_map(|first| values().flat_map(move |second| [first, second]));
    let pairs: Vec<u8> = pairs.collect();
    // The last byte of each is the first of the next: no pair is divided.
    let parts = (0..pairs.len()).step_by(PART - 1);
    let parts = parts.map(|at| pairs[at..pairs.len().min(at + PART)].to_vec());
    parts.collect()
}
