//! How many datagrams are lost, at a modest rate and at a higher one.

use std::time::Duration;

use super::clause::Clause;
use super::missing::Missing;
use super::not_passed::NotPassed;
use super::reachable::SMALL;
use super::target::Target;
use crate::base::units::form;

pub(super) const LOSS: Clause = Clause {
    name: "loss",
    proves: "of datagrams at 200 a second at most 5 in 100 are lost",
    usually: "a full or a faulty link on the way; or a limit on the rate below that",
    rfc: "RFC 7680",
    run: loss,
};

pub(super) const RATE: Clause = Clause {
    name: "rate",
    proves: "of 500 datagrams in a second at most 10 in 100 are lost",
    usually: "a firewall or the server limits how many a source may send in a second, or a \
              queue on the way is short",
    rfc: "RFC 8085 section 3.1",
    run: rate,
};

/// How many are sent first, and how many more where that does not decide.
const FIRST: usize = 250;
const MORE: usize = 500;

/// What is lost of the first, in percent, so that they decide.
const FEW: f64 = 3.0;
const MANY: f64 = 10.0;

/// The most that a healthy path loses, in percent: one in a hundred each way, and as much as
/// chance may add.
const MOST: f64 = 5.0;
const MOST_AT_RATE: f64 = 10.0;

const INTERVAL: Duration = Duration::from_millis(5);
const INTERVAL_AT_RATE: Duration = Duration::from_millis(2);

fn loss(target: &mut Target<'_>) -> Result<String, NotPassed> {
    let (mut missing, mut of) = (missing(target, FIRST, INTERVAL)?, FIRST);
    if (FEW..MANY).contains(&percent(missing.all(), of)) {
        missing = missing.and(self::missing(target, MORE, INTERVAL)?);
        of += MORE;
    }
    judged(&missing, of, MOST)
}

fn rate(target: &mut Target<'_>) -> Result<String, NotPassed> {
    let of = 500;
    let missing = missing(target, of, INTERVAL_AT_RATE)?;
    judged(&missing, of, MOST_AT_RATE)
}

fn judged(missing: &Missing, of: usize, most: f64) -> Result<String, NotPassed> {
    let all = missing.all();
    let percent = percent(all, of);
    let were = form(all as u64, "was", "were");
    match (all, percent > most) {
        (_, true) => {
            let (seen, trouble) = missing.trouble(of);
            Err(NotPassed::failed(seen, trouble))
        }
        (0, _) => Ok(format!("none of {of} was lost")),
        _ => Ok(format!("{all} of {of} {were} lost, {percent:.1} %")),
    }
}

/// What is missing of so many.
pub(super) fn missing(
    target: &mut Target<'_>,
    of: usize,
    interval: Duration,
) -> Result<Missing, NotPassed> {
    let mut port = target.open()?;
    let datagrams: Vec<_> = (0..of).map(|_| target.content(SMALL)).collect();
    let all = target.ask_all(&mut port, datagrams, interval, 1)?;
    Ok(Missing::of(&port, all))
}

fn percent(lost: usize, of: usize) -> f64 {
    lost as f64 * 100.0 / of as f64
}
