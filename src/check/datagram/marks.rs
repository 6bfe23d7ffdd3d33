//! DSCP and ECN.

use super::clause::Clause;
use super::not_passed::NotPassed;
use super::reachable::{SMALL, unanswered};
use super::target::{TRIES, Target};
use super::trouble::Trouble;
use crate::probe::datagram::marks::Marks;
use crate::probe::datagram::socket::Options;

pub(super) const MARKS: Clause = Clause {
    name: "marks",
    proves: "DSCP and ECN come back as they were sent, where the server copies them",
    usually: "a router or a firewall sets DSCP to 0 or to its own classes, or clears ECN, on \
              traffic that it does not trust",
    rfc: "RFC 2474, RFC 3168",
    run: marks,
};

/// Two that differ in DSCP and in ECN, so that what is constant is known.
const SENT: [Marks; 2] = [Marks { dscp: 46, ecn: 2 }, Marks { dscp: 10, ecn: 1 }];

/// Congestion experienced: a router on a full path may set it.
const CE: u8 = 3;

fn marks(target: &mut Target<'_>) -> Result<String, NotPassed> {
    let mut came = Vec::new();
    for sent in SENT {
        let options = Options {
            tos: Some(sent.byte()),
            ..Options::default()
        };
        let mut port = target.open_with(options)?;
        let bytes = target.content(SMALL);
        let at = target.ask(&mut port, bytes, TRIES)?;
        let Some(answer) = port.sent[at].answers.first() else {
            return Err(unanswered(&port, at));
        };
        let Some(tos) = answer.tos else {
            let why = "this system does not say how datagrams were marked";
            return Err(NotPassed::Skipped(String::from(why)));
        };
        came.push(Marks::of_byte(tos));
    }
    let [first, second] = [came[0], came[1]];
    let seen = format!(
        "{} came back as {}, and {} as {}",
        SENT[0], first, SENT[1], second
    );
    match kept(first, second) {
        Kept::Both => Ok(format!("{} and {} came back", SENT[0], SENT[1])),
        Kept::Unknown => Err(NotPassed::Skipped(format!(
            "every echo came with {first}: the server does not copy marks, or all are bleached"
        ))),
        Kept::Not(what) => Err(NotPassed::failed(seen, Trouble::Marks(what))),
    }
}

/// What came back of the marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Both,
    Not(&'static str),
    /// What came does not depend on what was sent.
    Unknown,
}

fn kept(first: Marks, second: Marks) -> Kept {
    let all = || SENT.iter().zip([first, second]);
    let has_dscp = all().all(|(sent, came)| sent.dscp == came.dscp);
    let has_ecn = all().all(|(sent, came)| sent.ecn == came.ecn || came.ecn == CE);
    match (has_dscp, has_ecn) {
        (true, true) => Kept::Both,
        _ if first == second => Kept::Unknown,
        (true, false) => Kept::Not("ecn"),
        (false, true) => Kept::Not("dscp"),
        (false, false) => Kept::Not("dscp-and-ecn"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_told_from_what_is_never_copied() {
        let of = |one: (u8, u8), other: (u8, u8)| {
            let marks = |(dscp, ecn)| Marks { dscp, ecn };
            kept(marks(one), marks(other))
        };
        assert_eq!(of((46, 2), (10, 1)), Kept::Both);
        assert_eq!(of((46, 3), (10, 1)), Kept::Both);
        assert_eq!(of((0, 2), (0, 1)), Kept::Not("dscp"));
        assert_eq!(of((8, 2), (8, 1)), Kept::Not("dscp"));
        assert_eq!(of((46, 0), (10, 0)), Kept::Not("ecn"));
        assert_eq!(of((40, 0), (8, 0)), Kept::Not("dscp-and-ecn"));
        assert_eq!(of((0, 0), (0, 0)), Kept::Unknown);
        assert_eq!(of((0, 3), (0, 3)), Kept::Unknown);
    }
}
