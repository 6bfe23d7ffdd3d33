//! Datagrams that are sent at once.

use std::time::{Duration, Instant};

use super::clause::Clause;
use super::missing::Missing;
use super::not_passed::NotPassed;
use super::reachable::SMALL;
use super::target::{TRIES, Target};
use super::trouble::Trouble;
use crate::base::units::count;

pub(super) const ORDER: Clause = Clause {
    name: "order",
    proves: "64 datagrams that are sent at once come back in their order, in one of three tries",
    usually: "packets of one flow are spread over several links or threads, which overtake each \
              other",
    rfc: "RFC 4737, RFC 2991",
    run: order,
};

pub(super) const DUPLICATES: Clause = Clause {
    name: "duplicates",
    proves: "no datagram comes back twice: at most one in 192 does",
    usually: "a loop on the way, a tunnel or a radio link that sends again, or two servers that \
              answer for one",
    rfc: "RFC 5560, RFC 862",
    run: duplicates,
};

/// How many are sent at once.
const BURST: usize = 64;

/// So many copies fail nothing: IP may deliver a packet twice.
const COPIES: usize = 1;

/// How long a copy is waited for, at the least.
const COPY_LEAST: Duration = Duration::from_millis(50);

/// What came of a burst.
#[derive(Clone, Copy, Debug)]
struct Burst {
    came: usize,
    /// Of them, behind a later one.
    late: usize,
}

impl Burst {
    /// Whether it shows that order is kept: what is lost can't be out of order.
    const fn is_in_order(self) -> bool {
        self.late == 0 && self.came >= BURST / 2
    }
}

fn order(target: &mut Target<'_>) -> Result<String, NotPassed> {
    let mut bursts = Vec::new();
    for _ in 0..TRIES {
        let mut port = target.open()?;
        let datagrams: Vec<_> = (0..BURST).map(|_| target.content(SMALL)).collect();
        let all = target.ask_all(&mut port, datagrams, Duration::ZERO, 1)?;
        let missing = Missing::of(&port, all);
        if missing.by_icmp().is_some() {
            let (seen, trouble) = missing.trouble(BURST);
            return Err(NotPassed::failed(seen, trouble));
        }
        bursts.push(Burst {
            came: port.order.len(),
            late: overtaken(&port.order),
        });
        if bursts.last().is_some_and(|burst| burst.is_in_order()) {
            break;
        }
    }
    judge(&bursts)
}

/// What the bursts show, of which none but the last is in order.
fn judge(bursts: &[Burst]) -> Result<String, NotPassed> {
    let (number, last) = (bursts.len(), bursts[bursts.len() - 1]);
    if last.is_in_order() {
        let before = if number == 1 {
            ""
        } else {
            ", not at the first time"
        };
        return Ok(format!(
            "{} of {BURST} came back in order{before}",
            last.came
        ));
    }
    let reordered = bursts.iter().filter(|burst| burst.late > 0).count();
    if reordered == number {
        let worst = bursts.iter().max_by_key(|burst| burst.late);
        let Burst { came: of, late } = *worst.unwrap_or(&last);
        return Err(NotPassed::failed(
            format!(
                "{late} of {of} came back behind a later one, and some in each of {number} bursts"
            ),
            Trouble::Reordered { late, of },
        ));
    }
    let in_order = bursts.iter().filter(|burst| burst.late == 0);
    let came = in_order.map(|burst| burst.came).max().unwrap_or(0);
    let beside = match reordered {
        0 => String::new(),
        some => format!("; some came behind a later one in {some} of {number} bursts"),
    };
    let lost = BURST - came;
    let seen = match (came, reordered) {
        (0, 0) => String::from("nothing came back of any burst"),
        (0, _) => format!("nothing came back of a burst{beside}"),
        _ => format!(
            "{lost} of {BURST} sent at once were lost, and the {came} that came back were in \
             order{beside}"
        ),
    };
    let of = BURST;
    Err(NotPassed::failed(seen, Trouble::Lost { lost, of }))
}

/// How many came behind a later one: RFC 4737 section 3.3.
fn overtaken(order: &[usize]) -> usize {
    let mut next = 0;
    let late = order.iter().filter(|number| {
        let is_late = **number < next;
        next = next.max(**number + 1);
        is_late
    });
    late.count()
}

fn duplicates(target: &mut Target<'_>) -> Result<String, NotPassed> {
    let of = TRIES * BURST;
    let mut port = target.open()?;
    let datagrams: Vec<_> = (0..of).map(|_| target.content(SMALL)).collect();
    let all = target.ask_all(&mut port, datagrams, Duration::from_millis(1), 1)?;
    let wait = COPY_LEAST.max(target.slowest() * 2);
    target.listen(&mut port, Instant::now() + wait, &|_| false)?;
    let missing = Missing::of(&port, all.clone());
    if missing.by_icmp().is_some() {
        let (seen, trouble) = missing.trouble(of);
        return Err(NotPassed::failed(seen, trouble));
    }
    let answers = all.map(|at| port.sent[at].answers.len());
    let answers: Vec<_> = answers.filter(|answers| *answers > 0).collect();
    let copies = answers.iter().map(|answers| answers - 1).sum();
    judge_copies(of, answers.len(), copies)
}

/// What it means that so many of so many came back, and so many copies of them.
fn judge_copies(of: usize, came: usize, copies: usize) -> Result<String, NotPassed> {
    let all = match came == of {
        true => format!("{of} came back"),
        false => format!("the {came} of {of} that came back came"),
    };
    match (came, copies) {
        (0, _) => Err(NotPassed::failed(
            format!("none of {of} came back"),
            Trouble::Lost { lost: of, of },
        )),
        (_, 0) => Ok(format!("none of {all} twice")),
        (_, ..=COPIES) => Ok(format!("{copies} of {all} twice")),
        _ => Err(NotPassed::failed(
            format!(
                "{came} of {of} came back, and {} of them",
                count(copies as u64, "copy", "copies")
            ),
            Trouble::Duplicated { copies, of: came },
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_behind_a_later_one_is_counted() {
        for (order, late) in [
            (&[][..], 0),
            (&[0, 1, 3, 7], 0),
            (&[1, 0, 2], 1),
            (&[3, 0, 1, 2], 3),
            (&[0, 2, 1, 4, 3], 2),
        ] {
            assert_eq!(overtaken(order), late, "{order:?}");
        }
    }

    fn judged(bursts: &[(usize, usize)]) -> Result<String, (String, Trouble)> {
        let burst = |(late, came): &(usize, usize)| Burst {
            late: *late,
            came: *came,
        };
        let bursts: Vec<_> = bursts.iter().map(burst).collect();
        judge(&bursts).map_err(|error| match error {
            NotPassed::Failed { seen, trouble } => (seen, trouble),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn only_what_is_reordered_each_time_is() {
        assert_eq!(judged(&[(0, 64)]).unwrap(), "64 of 64 came back in order");
        let second = judged(&[(3, 64), (0, 40)]).unwrap();
        assert_eq!(second, "40 of 64 came back in order, not at the first time");
        let (seen, trouble) = judged(&[(5, 64), (9, 60), (1, 50)]).unwrap_err();
        assert!(
            seen.contains("9 of 60") && seen.contains("each of 3 bursts"),
            "{seen}"
        );
        assert_eq!(trouble, Trouble::Reordered { late: 9, of: 60 });
        for (bursts, words, lost) in [
            (
                [(0, 0), (0, 0), (0, 0)],
                "nothing came back of any burst",
                64,
            ),
            (
                [(0, 20), (0, 12), (0, 0)],
                "44 of 64 sent at once were lost, and the 20 that came back were in order",
                44,
            ),
            (
                [(5, 64), (0, 10), (0, 12)],
                "52 of 64 sent at once were lost, and the 12 that came back were in order; some \
                 came behind a later one in 1 of 3 bursts",
                52,
            ),
            (
                [(5, 64), (2, 60), (0, 0)],
                "nothing came back of a burst; some came behind a later one in 2 of 3 bursts",
                64,
            ),
        ] {
            let (seen, trouble) = judged(&bursts).unwrap_err();
            assert_eq!(seen, words);
            assert_eq!(trouble, Trouble::Lost { lost, of: 64 });
        }
    }

    #[test]
    fn copies_are_told_of_what_came_back() {
        let seen = |came, copies| match judge_copies(192, came, copies) {
            Ok(seen) => (seen, None),
            Err(NotPassed::Failed { seen, trouble }) => (seen, Some(trouble)),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(
            seen(192, 0),
            (String::from("none of 192 came back twice"), None)
        );
        let (some, passed) = seen(142, 0);
        assert_eq!(some, "none of the 142 of 192 that came back came twice");
        assert_eq!(passed, None);
        assert_eq!(seen(192, 1).1, None);
        let (none, failed) = seen(0, 0);
        assert_eq!(none, "none of 192 came back");
        assert_eq!(failed, Some(Trouble::Lost { lost: 192, of: 192 }));
        let (copied, failed) = seen(142, 20);
        assert_eq!(copied, "142 of 192 came back, and 20 copies of them");
        assert_eq!(
            failed,
            Some(Trouble::Duplicated {
                copies: 20,
                of: 142
            })
        );
    }
}
