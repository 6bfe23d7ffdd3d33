//! Whether more packets are lost than a sound path loses.

use super::clause::{Clause, Load};
use super::experiments::count_lost;
use super::findings::Loss;
use super::not_passed::NotPassed;
use super::observation::End;
use super::target::Target;
use crate::base::units::whole;

pub(super) const LOSS: Clause = Clause {
    name: "loss",
    proves: "of packets that are sent one at a time, on a path that carries nothing else, no more \
             than 3 in 100 are lost",
    usually: "a bad cable or radio link, a duplex mismatch, a policer, or a link that others fill",
    rfc: "RFC 9293 section 3.8.1, RFC 6298",
    load: Load::Measures,
    run: loss,
};

/// The percentage that is too much. At 1 % no more than one of 50,000 measurements has it, and
/// at 5 % all but a few.
const MOST: f64 = 3.0;

/// A measurement that has more is repeated: packets are lost in bursts.
const ROUNDS: u32 = 2;

/// Nothing is measured where no more than one of so many segments of the clauses before was
/// sent again, or came out of order; if there were so many.
const CLEAN_ONE_OF: u64 = 100;

fn loss(target: &Target<'_>) -> Result<String, NotPassed> {
    if let Some((sent, trouble)) = target.shared.segments()
        && sent >= CLEAN_ONE_OF
        && trouble * CLEAN_ONE_OF <= sent
    {
        let [sent, trouble] = [sent, trouble].map(whole);
        return Ok(format!(
            "of {sent} segments of the clauses before, {trouble} were sent again or came out of order"
        ));
    }
    // Finds which of several addresses answers.
    target.open()?.finish()?;
    let mut last = None;
    for _ in 0..ROUNDS {
        let measured = count_lost(target);
        target.context.go_on()?;
        let Some(measured) = measured else {
            let why = String::from("too few packets came back in time to tell");
            return Err(NotPassed::Skipped(why));
        };
        // What is late may only be late.
        if measured.worst() <= MOST || !measured.is_proved {
            return Ok(text(&measured));
        }
        last = Some(measured);
    }
    let measured = last.unwrap_or_default();
    target.shared.mark_lossy();
    Err(NotPassed::ended(text(&measured), End::Lost(measured)))
}

fn text(measured: &Loss) -> String {
    let Loss {
        to_server,
        to_client,
        packets,
        knows_direction,
        ..
    } = measured;
    let packets = whole(*packets);
    if !knows_direction {
        let percent = measured.worst();
        return format!("of {packets} packets {percent:.1} % were lost, or their echoes");
    }
    format!(
        "of {packets} packets each way {to_server:.1} % were lost on the way to the server and \
         {to_client:.1} % on the way back"
    )
}
