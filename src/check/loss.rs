//! Whether more packets are lost than a sound path loses.

use super::clause::{Clause, Load};
use super::experiments::count_lost;
use super::lost::{Loss, Proves, SOUND};
use super::not_passed::NotPassed;
use super::observation::End;
use super::target::Target;
use crate::base::units::whole;

pub(super) const LOSS: Clause = Clause {
    name: "loss",
    proves: "of single packets, on a path that carries nothing else, no more than 2 in 100 are lost",
    usually: "a bad cable or radio link, a duplex mismatch, a policer, or a link that others fill",
    rfc: "RFC 9293 section 3.8.1, RFC 6298",
    load: Load::Measures,
    run: loss,
};

/// A measurement that finds more is repeated: packets are lost in bursts.
const ROUNDS: u32 = 2;

/// Of so many no more than on a sound path is a pass, though a few more may be lost.
const ENOUGH: u64 = 300;

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
    let mut measured = Loss::default();
    for round in 0..ROUNDS {
        let counted = count_lost(target);
        target.context.go_on()?;
        let Some(counted) = counted else {
            return Err(untold(
                "the system does not count what tells, or no message came back",
            ));
        };
        match counted.proves() {
            Proves::Lossy => {}
            Proves::Sound => return Ok(text(&counted)),
            // Fewer will do to repeat what is proved.
            Proves::Nothing if round > 0 && counted.seems_lossy() => {}
            Proves::Nothing if counted.packets >= ENOUGH && !counted.seems_lossy() => {
                return Ok(text(&counted));
            }
            Proves::Nothing => {
                let text = text(&counted);
                return Err(untold(&format!(
                    "{text}: too few to tell that from {SOUND} %"
                )));
            }
        }
        measured = counted;
    }
    target.shared.mark_lossy();
    Err(NotPassed::ended(text(&measured), End::Lost(measured)))
}

fn untold(why: &str) -> NotPassed {
    NotPassed::Skipped(why.to_owned())
}

fn text(measured: &Loss) -> String {
    let [there, back] = [measured.to_server(), measured.to_client()];
    let packets = whole(measured.packets);
    format!(
        "of {packets} packets {there:.1} % were lost on the way to the server, and of their echoes \
         {back:.1} % on the way back"
    )
}
