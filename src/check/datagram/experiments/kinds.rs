//! Whether datagrams of a kind are lost each time: those that look so, and others in turn.

use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::port::Port;
use crate::check::datagram::reachable::SMALL;
use crate::check::datagram::target::Target;
use crate::probe::datagram::marks::Marks;
use crate::probe::datagram::socket::Options;

/// How often each kind is sent.
const ROUNDS: usize = 8;

/// Of those that are compared with, one may be lost by chance.
const LOST_BY_CHANCE: usize = 1;

/// A way to send a datagram.
#[derive(Clone, Copy, Debug)]
struct Kind {
    bytes: usize,
    marks: Marks,
}

const PLAIN: Marks = Marks { dscp: 0, ecn: 0 };

impl Kind {
    const fn marked(dscp: u8, ecn: u8) -> Self {
        Self {
            bytes: SMALL,
            marks: Marks { dscp, ecn },
        }
    }

    fn options(self) -> Options {
        Options {
            tos: (self.marks != PLAIN).then(|| self.marks.byte()),
            ..Options::default()
        }
    }
}

/// Whether datagrams without a byte are lost each time, and those with one byte are not.
pub(super) fn empty(target: &mut Target<'_>) -> Result<bool, NotPassed> {
    let of = |bytes| Kind {
        bytes,
        marks: PLAIN,
    };
    let came = in_turn(target, &[of(0), of(1)])?;
    Ok(is_dropped(came[0], came[1]))
}

/// Marks with which datagrams are lost each time, while those without are not: `dscp`, `ecn`, or
/// `dscp-and-ecn` where each alone does it, or both together.
pub(super) fn marks(target: &mut Target<'_>) -> Result<Option<&'static str>, NotPassed> {
    let kinds = [(0, 0), (46, 0), (10, 0), (0, 2), (0, 1), (46, 2), (10, 1)];
    let kinds = kinds.map(|(dscp, ecn)| Kind::marked(dscp, ecn));
    let came = in_turn(target, &kinds)?;
    Ok(judge(&came))
}

/// What so many answers to datagrams with no mark, two with DSCP, two with ECN, and two with both
/// mean.
fn judge(came: &[usize]) -> Option<&'static str> {
    let lost = |some: &[usize]| some.iter().any(|one| is_dropped(*one, came[0]));
    match (lost(&came[1..3]), lost(&came[3..5]), lost(&came[5..7])) {
        (true, false, _) => Some("dscp"),
        (false, true, _) => Some("ecn"),
        (true, true, _) | (false, false, true) => Some("dscp-and-ecn"),
        (false, false, false) => None,
    }
}

/// Whether none came of one kind, and of the other as good as all.
const fn is_dropped(came: usize, of_others: usize) -> bool {
    came == 0 && of_others + LOST_BY_CHANCE >= ROUNDS
}

/// Sends one of each kind in turn. Returns how often each came back.
fn in_turn(target: &mut Target<'_>, kinds: &[Kind]) -> Result<Vec<usize>, NotPassed> {
    let ports = kinds.iter().map(|kind| target.open_any(kind.options()));
    let mut ports: Vec<Port> = ports.collect::<Result<_, _>>()?;
    for _ in 0..ROUNDS {
        let wait = target.wait();
        for (kind, port) in kinds.iter().zip(&mut ports) {
            target.pause(target.pace)?;
            let bytes = target.content(kind.bytes);
            port.send(bytes);
        }
        let until = std::time::Instant::now() + wait;
        for port in &mut ports {
            let number = port.sent.len() - 1;
            target.listen(port, until, &|port| port.sent[number].is_answered())?;
        }
    }
    for port in &mut ports {
        let all = 0..port.sent.len();
        port.own_fault(all).map_or(Ok(()), Err)?;
    }
    let came = |port: &Port| {
        let answers = port.sent.iter().map(|sent| sent.answers.len());
        answers.sum::<usize>().min(ROUNDS)
    };
    Ok(ports.iter().map(came).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_that_lose_are_told_from_a_loss() {
        assert_eq!(judge(&[8, 0, 8, 8, 8, 0, 8]), Some("dscp"));
        assert_eq!(judge(&[7, 8, 8, 8, 0, 8, 0]), Some("ecn"));
        assert_eq!(judge(&[8, 0, 0, 0, 0, 0, 0]), Some("dscp-and-ecn"));
        assert_eq!(judge(&[8, 8, 8, 8, 8, 0, 8]), Some("dscp-and-ecn"));
        assert_eq!(judge(&[8; 7]), None);
        // What is lost without a mark as well is no mark's.
        assert_eq!(judge(&[5, 0, 4, 5, 6, 0, 3]), None);
        assert_eq!(judge(&[8, 1, 8, 8, 8, 1, 8]), None);
    }
}
