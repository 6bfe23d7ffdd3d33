//! Which of several datagrams have no answer: those that ICMP refused are not lost.

use std::ops::Range;

use super::port::Port;
use super::trouble::{Refused, Trouble};
use crate::base::units::form;

/// Those of several datagrams that have no answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// Nothing came for them.
    pub(super) lost: usize,
    /// An ICMP message came for them.
    pub(super) refused: usize,
    /// What the first message said.
    pub(super) refusal: Option<Refused>,
    /// Whether none has an answer that was sent after the first that was refused.
    pub(super) is_to_the_end: bool,
}

impl Missing {
    /// What is missing of these.
    pub(super) fn of(port: &Port, all: Range<usize>) -> Self {
        let open = |at: &usize| !port.sent[*at].is_answered();
        let is_refused = |at: &usize| port.sent[*at].refused.is_some();
        let first = all.clone().filter(open).find(is_refused);
        let refused = all.clone().filter(open).filter(is_refused).count();
        Self {
            lost: all.clone().filter(open).count() - refused,
            refused,
            refusal: first.and_then(|at| port.sent[at].refused.clone()),
            is_to_the_end: first.is_some_and(|first| (first..all.end).all(|at| open(&at))),
        }
    }

    /// These and those, which were sent later.
    pub(super) fn and(self, later: Self) -> Self {
        let is_to_the_end = match &self.refusal {
            Some(_) => self.is_to_the_end && later.is_to_the_end,
            None => later.is_to_the_end,
        };
        Self {
            lost: self.lost + later.lost,
            refused: self.refused + later.refused,
            refusal: self.refusal.or(later.refusal),
            is_to_the_end,
        }
    }

    pub(super) const fn all(&self) -> usize {
        self.lost + self.refused
    }

    /// What said that they could not arrive, where that is what the matter is: a system sends a
    /// few such messages a second only, so that those behind the first may lack one.
    pub(super) fn by_icmp(&self) -> Option<&Refused> {
        let is_it = self.is_to_the_end || self.refused > self.lost;
        self.refusal.as_ref().filter(|_| is_it)
    }

    /// The failed clause, where so many of so many did not come back.
    pub(super) fn trouble(&self, of: usize) -> (String, Trouble) {
        let all = self.all();
        let (lost, were) = (self.lost, form(all as u64, "was", "were"));
        let percent = all as f64 * 100.0 / of.max(1) as f64;
        match (self.by_icmp(), &self.refusal) {
            (Some(refusal), _) => {
                let seen = format!("{all} of {of} did not come back: {}", refusal.words);
                (seen, Trouble::Refused(refusal.clone()))
            }
            (None, Some(refusal)) => (
                format!(
                    "{lost} of {of} were lost, and ICMP {} came for {} more",
                    refusal.icmp, self.refused
                ),
                Trouble::Lost { lost, of },
            ),
            (None, None) => (
                format!("{lost} of {of} {were} lost, {percent:.1} %"),
                Trouble::Lost { lost, of },
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Option<Refused> {
        Some(Refused {
            is_port: true,
            icmp: "port unreachable",
            from: None,
            words: String::from("refused"),
        })
    }

    fn missing(lost: usize, refused: usize, is_to_the_end: bool) -> Missing {
        Missing {
            lost,
            refused,
            refusal: self::refused().filter(|_| refused > 0),
            is_to_the_end,
        }
    }

    #[test]
    fn what_is_refused_is_not_lost() {
        let of = |lost, refused, is_to_the_end| missing(lost, refused, is_to_the_end).trouble(250);
        let (seen, trouble) = of(40, 0, false);
        assert_eq!(seen, "40 of 250 were lost, 16.0 %");
        assert_eq!(trouble, Trouble::Lost { lost: 40, of: 250 });
        // A system tells of a few a second only.
        for (lost, refused) in [(0, 203), (196, 7)] {
            let (seen, trouble) = of(lost, refused, true);
            assert_eq!(seen, "203 of 250 did not come back: refused");
            assert!(matches!(trouble, Trouble::Refused(_)));
        }
        let (seen, trouble) = of(40, 3, false);
        assert_eq!(
            seen,
            "40 of 250 were lost, and ICMP port unreachable came for 3 more"
        );
        assert_eq!(trouble, Trouble::Lost { lost: 40, of: 250 });
    }
}
