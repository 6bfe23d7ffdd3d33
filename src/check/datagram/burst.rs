//! Datagrams that are sent at once.

use std::time::{Duration, Instant};

use super::clause::Clause;
use super::not_passed::NotPassed;
use super::reachable::SMALL;
use super::target::{TRIES, Target};
use super::trouble::Trouble;

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

fn order(target: &mut Target<'_>) -> Result<String, NotPassed> {
    let mut late = Vec::new();
    for number in 1..=TRIES {
        let mut port = target.open()?;
        let datagrams: Vec<_> = (0..BURST).map(|_| target.content(SMALL)).collect();
        target.ask_all(&mut port, datagrams, Duration::ZERO, 1)?;
        let came = port.order.len();
        if came == 0 {
            if number < TRIES {
                continue;
            }
            let (lost, of) = (BURST, BURST);
            let seen = "nothing came back of any burst";
            return Err(NotPassed::failed(seen, Trouble::Lost { lost, of }));
        }
        match overtaken(&port.order) {
            0 if came >= BURST / 2 => {
                let before = match number {
                    1 => "",
                    _ => ", not at the first time",
                };
                return Ok(format!("{came} of {BURST} came back in order{before}"));
            }
            // What is lost can't be out of order.
            0 => late.push((0, came)),
            some => late.push((some, came)),
        }
    }
    let most = late.iter().max().copied().unwrap_or_default();
    match most {
        (0, came) => Err(NotPassed::failed(
            format!("{came} of {BURST} came back of a burst, in order"),
            Trouble::Lost {
                lost: BURST - came,
                of: BURST,
            },
        )),
        (late, of) => Err(NotPassed::failed(
            format!("{late} of {of} came back behind a later one, and some in each of 3 bursts"),
            Trouble::Reordered { late, of },
        )),
    }
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
    let wait = COPY_LEAST.max(target.slowest.unwrap_or_default() * 2);
    target.listen(&mut port, Instant::now() + wait, &|_| false)?;
    let copies = all.map(|at| port.sent[at].answers.len().saturating_sub(1));
    let copies: usize = copies.sum();
    match copies {
        0 => Ok(format!("none of {of} came back twice")),
        1..=COPIES => Ok(format!("{copies} of {of} came back twice")),
        _ => Err(NotPassed::failed(
            format!("{of} were sent, and {copies} more came back than were sent"),
            Trouble::Duplicated { copies, of },
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
}
